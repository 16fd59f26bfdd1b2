"""One source of the transport, two machines.

``physics.py`` decorates its functions with :func:`device` and adds energy with
:func:`deposit_function`.  Imported the ordinary way they are compiled for the processor
by numba; :func:`cuda_physics` executes the same file once more with both names
meaning the CUDA versions.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import types

_target = "cpu"


def device(function: Any) -> Any:
    """Compile a function of the transport for the machine at hand."""
    if _target == "cuda":
        from numba import cuda

        return cuda.jit(device=True)(function)
    import numba

    # Nothing is allocated inside, so no references need counting: it would cost a fifth of the time,
    # more where two threads count the same array.
    return numba.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)(function)


def deposit_function() -> Any:
    """Return ``deposit(tally, index, energy)``: plain on a processor, atomic on a GPU."""
    if _target == "cuda":
        from TheranosticDoseLib.dose.mc.deposit_cuda import deposit
    else:
        from TheranosticDoseLib.dose.mc.deposit import deposit
    return deposit


@functools.lru_cache(maxsize=1)
def cuda_physics() -> types.ModuleType:
    """Return ``physics.py`` compiled for CUDA devices."""
    global _target
    path = Path(__file__).with_name("physics.py")
    spec = importlib.util.spec_from_file_location("TheranosticDoseLib.dose.mc.physics_cuda", path)
    module = importlib.util.module_from_spec(spec)
    _target = "cuda"
    try:
        spec.loader.exec_module(module)
    finally:
        _target = "cpu"
    return module
