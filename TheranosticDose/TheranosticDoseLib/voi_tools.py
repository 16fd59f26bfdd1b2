"""VOIs on grids: mapping, volumes, overlaps, activities, and simple tools that make one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from DoseSegmentationLib.arrays import bounding_box

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import array_of, image_like, require_same_grid, resample, voxel_volume_ml
from TheranosticDoseLib.study import Voi

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.registration import RegisteredStudy

_VOLUME_TOLERANCE = 0.05
_OUTSIDE_TOLERANCE = 0.005
_LOOK_MM = 6.0
_WIDER_MM = 60.0


class OutsideError(InputError):
    """A VOI of which nothing lies on the grid."""


@dataclasses.dataclass(frozen=True)
class MappedVoi:
    """A VOI on another grid and what the way there did to its volume.

    Attributes
    ----------
    voi : Voi
        On the grid; ``acquisition`` as it was drawn.
    volume_before_ml, volume_after_ml : float
    outside_fraction : float
        Part of the drawn volume that lies outside the grid.
    findings : tuple of Finding
    """

    voi: Voi
    volume_before_ml: float
    volume_after_ml: float
    outside_fraction: float
    findings: tuple[Finding, ...] = ()

    @property
    def record(self) -> dict[str, Any]:
        """The volumes as a JSON-serialisable dictionary."""
        return {
            "name": self.voi.name,
            "drawn_on": self.voi.acquisition,
            "volume_before_ml": self.volume_before_ml,
            "volume_after_ml": self.volume_after_ml,
            "outside_fraction": self.outside_fraction,
        }


def volume_ml(weights: sitk.Image) -> float:
    """Return the volume of a weight image (0 to 1), mL."""
    return float(np.sum(array_of(weights), dtype=np.float64)) * voxel_volume_ml(weights)


def activity_in_voi(spect: sitk.Image, weights: sitk.Image) -> float:
    """Return the activity in a VOI, MBq.

    Parameters
    ----------
    spect : SimpleITK.Image
        Bq/mL.
    weights : SimpleITK.Image
        0 to 1, on the same grid.

    Raises
    ------
    GeometryError
        If the grids differ.
    """
    require_same_grid(spect, weights, "The SPECT and the VOI")
    total = float(np.einsum("ijk,ijk->", array_of(spect), array_of(weights), dtype=np.float64))
    return total * voxel_volume_ml(spect) * 1e-6


def voi_on_grid(voi: Voi, grid: sitk.Image, transform: sitk.Transform | None = None) -> sitk.Image:
    """Return the fractional weights of a VOI on a grid; :func:`map_voi` tells what became of its volume.

    Parameters
    ----------
    voi : Voi
    grid : SimpleITK.Image
    transform : SimpleITK.Transform, optional
        Points of ``grid`` to points of the VOI's own image.
    """
    return map_voi(voi, grid, transform).voi.weights


def map_voi(voi: Voi, grid: sitk.Image, transform: sitk.Transform | None = None) -> MappedVoi:
    """Return a VOI on a grid, its volume before and after, and findings.

    Parameters
    ----------
    voi, grid, transform
        As in :func:`voi_on_grid`.

    Raises
    ------
    InputError
        If the VOI is empty, holds values outside 0 to 1, or lies entirely outside the grid
        (:class:`OutsideError`).
    """
    before = _checked_volume(voi)
    outside, low, size = _look(voi, grid, transform)
    weights = np.zeros(grid.GetSize()[::-1], np.float32)
    if min(size) > 0:
        box = tuple(slice(first, first + n) for first, n in zip(low, size, strict=True))
        part = resample(voi.weights, grid[box], transform)
        weights[box[::-1]] = np.clip(array_of(part), 0.0, 1.0)
    weights = image_like(weights, grid)
    after = volume_ml(weights)
    if after <= 0:
        raise OutsideError(
            f"VOI {voi.name!r} lies outside the field of view of the reference scan; "
            "check that it was drawn on this patient's images."
        )
    findings = []
    field = f"vois.{voi.name}"
    if outside > _OUTSIDE_TOLERANCE:
        message = f"{100 * outside:.1f} % of VOI {voi.name!r} lie outside the reference field of view."
        remedy = "Its activity and dose hold for the part inside; choose a reference scan that covers it."
        findings.append(Finding("warning", field, message, outside, voi.origin, remedy))
    change = after / (before * (1 - min(outside, 0.999))) - 1
    if abs(change) > _VOLUME_TOLERANCE:
        message = f"VOI {voi.name!r} has {before:.2f} mL as drawn and {after:.2f} mL on the dose grid."
        remedy = "A VOI of few voxels cannot keep its volume; a moved one changes it with the deformation."
        findings.append(Finding("warning", field, message, after, voi.origin, remedy))
    mapped = dataclasses.replace(voi, weights=weights)
    return MappedVoi(mapped, before, after, outside, tuple(findings))


def map_vois(registered: RegisteredStudy, left_out: list[Finding] | None = None) -> tuple[MappedVoi, ...]:
    """Return every VOI of the study on the reference grid, one per name.

    Where a name was drawn on several scans, the one on the reference is kept (else the one on the
    scan nearest in time to it), with a finding.  The others stay in ``registered.study.vois``:
    they are the better choice for the activity of their own scan
    (:func:`activity_per_time_point`).

    Parameters
    ----------
    registered : RegisteredStudy
    left_out : list, optional
        Gets a finding for each VOI that lies entirely outside the reference grid, which is left out;
        without a list that raises :class:`OutsideError`.
    """
    by_name: dict[str, list[Voi]] = {}
    for voi in registered.study.vois:
        by_name.setdefault(voi.name, []).append(voi)
    mapped = []
    for name, drawn in by_name.items():
        voi = min(drawn, key=lambda one: _distance_h(registered, one))
        transform = registered.transforms[_index(registered, voi)]
        try:
            result = map_voi(voi, registered.grid, transform)
        except OutsideError as error:
            if left_out is None:
                raise
            message = f"{str(error).partition(';')[0]}; it was left out."
            remedy = "Check that it was drawn on this patient's images, or choose a reference that covers it."
            left_out.append(Finding("missing", f"vois.{name}", message, None, voi.origin, remedy))
            continue
        if len(drawn) > 1:
            labels = ", ".join(one.acquisition or registered.reference for one in drawn)
            chosen = voi.acquisition or registered.reference
            message = (
                f"VOI {name!r} was drawn on {labels}; the one of {chosen} defines its volume and dose, each "
                "of the others the activity of its own scan."
            )
            result = dataclasses.replace(
                result, findings=(*result.findings, Finding("info", f"vois.{name}", message, chosen))
            )
        mapped.append(result)
    return tuple(mapped)


def vois_on_reference(registered: RegisteredStudy) -> tuple[Voi, ...]:
    """Return :func:`map_vois` without its records: one VOI per name on the reference grid."""
    return tuple(mapped.voi for mapped in map_vois(registered))


def activity_per_time_point(registered: RegisteredStudy, voi: Voi) -> tuple[tuple[float, str], ...]:
    """Return activity (MBq) and its source for each acquisition.

    Where a VOI of this name was drawn on a scan it is applied to that scan as it was acquired
    (source ``drawn``): neither the registration nor an interpolation stands between.  Elsewhere
    the VOI on the reference grid is applied to the registered scan (source ``registered``).
    One that was drawn on a scan but lies outside its SPECT has no activity there: NaN, source ``outside``.

    Parameters
    ----------
    registered : RegisteredStudy
    voi : Voi
        On the reference grid, one of :func:`vois_on_reference`.
    """
    result = []
    for position, acquisition in enumerate(registered.study.acquisitions):
        own = [
            drawn
            for drawn in registered.study.vois
            if drawn.name == voi.name and (drawn.acquisition or registered.reference) == acquisition.label
        ]
        if own:
            try:
                weights = voi_on_grid(own[0], acquisition.spect)
            except OutsideError:
                result.append((float("nan"), "outside"))
                continue
            result.append((activity_in_voi(acquisition.spect, weights), "drawn"))
        else:
            result.append((activity_in_voi(registered.spect[position], voi.weights), "registered"))
    return tuple(result)


def part_scanned(registered: RegisteredStudy, position: int, voi: Voi) -> float:
    """Return the part (0 to 1) of a VOI of the reference grid that lies in the field of view of a scan."""
    import SimpleITK as sitk

    weights = array_of(voi.weights)
    box = bounding_box(weights)
    spect = registered.study.acquisitions[position].spect
    whole = sitk.Image(spect.GetSize(), sitk.sitkUInt8) + 1
    whole.CopyInformation(spect)
    part = registered.grid[tuple(box[::-1])]
    seen = sitk.Resample(whole, part, registered.transforms[position], sitk.sitkNearestNeighbor, 0)
    inside = weights[box].astype(np.float64)
    return float(np.sum(inside * array_of(seen)) / inside.sum())


def volume_change(registered: RegisteredStudy, position: int, voi: Voi) -> float:
    """Return by which part the tissue of a VOI is larger (or smaller, negative) on a scan, by the registration.

    The mean of the Jacobian determinant of the transform over the VOI, less one.
    """
    from DoseSegmentationLib.propagation import displacement_field

    from TheranosticDoseLib.registration.fields import jacobian

    transform = registered.transforms[position]
    weights = array_of(voi.weights)
    box = bounding_box(weights, margin=3)
    part = registered.grid[tuple(box[::-1])]
    field = displacement_field(transform, part)
    inside = weights[box].astype(np.float64)
    return float(np.sum(inside * jacobian(field)) / inside.sum()) - 1.0


def voi_on_acquisition(registered: RegisteredStudy, voi: Voi, label: str) -> Voi:
    """Return a VOI of the reference grid carried to the grid of another scan (for propagation)."""
    from TheranosticDoseLib.registration import inverse_transform

    position = registered.index(label)
    acquisition = registered.study.acquisitions[position]
    back = inverse_transform(registered.transforms[position])
    weights = voi_on_grid(voi, acquisition.spect, back)
    return dataclasses.replace(
        voi,
        weights=weights,
        acquisition=label,
        origin=f"{voi.origin}, from {registered.reference}".lstrip(", "),
    )


def dice(first: sitk.Image, second: sitk.Image) -> float:
    """Return the Dice coefficient of two weight images on one grid (fuzzy: sum of the minima)."""
    require_same_grid(first, second, "The VOIs")
    a, b = array_of(first), array_of(second)
    total = float(np.sum(a, dtype=np.float64) + np.sum(b, dtype=np.float64))
    return 2.0 * float(np.sum(np.minimum(a, b), dtype=np.float64)) / total if total > 0 else 0.0


def overlaps(vois: Sequence[Voi]) -> list[dict[str, Any]]:
    """Return the pairs of VOIs on one grid that share volume.

    Returns
    -------
    list of dict
        ``first``, ``second``, ``shared_ml``, ``dice``, and ``fraction`` of the smaller one.
    """
    result = []
    for first, second in combinations(vois, 2):
        require_same_grid(first.weights, second.weights, f"VOIs {first.name!r} and {second.name!r}")
        a, b = array_of(first.weights), array_of(second.weights)
        # What two partial voxels share is at least this; for voxels inside both it is exact.
        shared = float(np.sum(np.clip(a + b - 1.0, 0.0, None), dtype=np.float64)) * voxel_volume_ml(
            first.weights
        )
        if shared <= 0:
            continue
        smaller = min(volume_ml(first.weights), volume_ml(second.weights))
        result.append(
            {
                "first": first.name,
                "second": second.name,
                "shared_ml": shared,
                "fraction": shared / smaller,
                "dice": dice(first.weights, second.weights),
            }
        )
    return result


def threshold_voi(
    image: sitk.Image, lower: float, upper: float | None = None, *, name: str, **how: Any
) -> Voi:
    """Return the VOI between two values (``region``, ``seed_mm`` as in ``classical.fixed_threshold``)."""
    from DoseSegmentationLib import classical

    label = _segment(classical.fixed_threshold, image, lower, upper, **how)
    limits = f"{lower:g} to {upper:g}" if upper is not None else f"above {lower:g}"
    return _voi(label, name, f"threshold {limits}")


def percent_of_maximum_voi(spect: sitk.Image, percent: float, *, name: str, **how: Any) -> Voi:
    """Return the VOI above a percentage of the maximum (``region``, ``seed_mm``, ``radius_mm``)."""
    from DoseSegmentationLib import classical

    label = _segment(classical.percent_of_maximum, spect, percent, **how)
    return _voi(label, name, f"{percent:g} % of maximum", kind="lesion")


def body_voi(image: sitk.Image, modality: str = "ct", *, name: str = "body") -> Voi:
    """Return the body outline.

    Parameters
    ----------
    image : SimpleITK.Image
        CT in HU or SPECT in Bq/mL.
    modality : {"ct", "spect"}
        From a SPECT the outline is coarse: where there is activity.
    """
    from DoseSegmentationLib import classical

    if modality not in ("ct", "spect"):
        raise InputError(f"modality is {modality!r}; expected ct or spect.")
    outline = classical.body_outline if modality == "ct" else classical.body_outline_spect
    return _voi(_segment(outline, image), name, f"body outline from {modality.upper()}", kind="body")


def _segment(function: Any, *args: Any, **kwargs: Any) -> sitk.Image:
    """Call a tool of the segmentation library; its error becomes one of ours."""
    from DoseSegmentationLib.classical import SegmentationError

    try:
        return function(*args, **kwargs)
    except SegmentationError as error:
        raise InputError(str(error)) from error


def _voi(label: sitk.Image, name: str, origin: str, kind: str = "other") -> Voi:
    from DoseSegmentationLib.structures import structure

    known = structure(name)
    weights = image_like(array_of(label), label)
    if volume_ml(weights) <= 0:
        raise InputError(f"VOI {name!r} ({origin}) is empty; choose other limits.")
    if known is None:
        return Voi(name, weights, kind=kind, origin=origin)
    return Voi(name, weights, kind=known.kind, code=known.code, origin=origin)


def _checked_volume(voi: Voi) -> float:
    values = array_of(voi.weights)
    if not np.isfinite(values).all() or values.min() < -1e-3 or values.max() > 1.001:
        raise InputError(
            f"VOI {voi.name!r} holds values from {values.min():g} to {values.max():g}; "
            "a weight image holds 0 to 1 (choose one label of a label map)."
        )
    volume = volume_ml(voi.weights)
    if volume <= 0:
        raise InputError(f"VOI {voi.name!r} is empty; delete it or draw it again.")
    return volume


def _look(voi: Voi, grid: sitk.Image, transform: sitk.Transform | None) -> tuple[float, list[int], list[int]]:
    """Return the part of the VOI that the grid misses, and the box of the grid (low, size) that holds it.

    A coarse copy of the VOI is looked for on a coarse grid that is wider than ``grid``: one pass
    over few voxels instead of all voxels of the dose grid for each VOI.
    """
    import SimpleITK as sitk

    step = np.array([max(1, round(_LOOK_MM / s)) for s in grid.GetSpacing()])
    pad = np.ceil(_WIDER_MM / np.array(grid.GetSpacing()) / step).astype(int) * step
    size = np.array(grid.GetSize())
    wide = sitk.Image([int(n) for n in -(-(size + 2 * pad) // step)], sitk.sitkUInt8)
    wide.SetSpacing((np.array(grid.GetSpacing()) * step).tolist())
    wide.SetDirection(grid.GetDirection())
    wide.SetOrigin(grid.TransformContinuousIndexToPhysicalPoint((-pad + (step - 1) / 2).tolist()))
    factors = [max(1, round(_LOOK_MM / s)) for s in voi.weights.GetSpacing()]
    source = sitk.BinShrink(sitk.ConstantPad(voi.weights, factors, factors, 0.0), factors)
    moved = transform if transform is not None else sitk.Transform(3, sitk.sitkIdentity)
    weights = sitk.GetArrayFromImage(
        sitk.Resample(source, wide, moved, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    )
    where = np.argwhere(weights > 0)[:, ::-1]
    if where.size == 0:
        return 1.0, [0, 0, 0], [0, 0, 0]
    first = where * step - pad
    inside = np.all((first + (step - 1) / 2 > -0.5) & (first + (step - 1) / 2 < size - 0.5), axis=1)
    values = weights[tuple(where[:, ::-1].T)].astype(np.float64)
    low = np.clip(first.min(axis=0) - step, 0, size)
    high = np.clip(first.max(axis=0) + 2 * step, 0, size)
    return (
        float(values[~inside].sum() / values.sum()),
        [int(n) for n in low],
        [int(n) for n in np.maximum(high - low, 0)],
    )


def _index(registered: RegisteredStudy, voi: Voi) -> int:
    """Return the position of the acquisition a VOI was drawn on."""
    try:
        return registered.index(voi.acquisition or registered.reference)
    except KeyError:
        labels = ", ".join(one.label for one in registered.study.acquisitions)
        raise InputError(
            f"VOI {voi.name!r} was drawn on {voi.acquisition!r}, which is no acquisition; there are {labels}."
        ) from None


def _distance_h(registered: RegisteredStudy, voi: Voi) -> float:
    reference = registered.study.acquisition(registered.reference).time_h
    return abs(registered.study.acquisitions[_index(registered, voi)].time_h - reference)
