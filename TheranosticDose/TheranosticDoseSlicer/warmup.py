"""Import what the first update needs before it begins, so that the panel does not stand still for it."""

from __future__ import annotations

import importlib
import logging
import threading
import time

MODULES = (
    "SimpleITK",
    "scipy.optimize",
    "scipy.stats",
    "scipy.ndimage",
    "scipy.fft",
    "TheranosticDoseLib.workflow",
    "TheranosticDoseLib.voi_tools",
    "TheranosticDoseLib.quantification",
    "TheranosticDoseLib.time_activity",
    "TheranosticDoseLib.radiobiology",
    "TheranosticDoseLib.dvh",
    "TheranosticDoseLib.dose.vsv",
    "TheranosticDoseLib.dose.vsv_density",
)
_YIELD_S = 0.015
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


def _import_all() -> None:
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            # An engine that is not installed here; the step that needs it says so.
            logging.debug("%s was not imported: %s", name, error)
