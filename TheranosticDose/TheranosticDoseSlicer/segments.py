"""Segmentation nodes: VOIs of the library as segments with terminology, and back.

A segment is a binary labelmap on its own grid.  The library's VOI is a weight image
(the fraction of a voxel that is inside), so fractional weights are thresholded at one
half for display; their exact values are kept with the case (see ``case.py``) and used as
long as nobody edits the segment.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from DoseSegmentationLib.arrays import bounding_box
from TheranosticDoseLib.errors import InputError

from TheranosticDoseSlicer import images

if TYPE_CHECKING:
    import SimpleITK as sitk

KIND_TAG = "TheranosticDose.Kind"
ORIGIN_TAG = "TheranosticDose.Origin"
ACQUISITION_TAG = "TheranosticDose.Acquisition"
TERMINOLOGY_TAG = "TerminologyEntry"
LABELMAP = "Binary labelmap"

_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
_REGION_CONTEXT = "Anatomic codes - DICOM master list"
_CATEGORY = {
    "organ": ("SCT", "123037004", "Anatomical Structure"),
    "lesion": ("SCT", "49755003", "Morphologically Altered Structure"),
    "body": ("SCT", "123037004", "Anatomical Structure"),
    "other": ("SCT", "85756007", "Tissue"),
}
_DEFAULT_TYPE = {
    "lesion": ("SCT", "4147007", "Mass"),
    "body": ("SCT", "38266002", "Entire body"),
    "organ": ("SCT", "113343008", "Organ"),
    "other": ("SCT", "85756007", "Tissue"),
}


@dataclass(frozen=True)
class Segment:
    """One segment as the library needs it; ``mask`` is uint8 on the grid of the segment."""

    segment_id: str
    name: str
    mask: sitk.Image
    kind: str
    code: dict[str, str] | None
    acquisition: str
    origin: str
    digest: str


def terminology_entry(kind: str, code: dict[str, str] | None) -> str:
    """Return Slicer's serialised terminology entry for a kind and a DICOM code."""
    kind = kind if kind in _CATEGORY else "other"
    category = "^".join(_CATEGORY[kind])
    if code:
        entry = "^".join(code.get(key, "") for key in ("scheme", "value", "meaning"))
    else:
        entry = "^".join(_DEFAULT_TYPE[kind])
    return f"{_CONTEXT}~{category}~{entry}~^^~{_REGION_CONTEXT}~^^~^^"


def code_of(segment) -> dict[str, str] | None:
    """Return the DICOM code of a segment's terminology; ``None`` for none or a default one."""
    text = tag_of(segment, TERMINOLOGY_TAG)
    parts = text.split("~")
    if len(parts) < 3 or parts[2].count("^") != 2:
        return None
    scheme, value, meaning = parts[2].split("^")
    if not value or (scheme, value, meaning) in _DEFAULT_TYPE.values():
        return None
    return {"scheme": scheme, "value": value, "meaning": meaning}


def tag_of(segment, tag: str) -> str:
    """Return the text of a tag of a segment; empty where it has none."""
    import vtk

    text = vtk.reference("")
    return str(text) if segment.GetTag(tag, text) else ""


