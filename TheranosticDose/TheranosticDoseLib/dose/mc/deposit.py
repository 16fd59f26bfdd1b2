"""Adding energy to a tally on a processor; each thread owns its tally."""

from __future__ import annotations

import numba


@numba.njit(nogil=True, cache=True, _nrt=False)
def deposit(tally, index, energy):
    """Add ``energy`` to ``tally[index]``."""
    tally[index] += energy
