"""What may be wrong with the input or the outcome of a registration, in one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.errors import GeometryError, InputError, UnitsError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import array_of, image_like, resample
from TheranosticDoseLib.study import Acquisition, Study

if TYPE_CHECKING:
    import SimpleITK as sitk

_REFERENCE_H = 24.0
_INSIDE_BODY = 0.85


def reference_index(study: Study, reference: str) -> int:
    """Return the position of the reference acquisition; ``auto``: the one nearest 24 h."""
    if not study.acquisitions:
        raise InputError("The study holds no acquisition; there is nothing to register.")
    labels = [acquisition.label for acquisition in study.acquisitions]
    if len(set(labels)) != len(labels):
        raise InputError(f"Labels of acquisitions must differ: {', '.join(labels)}.")
    if reference == "auto":
        return int(np.argmin([abs(time - _REFERENCE_H) for time in study.time_h]))
    if reference not in labels:
        raise InputError(f"The reference {reference!r} is no acquisition; there are {', '.join(labels)}.")
    return labels.index(reference)


def require_usable(study: Study) -> None:
    """Raise where an image cannot be registered at all."""
    for acquisition in study.acquisitions:
        if acquisition.unit != "BQML":
            raise UnitsError(
                f"{acquisition.label}: the SPECT is in {acquisition.unit}, not Bq/mL; quantify the study first."
            )
        values = array_of(acquisition.spect)
        if not (np.nan_to_num(values) > 0).any():
            raise InputError(f"{acquisition.label}: the SPECT holds no activity.")
        for name, image in (("SPECT", acquisition.spect), ("CT", acquisition.ct)):
            if image is not None and (image.GetDimension() != 3 or min(image.GetSize()) < 2):
                raise GeometryError(
                    f"{acquisition.label}: the {name} has size {image.GetSize()}; need a volume."
                )
        if acquisition.ct is not None and not _boxes_overlap(acquisition.spect, acquisition.ct):
            raise GeometryError(
                f"{acquisition.label}: SPECT and CT do not overlap in space; they do not share a frame of "
                "reference. Give the CT of the same session, or leave the CT out."
            )


def study_findings(study: Study) -> Iterator[Finding]:
    """Yield doubts about the images that do not end the registration."""
    for acquisition in study.acquisitions:
        field = f"acquisitions.{acquisition.label}"
        for name, image in (("SPECT", acquisition.spect), ("CT", acquisition.ct)):
            if image is None:
                continue
            bad = int(np.count_nonzero(~np.isfinite(array_of(image))))
            if bad:
                message = f"{bad} voxels of the {name} are not numbers and were taken as empty."
                yield Finding("warning", f"{field}.{name.lower()}", message, bad)
        if acquisition.ct is not None and acquisition.ct.HasMetaDataKey("0020|0052"):
            uid = acquisition.ct.GetMetaData("0020|0052").strip("\x00 ")
            if acquisition.frame_of_reference and uid != acquisition.frame_of_reference:
                yield Finding(
                    "warning",
                    f"{field}.frame_of_reference",
                    "SPECT and CT name different frames of reference; their alignment was taken from the coordinates.",
                    uid,
                    "DICOM (0020,0052)",
                    "Look at the fusion of SPECT and CT; re-register the CT where they differ.",
                )


def image_to_use(reference: Acquisition, moving: Acquisition, image: str) -> str:
    """Return ``ct`` or ``spect``."""
    both = reference.ct is not None and moving.ct is not None
    if image == "ct" and not both:
        missing = reference.label if reference.ct is None else moving.label
        raise InputError(f"{missing} has no CT; set RegistrationSettings.image to auto or spect.")
    return "ct" if image in ("auto", "ct") and both else "spect"


def finite(image: sitk.Image, value: float) -> sitk.Image:
    """Return the image with ``value`` where it is not a number."""
    array = array_of(image)
    if np.isfinite(array).all():
        return image
    return image_like(np.where(np.isfinite(array), array, value), image)


def alignment_findings(acquisition: Acquisition, body: sitk.Image, valid: sitk.Image) -> list[Finding]:
    """Return a finding where much of the activity lies outside the body that the CT shows.

    SPECT and CT of one scan share a frame of reference; where they do not, this is what shows.
    """
    spect = resample(finite(acquisition.spect, 0.0), body)
    values = np.clip(array_of(spect), 0.0, None)
    seen = float(values[array_of(valid) > 0].sum(dtype=np.float64))
    inside = float(values[array_of(body) > 0].sum(dtype=np.float64))
    if seen <= 0 or inside >= _INSIDE_BODY * seen:
        return []
    share = 1.0 - inside / seen
    message = (
        f"{100 * share:.0f} % of the activity of {acquisition.label} lie outside the body on its CT; "
        "SPECT and CT may not share a frame of reference."
    )
    field = f"acquisitions.{acquisition.label}.ct"
    remedy = "Look at the fusion of SPECT and CT; give the CT of the same session or set image to spect."
    return [Finding("warning", field, message, share, remedy=remedy)]


def folding_findings(label: str, rounds: int, folded: float) -> list[Finding]:
    """Return a finding where the field had to be smoothed."""
    if rounds == 0:
        return []
    message = (
        f"The deformation of {label} was smoothed {rounds} times, because {100 * folded:.3f} % of its voxels "
        "folded or nearly so."
    )
    return [Finding("warning", f"registration.{label}", message, folded, remedy="Look at the checkerboard.")]


def kept_rigid(label: str, rigid: float, deformable: float) -> Finding:
    """Return the finding that the deformation was thrown away."""
    message = (
        f"The deformable registration of {label} did not improve the correlation ({deformable:.4f} against "
        f"{rigid:.4f}); the rigid one is used."
    )
    return Finding(
        "warning", f"registration.{label}", message, deformable, remedy="Look at the checkerboard."
    )


def kept_scanner(label: str, before: float, after: float) -> Finding:
    """Return the finding that the rigid transform was thrown away."""
    message = (
        f"The rigid registration of {label} did not improve the correlation ({after:.4f} against {before:.4f}); "
        "the scanner coordinates are used."
    )
    return Finding("warning", f"registration.{label}", message, after, remedy="Look at the checkerboard.")


def rigid_failed(label: str, text: str) -> Finding:
    """Return the finding that the optimiser gave up."""
    message = f"The rigid registration of {label} failed ({text}); the scanner coordinates are used."
    return Finding("warning", f"registration.{label}", message, remedy="Look at the checkerboard.")


def _boxes_overlap(first: sitk.Image, second: sitk.Image) -> bool:
    """Whether the bounding boxes of two images share a volume."""
    boxes = []
    for image in (first, second):
        corners = [
            image.TransformContinuousIndexToPhysicalPoint(
                [(-0.5, n - 0.5)[(k >> axis) & 1] for axis, n in enumerate(image.GetSize())]
            )
            for k in range(8)
        ]
        boxes.append((np.min(corners, axis=0), np.max(corners, axis=0)))
    (low_a, high_a), (low_b, high_b) = boxes
    return bool(np.all(np.minimum(high_a, high_b) > np.maximum(low_a, low_b)))
