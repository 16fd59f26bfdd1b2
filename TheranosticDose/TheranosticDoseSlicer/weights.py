"""Exact VOI weights in the scene: cropped to where they are not zero, restored to their whole grid."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from TheranosticDoseLib.study import Voi

from TheranosticDoseSlicer import exchange, images

if TYPE_CHECKING:
    pass

RIM = 3
DIGEST, PLACE, VOI_RECORD = "TheranosticDose.Digest", "TheranosticDose.Place", "TheranosticDose.Voi"


def node_from(voi: Voi, digest: str = "", node=None):
    """Return a hidden volume node that holds the weights of a VOI; ``None`` where they are all zero."""
    import SimpleITK as sitk

    inside = np.argwhere(sitk.GetArrayViewFromImage(voi.weights) > 0)
    if len(inside) == 0:
        return None
    size = np.array(voi.weights.GetSize())
    # With a rim of zeros, so that an interpolation at the edge of the box is that of the whole image.
    low = np.maximum(inside.min(axis=0)[::-1] - RIM, 0)
    high = np.minimum(inside.max(axis=0)[::-1] + 1 + RIM, size)
    box = voi.weights[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
    node = images.volume_from(box, f"Weights of {voi.name}", None, node)
    node.SetHideFromEditors(True)
    place = {
        "start": [int(value) for value in low],
        "size": list(voi.weights.GetSize()),
        "origin": list(voi.weights.GetOrigin()),
        "spacing": list(voi.weights.GetSpacing()),
        "direction": list(voi.weights.GetDirection()),
    }
    node.SetAttribute(DIGEST, digest)
    node.SetAttribute(PLACE, json.dumps(place))
    node.SetAttribute(VOI_RECORD, json.dumps(exchange.voi_record(voi)))
    return node


def voi_of(node, *, whole: bool = True) -> Voi:
    """Return the VOI of :func:`node_from`, on its whole grid or on the box around it (a CT has many voxels)."""
    import SimpleITK as sitk

    if not whole:
        return Voi(weights=images.image_of(node), **json.loads(node.GetAttribute(VOI_RECORD)))
    place = json.loads(node.GetAttribute(PLACE))
    grid = sitk.Image(place["size"], sitk.sitkFloat32)
    images.set_geometry(grid, place["origin"], place["spacing"], place["direction"])
    box = images.image_of(node)
    weights = sitk.Paste(grid, box, box.GetSize(), [0, 0, 0], place["start"])
    return Voi(weights=weights, **json.loads(node.GetAttribute(VOI_RECORD)))
