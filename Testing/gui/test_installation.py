"""The stand-in goes without a trace and can come again."""

from __future__ import annotations

import sys


def test_installed_twice_and_gone(tmp_path):
    import slicer
    from gui.standin import application

    for _ in range(2):
        application.install()
        import ctk
        import qt

        assert slicer.app.testingEnabled() is False
        label = qt.QLabel("x")
        assert label.text == "x"
        assert ctk.ctkSliderWidget().value == 0.0
        del label
        application.uninstall()
        assert not {"qt", "ctk", "slicer.ScriptedLoadableModule", "slicer.parameterNodeWrapper"} & set(
            sys.modules
        )
        for name in ("app", "modules", "qMRMLNodeComboBox", "parameterNodeWrapper"):
            assert not hasattr(slicer, name), name

    from PySide6 import QtWidgets

    assert QtWidgets.QLabel("x").text() == "x"
