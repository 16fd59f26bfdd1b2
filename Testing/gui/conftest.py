"""Fixtures of the GUI tests: the stand-in application, panels, clicks, pictures, the watchdog."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
QT_PACKAGES = "libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0"
MODULE_FILES = {
    "TheranosticDose": CHECKOUT / "TheranosticDose" / "TheranosticDose.py",
    "DoseSegmentation": CHECKOUT / "DoseSegmentation" / "DoseSegmentation.py",
    "SampleModule": HERE / "sample_module" / "SampleModule.py",
}
PANEL_WIDTH = 480


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


REASON = missing_qt()


def pytest_collection_modifyitems(items):
    """Mark everything here, and skip it visibly where Qt can not run."""
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.gui)
            if REASON:
                item.add_marker(pytest.mark.skip(reason=REASON))


def _make_none_immortal():
    """Keep the reference count of None from reaching zero, as Python 3.12 and later do by themselves.

    A C extension here (Qt or VTK bindings) releases None once too often per call; after many thousand calls
    Python 3.10 and 3.11 would abort at exit, when all tests have passed.
    """
    if sys.version_info < (3, 12):
        ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40


@pytest.fixture(scope="module")
def _installed():
    """In place for one file of tests, so that tests elsewhere see the wheel without an application."""
    from gui.standin import application

    _make_none_immortal()
    yield application.install()
    application.uninstall()


class _SlotErrors:
    """Exceptions in slots, which Qt swallows after printing."""

    def __init__(self):
        self.errors = []
        self._previous = sys.excepthook

    def __call__(self, kind, error, trace):
        self.errors.append(error)
        self._previous(kind, error, trace)


@pytest.fixture
def slot_errors(monkeypatch):
    """Exceptions that left a slot in this test; a test that expects some clears the list."""
    hook = _SlotErrors()
    monkeypatch.setattr(sys, "excepthook", hook)
    yield hook.errors
    assert not hook.errors, f"exceptions in slots: {hook.errors}"


@pytest.fixture
def slicer_app(_installed, slot_errors):
    """The stand-in application with an empty scene; its ``user`` and settings start fresh."""
    from gui.standin import application
    from gui.standin.own import packaging
    from gui.standin.user import user
    from PySide6 import QtCore

    application.new_scene()
    user.reset()
    packaging.requests.clear()
    QtCore.QSettings().clear()
    application.state.testing = False
    yield _installed
    for name in list(application.state.modules):
        application.unload_module(name)
    _installed.processEvents()


@pytest.fixture
def user(slicer_app):
    """What the user is told and asked (``messages``), and how the user answers (``answers``, ``paths``)."""
    from gui.standin.user import user

    return user


@pytest.fixture
def module_widget(slicer_app):
    """Return ``open(name)``: the Python widget of a module, set up and shown 480 pixels wide."""
    from gui.standin import application

    def open_module(name: str):
        path = MODULE_FILES.get(name, Path(name))
        if not path.is_file():
            pytest.skip(f"{path.name} does not exist yet")
        panel = application.load_module(path).widgetRepresentation()
        panel.resize(PANEL_WIDTH, 900)
        panel.show()
        panel.enter()
        slicer_app.processEvents()
        return panel.self()

    return open_module


@pytest.fixture
def wait_until(slicer_app):
    """Return ``wait(condition, seconds)``: run the event loop until the condition holds."""

    def wait(condition, seconds: float = 10.0, what: str = "condition"):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not come true within {seconds} s")
            slicer_app.processEvents()
            time.sleep(0.005)

    return wait


@pytest.fixture
def click(slicer_app):
    """Return ``click(widget)``: a click with the mouse; a widget the user could not click is an error."""
    from gui.actions import click as perform

    return perform


@pytest.fixture
def type_text(slicer_app):
    """Return ``type(widget, text)``: replace the text of a field with the keyboard."""
    from gui.actions import type_text as perform

    return perform


@pytest.fixture
def screenshot(slicer_app, tmp_path):
    """Return ``screenshot(widget, name, dark=False)``: the path of a PNG of the whole panel.

    Pictures go to the folder in ``THERANOSTIC_SCREENSHOTS`` where it is set, else to the test's own folder.
    """
    from gui.actions import screenshot as perform

    folder = Path(os.environ.get("THERANOSTIC_SCREENSHOTS", tmp_path))
    return lambda widget, name, dark=False, width=PANEL_WIDTH: perform(widget, folder, name, dark, width)


@pytest.fixture
def event_loop_watchdog(slicer_app):
    """Measure the longest time the event loop stood still; more than ``limit`` seconds fails the test.

    The clock is the processor time of this thread, so that other programs on a busy machine do not count.
    """
    from gui.actions import Watchdog

    watchdog = Watchdog(limit=0.2)
    watchdog.start()
    yield watchdog
    watchdog.stop()
    watchdog.check()
