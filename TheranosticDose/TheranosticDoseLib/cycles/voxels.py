"""Cycles on one grid: accumulated dose and BED per voxel, and which lesion is which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.cycles.read import Cycle
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import array_of, image_like, resample
from TheranosticDoseLib.progress import Progress

if TYPE_CHECKING:
    import SimpleITK as sitk
    from DoseSegmentationLib.segmentation import Segmentation

    from TheranosticDoseLib.registration import RegisteredStudy, RegistrationSettings

SAME_LESION = 0.3
"""Part of the smaller of two lesions that must lie in the other."""


def register_cycles(
    cycles: Sequence[Cycle], settings: RegistrationSettings, progress: Progress | None = None
) -> RegisteredStudy:
    """Register the cycles by their densities (the CT of each on its dose grid) onto the first.

    Goes through :func:`TheranosticDoseLib.registration.register`: each cycle stands as an acquisition.
    """
    import dataclasses

    import SimpleITK as sitk

    from TheranosticDoseLib.registration import register
    from TheranosticDoseLib.study import Acquisition, Administration, Study

    acquisitions = []
    for number, cycle in enumerate(cycles):
        density = sitk.Cast(cycle.image("density"), sitk.sitkFloat32)
        tia = sitk.Cast(cycle.image("tia"), sitk.sitkFloat32)
        # Only structure matters: about what HU are for water, fat and air.
        ct = (density - 1.0) * 1000.0
        acquisitions.append(Acquisition(cycle.label, float(number), tia, "BQML", ct))
    chosen = dataclasses.replace(settings, reference=cycles[0].label, activity_tolerance=1.0)
    return register(Study(Administration(), tuple(acquisitions)), chosen, progress)


def accumulated_maps(
    cycles: Sequence[Cycle], transforms: Sequence[sitk.Transform]
) -> tuple[sitk.Image, sitk.Image]:
    """Return the sums of dose and of BED, Gy, on the grid of the first cycle.

    Each cycle's BED is taken voxel by voxel with the protraction and alpha/beta of the VOI that the voxel
    belongs to; what belongs to none takes those of the body.
    """
    import SimpleITK as sitk

    grid = cycles[0].image(f"dose_{cycles[0].engine}")
    totals = [np.zeros(grid.GetSize()[::-1]) for _ in range(2)]
    for cycle, transform in zip(cycles, transforms, strict=True):
        dose = sitk.Cast(cycle.image(f"dose_{cycle.engine}"), sitk.sitkFloat32)
        values = np.asarray(array_of(dose), np.float64)
        bed = image_like(values * (1 + _factors(cycle, values.shape) * values), dose)
        for total, image in zip(totals, (dose, bed), strict=True):
            total += array_of(resample(image, grid, transform))
    return image_like(totals[0], grid), image_like(totals[1], grid)


def _factors(cycle: Cycle, shape: tuple[int, ...]) -> np.ndarray:
    """``G / (alpha/beta)`` of each voxel, 1/Gy, from BED and dose of the VOI it belongs to."""
    from TheranosticDoseLib.cycles.organs import _row

    factors = {name: _row(cycle, voi)["bed_per_gy2"] for name, voi in cycle.vois.items()}
    body = next((factors[n] for n, voi in cycle.vois.items() if voi.get("kind") == "body"), None)
    out = np.full(shape, body or 0.0)
    labels = array_of(cycle.image("vois"))
    for name, number in cycle.labels().items():
        if factors.get(name) is not None:
            out[labels == number] = factors[name]
    return out


def mean_in(image: sitk.Image, cycle: Cycle, name: str) -> float | None:
    """Return the mean of a map on a cycle's grid in one of its VOIs (whole voxels)."""
    inside = array_of(cycle.image("vois")) == cycle.labels().get(name, -1)
    return float(np.asarray(array_of(image))[inside].mean()) if inside.any() else None


