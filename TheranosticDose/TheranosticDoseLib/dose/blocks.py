"""Blocks of voxels: what is smooth needs no voxel of its own."""

from __future__ import annotations

import numpy as np


def block_sums(values: np.ndarray, blocks: tuple[int, int, int]) -> np.ndarray:
    """Return the sums over blocks of voxels; the last of an axis may hold fewer."""
    for axis, size in enumerate(blocks):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], size), axis=axis)
    return values


def block_means(values: np.ndarray, blocks: tuple[int, int, int]) -> np.ndarray:
    """Return the means over blocks of voxels; the last of an axis may hold fewer."""
    means = block_sums(values, blocks)
    for axis, size in enumerate(blocks):
        counts = np.full(means.shape[axis], size, np.float32)
        counts[-1] = values.shape[axis] - size * (counts.size - 1)
        shape = [1, 1, 1]
        shape[axis] = -1
        means = means / counts.reshape(shape)
    return means


def spread(coarse: np.ndarray, blocks: tuple[int, int, int], shape: tuple[int, int, int]) -> np.ndarray:
    """Return values of blocks at the voxels, linear between the centers of blocks, float32."""
    values = coarse.astype(np.float32)
    for size, many in zip(blocks, shape, strict=True):
        place = (np.arange(many) + 0.5) / size - 0.5
        nodes = np.arange(values.shape[0])
        weight = np.array([np.interp(place, nodes, row) for row in np.eye(nodes.size)], np.float32)
        # The first axis is done and goes to the end; after three the order is what it was.
        values = np.tensordot(values, weight, axes=(0, 0))
    return values
