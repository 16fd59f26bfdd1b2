"""The small sample module in the stand-in: loading, binding, clicking, closing, reloading."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def panel(module_widget):
    return module_widget("SampleModule")


def add_volume(slicer, name="CT", value=100):
    volume = slicer.util.addVolumeFromArray(np.full((2, 3, 4), value, np.int16))
    volume.SetName(name)
    return volume


def test_panel_is_bound_both_ways(panel, type_text):
    node = panel._parameterNode
    assert panel.ui.thresholdSlider.value == 42.0
    assert panel.ui.engineBox.currentText == "kernel"
    node.threshold = -20.5
    assert panel.ui.thresholdSlider.value == -20.5
    panel.ui.thresholdSlider.value = 7.3
    assert node.threshold == 7.3
    type_text(panel.ui.commentEdit, "late scan")
    assert node.comment == "late scan"
    panel.ui.engineBox.setCurrentText("monte carlo")
    assert node.engine == "monte carlo"


def test_disabled_button_says_why_and_can_not_be_clicked(panel, click):
    assert panel.ui.applyButton.toolTip == "Choose a volume"
    with pytest.raises(AssertionError, match="disabled: Choose a volume"):
        click(panel.ui.applyButton)


def test_click_computes(panel, click):
    import slicer

    volume = add_volume(slicer)
    panel._parameterNode.inputVolume = volume
    assert panel.ui.volumeSelector.currentNode() is volume
    click(panel.ui.applyButton)
    assert panel.ui.resultLabel.text == "24"


def test_error_reaches_the_user(panel, click, user, slot_errors):
    import slicer

    panel._parameterNode.inputVolume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    click(panel.ui.applyButton)
    assert user.texts("error") == ["Failed.\n\nthe volume is empty"]
    assert [str(error) for error in slot_errors] == ["the volume is empty"]
    slot_errors.clear()


def test_values_survive_in_the_scene(panel, tmp_path):
    import slicer

    node = panel._parameterNode
    volume = add_volume(slicer)
    node.inputVolume, node.times = volume, [4.0, 24.0]
    node.models["kidney"] = "biexponential"
    path = str(tmp_path / "scene.mrml")
    slicer.mrmlScene.SetURL(path)
    slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear(False)
    assert panel._parameterNode.times == []
    slicer.mrmlScene.Import()
    panel.enter()
    assert panel._parameterNode.times == [4.0, 24.0]
    assert panel._parameterNode.models == {"kidney": "biexponential"}
    assert panel._parameterNode.inputVolume.GetName() == "CT"


def test_removed_node_leaves_the_panel_empty(panel):
    import slicer

    volume = add_volume(slicer)
    panel._parameterNode.inputVolume = volume
    slicer.mrmlScene.RemoveNode(volume)
    assert panel.ui.volumeSelector.currentNode() is None
    assert panel._parameterNode.inputVolume is None
    assert not panel.ui.applyButton.enabled


def test_reload(panel, slicer_app):
    import slicer

    before = slicer.modules.SampleModuleWidget
    slicer.util.reloadScriptedModule("SampleModule")
    assert slicer.modules.SampleModuleWidget is not before
    slicer.modules.SampleModuleWidget.ui.commentEdit.text = "again"
    assert slicer.modules.SampleModuleWidget._parameterNode.comment == "again"


def test_generic_module_behavior(module_widget):
    from gui.generic import check_module

    module_widget("SampleModule")
    check_module("SampleModule")


def test_pictures(panel, screenshot, click):
    from PySide6 import QtGui

    for dark in (False, True):
        picture = QtGui.QImage(str(screenshot(panel.parent, "sample", dark=dark)))
        assert picture.width() == 480
        assert picture.height() > 200
    shut = QtGui.QImage(str(screenshot(panel.parent, "shut"))).height()
    click(panel.ui.advancedButton)
    assert not panel.ui.advancedButton.collapsed
    assert QtGui.QImage(str(screenshot(panel.parent, "opened"))).height() > shut


def test_keyboard_reaches_every_field(panel):
    from gui.actions import tab_order

    names = {widget.objectName for widget in tab_order(panel.parent)}
    assert {"inputsButton", "iterationsBox", "engineBox", "invertBox", "commentEdit"} <= names


def test_watchdog_sees_a_block(slicer_app, module_widget, click):
    from gui.actions import Watchdog

    panel = module_widget("SampleModule")
    watchdog = Watchdog(limit=0.05)

    def compute():
        sum(index * index for index in range(3_000_000))

    panel.ui.invertBox.connect("toggled(bool)", compute)
    watchdog.start()
    click(panel.ui.invertBox)
    watchdog.stop()
    with pytest.raises(AssertionError, match="click on invertBox"):
        watchdog.check()


def test_process_in_the_background(slicer_app, wait_until, event_loop_watchdog):
    import slicer

    lines, codes = [], []
    slicer.util.executePythonModule(
        "calendar", ["2026", "11"], blocking=False, logCallback=lines.append, completedCallback=codes.append
    )
    wait_until(lambda: codes, 20)
    assert codes == [0]
    assert any("November 2026" in line for line in lines)