def track(
    cycles: Sequence[Cycle], transforms: Sequence[sitk.Transform] | None
) -> tuple[dict[str, list[str | None]], list[Finding]]:
    """Return for each VOI its name in every cycle.

    Organs go by their names.  A lesion goes by where it is, once the cycles lie on one another; by its
    name where they do not.  A name that changes place is said, not followed.
    """
    kinds: dict[str, str] = {}
    for cycle in cycles:
        kinds |= {name: voi.get("kind", "organ") for name, voi in cycle.vois.items()}
    names = {
        name: [name if name in cycle.vois else None for cycle in cycles]
        for name, kind in kinds.items()
        if kind != "lesion" or transforms is None
    }
    if transforms is None:
        return names, []
    lesions, findings = _lesions(cycles, transforms)
    return {**names, **lesions}, findings


def _lesions(
    cycles: Sequence[Cycle], transforms: Sequence[sitk.Transform]
) -> tuple[dict[str, list[str | None]], list[Finding]]:
    from DoseSegmentationLib.propagation import match_lesions

    grid = cycles[0].image("vois")
    moved = [_moved_lesions(c, t, grid) for c, t in zip(cycles, transforms, strict=True)]
    # Centres that are near one another are not enough: registered cycles leave a lesion on itself.
    rows = match_lesions(moved, farthest_mm=0.0, least_overlap=SAME_LESION)
    tracked, events = [row["names"] for row in rows], [row["events"] for row in rows]
    for position, one in enumerate(moved):
        seen = {names[position] for names in tracked}
        for name in (record.name for record in one.records if record.name not in seen):
            # Outside of the first cycle's images: it still counts, as a lesion of its own.
            tracked.append([name if i == position else None for i in range(len(cycles))])
            events.append(["new" if i == position else "" for i in range(len(cycles))])
    firsts = [next(name for name in names if name) for names in tracked]
    findings = [
        finding
        for position, cycle in enumerate(cycles[1:], 1)
        for first, names, event in zip(firsts, tracked, events, strict=True)
        for finding in _lesion_findings(cycle.label, names[position], first, event[position], firsts)
    ]
    named: dict[str, list[str | None]] = {}
    for first, names in zip(firsts, tracked, strict=True):
        named[first if first not in named else f"{first} ({len(named)})"] = names
    return named, findings


def _moved_lesions(cycle: Cycle, transform: sitk.Transform, grid: sitk.Image) -> Segmentation:
    """Return the lesions of a cycle on the grid of the first."""
    import SimpleITK as sitk
    from DoseSegmentationLib.segmentation import Segmentation, StructureRecord, origin_of

    moved = sitk.Resample(cycle.image("vois"), grid, transform, sitk.sitkNearestNeighbor, 0)
    origin = origin_of("cycle", "")
    kinds = {name: voi.get("kind") for name, voi in cycle.vois.items()}
    records = [
        StructureRecord(name, "lesion", {}, number, 0.0, origin)
        for name, number in cycle.labels().items()
        if kinds.get(name) == "lesion"
    ]
    return Segmentation(moved, tuple(records))


def _lesion_findings(
    label: str, name: str | None, first: str, event: str, firsts: Sequence[str]
) -> list[Finding]:
    """Return what is to be said of a lesion in a later cycle; ``event`` as ``match_lesions`` gives it."""
    words, _, number = event.rpartition(" ")
    other = firsts[int(number) - 1] if words else ""
    if name is None:
        if words != "merged with":
            return []
        message = f"{first} has grown together with {other} in {label}: its dose there is in that of {other}."
        return [Finding("warning", f"cycles.{first}", message, remedy="Check the outlines.")]
    if words == "split from":
        message = f"{name} of {label} is a part of what was {other}; it is taken as a lesion of its own."
        return [Finding("warning", f"cycles.{name}", message, remedy="Check the outlines.")]
    if event == "new":
        message = f"{name} of {label} lies in no lesion of an earlier cycle: it is new."
        return [Finding("info", f"cycles.{name}", message, label)]
    if name != first:
        message = f"{name} of {label} lies where {first} was; they are taken as one lesion."
        return [Finding("warning", f"cycles.{name}", message, remedy="Check the names.")]
    return []
