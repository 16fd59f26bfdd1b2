"""Simulation of an SBML model with libroadrunner (optional)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.errors import EngineUnavailableError, InputError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

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
        SBML file, for example the reduced PSMA model of PyCNO.
    time_h : sequence of float
        h, increasing, from 0 on.
    species : sequence of str
        ``compartment.species`` by their names in the file (``Blood.Hot``), or identifiers.
    values : mapping, optional
        Parameters and initial amounts to set, by name or identifier. They are written into the model before it is
        loaded, so that what the model derives from them (receptors from a density) follows.
    minutes_per_unit : float
        Time unit of the model in minutes.

    Returns
    -------
    dict of str to ndarray (T,)
        Amounts in the unit of the model.

    Raises
    ------
    EngineUnavailableError
        Without libroadrunner.
    InputError
        For a file that cannot be read, an unknown name, or a parameter that is still the placeholder -1
        (such files need a variant's values before they can run).

    References
    ----------
    Fele-Paranj et al. 2024, doi:10.1186/s41181-023-00236-w (the PSMA models of PyCNO).
    """
    try:
        import roadrunner
    except ImportError:
        msg = "SBML models need libroadrunner: pip install 'theranostic-dosimetry[pbpk]'."
        raise EngineUnavailableError(msg) from None
    from xml.etree import ElementTree

    times = np.asarray(time_h, float) * 60.0 / minutes_per_unit
    if times.ndim != 1 or len(times) < 2 or times[0] < 0 or np.any(np.diff(times) <= 0):
        raise InputError(f"The times of a simulation are increasing hours from 0 on, not {list(time_h)}.")
    try:
        root = ElementTree.parse(path).getroot()
        identifiers = _identifiers(root)
        chosen = [_identifier(identifiers, name) for name in species]
        for name, value in (values or {}).items():
            _set(root, _identifier(identifiers, name), float(value))
        model = roadrunner.RoadRunner(ElementTree.tostring(root, encoding="unicode"))
    except (OSError, ElementTree.ParseError, RuntimeError) as error:
        raise InputError(f"The SBML file {path} cannot be read: {str(error).splitlines()[0]}.") from None
    _require_values(model, identifiers)
    model.timeCourseSelections = ["time", *chosen]
    try:
        table = np.asarray(model.simulate(times=times.tolist()))
    except RuntimeError as error:
        raise InputError(f"The model {path} cannot be simulated: {str(error).splitlines()[0]}.") from None
    return {name: table[:, i + 1] for i, name in enumerate(species)}


def _identifiers(root: Element) -> dict[str, str]:
    """Return name to identifier: ``compartment.species``, parameters, and every identifier itself."""
    compartments = {c.get("id"): c.get("name") or c.get("id") for c in root.iter(_tag(root, "compartment"))}
    found = {}
    for kind in ("species", "parameter"):
        for element in root.iter(_tag(root, kind)):
            identifier = element.get("id")
            if identifier is None:
                continue
            name = element.get("name") or identifier
            if kind == "species":
                name = f"{compartments[element.get('compartment')]}.{name}"
            found[name] = found[identifier] = identifier
    return found


def _identifier(identifiers: Mapping[str, str], name: str) -> str:
    if name not in identifiers:
        some = ", ".join(list(identifiers)[:6:2])
        raise InputError(f"The SBML model has no parameter or species {name!r}; it has, for example, {some}.")
    return identifiers[name]


def _set(root: Element, identifier: str, value: float) -> None:
    """Write a value into the model; its own initial assignment would replace it and goes."""
    for element in root.iter():
        if element.get("id") != identifier:
            continue
        if element.tag == _tag(root, "species"):
            element.attrib.pop("initialConcentration", None)
            element.set("initialAmount", repr(value))
        else:
            element.set("value", repr(value))
    for assignments in root.iter(_tag(root, "listOfInitialAssignments")):
        for assignment in [a for a in assignments if a.get("symbol") == identifier]:
            assignments.remove(assignment)


def _require_values(model, identifiers: Mapping[str, str]) -> None:
    known = set(model.model.getGlobalParameterIds())
    left = {n: i for n, i in identifiers.items() if i in known and model[i] == PLACEHOLDER}
    if left:
        count, first = len(set(left.values())), next(iter(left))
        raise InputError(
            f"{count} parameters of the model are placeholders (-1), for example {first}; give their values."
        )


def _tag(root: Element, name: str) -> str:
    return root.tag.split("}")[0] + "}" + name
