"""The comparison as data; ``plots`` draws it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.comparison.gamma import gamma_index
from TheranosticDoseLib.dvh import Dvh, histogram_of
from TheranosticDoseLib.errors import EngineUnavailableError, InputError
from TheranosticDoseLib.geometry import array_of, image_like, require_same_grid
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.settings import Settings

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dose import DoseResult
    from TheranosticDoseLib.study import Voi

PREFERRED = ("gate", "mc", "vsv_density", "vsv", "led")
"""The first of these that is there is the reference, unless one is named."""


@dataclasses.dataclass(frozen=True)
class ComparisonSettings(Settings):
    """Settings of a comparison.

    Attributes
    ----------
    reference : str
        Engine that the others are held against; empty: the most complete one.
    gamma_dose_percent, gamma_distance_mm, gamma_cutoff_percent : float
        Criteria of the gamma index (global).
    gamma_points : int
        Voxels that it is computed for, drawn at random with a fixed seed; 0 leaves it out.
    """

    reference: str = ""
    gamma_dose_percent: float = 3.0
    gamma_distance_mm: float = 3.0
    gamma_cutoff_percent: float = 10.0
    gamma_points: int = 1000

    def validate(self) -> None:
        """Check the ranges."""
        self.require(self.gamma_dose_percent > 0, "gamma_dose_percent", "above 0 %")
        self.require(self.gamma_distance_mm > 0, "gamma_distance_mm", "above 0 mm")
        self.require(0 <= self.gamma_cutoff_percent < 100, "gamma_cutoff_percent", "0 to below 100 %")
        self.require(self.gamma_points >= 0, "gamma_points", "0 or more")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Dose maps against one of them.

    Attributes
    ----------
    reference : str
    doses : dict of str to SimpleITK.Image
        Gy.
    differences : dict of str to SimpleITK.Image
        Engine minus reference, Gy.
    table : list of dict
        One row per VOI and engine: means with uncertainty, difference in Gy and percent.
    gamma : dict
        Engine to the result of :func:`gamma_index`, or to ``{"reason": ...}`` where it could not be had.
    bland_altman : dict
        Engine to bias, standard deviation and limits of agreement over the voxels, Gy.
    dvhs : dict
        VOI name to engine to :class:`Dvh`.
    seconds : dict
        Engine to the wall time that it took; only those that say so.
    profile : dict
        ``position_mm`` and one array per engine: the line along x through the reference's maximum.
    """

    reference: str
    doses: dict[str, sitk.Image]
    differences: dict[str, sitk.Image]
    table: list[dict[str, Any]]
    gamma: dict[str, dict[str, Any]]
    bland_altman: dict[str, dict[str, float]]
    dvhs: dict[str, dict[str, Dvh]]
    profile: dict[str, np.ndarray]
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into ``results.json`` (no images)."""
        return {
            "reference": self.reference,
            "table": [dict(row) for row in self.table],
            "gamma": {name: dict(values) for name, values in self.gamma.items()},
            "bland_altman": {name: dict(values) for name, values in self.bland_altman.items()},
            "profile": {name: np.asarray(values).tolist() for name, values in self.profile.items()},
        }

    def html(self) -> str:
        """Return an HTML fragment with tables and plots; the page brings plotly.js."""
        from TheranosticDoseLib.comparison.plots import fragment

        return fragment(self)


def compare_doses(
    results: Mapping[str, DoseResult],
    vois: Sequence[Voi] = (),
    settings: ComparisonSettings | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare dose maps of one patient.

    Parameters
    ----------
    results : mapping of str to DoseResult
        At least two, on one grid.
    vois : sequence of Voi
        Weights on the grid of the doses.
    settings : ComparisonSettings, optional
    progress : callable, optional

    Raises
    ------
    InputError
        For fewer than two maps or a reference that is not among them.
    GeometryError
        Where grids differ.
    """
    settings = ComparisonSettings() if settings is None else settings
    if len(results) < 2:
        raise InputError(f"A comparison needs two dose maps; there is {len(results)}.")
    reference = settings.reference or next((n for n in PREFERRED if n in results), next(iter(results)))
    if reference not in results:
        raise InputError(f"The reference {reference!r} is not among the dose maps {', '.join(results)}.")
    base = results[reference].dose
    for name, result in results.items():
        require_same_grid(base, result.dose, f"The doses of {reference} and {name}")
    others = [name for name in results if name != reference]
    report(progress, 0.1, "Comparing doses per VOI")
    dvhs = {
        voi.name: {name: histogram_of(result, voi.weights) for name, result in results.items()}
        for voi in vois
    }
    return Comparison(
        reference=reference,
        doses={name: result.dose for name, result in results.items()},
        differences={name: _difference(results[name].dose, base) for name in others},
        table=[row for name, per in dvhs.items() for row in _rows(name, per, reference)],
        gamma={name: _gamma(base, results[name].dose, settings, progress) for name in others},
        bland_altman={name: _bland_altman(results[name].dose, base) for name in others},
        dvhs=dvhs,
        profile=_profile(results, base),
        seconds={n: float(r.record["seconds"]) for n, r in results.items() if r.record.get("seconds")},
    )


