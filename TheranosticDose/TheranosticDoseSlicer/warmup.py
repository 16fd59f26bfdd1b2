"""Import what the steps need before they are used, so that the panel does not stand still for it."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import threading
import time
from pathlib import Path

MODULES = (
    "TheranosticDoseLib.workflow",
    "TheranosticDoseLib.dose.cnn_pvc",
    "TheranosticDoseLib.dose.gate",
    "TheranosticDoseLib.dose.led",
    "TheranosticDoseLib.dose.mc",
    "SimpleITK",
    "scipy.optimize",
    "scipy.stats",
    "scipy.ndimage",
    "scipy.fft",
    "TheranosticDoseLib.voi_tools",
    "TheranosticDoseLib.quantification",
    "TheranosticDoseLib.time_activity",
    "TheranosticDoseLib.radiobiology",
    "TheranosticDoseLib.dvh",
    "TheranosticDoseLib.dose.vsv",
    "TheranosticDoseLib.dose.vsv_density",
)
_YIELD_S = 0.015
_LIBRARIES = (".so", ".pyd", ".dll")
_thread: threading.Thread | None = None


def start() -> None:
    """Begin to import in another thread; once."""
    global _thread
    if _thread is None:
        _thread = threading.Thread(target=_import_all, daemon=True)
        _thread.start()


def let_it_run() -> bool:
    """Give the thread some time, and return whether it still runs: inside Slicer it only runs while this one sleeps."""
    running = _thread is not None and _thread.is_alive()
    if running:
        time.sleep(_YIELD_S)
    return running


def done() -> bool:
    """Whether all is imported."""
    return _thread is not None and not _thread.is_alive()


def _import_all() -> None:
    _read_ahead("SimpleITK")
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            # An engine that is not installed here; the step that needs it says so.
            logging.debug("%s was not imported: %s", name, error)


def _read_ahead(package: str) -> None:
    """Read the libraries of a package, so that loading them, during which no other thread runs, waits for no disk."""
    spec = importlib.util.find_spec(package)
    chunk = bytearray(1 << 20)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for file in Path(folder).iterdir():
            if file.suffix in _LIBRARIES:
                with contextlib.suppress(OSError), file.open("rb", buffering=0) as stream:
                    while stream.readinto(chunk):
                        pass
