"""Whether Qt and the wheel of Slicer can run here; nothing of them is imported before this was asked."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

QT_PACKAGES = "libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0"


def missing_qt() -> str:
    """Return why Qt can not run here, or an empty text."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "0x0E")
    try:
        import PySide6.QtUiTools
        import PySide6.QtWidgets  # noqa: F401

        error = missing_library(Path(PySide6.__file__).parent)
    except ModuleNotFoundError:
        return "PySide6 is not installed (pip install .[slicer-test])"
    except ImportError as raised:
        error = str(raised)
    if error:
        return f"Qt's system libraries are missing ({error}); on Debian: apt-get install {QT_PACKAGES}"
    try:
        import slicer  # noqa: F401
    except ImportError:
        return "the slicer-core wheel is not installed (pip install .[slicer-test])"
    return ""


def missing_library(pyside: Path) -> str:
    """Return which library the offscreen platform lacks: without this, Qt would end the whole test run."""
    for plugin in pyside.glob("Qt/plugins/platforms/libqoffscreen.so"):
        try:
            ctypes.CDLL(str(plugin))
        except OSError as error:
            return str(error)
    return ""


def make_none_immortal():
    """Keep the reference count of None from reaching zero, as Python 3.12 and later do by themselves.

    A C extension here (Qt or VTK bindings) releases None once too often per call; after many thousand calls
    Python 3.10 and 3.11 would abort at exit, when all tests have passed.
    """
    if sys.version_info < (3, 12):
        ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40
