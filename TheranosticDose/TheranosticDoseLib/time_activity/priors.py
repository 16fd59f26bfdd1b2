"""Fit of a population prior to a cohort, by Monte Carlo expectation maximisation.

Each patient's posterior under the present prior gives its mean and covariance of the latent
parameters; the next prior is their mean and total covariance (Wei & Tanner 1990,
doi:10.1080/01621459.1990.10474930). Patients with few points lend less than patients with many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.time_activity.bayes import posterior
from TheranosticDoseLib.time_activity.checks import checked_points
from TheranosticDoseLib.time_activity.population import Population, population
from TheranosticDoseLib.time_activity.settings import FitSettings

_ROUNDS = 12


def fit_priors(
    curves: Sequence[Mapping[str, Any]],
    key: str,
    *,
    half_life_h: float,
    start: str = "generic",
    out: Path | None = None,
    progress: Progress | None = None,
) -> Population:
    """Fit the population of a tissue to the curves of a cohort.

    Parameters
    ----------
    curves : sequence of mapping
        One per patient: ``time_h``, ``activity_mbq`` and, where known, ``u_activity_mbq``. Five at least.
    key : str
        Name of the result, ``radiopharmaceutical/tissue``.
    half_life_h : float
    start : str
        Prior to start from; it also steadies a small cohort, with the weight of three patients.
    out : Path, optional
        JSON file to write; give it as ``FitSettings.prior``.
    progress : callable, optional

    Returns
    -------
    Population
    """
    if len(curves) < 5:
        raise InputError(f"A prior needs the curves of at least 5 patients; got {len(curves)}.")
    settings = FitSettings()
    points = []
    for i, curve in enumerate(curves):
        if not isinstance(curve, Mapping) or not {"time_h", "activity_mbq"} <= set(curve):
            raise InputError(f"Curve {i + 1} of the cohort: time_h and activity_mbq were expected.")
        try:
            u = curve.get("u_activity_mbq")
            checked = checked_points(curve["time_h"], curve["activity_mbq"], u, half_life_h, settings)
        except InputError as error:
            raise InputError(f"Curve {i + 1} of the cohort: {error}") from None
        if not np.any(checked.activity > 0):
            raise InputError(f"Curve {i + 1} of the cohort has no activity; leave it out.")
        points.append(checked)
    decay = float(np.log(2) / half_life_h)
    begin = population(start)
    now = begin
    for round_ in range(_ROUNDS):
        report(progress, round_ / _ROUNDS, f"Prior {key}: round {round_ + 1} of {_ROUNDS}")
        now = _next(now, begin, points, decay, key, len(curves))
    if out is not None:
        from TheranosticDoseLib.files import to_json, write_whole

        write_whole(Path(out), to_json(now.to_dict()))
    report(progress, 1.0, f"Prior {key}: done")
    return now


def _next(now, begin, points, decay, key, n) -> Population:
    means, scatter = [], []
    for i, p in enumerate(points):
        found = posterior(p.time_h, p.activity, p.uncertainty, decay, now, seed=i, draws=1500)
        mean = found.probability @ found.latent
        delta = found.latent - mean
        means.append(mean)
        scatter.append(np.einsum("n,ni,nj->ij", found.probability, delta, delta))
    means = np.array(means)
    weight = 3.0
    center = (means.sum(0) + weight * begin.mean) / (n + weight)
    total = np.sum(scatter, axis=0) + np.einsum("ni,nj->ij", means - center, means - center)
    covariance = (total + weight * begin.covariance) / (n + weight)
    return Population(key, center, covariance, f"fitted to {n} patients, started from {begin.key}")
