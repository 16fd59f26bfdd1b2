"""Images that a VOI can have been drawn on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from TheranosticDoseLib.dicom_io.journal import Journal

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclasses.dataclass(frozen=True)
class Target:
    """A SPECT or CT of an acquisition, with the UIDs that point to it."""

    label: str
    kind: str
    image: sitk.Image
    series_uid: str = ""
    frame_of_reference: str = ""


def choose_target(
    targets: list[Target],
    series_uids: list[str],
    frame_of_reference: str,
    file: str,
    name: str,
    journal: Journal,
) -> Target | None:
    """Return the image that a VOI was drawn on: by series, else by frame of reference.

    Several images of one frame of reference are told; none leaves the VOI out.
    """
    for target in targets:
        if target.series_uid and target.series_uid in series_uids:
            return target
    same = [target for target in targets if target.frame_of_reference == frame_of_reference != ""]
    field = f"vois.{name}"
    if not same:
        text = (
            f"{file}: {name!r} refers to no image of this study (series {', '.join(series_uids) or 'none'}, "
            f"frame of reference {frame_of_reference or 'none'}); it was left out."
        )
        remedy = "Add the image that it was drawn on to the folder."
        journal.find("missing", field, text, source=file, remedy=remedy, section="VOIs", item=name)
        return None
    labels = sorted({target.label for target in same})
    if len(labels) > 1:
        text = (
            f"{file}: {name!r} shares its frame of reference with the acquisitions {', '.join(labels)} "
            f"and names no series of theirs; it is taken as drawn on {same[0].label}."
        )
        journal.find("assumption", field, text, value=same[0].label, source=file, section="VOIs", item=name)
    first = [target for target in same if target.label == same[0].label]
    return next((target for target in first if target.kind == "CT"), first[0])


def on_target(
    weights: sitk.Image, target: Target, file: str, name: str, journal: Journal
) -> sitk.Image | None:
    """Return weights on the grid of ``target``; a part that lies outside is told, all of it gives ``None``."""
    from TheranosticDoseLib.geometry import array_of, resample, same_grid, voxel_volume_ml

    if same_grid(weights, target.image):
        return weights
    import SimpleITK as sitk

    # One layer of zeros around the weights: the outer half voxels fade instead of being cut.
    padded = sitk.ConstantPad(sitk.Cast(weights, sitk.sitkFloat32), [1] * 3, [1] * 3, 0.0)
    image = sitk.Clamp(resample(padded, target.image), sitk.sitkFloat32, 0.0, 1.0)
    before = float(array_of(weights).sum(dtype="float64")) * voxel_volume_ml(weights)
    after = float(array_of(image).sum(dtype="float64")) * voxel_volume_ml(image)
    if before <= 0 or after < 0.005 * before:
        return None
    if abs(after / before - 1) > 0.02:
        text = (
            f"{file}: {name!r} has {after:.2f} mL on the {target.kind} of {target.label} but {before:.2f} mL on "
            "its own grid; part of it lies outside, or it is small against the voxels."
        )
        journal.find(
            "warning", f"vois.{name}", text, value=after / before, source=file, section="VOIs", item=name
        )
    return image
