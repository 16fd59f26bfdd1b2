"""The steps of a run that join rooms: VOI activities, the TIA map, doses and what follows from them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from DoseSegmentationLib.arrays import bounding_box

from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import array_of, image_like, voxel_volume_ml
from TheranosticDoseLib.progress import Progress, part_of
from TheranosticDoseLib.workflow import biology
from TheranosticDoseLib.workflow.results import VoiResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    import SimpleITK as sitk

    from TheranosticDoseLib.dose import Anatomy, DoseResult
    from TheranosticDoseLib.dvh import Dvh
    from TheranosticDoseLib.quantification.gtm import KeptRegions
    from TheranosticDoseLib.registration import RegisteredStudy
    from TheranosticDoseLib.study import Correction, Voi
    from TheranosticDoseLib.time_activity import CurveFit, FitSettings, VoxelFit
    from TheranosticDoseLib.workflow.settings import RunSettings

NOT_SCALED = ("body", "other")
"""Kinds of VOI that do not scale the TIA map: they hold organs of their own recovery."""
LEAST_IN_VIEW = 0.95
"""Part of a VOI that a scan must hold for a point of its curve."""
DEBLURRING = "cnn_pvc"
"""Engine that undoes the blur of the SPECT itself."""
MAP_PASSES = 30
MAP_TOLERANCE = 2e-3


def anatomy_of(registered: RegisteredStudy) -> Anatomy:
    """Return density and tissue on the dose grid: from the CT of the reference, else water with a finding."""
    from TheranosticDoseLib.dose import Anatomy

    if registered.ct is None:
        return Anatomy.water(registered.grid)
    acquisition = registered.study.acquisition(registered.reference)
    return Anatomy.from_ct(acquisition.ct).on_grid(registered.grid)


@dataclasses.dataclass(frozen=True)
class MeasuredVoi:
    """What the images say about a VOI, whatever the settings and the other VOIs are; one value per scan.

    Attributes
    ----------
    activity_mbq : tuple of float
        Not corrected for recovery; NaN where the scan does not hold the VOI.
    source : tuple of str
        See :func:`TheranosticDoseLib.voi_tools.activity_per_time_point`.
    volume_change : tuple of float
        Part by which the registration makes the VOI larger on the scan.
    """

    activity_mbq: tuple[float, ...]
    source: tuple[str, ...]
    volume_change: tuple[float, ...]
    volume_ml: float
    mass_g: float
    findings: tuple[Finding, ...]


def voi_results(
    registered: RegisteredStudy,
    vois: tuple[Voi, ...],
    anatomy: Anatomy,
    settings: RunSettings,
    fitted: bool = True,
    known: dict[str, MeasuredVoi] | None = None,
    kept: KeptRegions | None = None,
) -> tuple[VoiResult, ...]:
    """Measure the activity of each VOI at each time point, correct it for recovery and fit the curve.

    Parameters
    ----------
    registered : RegisteredStudy
    vois : tuple of Voi
        Weights on the dose grid.
    anatomy : Anatomy
        On the dose grid.
    settings : RunSettings
    fitted : bool
        False leaves the curves out.
    known : dict, optional
        What was measured in VOIs before, by name; they are not measured again, and the others are added.
    kept : KeptRegions, optional
        What the transfer matrix made of the regions before.

    Returns
    -------
    tuple of VoiResult
        Without dose.
    """
    from TheranosticDoseLib.nuclides import nuclide
    from TheranosticDoseLib.quantification import recovery_of_scans
    from TheranosticDoseLib.time_activity.population import prior_key

    administration, times = registered.study.administration, registered.study.time_h
    half_life_h = nuclide(administration.nuclide).half_life_h
    moved = _interpolated(registered)
    factors = recovery_of_scans(registered.spect, vois, settings.quantification, moved, kept)
    as_scanned = factors
    if any(voi.acquisition not in ("", registered.reference) for voi in registered.study.vois):
        # What was drawn on a scan is measured there, before the scan was moved.
        as_scanned = recovery_of_scans(registered.spect, vois, settings.quantification, kept=kept)
    if kept is not None:
        kept.drop_unused()
    results, known = [], {} if known is None else known
    missing = [voi for voi in vois if voi.name not in known]
    mass_g = anatomy.mass_g() if missing else None
    for voi in missing:
        known[voi.name] = _measured(registered, voi, moved, mass_g)
    for voi in vois:
        measured = known[voi.name]
        own = [
            b if source == "drawn" else a
            for source, a, b in zip(measured.source, factors, as_scanned, strict=True)
        ]
        recovery = tuple(float(factor[voi.name][0]) for factor in own)
        activity = tuple(a / r for a, r in zip(measured.activity_mbq, recovery, strict=True))
        u_activity = _point_uncertainty(registered, measured, activity, settings)
        prior = prior_key(administration.radiopharmaceutical, voi.name, voi.kind)
        results.append(
            VoiResult(
                voi=voi,
                volume_ml=measured.volume_ml,
                mass_g=measured.mass_g,
                activity_mbq=activity,
                u_activity_mbq=u_activity,
                recovery=recovery,
                common_rel_u=float(np.mean([factor[voi.name][1] for factor in own])),
                fit=None,
                prior=prior,
                levels_gy=settings.dvh_levels_gy,
                findings=measured.findings,
            )
        )
    if fitted:
        points = [(result.activity_mbq, result.u_activity_mbq) for result in results]
        fits = fit_vois(times, points, half_life_h, settings.fit, [result.prior for result in results])
        results = [dataclasses.replace(result, fit=fit) for result, fit in zip(results, fits, strict=True)]
    return tuple(results)


def _interpolated(registered: RegisteredStudy) -> list[bool]:
    """Return which scans were moved onto the dose grid between their voxels.

    One that only went through the arithmetic of an identity differs in its last digits and was not blurred.
    """
    pairs = zip(registered.study.acquisitions, registered.spect, strict=True)
    return [not _same_values(array_of(before.spect), array_of(moved)) for before, moved in pairs]


def _same_values(before: np.ndarray, after: np.ndarray) -> bool:
    if before.shape != after.shape:
        return False
    tolerance = 1e-5 * float(before.max())
    # Slice by slice: a scan that was moved shows it in one of the first.
    return all(np.abs(b - a).max() <= tolerance for b, a in zip(before, after, strict=True))


def _measured(registered: RegisteredStudy, voi: Voi, moved: list[bool], mass_g: np.ndarray) -> MeasuredVoi:
    """Measure a VOI; a scan that does not hold it gives NaN and a finding."""
    from TheranosticDoseLib.voi_tools import activity_per_time_point, part_scanned

    activities, sources, findings = [], [], []
    for position, (activity, source) in enumerate(activity_per_time_point(registered, voi)):
        acquisition, inside = registered.study.acquisitions[position], 0.0 if source == "outside" else 1.0
        if source == "registered" and moved[position] and voi.kind not in NOT_SCALED:
            inside = part_scanned(registered, position, voi)
        if inside < LEAST_IN_VIEW:
            text = (
                f"{voi.name}: {100 * (1 - inside):.0f} % of it lie outside the field of view of the SPECT of "
                f"{acquisition.label}; that time point was left out of its curve."
            )
            remedy = "Check the outline and the registration of that scan."
            findings.append(Finding("warning", f"voi[{voi.name}].activity_mbq", text, inside, "", remedy))
            activity = float("nan")
        activities.append(activity)
        sources.append(source)
    box = bounding_box(array_of(voi.weights))
    weights = array_of(voi.weights)[box].astype(np.float64)
    return MeasuredVoi(
        tuple(activities),
        tuple(sources),
        _volume_changes(registered, voi, sources),
        float(weights.sum()) * voxel_volume_ml(voi.weights),
        float(np.sum(weights * mass_g[box])),
        tuple(findings),
    )


def _volume_changes(registered: RegisteredStudy, voi: Voi, sources: list[str]) -> tuple[float, ...]:
    """Return the change of volume on each scan that the VOI was carried to; 0 on the others."""
    from TheranosticDoseLib.voi_tools import volume_change

    return tuple(
        0.0
        if voi.kind in NOT_SCALED or _still(registered, position, source)
        else volume_change(registered, position, voi)
        for position, source in enumerate(sources)
    )


def _still(registered: RegisteredStudy, position: int, source: str) -> bool:
    """Whether no registration stands between VOI and scan: drawn there, or the reference."""
    return source == "drawn" or registered.study.acquisitions[position].label == registered.reference


def _point_uncertainty(
    registered: RegisteredStudy,
    measured: MeasuredVoi,
    activity_mbq: tuple[float, ...],
    settings: RunSettings,
) -> tuple[float, ...]:
    """Return what varies from scan to scan, MBq: counts, the registration residual and the change of volume.

    Where counts are not known (a volume in Bq/mL without a camera factor), ``fit.relative_uncertainty`` stands
    for their noise.
    """
    from TheranosticDoseLib.uncertainty import point_relative_u

    factor, budget = settings.quantification.camera_factor_cps_per_mbq, settings.budget()
    values = []
    for position, (acquisition, activity) in enumerate(
        zip(registered.study.acquisitions, activity_mbq, strict=True)
    ):
        counted = bool(factor and acquisition.duration_s)
        relative = point_relative_u(
            abs(activity),
            volume_ml=measured.volume_ml,
            camera_factor_cps_per_mbq=factor,
            duration_s=acquisition.duration_s,
            registration_mm=0.0 if _still(registered, position, measured.source[position]) else None,
            volume_change=measured.volume_change[position],
            settings=budget,
        )
        noise = 0.0 if counted else settings.fit.relative_uncertainty
        values.append(abs(activity) * float(np.hypot(relative, noise)))
    return tuple(values)


def fit_vois(
    time_h: tuple[float, ...],
    activities: Sequence[tuple[tuple[float, ...], tuple[float, ...]]],
    half_life_h: float,
    settings: FitSettings,
    priors: Sequence[str],
) -> list[CurveFit | None]:
    """Fit the curves of VOIs; ``None`` where no time point has activity.

    Parameters
    ----------
    time_h : tuple of float
    activities : sequence of (activity_mbq, u_activity_mbq)
        Of each VOI at each time; NaN is a point that is left out.
    half_life_h : float
    settings : FitSettings
    priors : sequence of str
        Those of the VOIs' tissues; one that the settings name goes before them.
    """
    from TheranosticDoseLib.time_activity import fit_curves

    found: list[CurveFit | None] = [None] * len(activities)
    curves, chosen, numbers = [], [], []
    for number, (values, prior) in enumerate(zip(activities, priors, strict=True)):
        rows = zip(time_h, *values, strict=True)
        kept = [(time, max(a, 0.0), u) for time, a, u in rows if np.isfinite(a)]
        if any(a > 0 for _, a, _ in kept):
            curves.append(tuple(zip(*kept, strict=True)))
            chosen.append(settings if settings.prior else dataclasses.replace(settings, prior=prior))
            numbers.append(number)
    fits = fit_curves(curves, half_life_h=half_life_h, settings=chosen)
    for number, fit in zip(numbers, fits, strict=True):
        found[number] = fit
    return found


def fit_voi(
    time_h: tuple[float, ...],
    activity_mbq: tuple[float, ...],
    u_activity_mbq: tuple[float, ...],
    half_life_h: float,
    settings: FitSettings,
    prior: str = "",
) -> CurveFit | None:
    """Fit the curve of one VOI; see :func:`fit_vois`."""
    return fit_vois(time_h, [(activity_mbq, u_activity_mbq)], half_life_h, settings, [prior])[0]


def voxel_fit(registered: RegisteredStudy, settings: RunSettings, progress: Progress | None) -> VoxelFit:
    """Fit every voxel of the registered scans."""
    from TheranosticDoseLib.nuclides import nuclide
    from TheranosticDoseLib.time_activity import fit_voxels

    return fit_voxels(
        registered.study.time_h,
        list(registered.spect),
        half_life_h=nuclide(registered.study.administration.nuclide).half_life_h,
        settings=settings.fit,
        progress=progress,
    )


def tia_map(
    voxels: VoxelFit, vois: tuple[VoiResult, ...], settings: RunSettings
) -> tuple[sitk.Image, tuple[Finding, ...]]:
    """Return the map that the dose is computed from, MBq h per mL.

    With ``tia_map="voi"`` the voxel-wise map is scaled until each VOI holds its own time-integrated
    activity (recovery and curve fit of the VOI).  VOIs share the voxels that their outlines cut, so
    this is done by iterative proportional fitting: each pass multiplies a voxel by the mean of the
    factors of the VOIs it belongs to, by weight; what is outside all VOIs stays as measured.
    Factors and what is left of the differences are a finding, never silent.
    """
    array = np.maximum(np.asarray(array_of(voxels.tia_mbq_h_ml), np.float64), 0.0)
    if settings.tia_map == "voxel":
        return image_like(array, voxels.tia_mbq_h_ml), ()
    volume_ml = voxel_volume_ml(voxels.tia_mbq_h_ml)
    before = float(array.sum()) * volume_ml
    inside, parts = _parts(vois, array, volume_ml)
    values = array.ravel()[inside]
    covered = np.zeros_like(values)
    for _, place, weights, _ in parts:
        covered[place] += weights
    first, last = {}, {}
    for _ in range(MAP_PASSES):
        change = np.zeros_like(values)
        for name, place, weights, wanted in parts:
            last[name] = wanted / (float(np.sum(weights * values[place])) * volume_ml)
            first.setdefault(name, last[name])
            change[place] += weights * (last[name] - 1.0)
        if not last or max(abs(factor - 1.0) for factor in last.values()) < MAP_TOLERANCE:
            break
        values *= 1.0 + change / np.maximum(covered, 1.0)
    array.ravel()[inside] = values
    return image_like(array, voxels.tia_mbq_h_ml), _map_findings(
        first, last, before, float(array.sum()) * volume_ml
    )


def _parts(
    vois: tuple[VoiResult, ...], array: np.ndarray, volume_ml: float
) -> tuple[np.ndarray, list[tuple[str, np.ndarray, np.ndarray, float]]]:
    """Return the voxels of the VOIs that scale the map, and of each its name, places among them, weights and TIA."""
    found = []
    for result in vois:
        if result.fit is None or result.fit.tia_mbq_h <= 0 or result.voi.kind in NOT_SCALED:
            continue
        weights = np.asarray(array_of(result.voi.weights)).ravel()
        voxels = np.flatnonzero(weights)
        own = weights[voxels].astype(np.float64)
        if float(np.sum(own * array.ravel()[voxels])) * volume_ml > 0:
            found.append((result.name, voxels, own, result.fit.tia_mbq_h))
    every = np.zeros(array.size, bool)
    for _, voxels, _, _ in found:
        every[voxels] = True
    inside, place = np.flatnonzero(every), np.cumsum(every) - 1
    return inside, [(name, place[voxels], own, wanted) for name, voxels, own, wanted in found]


def _map_findings(
    first: dict[str, float], last: dict[str, float], before: float, after: float
) -> tuple[Finding, ...]:
    left = {name: factor for name, factor in last.items() if abs(factor - 1.0) > 10 * MAP_TOLERANCE}
    message = (
        f"The voxel-wise TIA map was scaled within {len(first)} VOIs to their own time-integrated activity "
        f"(recovery and curve fit of the VOI); its total went from {before:.5g} to {after:.5g} MBq h."
    )
    if left:
        message += f" VOIs that overlap do not allow it for {', '.join(left)}."
    return (
        Finding(
            "warning" if left else "info",
            "tia.scaled_to_vois",
            message,
            value={"factors": first, "left": left, "total_before_mbq_h": before, "total_after_mbq_h": after},
            source="settings: tia_map",
            remedy="Set tia_map to 'voxel' for the map as measured.",
        ),
    )


def doses(
    tia: sitk.Image,
    anatomy: Anatomy,
    nuclide: str,
    engines: tuple[str, ...],
    settings: RunSettings,
    progress: Progress | None,
) -> dict[str, DoseResult]:
    """Run the engines one after the other."""
    from TheranosticDoseLib.dose import absorbed_dose

    results = {}
    for number, engine in enumerate(engines):
        part = part_of(progress, number / len(engines), (number + 1) / len(engines))
        chosen = engine_settings(engine, settings)
        results[engine] = absorbed_dose(tia, anatomy, engine, nuclide, part, **chosen)
    return results


def engine_settings(engine: str, settings: RunSettings) -> dict[str, Any]:
    """Return what a run gives an engine: its own settings, and to the de-blurring one the resolution of the SPECT."""
    chosen = dict(settings.engine_settings.get(engine, {}))
    if engine == DEBLURRING and settings.quantification.fwhm_mm:
        chosen.setdefault("resolution_mm", settings.quantification.fwhm_mm)
    return chosen


def with_dose(
    result: VoiResult,
    doses: dict[str, DoseResult],
    corrections: tuple[Correction, ...],
    settings: RunSettings,
) -> VoiResult:
    """Return the VOI's result with its DVH and uncertainty for every engine, BED and EQD2 (of the first)."""
    from TheranosticDoseLib.dvh import histogram_of

    dvhs = {engine: histogram_of(dose, result.voi.weights) for engine, dose in doses.items()}
    if not dvhs:
        return result
    budgets = {engine: _budget(result, dvh, corrections, settings) for engine, dvh in dvhs.items()}
    budgets = {engine: budget for engine, budget in budgets.items() if budget}
    first = next(iter(doses))
    share = budgets[first]["relative_u_dose"] if first in budgets else None
    u_mean_gy = share * dvhs[first].mean_gy if share is not None else dvhs[first].u_mean_gy
    models = biology.of_voi(result, doses[first].dose, u_mean_gy)
    return dataclasses.replace(result, dvh=dvhs, uncertainty=budgets, **models)


