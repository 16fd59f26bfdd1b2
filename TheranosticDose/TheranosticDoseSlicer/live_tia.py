"""The TIA map, updated only where something changed.

The formula is that of ``workflow.steps.tia_map`` (a test compares them): within each VOI the
voxel-wise map is scaled to the VOI's own time-integrated activity, shared voxels take the mean factor by weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from TheranosticDoseLib.geometry import array_of, image_like, voxel_volume_ml

if TYPE_CHECKING:
    from TheranosticDoseLib.time_activity import VoxelFit
    from TheranosticDoseLib.workflow import VoiResult

ROUNDING = 1e-5
Box = tuple[slice, slice, slice]


class LiveTia:
    """The map in memory; :meth:`update` changes a box of it."""

    def __init__(self, voxels: VoxelFit, tia) -> None:
        self.grid = voxels.tia_mbq_h_ml
        self.measured = np.maximum(np.asarray(array_of(self.grid), np.float64), 0.0)
        self.array = np.array(array_of(tia), np.float32)
        self._volume_ml = voxel_volume_ml(self.grid)
        self._inside: dict[int, tuple[object, float]] = {}

    def update(
        self, results: tuple[VoiResult, ...], boxes: dict[str, Box], changed: Box, mode: str
    ) -> np.ndarray:
        """Bring the map up to date inside ``changed``; return what was added there."""
        from TheranosticDoseLib.workflow.steps import NOT_SCALED

        measured = self.measured[changed]
        change, covered = np.zeros_like(measured), np.zeros_like(measured)
        for result in results if mode == "voi" else ():
            if result.fit is None or result.voi.kind in NOT_SCALED:
                continue
            inside = self._inside_of(result, boxes[result.name])
            if inside <= 0 or not overlap(boxes[result.name], changed):
                continue
            weights = np.asarray(array_of(result.voi.weights)[changed], np.float64)
            change += weights * (result.fit.tia_mbq_h / inside - 1.0)
            covered += weights
        scaled = (measured * (1.0 + change / np.maximum(covered, 1.0))).astype(np.float32)
        added = scaled - self.array[changed]
        # Sums in another order differ in the last digits; that is no change.
        added[np.abs(added) <= ROUNDING * scaled] = 0.0
        self.array[changed] += added
        return added

    def image(self):
        """Return the map, MBq h per mL."""
        return image_like(self.array, self.grid)

    def _inside_of(self, result: VoiResult, box: Box) -> float:
        """Return the TIA of the voxel-wise map in a VOI, MBq h; remembered as long as its weights are the same."""
        weights = result.voi.weights
        known = self._inside.get(id(weights))
        if known is None or known[0] is not weights:
            part = np.asarray(array_of(weights)[box], np.float64)
            total = float(np.sum(part * self.measured[box])) * self._volume_ml
            # The image is kept with the sum, so that its identity cannot be reused.
            self._inside[id(weights)] = known = (weights, total)
        return known[1]


def overlap(first: Box, second: Box) -> bool:
    """Whether two boxes share a voxel."""
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(first, second, strict=True))


def union(boxes: list[Box]) -> Box:
    """Return the box around boxes."""
    return tuple(slice(min(b[i].start for b in boxes), max(b[i].stop for b in boxes)) for i in range(3))


def box_of(array: np.ndarray) -> Box:
    """Return the box of what is not zero."""
    slices = []
    for axis in range(3):
        inside = np.flatnonzero(array.any(axis=tuple(a for a in range(3) if a != axis)))
        slices.append(slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0))
    return tuple(slices)


def cropped(image, box: Box):
    """Return an image of a box given in array order."""
    return image[box[2].start : box[2].stop, box[1].start : box[1].stop, box[0].start : box[0].stop]
