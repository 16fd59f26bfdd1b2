"""A dose network on one case: checks, dose, uncertainty, doubts, and the Monte Carlo where it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.dose.cnn import domain
from TheranosticDoseLib.dose.cnn.inputs import CHANNELS
from TheranosticDoseLib.dose.cnn.network import FALLBACK, DoseNetwork, load
from TheranosticDoseLib.dose.result import DoseResult
from TheranosticDoseLib.errors import EngineUnavailableError, InputError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import array_of, image_like, voxel_volume_ml
from TheranosticDoseLib.progress import Progress, part_of, report

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dose.anatomy import Anatomy
    from TheranosticDoseLib.dose.cnn import EngineSettings
    from TheranosticDoseLib.nuclides import Nuclide

MOST_VOXELS = 100_000_000
"""Grids beyond this do not fit into the memory of a usual machine, whatever the tiles."""
SOLID_G_CM3 = 0.1
HIGH_DOSE = 0.1
"""Doubt counts in voxels of at least this share of the largest dose."""


def run(
    folder: Path,
    tia: sitk.Image,
    anatomy: Anatomy,
    nuclide: Nuclide,
    settings: EngineSettings,
    resolution_mm: tuple[float, float, float] | None,
    progress: Progress | None,
) -> DoseResult:
    """Return the dose of the network in ``folder``; ``resolution_mm`` for the de-blurring one."""
    from TheranosticDoseLib.dose.cnn.inputs import inputs_of
    from TheranosticDoseLib.dose.cnn.predict import predict

    description, network = load(folder)
    refuse_other_kind(folder, description, resolution_mm is not None)
    refuse_foreign(tia, nuclide, description)
    device = _device(settings.device)
    inputs = inputs_of(tia, anatomy, nuclide, resolution_mm, part_of(progress, 0.0, 0.3))
    box = body_box(tia, anatomy, description.factor)
    factor, relative = predict(
        network, description, inputs.channels[(slice(None), *box)], flips=settings.flips, device=device,
        memory_mb=settings.memory_mb, half=settings.half_precision, progress=part_of(progress, 0.3, 0.9),
    )  # fmt: skip
    dose, spread = inputs.kernel_gy.copy(), np.zeros_like(inputs.kernel_gy)
    here = inputs.corrected[box]
    dose[box] *= np.where(here, factor, np.float32(1.0))
    spread[box] = np.where(here, relative * np.float32(description.calibration), np.float32(0.0))
    confidence, foreign = _confidence(tia, anatomy, dose, spread, settings, description)
    density = np.asarray(array_of(anatomy.density), np.float64)
    change = float(np.sum(dose * density) / np.sum(inputs.kernel_gy * density) - 1)
    record: dict[str, Any] = {
        "network": {
            "name": description.name,
            "version": description.version,
            "weights_sha256": description.weights_sha256,
            "half_precision": bool(settings.half_precision and device != "cpu"),
        },
        "device": device,
        "kernel_energy_change": change,
        "confidence": confidence,
        "uncertainty_correlated": True,
    }
    result = DoseResult(image_like(dose, tia), image_like(dose * spread, tia), record)
    findings = [_said(confidence)] if confidence["doubtful"] else []
    if confidence["doubtful"] and settings.handover != "none":
        region = foreign if settings.handover == "region" else np.ones_like(foreign)
        result, finding = handed_over(
            result, region, tia, anatomy, nuclide, settings, part_of(progress, 0.9, 1.0)
        )
        findings.append(finding)
    report(progress, 1.0, "Network dose ready")
    result.record["findings"] = [finding.to_dict() for finding in findings]
    return result


def body_box(tia: sitk.Image, anatomy: Anatomy, factor: int) -> tuple[slice, ...]:
    """Return the box (z, y, x) of what has mass or activity; beyond it is air, whose kernel dose is left as it is.

    Its corners are multiples of ``factor``, so that the pooling falls on the same voxels whatever the box.
    """
    from DoseSegmentationLib.arrays import bounding_box

    box = bounding_box((array_of(anatomy.density) >= SOLID_G_CM3) | (array_of(tia) > 0), margin=4)
    return tuple(slice(part.start // factor * factor, part.stop) for part in box)


def refuse_other_kind(folder: Path, description: DoseNetwork, deblurs: bool) -> None:
    """Raise an :class:`EngineUnavailableError` where a plain network stands for the de-blurring one, or vice versa."""
    if (description.channels != CHANNELS) == deblurs:
        return
    kinds = ("a plain one, for the engine 'cnn'", "a de-blurring one, for the engine 'cnn_pvc'")
    raise EngineUnavailableError(
        f"{folder}: the network {description.name!r} is {kinds[not deblurs]}; choose another folder. {FALLBACK}"
    )


def refuse_foreign(tia: sitk.Image, nuclide: Nuclide, description: DoseNetwork) -> None:
    """Raise an :class:`InputError` for a nuclide, voxel size or grid that the network cannot do."""
    if nuclide.name not in description.nuclides:
        raise InputError(
            f"The network {description.name!r} was not trained for {nuclide.name}, only for "
            f"{', '.join(description.nuclides)}; its dose would be a guess. {FALLBACK}"
        )
    low, high = description.spacing_mm
    spacing = tia.GetSpacing()
    if min(spacing) < low * 0.99 or max(spacing) > high * 1.01:
        sides = " x ".join(f"{s:.3g}" for s in spacing)
        raise InputError(
            f"The network {description.name!r} was trained for voxels of {low:g} to {high:g} mm, these have "
            f"{sides} mm; resample the maps, or use another engine. {FALLBACK}"
        )
    voxels = int(np.prod(tia.GetSize()))
    if voxels > MOST_VOXELS:
        raise InputError(
            f"The grid has {voxels / 1e6:.0f} million voxels, more than the {MOST_VOXELS / 1e6:.0f} million that "
            f"the network {description.name!r} takes; crop it to the body. {FALLBACK}"
        )


def _device(wanted: str) -> str:
    from DoseSegmentationLib.classical import SegmentationError
    from DoseSegmentationLib.inference import device_of

    try:
        return device_of(wanted)
    except SegmentationError as error:
        raise EngineUnavailableError(str(error)) from error


def _confidence(
    tia: sitk.Image,
    anatomy: Anatomy,
    dose: np.ndarray,
    relative: np.ndarray,
    settings: EngineSettings,
    description: DoseNetwork,
) -> tuple[dict[str, Any], np.ndarray]:
    """Return what the engine thinks of its own dose, and the doubtful voxels."""
    activity, density = array_of(tia), array_of(anatomy.density)
    outside = domain.score(domain.features_of(activity, density, tia.GetSpacing()), description)
    foreign = domain.foreign_voxels(activity, density, tia.GetSpacing(), description)
    high = dose >= HIGH_DOSE * dose.max()
    uncertain = high & (relative > settings.doubt)
    doubtful = uncertain | foreign
    whole = any(outside["numbers"][key]["score"] > 1 for key in domain.OF_THE_GRID)
    if whole or (outside["score"] > 1 and not foreign.any()):
        doubtful = dose > 0  # the case as a whole is foreign, not a place in it
    return {
        "median_relative_u": float(np.median(relative[high])),
        "p95_relative_u": float(np.percentile(relative[high], 95)),
        "doubt_above": settings.doubt,
        "uncertain_voxels": int(uncertain.sum()),
        "foreign_voxels": int(foreign.sum()),
        "doubtful_ml": float(doubtful.sum() * voxel_volume_ml(tia)),
        "out_of_domain": outside,
        "doubtful": bool(doubtful.any()),
    }, doubtful


def _said(confidence: dict[str, Any]) -> Finding:
    """Return the finding that says what is doubtful."""
    outside, parts = confidence["out_of_domain"], []
    if outside["score"] > 1:
        number = outside["numbers"][outside["worst"]]
        parts.append(
            f"the case lies outside of what the network was trained on: {domain.WORDS[outside['worst']]} "
            f"{number['value']:.3g}, trained {number['low']:.3g} to {number['high']:.3g}"
        )
    if confidence["uncertain_voxels"]:
        parts.append(
            f"{confidence['uncertain_voxels']} voxels of high dose have a predicted uncertainty above "
            f"{100 * confidence['doubt_above']:.0f} %"
        )
    if confidence["foreign_voxels"]:
        parts.append(f"{confidence['foreign_voxels']} voxels lie at a density or activity that it never saw")
    return Finding(
        "warning",
        "dose.cnn.confidence",
        f"The network is not sure of {confidence['doubtful_ml']:.3g} mL: {'; '.join(parts)}.",
        value=confidence["doubtful_ml"],
        source="predicted uncertainty and range of the training",
        remedy="Compare with mc, or set handover to 'region' or 'all'.",
    )


def handed_over(
    result: DoseResult,
    region: np.ndarray,
    tia: sitk.Image,
    anatomy: Anatomy,
    nuclide: Nuclide,
    settings: EngineSettings,
    progress: Progress | None = None,
) -> tuple[DoseResult, Finding]:
    """Return the dose with that of the Monte Carlo in ``region``, and the finding that says so."""
    from TheranosticDoseLib.dose import mc

    reason = mc.unavailable()
    if reason:
        raise EngineUnavailableError(f"The network's dose cannot be handed over to the Monte Carlo: {reason}")
    chosen = mc.EngineSettings(
        histories=settings.handover_histories, seed=settings.handover_seed, device=settings.device
    )
    exact = mc.compute(tia, anatomy, nuclide, chosen, progress)
    dose = np.where(region, array_of(exact.dose), array_of(result.dose))
    spread = np.where(region, array_of(exact.uncertainty), array_of(result.uncertainty))
    share = float(region.mean())
    record = {**result.record, "handed_over": {"share_of_voxels": share, **exact.record}}
    # The noise of the Monte Carlo averages out in a VOI; beside voxels of the network the larger sum is kept.
    record["uncertainty_correlated"] = not region.all()
    finding = Finding(
        "warning",
        "dose.cnn.handover",
        f"{'All' if share == 1 else f'{100 * share:.2g} % of the'} voxels of this dose are of the embedded "
        f"Monte Carlo ({settings.handover_histories:,} decays), because the network was not sure.",
        value=share,
        source="settings: handover",
    )
    return DoseResult(image_like(dose, tia), image_like(spread, tia), record), finding
