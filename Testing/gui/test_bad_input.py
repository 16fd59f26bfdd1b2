"""What goes wrong in the panel is one sentence; nothing is lost, and the way goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from gui import measure

PATIENCE_S = 300


@pytest.fixture
def way(module_widget):
    from gui.way import Way

    return Way(module_widget("TheranosticDose"))


@pytest.fixture
def balls(way):
    """The panel with four balls whose dose is computed."""
    measure.show_balls(way, 20, ("led",))
    return way


def dose_sum(way) -> float:
    import slicer

    return float(slicer.util.arrayFromVolume(way.case.get("dose/led")).sum(dtype="float64"))


def begin(way, button: str, state: str):
    """Click a button and wait until its task is in a state; return the task."""
    from TheranosticDoseSlicer.jobs import State

    way.click(getattr(way.ui, button))
    task = way.widget.controller.task
    way.wait(lambda: task.state is State(state), PATIENCE_S, state)
    return task


def one_error(way) -> str:
    """Return the only error that the user was told, and forget it."""
    [text] = way.user.texts("error")
    assert "Traceback" not in text
    assert way.ui.messageLabel.text == text
    way.user.messages.clear()
    return text


def choose_led(way) -> None:
    """Tick the engine of the dose that is there, in the open dose section."""
    way.open("dose")
    for engine, box in way.widget.controller.panels[4].boxes.items():
        if box.checked != (engine == "led"):
            way.click(box)


def test_a_folder_that_cannot_be_written_is_named_and_another_one_works(balls, tmp_path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("mine")
    balls.open("export")
    balls.type(balls.ui.exportFolderEdit, str(blocked / "below"))
    balls.click(balls.ui.exportButton)
    balls.wait(balls.idle, PATIENCE_S, "refusal")
    assert str(blocked) in one_error(balls)
    assert blocked.read_text() == "mine"
    assert not balls.ui.openReportButton.enabled
    balls.export(tmp_path / "good")
    assert (tmp_path / "good" / "report.html").is_file()


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(balls, monkeypatch) -> None:
    import SimpleITK as sitk

    before, write = dose_sum(balls), sitk.WriteImage

    def full(*arguments, **options):
        # What it says where the disk is full.
        raise RuntimeError("ITK ERROR: NrrdImageIO\n[nrrd] fwrite wrote only 4009 4-sized things")

    monkeypatch.setattr(sitk, "WriteImage", full)
    choose_led(balls)
    balls.click(balls.ui.computeButton)
    balls.wait(balls.idle, PATIENCE_S, "refusal")
    text = one_error(balls)
    assert "MB are free" in text
    assert "ITK" not in text
    assert dose_sum(balls) == before
    monkeypatch.setattr(sitk, "WriteImage", write)
    balls.dose("led")
    assert dose_sum(balls) == pytest.approx(before, rel=1e-3)


@pytest.mark.parametrize("state", ["running", pytest.param("loading", marks=pytest.mark.slow)])
def test_a_scene_saved_while_a_step_runs_opens_with_what_was_there(balls, state: str, tmp_path) -> None:
    import slicer

    before, dose = measure.scene_content(), dose_sum(balls)
    choose_led(balls)
    task = begin(balls, "computeButton", state)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "midway.mrb"))
    assert task.running
    slicer.mrmlScene.Clear(0)
    assert not task.running
    slicer.mrmlScene.SetURL(str(tmp_path / "midway.mrb"))
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "midway.mrb"), True)
    balls.widget.initializeParameterNode()
    balls.settle("saved case")
    after = measure.scene_content()
    # While results are shown some of them are there already; nothing of before is missing then.
    assert [name for name in before if name not in after] == []
    assert state == "loading" or measure.lost(before, after) == []
    balls.dose("led")
    assert dose_sum(balls) == pytest.approx(dose, rel=1e-3)


@pytest.mark.parametrize("state", ["running", pytest.param("loading", marks=pytest.mark.slow)])
def test_a_case_deleted_while_a_step_runs_stops_the_step(balls, state: str) -> None:
    import slicer

    choose_led(balls)
    task = begin(balls, "computeButton", state)
    before = slicer.mrmlScene.GetNumberOfNodes()
    slicer.mrmlScene.RemoveNode(balls.case.node)
    balls.wait(lambda: not task.running, PATIENCE_S, "end")
    balls.wait(balls.idle, PATIENCE_S, "end")
    # What would have been loaded afterwards would belong to nothing.
    assert slicer.mrmlScene.GetNumberOfNodes() < before
    assert not task.folder.exists()
    assert "was deleted; the step 'Dose' was stopped" in balls.ui.messageLabel.text
    assert not balls.ui.computeButton.enabled


def test_a_segmentation_deleted_while_a_step_runs_is_one_sentence(balls) -> None:
    import slicer
    from TheranosticDoseSlicer import case as roles

    choose_led(balls)
    task = begin(balls, "computeButton", "running")
    slicer.mrmlScene.RemoveNode(balls.case.get(roles.SEGMENTATION))
    balls.wait(lambda: not task.running, PATIENCE_S, "end")
    balls.wait(balls.idle, PATIENCE_S, "end")
    assert "segmentation" in balls.ui.messageLabel.text
    assert balls.case.get("dose/led").IsA("vtkMRMLScalarVolumeNode")


def test_a_reloaded_module_shows_the_case_again(balls, module_widget) -> None:
    import slicer
    from gui.way import Way

    before = dose_sum(balls)
    choose_led(balls)
    task = begin(balls, "computeButton", "running")
    case = balls.case.node
    slicer.util.reloadScriptedModule("TheranosticDose")
    assert not task.running
    assert not task.folder.exists()
    again = Way(slicer.modules.theranosticdose.widgetRepresentation().self())
    again.widget.enter()
    again.settle("reloaded")
    assert again.case.node is case
    again.dose("led")
    assert dose_sum(again) == pytest.approx(before, rel=1e-3)


def test_volumes_that_are_no_spect_are_not_taken_for_one(way) -> None:
    import slicer
    from gui.test_theranostic_dose import scene_volume

    for kind in ("vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode"):
        slicer.mrmlScene.AddNewNodeByClass(kind, "SPECT 24h")
    way.widget.controller.refresh()
    assert not way.ui.sceneButton.enabled
    assert "no SPECT volume" in way.ui.sceneButton.toolTip
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "SPECT 4h")
    way.widget.controller.refresh()
    way.click(way.ui.sceneButton)
    way.wait(way.idle, PATIENCE_S, "refusal")
    assert "SPECT 4h" in one_error(way)
    slicer.mrmlScene.Clear(0)
    for _ in range(2):
        scene_volume("SPECT 24h", (8, 8, 8), "spect_bq_ml")
    way.widget.controller.refresh()
    way.click(way.ui.sceneButton)
    way.wait(way.idle, PATIENCE_S, "refusal")
    assert "same time" in one_error(way)


def test_segmentations_without_a_labelmap_or_without_segments(balls) -> None:
    import slicer
    import vtk
    from TheranosticDoseSlicer import case as roles

    first = balls.case.get(roles.SEGMENTATION)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    balls.widget._parameterNode.segmentation = empty
    balls.wait(lambda: "no segments" in balls.ui.segmentationNeeds.text, PATIENCE_S, "empty")
    choose_led(balls)
    assert not balls.ui.computeButton.enabled
    assert "segment" in balls.ui.computeButton.toolTip
    surface = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Surface")
    surface.GetSegmentation().SetSourceRepresentationName("Closed surface")
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(12.0)
    sphere.SetCenter(-40.0, -40.0, 40.0)
    sphere.Update()
    segment = slicer.vtkSegment()
    segment.SetName("Ball")
    segment.AddRepresentation("Closed surface", sphere.GetOutput())
    surface.GetSegmentation().AddSegment(segment)
    balls.widget._parameterNode.segmentation = surface

    def names() -> list[str]:
        return [result.name for result in balls.widget.controller.live.results]

    balls.wait(lambda: names() == ["Ball"] and balls.idle(), PATIENCE_S, "surface")
    # A sphere of 32 facets holds a little less than a ball.
    [ball] = balls.widget.controller.live.results
    assert ball.volume_ml == pytest.approx(4 / 3 * 3.14159 * 1.2**3, rel=0.15)
    balls.widget._parameterNode.segmentation = first
    balls.wait(lambda: len(names()) == 4 and balls.idle(), PATIENCE_S, "back")
    assert balls.user.texts("error") == []


def test_a_scene_closed_in_the_middle_of_an_update(balls) -> None:
    import slicer

    controller = balls.widget.controller
    controller.live = None
    controller.refresh()
    controller.startUpdate()
    assert controller._update is not None
    slicer.mrmlScene.Clear(0)
    balls.wait(balls.idle, PATIENCE_S, "closed")
    assert balls.case is None
    assert balls.user.texts("error") == []


def test_a_folder_that_is_gone_is_one_sentence(way, tmp_path: Path) -> None:
    way.type(way.ui.inputFolderEdit, str(tmp_path / "gone"))
    way.click(way.ui.loadButton)
    way.wait(way.idle, PATIENCE_S, "refusal")
    assert "does not exist" in one_error(way)


def test_the_module_may_be_left_while_a_step_runs(balls, tmp_path) -> None:
    """What follows a step needs the parameters and the cycle, also where another module is shown by then."""
    balls.open("export")
    balls.type(balls.ui.exportFolderEdit, str(tmp_path / "out"))
    task = begin(balls, "exportButton", "running")
    balls.widget.parent.exit()
    balls.wait(lambda: not task.running, PATIENCE_S, "end")
    balls.widget.parent.enter()
    assert balls.user.texts("error") == []
    assert balls.case.record("exported") == str(tmp_path / "out")
    assert balls.ui.openReportButton.enabled


def test_segment_and_edit_shows_the_segmentation_in_the_other_module(balls) -> None:
    import slicer
    from gui import way as ways
    from gui.standin import application
    from TheranosticDoseSlicer import case as roles

    application.load_module(ways.MODULE_FILES["DoseSegmentation"])
    segmentation = balls.case.get(roles.SEGMENTATION)
    balls.open("segmentation")
    balls.click(balls.ui.editSegmentsButton)
    other = slicer.modules.dosesegmentation.widgetRepresentation()
    assert other.isEntered
    assert not balls.widget.parent.isEntered
    assert other.self().ui.segmentationSelector.currentNode() is segmentation


def test_points_can_be_moved_where_no_plot_was_shown_before(balls) -> None:
    """The application has a plot view only after a layout showed one."""
    import slicer
    from TheranosticDoseSlicer import case as roles

    balls.open("kinetics")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActivePlotChartID(None)
    balls.click(balls.ui.movePointsButton)
    assert selection.GetActivePlotChartID() == balls.case.get(roles.CURVE_CHART).GetID()
