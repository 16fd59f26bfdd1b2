"""Simulation of an SBML model with libroadrunner (optional)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from TheranosticDoseLib.errors import EngineUnavailableError, InputError

PLACEHOLDER = -1.0


def simulate_sbml(
    path: Path | str,
    time_h: Sequence[float],
    species: Sequence[str],
    values: Mapping[str, float] | None = None,
    minutes_per_unit: float = 1.0,
) -> dict[str, np.ndarray]:
    """Simulate a model and return the amounts of species at ``time_h``.

    Parameters
    ----------
    path : Path
        SBML file, for example the PSMA model of PyCNO.
    time_h : sequence of float
        h, increasing, from 0 on.
    species : sequence of str
        Identifiers to return.
    values : mapping, optional
        Parameters and initial amounts to set.
    minutes_per_unit : float
        Time unit of the model in minutes.

    Raises
    ------
    EngineUnavailableError
        Without libroadrunner.
    InputError
        For a file that cannot be read, an unknown name, or a parameter that is still the placeholder -1
        (such files need a variant's values before they can run).
    """
    try:
        import roadrunner
    except ImportError:
        msg = "SBML models need libroadrunner: pip install 'theranostic-dosimetry[pbpk]'."
        raise EngineUnavailableError(msg) from None
    try:
        model = roadrunner.RoadRunner(str(path))
    except RuntimeError as error:
        raise InputError(f"The SBML file {path} cannot be read: {str(error).splitlines()[0]}.") from None
    for name, value in (values or {}).items():
        try:
            model[name] = float(value)
        except RuntimeError:
            raise InputError(f"The SBML model has no parameter or species {name!r}.") from None
    left = [name for name in model.model.getGlobalParameterIds() if model[name] == PLACEHOLDER]
    if left:
        msg = f"{len(left)} parameters of the model are placeholders (-1), for example {left[0]}; give their values."
        raise InputError(msg)
    model.timeCourseSelections = ["time", *species]
    times = np.asarray(time_h, float) * 60.0 / minutes_per_unit
    table = np.asarray(model.simulate(times=times.tolist()))
    return {name: table[:, i + 1] for i, name in enumerate(species)}
