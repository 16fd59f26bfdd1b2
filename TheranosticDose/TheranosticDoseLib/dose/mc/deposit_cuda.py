"""Adding energy to a tally on a CUDA device; all threads share it."""

from __future__ import annotations

from numba import cuda


@cuda.jit(device=True)
def deposit(tally, index, energy):
    """Add ``energy`` to ``tally[index]`` atomically."""
    cuda.atomic.add(tally, index, energy)
