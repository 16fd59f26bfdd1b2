"""Segments at other time points: carried over by a registration, drawn again from it, and told apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from DoseSegmentationLib.arrays import array_of
from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.segmentation import Progress, Segmentation, StructureRecord, origin_of, report

if TYPE_CHECKING:
    import SimpleITK as sitk

NAME, VERSION = "propagated", "1"


def propagate(
    source: Segmentation, grid: sitk.Image, transform: sitk.Transform | None = None
) -> Segmentation:
    """Carry the segments of one time point over to another.

    Parameters
    ----------
    source : Segmentation
        Where the segments were drawn.
    grid : SimpleITK.Image
        Of the other time point.
    transform : SimpleITK.Transform, optional
        Maps points of ``grid`` to points of ``source`` (the transform of a registration whose fixed image is
        on ``grid``); :func:`inverse_of` turns one round.  Without it the images lie on one another.

    Returns
    -------
    Segmentation
        Each voxel takes the label whose linearly interpolated mask is largest there and one half or more.
    """
    import SimpleITK as sitk

    transform = sitk.Transform() if transform is None else transform
    labels = np.zeros(grid.GetSize()[::-1], sitk.GetArrayViewFromImage(source.label_map).dtype)
    best = np.full(labels.shape, 0.5, np.float32)
    for record in source.records:
        if record.label == 0:
            continue
        mask = sitk.Cast(source.label_map == record.label, sitk.sitkFloat32)
        share = array_of(sitk.Resample(mask, grid, transform, sitk.sitkLinear, 0.0))
        wins = share >= best
        labels[wins], best[wins] = record.label, share[wins]
    return _result(labels, grid, source.records, NAME)


def displacement_field(transform: sitk.Transform, grid: sitk.Image) -> sitk.Image:
    """Return the displacements of a transform at the voxels of a grid, mm, float64."""
    import SimpleITK as sitk

    return sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        grid.GetSize(),
        grid.GetOrigin(),
        grid.GetSpacing(),
        grid.GetDirection(),
    )


def inverse_of(transform: sitk.Transform, grid: sitk.Image) -> sitk.Transform:
    """Return the inverse of a transform: exact for a rigid or affine one, numerical for a deformation.

    Parameters
    ----------
    transform : SimpleITK.Transform
    grid : SimpleITK.Image
        Where the inverse is needed: the space that ``transform`` maps into.
    """
    import SimpleITK as sitk

    try:
        return transform.GetInverse()
    except RuntimeError:
        field = displacement_field(transform, grid)
        inverse = sitk.IterativeInverseDisplacementField(field, 30, 0.01)
        return sitk.DisplacementFieldTransform(inverse)


def resegment(
    prior: Segmentation,
    spect: sitk.Image,
    progress: Progress | None = None,
    *,
    fraction: float = 0.5,
    reach_mm: float = 10.0,
) -> Segmentation:
    """Draw the segments again on a SPECT, each near its prior.

    The background-corrected threshold of ``classical_lesions.adaptive_threshold`` starts at the hottest voxel
    of the prior; the segment stays within ``reach_mm`` of it and off the other priors.  Where the SPECT
    shows nothing there, the prior is kept and its check says so.

    Parameters
    ----------
    prior : Segmentation
        On any grid, propagated to this time point.
    spect : SimpleITK.Image
    fraction, reach_mm : float

    Returns
    -------
    Segmentation
        On the grid of the SPECT.
    """
    import SimpleITK as sitk

    if not 0 < fraction < 1 or reach_mm <= 0:
        raise SegmentationError(
            f"fraction is {fraction:g} and reach {reach_mm:g} mm; expected 0 to 1 and above 0."
        )
    spect = sitk.Cast(spect, sitk.sitkFloat32)
    labels = sitk.Resample(prior.label_map, spect, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    before = sitk.GetArrayFromImage(labels)
    out, records = before.copy(), []
    for number, record in enumerate(prior.records):
        report(progress, number / max(1, len(prior.records)), record.name)
        inside = before == record.label
        if record.label == 0 or not inside.any():
            records.append(record)
            continue
        others = (before > 0) & ~inside
        found = _near(spect, inside, others, fraction, reach_mm)
        if found is None:
            record = dataclasses.replace(
                record, checks=(*record.checks, "Not seen on this SPECT: the propagated segment was kept.")
            )
        else:
            out[inside] = 0
            out[found & ~others] = record.label
        records.append(record)
    return _result(out, spect, records, "resegmented")


def _near(
    spect: sitk.Image, inside: np.ndarray, others: np.ndarray, fraction: float, reach_mm: float
) -> np.ndarray | None:
    """Return the new segment, ``None`` where the SPECT shows none that overlaps the prior."""
    import SimpleITK as sitk
    from scipy import ndimage

    from DoseSegmentationLib.classical_lesions import adaptive_threshold

    values = sitk.GetArrayViewFromImage(spect)
    spacing = spect.GetSpacing()[::-1]
    allowed = ndimage.distance_transform_edt(~inside, sampling=spacing) <= reach_mm
    peak = np.unravel_index(int(np.argmax(np.where(inside, values, -np.inf))), values.shape)
    seed = spect.TransformIndexToPhysicalPoint([int(i) for i in peak[::-1]])
    extent = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing).max()
    radius = float(2.0 * extent + reach_mm + _size_mm(inside, spacing))
    try:
        label = adaptive_threshold(spect, seed, fraction=fraction, radius_mm=radius)
    except SegmentationError:
        return None
    found = (sitk.GetArrayFromImage(label) > 0) & allowed & ~others
    parts, number = ndimage.label(found)
    keep = np.unique(parts[found & inside])
    found = np.isin(parts, keep[keep > 0])
    return found if found.any() and number else None


def _size_mm(inside: np.ndarray, spacing: Sequence[float]) -> float:
    from scipy import ndimage

    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    return max((s.stop - s.start) * h for s, h in zip(box, spacing, strict=True)) / 2.0


def _result(
    labels: np.ndarray, grid: sitk.Image, records: Sequence[StructureRecord], backend: str
) -> Segmentation:
    """Return a segmentation with the volumes and origin of this step; what vanished has label 0."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(grid)
    voxel_ml = float(np.prod(grid.GetSpacing())) / 1000.0
    origin, changed = origin_of(backend, VERSION), []
    for record in records:
        volume = float((labels == record.label).sum()) * voxel_ml if record.label else 0.0
        gone = record.label and volume == 0.0
        checks = (*record.checks, "Outside of this image.") if gone else record.checks
        changed.append(
            dataclasses.replace(
                record, label=record.label if volume else 0, volume_ml=volume, origin=origin, checks=checks,
                confidence=None, boundary_shift_percent=None,
            )
        )  # fmt: skip
    return Segmentation(image, tuple(changed))


