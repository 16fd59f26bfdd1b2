"""Convolution with a kernel of long reach, quick and nearly exact: what follows the mouse.

The kernel is parted into what is near, which is convolved on the voxels, and what is far and therefore smooth,
which is convolved on blocks of voxels and interpolated.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from DoseSegmentationLib.arrays import bounding_box

from TheranosticDoseLib.dose.blocks import block_sums, spread
from TheranosticDoseLib.dose.kernels.convolve import convolve, convolve_box

if TYPE_CHECKING:
    from TheranosticDoseLib.dose.kernels.voxel import VoxelKernel

BLOCK = 2
"""Voxels per block and axis."""
NEAR, FAR = 5.0, 10.0
"""From all near to all far, in the largest edge of a voxel."""
SMALL = 80**3
"""Grids up to this many voxels are convolved exactly, which is quick enough there."""


@functools.lru_cache(maxsize=4)
def two_scale(kernel: VoxelKernel, part: str) -> TwoScale:
    """Return the convolution with a part of a kernel, ``photon_kev`` or ``energy_kev``; the last are kept."""
    return TwoScale(getattr(kernel, part), kernel.spacing_mm)


class TwoScale:
    """Convolution with one kernel.

    Parameters
    ----------
    octant : ndarray (z, y, x)
        Kernel at offsets from zero up.
    spacing_mm : tuple of float
        (x, y, z).
    """

    def __init__(self, octant: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
        self.octant = octant
        step = np.array(spacing_mm[::-1])
        squares = [(np.arange(n) * s / step.max()) ** 2 for n, s in zip(octant.shape, step, strict=True)]
        distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
        along = np.clip((distance - NEAR) / (FAR - NEAR), 0.0, 1.0)
        share = np.where(along < 1.0, np.cos(0.5 * np.pi * along) ** 2, 0.0)
        self.near = (octant * share)[bounding_box(share)]
        self.far = _of_blocks(octant * (1.0 - share))

    def __call__(self, source: np.ndarray) -> np.ndarray:
        """Return the convolution on the grid of ``source``, float32 ``(z, y, x)``; it may be negative in places."""
        if source.size <= SMALL:
            return convolve(source, self.octant)
        filled = source != 0
        if not filled.any():
            return np.zeros(source.shape, np.float32)
        box, blocks = bounding_box(filled), (BLOCK,) * 3
        coarse = tuple(slice(s.start // BLOCK, -(-s.stop // BLOCK)) for s in box)
        whole = source[tuple(slice(BLOCK * s.start, BLOCK * s.stop) for s in coarse)].astype(np.float32)
        sums = block_sums(whole, blocks)
        shape = tuple(-(-n // BLOCK) for n in source.shape)
        far = np.zeros(shape, np.float32)
        reached, values = convolve_box(sums, coarse, shape, self.far)
        far[reached] = values
        result = spread(far, blocks, source.shape)
        reached, values = convolve_box(source[box], box, source.shape, self.near)
        result[reached] += values
        return result


def _of_blocks(octant: np.ndarray) -> np.ndarray:
    """Return the mean of a kernel over all pairs of voxels of two blocks, by the offset of the blocks."""
    for axis, size in enumerate(octant.shape):
        octant = np.moveaxis(octant, axis, 0)
        last = np.arange(0, size, BLOCK)
        # Of the pairs of two blocks a quarter each is one voxel nearer and farther than the blocks.
        sides = octant[np.minimum(np.abs(last - 1), size - 1)] + octant[np.minimum(last + 1, size - 1)]
        octant = np.moveaxis(0.5 * octant[last] + 0.25 * sides, 0, axis)
    return octant
