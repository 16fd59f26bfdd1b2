"""The panel of Dose Segmentation with mouse and keyboard, alone and together with Theranostic Dose."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

CHECKOUT = Path(__file__).resolve().parents[2]
UI = CHECKOUT / "DoseSegmentation" / "Resources" / "UI" / "DoseSegmentation.ui"
PATIENCE_S = 120


def hot_ball() -> tuple[sitk.Image, int]:
    """A ball of 1 MBq/mL in a warm background, and its number of voxels."""
    z, y, x = np.ogrid[:40, :40, :40]
    inside = (z - 20) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 <= 8**2
    image = sitk.GetImageFromArray(np.where(inside, 1e6, 1e3).astype(np.float32))
    image.SetSpacing((4.0, 4.0, 4.0))
    image.SetOrigin((-80.0, -80.0, -80.0))
    return image, int(inside.sum())


@pytest.fixture
def panel(module_widget):
    return module_widget("DoseSegmentation")


def wait_for_tool(panel, wait_until) -> None:
    wait_until(lambda: panel.bar.task is not None and not panel.bar.busy, PATIENCE_S, "tool")


def test_a_lesion_from_an_empty_scene(panel, click, type_text, wait_until, user) -> None:
    from gui.actions import choose
    from TheranosticDoseSlicer import images, segments

    assert not panel.ui.runButton.enabled
    assert panel.ui.runButton.toolTip == "Choose a SPECT."
    image, voxels = hot_ball()
    images.volume_from(image, "SPECT 24h", "spect_bq_ml")
    choose(panel.ui.spectSelector, "SPECT 24h")
    type_text(panel.ui.nameEdit, "Lesion liver 1")
    type_text(panel.ui.percentBox, "50")
    click(panel.ui.runButton)
    wait_for_tool(panel, wait_until)
    assert user.texts("error") == []
    [segment] = segments.read_segments(panel._parameterNode.segmentation)[0]
    assert int(sitk.GetArrayFromImage(segment.mask).sum()) == voxels
    assert (segment.name, segment.kind) == ("Lesion liver 1", "lesion")
    assert panel.ui.editorWidget.segmentationNode() is panel._parameterNode.segmentation


def test_a_seed_chooses_between_two_lesions(panel, click, wait_until) -> None:
    import slicer
    from TheranosticDoseSlicer import images, segments

    values = np.full((30, 30, 60), 1e3, np.float32)
    values[10:15, 10:15, 10:15] = 1e6
    values[10:20, 10:20, 40:50] = 4e5
    node = panel._parameterNode
    node.spect = images.volume_from(sitk.GetImageFromArray(values), "SPECT", "spect_bq_ml")
    seed = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Seed")
    seed.AddControlPoint(-45.0, -15.0, 15.0)
    node.seed = seed
    node.radiusMm = 10.0
    click(panel.ui.runButton)
    wait_for_tool(panel, wait_until)
    [segment] = segments.read_segments(node.segmentation)[0]
    assert int(sitk.GetArrayFromImage(segment.mask).sum()) == 1000


def test_a_seed_that_follows_the_mouse_is_not_placed_yet(slicer_app) -> None:
    import slicer
    from TheranosticDoseSlicer.segmentation_tools import seed_of

    seed = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Seed")
    seed.AddControlPoint(1.0, 2.0, 3.0)
    seed.AddControlPoint(7.0, 8.0, 9.0)
    seed.SetNthControlPointPosition(1, 7.0, 8.0, 9.0, seed.PositionPreview)
    assert seed_of(seed) == (1.0, 2.0, 3.0)
    seed.UnsetNthControlPointPosition(0)
    assert seed_of(seed) is None


def test_leaving_the_module_ends_drawing_and_placing(panel, click) -> None:
    from gui.standin.classes import calls
    from TheranosticDoseSlicer import images

    panel._parameterNode.spect = images.volume_from(hot_ball()[0], "SPECT", "spect_bq_ml")
    click(panel.ui.seedButton)
    editor = panel.ui.editorWidget
    calls(editor).clear()
    panel.parent.exit()
    assert panel.toolPanel._placing is None
    assert ("setActiveEffectByName", ("",)) in calls(editor)
    assert [name for name, _arguments in calls(editor) if "Shortcuts" in name] == [
        "uninstallKeyboardShortcuts"
    ]
    panel.parent.enter()
    assert panel.toolPanel.parameters is panel._parameterNode
    assert calls(editor)[-1][0] != "uninstallKeyboardShortcuts"


def test_bad_input_is_one_sentence(panel, click, wait_until, user) -> None:
    from TheranosticDoseSlicer import images

    empty = sitk.Image((10, 10, 10), sitk.sitkFloat32)
    panel._parameterNode.spect = images.volume_from(empty, "SPECT", "spect_bq_ml")
    click(panel.ui.runButton)
    wait_for_tool(panel, wait_until)
    [text] = user.texts("error")
    assert "no positive value" in text
    assert panel.ui.messageLabel.text == text
    assert panel.ui.runButton.enabled


def test_closing_the_scene_stops_the_tool(panel, click) -> None:
    import slicer
    from TheranosticDoseSlicer import images

    panel._parameterNode.spect = images.volume_from(hot_ball()[0], "SPECT", "spect_bq_ml")
    click(panel.ui.runButton)
    task = panel.bar.task
    slicer.mrmlScene.Clear(0)
    assert not task.running
    assert task.folder is None or not task.folder.exists()
    assert not panel.ui.runButton.enabled


def test_the_tools_of_the_panel_are_those_of_the_logic(panel) -> None:
    from TheranosticDoseSlicer.segmentation_tools import Tool

    chosen = type(panel._parameterNode.tool)
    assert {tool.name: tool.value for tool in chosen} == {tool.name: tool.value for tool in Tool}


def test_every_parameter_is_bound_and_every_binding_is_a_parameter(panel) -> None:
    bound = {
        prop.findtext("string")
        for prop in ET.parse(UI).iter("property")
        if prop.get("name") == "SlicerParameterName"
    }
    assert bound == set(type(panel._parameterNode).__annotations__)


def test_every_node_selector_and_table_follows_the_scene() -> None:
    tree = ET.parse(UI)
    widgets = {
        widget.get("name")
        for widget in tree.iter("widget")
        if widget.get("class") in ("qMRMLNodeComboBox", "qMRMLTableView")
    }
    connected = {
        connection.findtext("receiver")
        for connection in tree.iter("connection")
        if connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    assert {"petSelector", "petCtSelector", "matchingTable"} <= widgets <= connected


def test_width_and_palettes(panel, screenshot) -> None:
    assert panel.parent.minimumSizeHint.width() <= 480
    from .test_theranostic_dose_pictures import with_caption

    for dark in (False, True):
        assert with_caption(screenshot(panel.parent, "segmentation-module", dark=dark)).is_file()


def test_the_test_inside_slicer_passes_here(panel) -> None:
    from TheranosticDoseSlicer import in_slicer_test

    def almost_equal(found: float, expected: float) -> None:
        assert found == pytest.approx(expected)

    in_slicer_test.hot_ball(panel.logic, almost_equal)


def test_generic_checks_of_slicer(panel) -> None:
    from gui.generic import check_module

    check_module("DoseSegmentation")


def registered_case(image, offset):
    """A case of two time points between which the patient moved, with one lesion."""
    from TheranosticDoseLib.registration import RegisteredStudy
    from TheranosticDoseLib.study import Acquisition, Administration, Study, Voi
    from TheranosticDoseSlicer import dose_nodes, study_nodes
    from TheranosticDoseSlicer.case import Case

    scans = tuple(Acquisition(label, hours, image) for label, hours in (("4h", 4.0), ("24h", 24.0)))
    study = Study(Administration(), scans)
    shift = sitk.TranslationTransform(3, offset)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    registered = RegisteredStudy(study, "24h", image, None, (image, image), (shift, identity), ({}, {}))
    case = Case.create()
    mask = sitk.Cast(image > 1e5, sitk.sitkFloat32)
    for step in (
        study_nodes.load(case, study),
        dose_nodes.load_registered(case, registered, {"4h": "BQML", "24h": "BQML"}),
        dose_nodes.load_vois(case, (Voi("Lesion", mask, kind="lesion"),)),
    ):
        for _ in step:
            pass
    return case, shift, mask


@pytest.mark.parametrize("redraw", [False, True])
def test_copies_for_the_other_time_points_follow_the_registration(
    panel, click, user, wait_until, redraw: bool
) -> None:
    from TheranosticDoseSlicer import images, segments, tables

    image, voxels = hot_ball()
    # A segment is drawn again within 10 mm of where the registration puts it.
    case, shift, mask = registered_case(image, (4.0, -4.0, 4.0) if redraw else (8.0, -4.0, 12.0))
    panel._parameterNode.segmentation = case.get("segmentation")
    panel._parameterNode.spect = images.volume_from(image, "SPECT", "spect_bq_ml")
    panel.ui.propagateSection.collapsed = False
    panel.refresh()
    if redraw:
        click(panel.ui.redrawBox)
    click(panel.ui.propagateButton)
    wait_for_tool(panel, wait_until)
    assert user.texts("error") == []
    copied = case.get("propagated/4h")
    moved = segments.read_segments(copied)[0][0].mask
    volume_ml = float(np.prod(mask.GetSpacing())) * voxels / 1000.0
    found_ml = float(np.prod(moved.GetSpacing())) * int(sitk.GetArrayFromImage(moved).sum()) / 1000.0
    assert found_ml == pytest.approx(volume_ml, rel=0.03)
    [row] = tables.rows_of(panel.ui.changesTable.mrmlTableNode())
    assert float(row["here (mL)"]) == pytest.approx(found_ml, rel=1e-3)
    # The ball is at the same place on both scans: the registration moved the outline off it.
    middle = np.array(centre_of(moved)) - np.array(centre_of(mask))
    if redraw:
        assert np.linalg.norm(middle) < 1.0
        assert float(row["shift (mm)"]) == pytest.approx(np.linalg.norm(shift.GetOffset()), abs=1.0)
    else:
        assert middle == pytest.approx(np.array(shift.GetOffset()), abs=0.3)
    assert 0 < float(row[f"overlap with {'moved' if redraw else 'reference'} (Dice)"]) < 0.9


def test_lesions_of_a_time_point_get_the_names_of_the_reference(panel, click, user, wait_until) -> None:
    from TheranosticDoseSlicer import images, segments, tables

    image, _ = hot_ball()
    case, _, _ = registered_case(image, (4.0, -4.0, 4.0))
    panel._parameterNode.segmentation = case.get("segmentation")
    panel._parameterNode.spect = images.volume_from(image, "SPECT", "spect_bq_ml")
    panel.ui.propagateSection.collapsed = False
    panel.refresh()
    assert not panel.ui.matchButton.enabled
    assert "Copy the segments" in panel.ui.matchButton.toolTip
    click(panel.ui.propagateButton)
    wait_for_tool(panel, wait_until)
    table = panel.ui.matchingTable.mrmlTableNode()
    rows = [(row["lesion"], row["time point"], row["note"]) for row in tables.rows_of(table)]
    assert rows == [("Lesion", "4h", ""), ("Lesion", "24h", "")]
    copied = case.get("propagated/4h")
    [segment_id] = segments.segment_ids(copied)
    copied.GetSegmentation().GetSegment(segment_id).SetName("Lesion 7")
    click(panel.ui.matchButton)
    wait_for_tool(panel, wait_until)
    assert user.texts("error") == []
    assert copied.GetSegmentation().GetSegment(segment_id).GetName() == "Lesion"
    last = tables.rows_of(panel.ui.matchingTable.mrmlTableNode())[-1]
    assert float(last["overlap with the time before"]) > 0.9


def centre_of(mask):
    """The middle of a mask, mm."""
    middle = np.argwhere(sitk.GetArrayFromImage(mask) > 0).mean(axis=0)[::-1]
    return mask.TransformContinuousIndexToPhysicalPoint(middle.tolist())


def test_a_threshold_has_its_unit_and_none_is_asked_for(panel, type_text, wait_until) -> None:
    from gui.actions import choose
    from TheranosticDoseSlicer import images

    image, _voxels = hot_ball()
    images.volume_from(image, "SPECT 24h", "spect_bq_ml")
    images.volume_from(image, "CT 24h", "ct_hu")
    choose(panel.ui.spectSelector, "SPECT 24h")
    choose(panel.ui.ctSelector, "CT 24h")
    choose(panel.ui.toolBox, "SPECT: fixed threshold")
    assert panel.ui.thresholdBox.suffix == " Bq/mL"
    assert panel.ui.toolNeeds.text == "Enter a threshold above 0 Bq/mL."
    assert not panel.ui.percentBox.enabled
    assert panel.ui.percentBox.toolTip == "This tool does not use it."
    type_text(panel.ui.thresholdBox, "500000")
    wait_until(lambda: panel.ui.runButton.enabled, PATIENCE_S, "threshold")
    choose(panel.ui.toolBox, "CT: fixed threshold")
    assert panel.ui.thresholdBox.suffix == " HU"
    assert panel._parameterNode.threshold == 500000.0
    choose(panel.ui.toolBox, "SPECT: percent of the maximum")
    assert panel.ui.percentBox.toolTip.startswith("Percentage of the maximum")


def test_tables_cannot_be_typed_over_and_an_unset_model_is_empty(panel, click, wait_until) -> None:
    from gui.actions import choose
    from PySide6.QtCore import Qt
    from TheranosticDoseSlicer import images

    image, _voxels = hot_ball()
    images.volume_from(image, "SPECT 24h", "spect_bq_ml")
    choose(panel.ui.spectSelector, "SPECT 24h")
    click(panel.ui.runButton)
    wait_for_tool(panel, wait_until)
    panel.ui.trustSection.collapsed = False
    model = panel.ui.originsTable.model()
    assert model.rowCount() == 1
    assert not model.index(0, 0).flags() & Qt.ItemFlag.ItemIsEditable
    choose(panel.ui.backendBox, "Own network")
    wait_until(lambda: not panel.backendPanel._dotTimer.active, PATIENCE_S, "panel")
    assert panel.ui.modelEdit.currentPath == ""