def _difference(dose: sitk.Image, base: sitk.Image) -> sitk.Image:
    return image_like(array_of(dose) - array_of(base), base)


def _rows(voi: str, dvhs: dict[str, Dvh], reference: str) -> list[dict[str, Any]]:
    """Return the rows of a VOI; statistical uncertainties of two runs are independent."""
    base = dvhs[reference]
    rows = []
    for name, dvh in dvhs.items():
        row = {
            "voi": voi,
            "engine": name,
            "volume_ml": dvh.volume_ml,
            "mean_gy": dvh.mean_gy,
            "u_mean_gy": dvh.u_mean_gy,
            "d98_gy": dvh.d(98),
            "d50_gy": dvh.d(50),
            "d2_gy": dvh.d(2),
        }
        if name != reference:
            u = float(np.hypot(dvh.u_mean_gy or 0.0, base.u_mean_gy or 0.0))
            row["difference_gy"] = dvh.mean_gy - base.mean_gy
            row["u_difference_gy"] = u
            positive = base.mean_gy > 0
            row["difference_percent"] = 100 * row["difference_gy"] / base.mean_gy if positive else None
            row["u_difference_percent"] = 100 * u / base.mean_gy if positive else None
        rows.append(row)
    return rows


def _gamma(base: sitk.Image, dose: sitk.Image, settings: ComparisonSettings, progress) -> dict[str, Any]:
    if settings.gamma_points == 0:
        return {"reason": "left out by the settings"}
    report(progress, 0.4, "Gamma index")
    try:
        return gamma_index(
            base,
            dose,
            settings.gamma_dose_percent,
            settings.gamma_distance_mm,
            settings.gamma_cutoff_percent,
            points=settings.gamma_points,
        )
    except (EngineUnavailableError, InputError) as error:
        return {"reason": str(error)}


def _bland_altman(dose: sitk.Image, base: sitk.Image) -> dict[str, float]:
    """Return bias and limits of agreement (Bland and Altman 1986) of voxels above 1 % of the maximum."""
    first, second = array_of(dose), array_of(base)
    inside = second > 0.01 * second.max()
    if not inside.any():
        return {"bias_gy": 0.0, "sd_gy": 0.0, "lower_gy": 0.0, "upper_gy": 0.0, "voxels": 0}
    difference = np.asarray(first[inside], np.float64) - second[inside]
    bias, sd = float(difference.mean()), float(difference.std())
    return {
        "bias_gy": bias,
        "sd_gy": sd,
        "lower_gy": bias - 1.96 * sd,
        "upper_gy": bias + 1.96 * sd,
        "voxels": int(difference.size),
    }


def _profile(results: Mapping[str, DoseResult], base: sitk.Image) -> dict[str, np.ndarray]:
    values = array_of(base)
    z, y, _ = np.unravel_index(int(np.argmax(values)), values.shape)
    lines = {name: np.array(array_of(result.dose)[z, y]) for name, result in results.items()}
    return {"position_mm": np.arange(values.shape[2]) * base.GetSpacing()[0], **lines}
