"""The modules ``qt`` and ``ctk`` as scripts in Slicer import them."""

from __future__ import annotations

import types

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from .classes import standin, standins
from .ui_loader import UiLoader

# What PySide6 has and PythonQt has not (or not in this shape).
_ABSENT = {"Signal", "Slot", "Property", "ClassInfo", "SignalInstance", "QEnum", "QFlag", "__doc__"}


class QtModule(types.ModuleType):
    """All Qt modules in one namespace, looked up when asked for."""

    def __getattr__(self, name):
        if name == "QUiLoader":
            return UiLoader
        if name not in _ABSENT and not name.startswith("_"):
            for module in (QtCore, QtGui, QtWidgets, QtUiTools):
                found = getattr(module, name, None)
                if found is not None:
                    return found
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


class CtkModule(types.ModuleType):
    """The CTK classes that ``qt-surface.json`` lists."""

    def __getattr__(self, name):
        if name.startswith("ctk"):
            return standin(name)
        raise AttributeError(f"module 'ctk' has no attribute '{name}'")

    def __dir__(self):
        return standins("ctk")