def changes(before: Segmentation, after: Segmentation) -> list[dict[str, Any]]:
    """Return what changed per structure between two segmentations, on the grid of ``after``.

    Returns
    -------
    list of dict
        ``{"name", "before_ml", "after_ml", "change_percent", "dice", "shift_mm"}``; a value that does not
        exist is ``None``.
    """
    import SimpleITK as sitk

    moved = sitk.Resample(before.label_map, after.label_map, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    a, b = (sitk.GetArrayViewFromImage(image) for image in (moved, after.label_map))
    rows = []
    for record in before.records:
        try:
            label = after.record(record.name).label
        except KeyError:
            label = 0
        old, new = (a == record.label) & bool(record.label), (b == label) & bool(label)
        both = bool(old.any() and new.any())
        total = int(old.sum() + new.sum())
        volumes = (label_ml(before, record.label), label_ml(after, label))
        rows.append(
            {
                "name": record.name,
                "before_ml": volumes[0],
                "after_ml": volumes[1],
                "change_percent": 100.0 * (volumes[1] / volumes[0] - 1.0) if volumes[0] else None,
                "dice": 2.0 * int((old & new).sum()) / total if total else None,
                "shift_mm": float(np.linalg.norm(_centre(new, after) - _centre(old, after)))
                if both
                else None,
            }
        )
    return rows


def label_ml(one: Segmentation, label: int) -> float:
    """Return the volume of a label, mL; 0 for the label 0 of what was not found."""
    import SimpleITK as sitk

    return _volume(sitk.GetArrayViewFromImage(one.label_map) == label, one) if label else 0.0


def _centre(mask: np.ndarray, where: Segmentation) -> np.ndarray:
    middle = np.argwhere(mask).mean(axis=0)[::-1]
    return np.array(where.label_map.TransformContinuousIndexToPhysicalPoint(middle.tolist()))


def match_lesions(
    times: Sequence[Segmentation], *, farthest_mm: float = 15.0, least_overlap: float = 0.1
) -> list[dict[str, Any]]:
    """Give lesions one identity across time points or cycles.

    Pairs of neighboring time points are assigned so that the sum of overlaps (intersection over the smaller
    one) is largest; a pair needs an overlap of ``least_overlap`` or centres within ``farthest_mm``.  A
    lesion that is missing at one time point is looked for at the next ones where it was seen last.

    Parameters
    ----------
    times : sequence of Segmentation
        In one space (propagated to a common reference), in the order of time; grids may differ.
    farthest_mm, least_overlap : float

    Returns
    -------
    list of dict
        One row per identity: ``{"identity", "names": [name or None per time], "volumes_ml": [...],
        "overlap": [with the previous appearance or None], "events": [text per time]}``; events are ``""``,
        ``new``, ``gone``, ``split from N``, ``merged with N``.
    """
    if not times:
        return []
    lesions = [_lesions(one, times[0].label_map) for one in times]
    rows: list[dict[str, Any]] = []
    for index, present in enumerate(lesions):
        pairs = _assigned(
            [row["last"] for row in rows], [mask for _, mask in present], times[0], farthest_mm, least_overlap
        )
        taken = {new: old for old, new in pairs}
        for old, row in enumerate(rows):
            new = next((n for o, n in pairs if o == old), None)
            _append(row, present, new, times[0], _merged(row, rows, old, new, taken, present))
        for new, (name, mask) in enumerate(present):
            if new in taken:
                continue
            parent = _parent(mask, [row["before"] for row in rows], least_overlap)
            row = {"identity": len(rows) + 1, "names": [None] * index, "volumes_ml": [None] * index}
            row |= {"overlap": [None] * (index + 1), "events": [""] * index, "last": mask, "before": mask}
            row["names"].append(name)
            row["volumes_ml"].append(_volume(mask, times[0]))
            row["events"].append(
                "" if index == 0 else f"split from {parent + 1}" if parent is not None else "new"
            )
            rows.append(row)
        for row in rows:
            row["before"] = row["last"]
    return [{key: value for key, value in row.items() if key not in ("last", "before")} for row in rows]


def _lesions(one: Segmentation, grid: sitk.Image) -> list[tuple[str, np.ndarray]]:
    import SimpleITK as sitk

    same = sitk.Resample(one.label_map, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    labels = sitk.GetArrayFromImage(same)
    found = [(r.name, labels == r.label) for r in one.records if r.kind == "lesion" and r.label]
    return [(name, mask) for name, mask in found if mask.any()]


def _volume(mask: np.ndarray, where: Segmentation) -> float:
    return float(mask.sum()) * float(np.prod(where.label_map.GetSpacing())) / 1000.0


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum()) / max(1, min(int(a.sum()), int(b.sum())))


def _assigned(old, new, where: Segmentation, farthest_mm: float, least: float) -> list[tuple[int, int]]:
    """Return pairs of indices (old, new)."""
    from scipy.optimize import linear_sum_assignment

    if not old or not new:
        return []
    score = np.zeros((len(old), len(new)))
    old_at, new_at = ([_centre(mask, where) for mask in masks] for masks in (old, new))
    for i, a in enumerate(old):
        for j, b in enumerate(new):
            overlap = _overlap(a, b)
            distance = float(np.linalg.norm(old_at[i] - new_at[j]))
            if overlap >= least or distance <= farthest_mm:
                # Equal overlaps are decided by size, then distance.
                alike = min(a.sum(), b.sum()) / max(a.sum(), b.sum())
                score[i, j] = 1e-3 + overlap + 0.1 * alike + 0.05 / (1.0 + distance)
    return [(int(i), int(j)) for i, j in zip(*linear_sum_assignment(-score), strict=True) if score[i, j] > 0]


def _append(row: dict[str, Any], present, new: int | None, where: Segmentation, merged: str) -> None:
    if new is None:
        row["names"].append(None)
        row["volumes_ml"].append(None)
        row["overlap"].append(None)
        seen_before = row["names"][-2] is not None
        row["events"].append(merged or ("gone" if seen_before else ""))
        return
    name, mask = present[new]
    row["names"].append(name)
    row["volumes_ml"].append(_volume(mask, where))
    row["overlap"].append(_overlap(row["last"], mask))
    row["events"].append("")
    row["last"] = mask


def _merged(row, rows, old: int, new: int | None, taken: dict[int, int], present) -> str:
    """Return ``merged with N`` where an unmatched lesion lies in a segment that another one took."""
    if new is not None or row["names"][-1] is None:
        return ""
    for index, (_, mask) in enumerate(present):
        if index in taken and taken[index] != old and (row["last"] & mask).sum() >= 0.5 * row["last"].sum():
            return f"merged with {rows[taken[index]]['identity']}"
    return ""


def _parent(mask: np.ndarray, before: Sequence[np.ndarray], least: float) -> int | None:
    """Return the lesion that an unmatched one was a part of."""
    shares = [float((mask & one).sum()) / max(1, int(mask.sum())) for one in before]
    best = int(np.argmax(shares)) if shares else -1
    return best if best >= 0 and shares[best] >= max(0.3, least) else None
