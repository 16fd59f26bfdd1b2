"""A dose network over a whole grid: tiles with overlap, mirror images, memory that is bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from TheranosticDoseLib.dose.cnn.network import FALLBACK, DoseNetwork, correction_of
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.progress import Progress, report

MARGIN = 12
"""Voxels that neighbouring tiles share on each side; the field of view of the network is about that."""
SMALLEST_TILE = 32
BYTES_PER_VOXEL_AND_FEATURE = 40
"""Measured: peak memory of a tile over voxels times width of the first level."""


def predict(
    network: Any,
    description: DoseNetwork,
    channels: np.ndarray,
    *,
    flips: int = 1,
    device: str = "cpu",
    memory_mb: float = 3000.0,
    half: bool = True,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor on the kernel dose and its relative standard uncertainty, float32 ``(z, y, x)``.

    Parameters
    ----------
    network : torch.nn.Module
    description : DoseNetwork
    channels : ndarray of float32, shape (channel, z, y, x)
    flips : int
        1 to 8 mirror images whose mean (of the logarithm) is taken; their scatter adds to the uncertainty.
    device : str
        ``cpu`` or ``cuda``.
    memory_mb : float
        Bound for the activations; larger grids go in tiles.
    half : bool
        Half precision on a CUDA device.
    progress : callable, optional

    Raises
    ------
    InputError
        Where memory runs out even with the smallest tile.
    """
    from DoseSegmentationLib.inference import out_of_memory

    tile = tile_side(memory_mb, description.features[0])
    while True:
        try:
            return _run(network, description, channels, tile, flips, device, half, progress)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if tile <= SMALLEST_TILE:
                raise InputError(
                    f"Memory ran out on {device} even with tiles of {tile} voxels; close other programs or "
                    f"crop the grid. {FALLBACK}"
                ) from error
            tile = max(SMALLEST_TILE, tile // 2 // 8 * 8)


def tile_side(memory_mb: float, width: int) -> int:
    """Return the side of the largest tile, a multiple of 8, that the memory holds."""
    voxels = memory_mb * 1e6 / (BYTES_PER_VOXEL_AND_FEATURE * width)
    return max(SMALLEST_TILE, int(voxels ** (1 / 3)) // 8 * 8)


def _run(network, description, channels, tile, flips, device, half, progress):
    import torch

    shape = channels.shape[1:]
    logarithm = np.zeros((flips, *shape), np.float32)
    variance = np.zeros(shape, np.float32)
    places = list(_tiles(shape, tile, description.factor))
    step = _Steps(progress, len(places) * flips)
    network = network.to(device=device, memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        for inner, outer in places:
            block = torch.from_numpy(np.ascontiguousarray(channels[(slice(None), *outer)]))[None].to(device)
            keep = tuple(
                slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
            )
            for number in range(flips):
                step()
                axes = [axis + 2 for axis in range(3) if number >> (2 - axis) & 1]
                factor, relative = _one(network, description, block, axes, half and device != "cpu")
                logarithm[(number, *inner)] = np.log(factor[keep])
                variance[inner] += relative[keep] ** 2 / flips
    spread = logarithm.var(0, ddof=1) if flips > 1 else 0.0
    factor = np.exp(shrunk(logarithm.mean(0), description.dead_zone))
    return factor, np.sqrt(variance + spread).astype(np.float32)


def shrunk(logarithm: np.ndarray, dead_zone: float) -> np.ndarray:
    """Return logarithms drawn towards zero by ``dead_zone``; those that are smaller become zero."""
    return np.sign(logarithm) * np.maximum(np.abs(logarithm) - np.float32(dead_zone), np.float32(0.0))


def _one(network, description, block, axes, half: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return factor and relative uncertainty of one mirror image, on the CPU and turned back."""
    import torch

    turned, shape = block.flip(axes) if axes else block, block.shape[2:]
    pads = [(-n) % description.factor for n in shape]
    padded = torch.nn.functional.pad(turned, [0, pads[2], 0, pads[1], 0, pads[0]], mode="replicate")
    with torch.autocast("cuda", torch.float16, enabled=half):
        raw = network(padded.contiguous(memory_format=torch.channels_last_3d))
    raw = raw[:, :, : shape[0], : shape[1], : shape[2]].float()
    raw = raw.flip(axes) if axes else raw
    factor, relative = correction_of(raw, description.bound)
    return factor[0].cpu().numpy(), relative[0].cpu().numpy()


def _tiles(shape: tuple[int, ...], tile: int, factor: int):
    """Yield what is kept and what is computed of each tile; starts are multiples of ``factor``.

    The pooling of the network then falls on the same voxels in every tile.
    """
    ranges = []
    for size in shape:
        if size <= tile:
            ranges.append([(slice(0, size), slice(0, size))])
            continue
        core = max(factor, (tile - 2 * MARGIN) // factor * factor)
        axis = []
        for start in range(0, size, core):
            stop = min(start + core, size)
            axis.append((slice(start, stop), slice(max(0, start - MARGIN), min(size, stop + MARGIN))))
        ranges.append(axis)
    for z in ranges[0]:
        for y in ranges[1]:
            for x in ranges[2]:
                yield tuple(pair[0] for pair in (z, y, x)), tuple(pair[1] for pair in (z, y, x))


def _Steps(progress: Progress | None, total: int) -> Callable[[], None]:  # noqa: N802
    done = [0]

    def step() -> None:
        report(progress, done[0] / total, f"Network: tile {done[0] + 1} of {total}")
        done[0] += 1

    return step
