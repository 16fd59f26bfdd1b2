"""Exact VOI weights in the scene: cropped to where they are not zero, restored to their whole grid."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator
from typing import Any

from DoseSegmentationLib.arrays import bounding_box
from TheranosticDoseLib.geometry import array_of
from TheranosticDoseLib.study import Voi

from TheranosticDoseSlicer import exchange, images
from TheranosticDoseSlicer.beside import beside, last

RIM = 3
DIGEST, PLACE, VOI_RECORD = "TheranosticDose.Digest", "TheranosticDose.Place", "TheranosticDose.Voi"


def boxed(voi: Voi) -> Voi | None:
    """Return a VOI on the box around it; ``None`` where its weights are all zero.

    With a rim of zeros, so that an interpolation at the edge of the box is that of the whole image.
    """
    low, high = _box(voi)
    if high is None:
        return None
    return dataclasses.replace(voi, weights=voi.weights[tuple(map(slice, low, high))])


def _box(voi: Voi) -> tuple[list[int], list[int] | None]:
    """Return the first voxel (x, y, z) of the box around a VOI, and the one after its last."""
    inside = array_of(voi.weights) > 0
    if not inside.any():
        return [0, 0, 0], None
    box = bounding_box(inside, RIM)[::-1]
    return [part.start for part in box], [part.stop for part in box]


def keeping(voi: Voi, digest: str = "", node=None) -> Generator[str, None, Any]:
    """Make a hidden volume node that holds the weights of a VOI, in steps: one drawn on a CT has many voxels.

    Returns ``None`` where they are all zero.
    """
    low, box = yield from beside(lambda: _cut(voi), voi.name)
    if box is None:
        return None
    node = yield from images.showing(box, f"Weights of {voi.name}", None, node, hidden=True)
    place = {
        "start": low,
        "size": list(voi.weights.GetSize()),
        "origin": list(voi.weights.GetOrigin()),
        "spacing": list(voi.weights.GetSpacing()),
        "direction": list(voi.weights.GetDirection()),
    }
    node.SetAttribute(DIGEST, digest)
    node.SetAttribute(PLACE, json.dumps(place))
    node.SetAttribute(VOI_RECORD, json.dumps(exchange.voi_record(voi)))
    return node


def _cut(voi: Voi) -> tuple[list[int], Any]:
    """Return the first voxel (x, y, z) of the box around a VOI, and its weights there; ``None`` without any."""
    low, high = _box(voi)
    return low, voi.weights[tuple(map(slice, low, high))] if high is not None else None


def voi_of(node, *, whole: bool = True) -> Voi:
    """Return the VOI of :func:`keeping`, on its whole grid or on the box around it (a CT has many voxels)."""
    return last(reading(node, whole=whole))


def reading(node, *, whole: bool = True) -> Generator[str, None, Voi]:
    """Do :func:`voi_of` in steps."""
    import SimpleITK as sitk

    box, record = (yield from images.reading(node)), json.loads(node.GetAttribute(VOI_RECORD))
    if not whole:
        return Voi(weights=box, **record)
    place = json.loads(node.GetAttribute(PLACE))
    grid = sitk.Image(place["size"], sitk.sitkFloat32)
    images.set_geometry(grid, place["origin"], place["spacing"], place["direction"])
    weights = sitk.Paste(grid, box, box.GetSize(), [0, 0, 0], place["start"])
    return Voi(weights=weights, **record)
