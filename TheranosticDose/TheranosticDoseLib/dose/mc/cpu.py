"""One batch of histories on a processor; releases the GIL, so threads run side by side."""

from __future__ import annotations

import numba
import numpy as np

from TheranosticDoseLib.dose.mc.physics import SPACING_X, SPACING_Y, SPACING_Z, history, start_random, uniform

STACK_ROWS = 64


@numba.njit(nogil=True, cache=True, error_model="numpy")
def run_batch(
    key,
    count,
    first,
    voxel_offset,
    energy_offset,
    cumulative,
    voxels,
    probability,
    low,
    width,
    kinds,
    density,
    tissue,
    electrons,
    shape,
    photons,
    scattering,
    largest,
    numbers,
    tally,
    totals,
):
    """Run ``count`` histories.

    Voxels are taken in order, each as often as its share of the activity asks
    (systematic sampling); energies follow a golden-ratio sequence.  Both start at a
    random offset, which makes each batch an independent, unbiased sample.
    """
    random = np.empty(2, np.uint64)
    stack = np.empty((STACK_ROWS, 8))
    nz, ny, nx = density.shape
    dx, dy, dz = numbers[SPACING_X], numbers[SPACING_Y], numbers[SPACING_Z]
    active = 0
    last = len(cumulative) - 1
    whole = cumulative[last]
    lines = len(probability)
    guide = np.searchsorted(probability, np.arange(1024) / 1024.0)
    for number in range(count):
        start_random(random, key, np.uint64(first + number))
        wanted = (number + voxel_offset) / count * whole
        while active < last and cumulative[active] <= wanted:
            active += 1
        cell = voxels[active]
        i = cell % nx
        j = (cell // nx) % ny
        k = cell // (nx * ny)
        r = (energy_offset + number * 0.6180339887498949) % 1.0
        line = guide[int(r * 1024)]
        while line < lines - 1 and probability[line] <= r:
            line += 1
        before = probability[line - 1] if line > 0 else 0.0
        part = (r - before) / (probability[line] - before)
        energy = low[line] + part * width[line]
        x = (i + uniform(random)) * dx
        y = (j + uniform(random)) * dy
        z = (k + uniform(random)) * dz
        history(
            random,
            stack,
            totals,
            density,
            tissue,
            electrons,
            shape,
            photons,
            scattering,
            largest,
            numbers,
            tally,
            kinds[line],
            x,
            y,
            z,
            energy,
        )
