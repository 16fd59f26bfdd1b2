"""Fixtures of the GUI tests: the stand-in application, panels, clicks, pictures, the watchdog."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from gui.qt_missing import make_none_immortal, missing_qt

HERE = Path(__file__).resolve().parent


REASON = missing_qt()


def pytest_collection_modifyitems(items):
    """Mark everything here, and skip it visibly where Qt can not run."""
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.gui)
            if REASON:
                item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(scope="module")
def _installed():
    """In place for one file of tests, so that tests elsewhere see the wheel without an application."""
    from gui.standin import application

    make_none_immortal()
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
    from gui.way import open_panel

    return open_panel


@pytest.fixture
def wait_until(slicer_app):
    """Return ``wait(condition, seconds)``: run the event loop until the condition holds."""

    from gui.actions import wait_until as wait

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

    # The test may change the current folder.
    folder = Path(os.environ.get("THERANOSTIC_SCREENSHOTS", tmp_path)).resolve()
    return lambda widget, name, dark=False, width=480: perform(widget, folder, name, dark, width)


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