def new_segmentation(name: str, reference_volume=None):
    """Return an empty segmentation node, its master representation the binary labelmap."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.GetSegmentation().SetSourceRepresentationName(LABELMAP)
    if reference_volume is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference_volume)
    return node


def set_segment(
    node,
    name: str,
    mask: sitk.Image,
    *,
    kind: str = "organ",
    code: dict[str, str] | None = None,
    acquisition: str = "",
    origin: str = "",
) -> str:
    """Add a segment, or replace the one of the same name; return its id.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode
    name : str
    mask : SimpleITK.Image
        Any scalar type; voxels of one half and more are inside.
    kind, code, acquisition, origin
        As in :class:`TheranosticDoseLib.study.Voi`.
    """
    import SimpleITK as sitk
    import slicer

    segmentation = node.GetSegmentation()
    segment_id = segmentation.GetSegmentIdBySegmentName(name)
    if not segment_id:
        segment_id = _add_segment(slicer, segmentation, name, kind)
    segment = segmentation.GetSegment(segment_id)
    array = (sitk.GetArrayViewFromImage(mask) >= 0.5).astype(np.uint8)
    replace = slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        _oriented(array, mask), node, segment_id, replace
    )
    segment.SetTag(TERMINOLOGY_TAG, terminology_entry(kind, code))
    segment.SetTag(KIND_TAG, kind)
    segment.SetTag(ACQUISITION_TAG, acquisition)
    segment.SetTag(ORIGIN_TAG, origin)
    return segment_id


def _add_segment(slicer, segmentation, name: str, kind: str) -> str:
    segment = slicer.vtkSegment()
    segment.SetName(name)
    count = segmentation.GetNumberOfSegments()
    segment.SetColor(*_color(count, kind))
    # A representation must exist before the segment joins, else it has no source representation.
    segment.AddRepresentation(LABELMAP, slicer.vtkOrientedImageData())
    segment_id = segmentation.GenerateUniqueSegmentID(name)
    segmentation.AddSegment(segment, segment_id)
    return segment_id


def _color(number: int, kind: str) -> tuple[float, float, float]:
    """Okabe-Ito colours: distinguishable with all common kinds of colour vision."""
    if kind == "body":
        return (0.6, 0.6, 0.6)
    palette = (
        (0.90, 0.62, 0.00),
        (0.34, 0.71, 0.91),
        (0.00, 0.62, 0.45),
        (0.94, 0.89, 0.26),
        (0.00, 0.45, 0.70),
        (0.84, 0.37, 0.00),
        (0.80, 0.47, 0.65),
    )
    base = palette[number % len(palette)]
    shade = 1.0 - 0.18 * ((number // len(palette)) % 3)
    return tuple(shade * value for value in base)


def _oriented(array: np.ndarray, image):
    """Return a ``vtkOrientedImageData`` of the bounding box of the non-zero voxels."""
    import slicer
    from vtk.util import numpy_support

    place = bounding_box(array) if array.any() else (slice(0, 1),) * 3
    box = np.ascontiguousarray(array[place])
    oriented = slicer.vtkOrientedImageData()
    oriented.SetExtent([bound for part in place[::-1] for bound in (part.start, part.stop - 1)])
    scalars = numpy_support.numpy_to_vtk(box.ravel(), deep=True)
    oriented.GetPointData().SetScalars(scalars)
    oriented.SetImageToWorldMatrix(images.ijk_to_ras(image))
    return oriented


def segment_ids(node) -> list[str]:
    """Return the ids of the segments in order."""
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())]


def require_segments(node) -> None:
    """Raise an :class:`InputError` where there is nothing to work on; make labelmaps of closed surfaces."""
    if node is None:
        raise InputError("No segmentation is chosen; choose one or make one in the segmentation step.")
    name = node.GetName()
    if node.GetSegmentation().GetNumberOfSegments() == 0:
        raise InputError(f"The segmentation {name!r} has no segments; draw or load some.")
    if node.GetParentTransformNode() is not None:
        raise InputError(f"The segmentation {name!r} lies under a transform; harden the transform first.")
    # An RTSTRUCT that another module loaded is contours or a closed surface only:
    # without this its segments would have no voxels and so no mass.
    if not node.GetSegmentation().ContainsRepresentation(LABELMAP) and not (
        node.CreateBinaryLabelmapRepresentation()
    ):
        raise InputError(
            f"The segmentation {name!r} has only a surface, and a labelmap could not be made of it. "
            "Set its reference geometry to the SPECT or CT in the Segmentations module."
        )


def require_different_names(node) -> None:
    """Raise an :class:`InputError` where two segments have one name: curves, edits and doses are kept by name."""
    names = [node.GetSegmentation().GetSegment(segment_id).GetName() for segment_id in segment_ids(node)]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"Several segments are called {repeated!r}; give each a name of its own.")


def stamp(node, segment_id: str) -> tuple[int, ...]:
    """Return numbers that are others once a segment or its voxels were changed, read at no cost."""
    segment = node.GetSegmentation().GetSegment(segment_id)
    labelmap = segment.GetRepresentation(LABELMAP)
    changed = (labelmap.GetMTime(), labelmap.GetPointData().GetMTime()) if labelmap is not None else ()
    return segment.GetMTime(), *changed


def read_segment(node, segment_id: str) -> Segment | None:
    """Return one segment with its mask; ``None`` where it is empty."""
    import slicer

    segment = node.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise InputError(f"The segment {segment_id!r} was removed from {node.GetName()!r}.")
    oriented = slicer.vtkOrientedImageData()
    # Not the segment's own representation: segments of a loaded scene share one labelmap with several labels.
    node.GetBinaryLabelmapRepresentation(segment_id, oriented)
    array = _array_of(oriented)
    if array is None or not array.any():
        return None
    # The labelmap of several segments may be much larger than this one.
    box = bounding_box(array)
    low = np.array(oriented.GetExtent()[::2]) + [part.start for part in box[::-1]]
    array = array[box]
    # With a rim of zeros, so that an interpolation at the edge of the box is that of the whole image.
    mask = _image_of(oriented, np.pad(array, 1), low - 1)
    return Segment(
        segment_id=segment_id,
        name=segment.GetName(),
        mask=mask,
        kind=tag_of(segment, KIND_TAG) or "organ",
        code=code_of(segment),
        acquisition=tag_of(segment, ACQUISITION_TAG),
        origin=tag_of(segment, ORIGIN_TAG) or "drawn in 3D Slicer",
        digest=_digest(array, mask[1:-1, 1:-1, 1:-1]),
    )


def read_segments(node) -> tuple[list[Segment], list[str]]:
    """Return the segments that have voxels, and the names of those that have none."""
    require_segments(node)
    found, empty = [], []
    for segment_id in segment_ids(node):
        segment = read_segment(node, segment_id)
        if segment is None:
            empty.append(node.GetSegmentation().GetSegment(segment_id).GetName())
        else:
            found.append(segment)
    if not found:
        raise InputError(f"All segments of {node.GetName()!r} are empty: {', '.join(empty)}.")
    return found, empty


def _array_of(oriented) -> np.ndarray | None:
    from vtk.util import numpy_support

    scalars = oriented.GetPointData().GetScalars()
    if scalars is None or oriented.GetNumberOfPoints() == 0:
        return None
    shape = oriented.GetDimensions()[::-1]
    return (numpy_support.vtk_to_numpy(scalars).reshape(shape) > 0).astype(np.uint8)


def _image_of(oriented, array: np.ndarray, low: np.ndarray):
    """Return the image of a box of a labelmap that begins at the voxel ``low`` (x, y, z)."""
    import SimpleITK as sitk
    import vtk

    matrix = vtk.vtkMatrix4x4()
    oriented.GetImageToWorldMatrix(matrix)
    values = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    spacing = np.linalg.norm(values[:3, :3], axis=0)
    flip = np.diag([-1.0, -1.0, 1.0])
    image = sitk.GetImageFromArray(array)
    images.set_geometry(image, flip @ (values @ [*low, 1.0])[:3], spacing, flip @ (values[:3, :3] / spacing))
    return image


def _digest(array: np.ndarray, image) -> str:
    """A fingerprint of a mask in the box around it, and its place: the same after saving and loading."""
    origin = image.GetOrigin()
    # Steps of 0.05 mm that begin at an odd place: round numbers, which are usual, do not lie at an edge of them.
    place = np.floor(np.array(origin) / 0.05 + 0.3719).astype(int).tolist()
    spacing = np.floor(np.array(image.GetSpacing()) / 0.001 + 0.3719).astype(int).tolist()
    text = f"{array.shape} {place} {spacing}"
    return hashlib.sha256(text.encode() + np.packbits(array).tobytes()).hexdigest()[:16]
