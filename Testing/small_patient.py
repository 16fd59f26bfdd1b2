"""A small virtual patient for the tests: 64x64x48 voxels of 6 mm, four time points, a few seconds."""

from __future__ import annotations

import functools

from TheranosticDoseLib.phantom import PhantomSettings, VirtualPatient, virtual_patient

SMALL = PhantomSettings(
    spect_size=(64, 64, 48),
    spect_spacing_mm=6.0,
    refinement=1,
    ct_size=(96, 96),
    ct_field_mm=450.0,
    ct_slice_mm=6.0,
    truth_engine="led",
)


@functools.lru_cache(maxsize=4)
def small_patient(seed: int = 0) -> VirtualPatient:
    """Return the small patient of a seed; made once per process.  Do not change its images."""
    return virtual_patient(seed, SMALL)