def _budget(
    result: VoiResult, dvh: Dvh, corrections: tuple[Correction, ...], settings: RunSettings
) -> dict[str, Any]:
    """Return the uncertainty budget of the mean dose; empty where there is no activity to speak of."""
    from TheranosticDoseLib.uncertainty import uncertainty_budget

    if result.fit is None or result.fit.tia_mbq_h <= 0 or not np.isfinite(result.fit.u_tia_mbq_h):
        return {}
    statistics = dvh.u_mean_gy / dvh.mean_gy if dvh.u_mean_gy and dvh.mean_gy > 0 else 0.0
    return uncertainty_budget(
        volume_ml=result.volume_ml,
        tia_mbq_h=result.fit.tia_mbq_h,
        u_tia_mbq_h=result.fit.u_tia_mbq_h,
        corrections=corrections,
        recovery=(float(np.mean(result.recovery)), result.common_rel_u),
        engine_relative_u=statistics,
        settings=settings.budget(),
    ).to_dict()


def resampled(
    results: tuple[VoiResult, ...], nuclide_name: str, settings: RunSettings
) -> tuple[VoiResult, ...]:
    """Return the results with a Monte Carlo resampling beside each budget, where the settings ask for it."""
    from TheranosticDoseLib.nuclides import nuclide
    from TheranosticDoseLib.uncertainty import UncertaintyBudget, resample

    samples = settings.uncertainty.resamples
    if not samples:
        return results
    half_life_h = nuclide(nuclide_name).half_life_h
    found = []
    for result in results:
        fit_settings = settings.fit
        if result.fit is not None and not fit_settings.prior:
            fit_settings = dataclasses.replace(fit_settings, prior=result.prior)
        budgets = {}
        for engine, budget in result.uncertainty.items():
            lines = UncertaintyBudget.from_dict(budget)
            drawn = resample(
                result.fit, lines, half_life_h=half_life_h, settings=fit_settings, samples=samples
            )
            budgets[engine] = {**budget, "resampled": drawn.to_dict()}
        found.append(dataclasses.replace(result, uncertainty=budgets))
    return tuple(found)
