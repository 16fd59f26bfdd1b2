"""The same histories on a CUDA device: one thread walks through its share of a batch.

The random numbers of a history do not depend on the machine; sums differ from the
processor's only by rounding, because the order of atomic additions is free.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import cuda, float64, uint64

THREADS_PER_BLOCK = 64
LARGEST_GRID = 65536  # threads side by side


@functools.lru_cache(maxsize=1)
def _kernel() -> Any:
    """Return the CUDA kernel; compiled at its first launch."""
    from TheranosticDoseLib.dose.mc.target import cuda_physics

    physics = cuda_physics()
    emit, start_random, rows = physics.emit, physics.start_random, physics.STACK_ROWS
    world_type, source_type = physics.World, physics.Source

    @cuda.jit
    def kernel(
        key,
        count,
        offsets,
        cumulative,
        voxels,
        probability,
        low,
        width,
        kinds,
        guide,
        cells,
        bounds,
        electrons,
        brems_shape,
        photons,
        scattering,
        largest,
        numbers,
        tally,
        sums,
    ):
        random = cuda.local.array(2, uint64)
        stack = cuda.local.array((rows, 8), float64)
        totals = cuda.local.array(8, float64)
        for column in range(8):
            totals[column] = 0.0
        world = world_type(cells, bounds, electrons, brems_shape, photons, scattering, largest, numbers)
        source = source_type(cumulative, voxels, probability, low, width, kinds, guide)
        threads = cuda.gridsize(1)
        thread = cuda.grid(1)
        # Neighbouring histories on one thread, so that the source is searched once.
        share = (count + threads - 1) // threads
        active = -1
        for number in range(thread * share, min(count, (thread + 1) * share)):
            start_random(random, key[0], uint64(number))
            active = emit(random, stack, totals, world, tally, source, number, count, offsets, active)
        for column in range(3):
            cuda.atomic.add(sums, column, totals[column])

    return kernel


@functools.lru_cache(maxsize=1)
def _resident() -> dict[int, Any]:
    """Arrays that stay on the device between batches, by identity."""
    return {}


def _on_device(array: np.ndarray) -> Any:
    """Return the device copy of an array; the host array is kept with it, so its identity stays taken."""
    known = _resident()
    if id(array) not in known:
        if len(known) > 64:
            known.clear()
        known[id(array)] = (array, cuda.to_device(np.ascontiguousarray(array)))
    return known[id(array)][1]


def run_batch(
    key: np.uint64, count: int, offsets: np.ndarray, source: Any, world: Any, tally: np.ndarray, totals: Any
) -> None:
    """Run one batch; adds to ``tally`` and ``totals`` like the processor's ``run_batch``."""
    arrays = [_on_device(a) for a in source] + [_on_device(a) for a in world[:-1]]
    on_tally, on_totals = cuda.to_device(tally), cuda.to_device(np.zeros(3))
    threads = min(LARGEST_GRID, -(-count // 4))
    blocks = max(1, -(-threads // THREADS_PER_BLOCK))
    _kernel()[blocks, THREADS_PER_BLOCK](
        cuda.to_device(np.array([key], np.uint64)),
        count,
        cuda.to_device(offsets),
        *arrays,
        cuda.to_device(world.numbers),
        on_tally,
        on_totals,
    )
    on_tally.copy_to_host(tally)
    totals[:3] += on_totals.copy_to_host()
