"""The TIA map, updated only where something changed.

``workflow.steps.tia_map`` is asked again for the VOIs that share voxels, directly or by others, with what
changed, on the box around them.  Before a report is written it is asked for the whole map, see ``worker.export``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from DoseSegmentationLib.arrays import bounding_box
from TheranosticDoseLib.geometry import array_of, image_like

if TYPE_CHECKING:
    from TheranosticDoseLib.time_activity import VoxelFit
    from TheranosticDoseLib.workflow import RunSettings, VoiResult

ROUNDING = 1e-3
"""Relative change of a voxel that is no change: a fit in passes ends a little elsewhere on another box."""
Box = tuple[slice, slice, slice]


class LiveTia:
    """The map in memory; :meth:`change` says what an edit does to a box of it."""

    def __init__(self, voxels: VoxelFit, tia) -> None:
        self.voxels, self.grid = voxels, voxels.tia_mbq_h_ml
        self.array = np.array(array_of(tia), np.float32)

    def change(
        self, results: tuple[VoiResult, ...], boxes: dict[str, Box], changed: Box, settings: RunSettings
    ) -> tuple[Box, np.ndarray]:
        """Return a box, and what a change inside ``changed`` adds to the map there."""
        from TheranosticDoseLib.workflow import steps

        scaling = [r for r in results if r.fit is not None and r.voi.kind not in steps.NOT_SCALED]
        group = _group(scaling, boxes, changed)
        box = union([changed, *(boxes[result.name] for result in group)])
        small = dataclasses.replace(self.voxels, tia_mbq_h_ml=cropped(self.grid, box))
        inside = tuple(
            dataclasses.replace(r, voi=dataclasses.replace(r.voi, weights=cropped(r.voi.weights, box)))
            for r in group
        )
        image, _ = steps.tia_map(small, inside, settings)
        added = array_of(image) - self.array[box]
        for result in scaling:
            if result not in group and overlap(boxes[result.name], box):
                # Voxels of a VOI that nothing reached keep what they have.
                added[array_of(result.voi.weights)[box] > 0] = 0.0
        added[np.abs(added) <= ROUNDING * self.array[box]] = 0.0
        return box, added

    def image(self):
        """Return the map, MBq h per mL."""
        return image_like(self.array, self.grid)


def _group(results: list[VoiResult], boxes: dict[str, Box], changed: Box) -> list[VoiResult]:
    """Return the VOIs with voxels in a box, and those that share voxels with one of them, and so on."""
    group = [r for r in results if overlap(boxes[r.name], changed) and array_of(r.voi.weights)[changed].any()]
    rest = [result for result in results if result not in group]
    reached = list(group)
    while reached:
        current = reached.pop()
        for result in list(rest):
            if _share(current, result, boxes):
                rest.remove(result)
                group.append(result)
                reached.append(result)
    return group


def _share(first: VoiResult, second: VoiResult, boxes: dict[str, Box]) -> bool:
    if not overlap(boxes[first.name], boxes[second.name]):
        return False
    both = tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(boxes[first.name], boxes[second.name], strict=True)
    )
    return bool(np.any((array_of(first.voi.weights)[both] > 0) & (array_of(second.voi.weights)[both] > 0)))


def overlap(first: Box, second: Box) -> bool:
    """Whether two boxes share a voxel."""
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(first, second, strict=True))


def union(boxes: list[Box]) -> Box:
    """Return the box around boxes."""
    return tuple(slice(min(b[i].start for b in boxes), max(b[i].stop for b in boxes)) for i in range(3))


def box_of(array: np.ndarray) -> Box:
    """Return the box of what is not zero; one without voxels where all is."""
    return bounding_box(array) if array.any() else (slice(0, 0),) * 3


def cropped(image, box: Box):
    """Return an image of a box given in array order."""
    return image[box[2].start : box[2].stop, box[1].start : box[1].stop, box[0].start : box[0].stop]
