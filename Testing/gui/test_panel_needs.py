"""Each step says what it needs before it is run, what was changed since, and how to take it back."""

from __future__ import annotations

import pytest
from gui import measure


@pytest.fixture
def way(module_widget):
    from gui.way import Way

    return Way(module_widget("TheranosticDose"))


@pytest.fixture
def balls(way):
    """The panel with four balls whose dose is computed."""
    case = measure.show_balls(way, 16, ("led",))
    case.set_record("registeredWith", way.widget.controller.panels[1]._key())
    way.widget.controller.refresh()
    return way


def refresh(way) -> None:
    """Let the panel follow what was changed, and wait for what comes of it."""
    way.widget.controller.requestRefresh()
    way.wait(lambda: not way.widget.controller._refreshTimer.active, 30, "refresh")
    way.settle("refresh")


def test_a_transfer_matrix_without_a_resolution_is_a_sentence_until_it_is_there(balls) -> None:
    from gui.actions import choose

    ui = balls.ui
    balls.open("registration")
    choose(ui.recoveryBox, "geometric transfer matrix")
    refresh(balls)
    assert "FWHM" in ui.messageLabel.text
    for needs in (ui.registrationNeeds, ui.kineticsNeeds, ui.doseNeeds, ui.exportNeeds):
        assert "FWHM" in needs.text
    assert "FWHM" in ui.registerButton.toolTip
    balls.type(ui.spectFwhmBox, "11")
    refresh(balls)
    assert ui.messageLabel.text == ""
    assert "FWHM" not in ui.registrationNeeds.text + ui.doseNeeds.text


def test_a_reference_that_is_no_time_point_is_named_before_the_run(balls) -> None:
    balls.open("registration")
    balls.type(balls.ui.registrationReferenceEdit, "25h")
    refresh(balls)
    assert not balls.ui.registerButton.enabled
    assert "'25h' is no time point in use" in balls.ui.registrationNeeds.text
    assert "24h" in balls.ui.registerButton.toolTip
    balls.type(balls.ui.registrationReferenceEdit, "24h")
    refresh(balls)
    assert balls.ui.registerButton.enabled


def test_counts_need_a_camera_factor_and_a_duration(balls) -> None:
    from TheranosticDoseSlicer import study_nodes

    record = balls.case.record(study_nodes.STUDY_RECORD)
    for entry in record["acquisitions"]:
        entry.update(unit="CNTS", duration_s=None)
    balls.case.set_record(study_nodes.STUDY_RECORD, record)
    refresh(balls)
    assert "camera factor" in balls.ui.registerButton.toolTip
    balls.open("registration")
    balls.type(balls.ui.cameraFactorBox, "9.5")
    refresh(balls)
    assert "duration" in balls.ui.registerButton.toolTip


def test_a_table_changed_after_the_registration_blocks_the_report_until_it_is_undone(balls, tmp_path) -> None:
    from gui.actions import check_cell, edit_cell

    ui = balls.ui
    balls.open("export")
    balls.type(ui.exportFolderEdit, str(tmp_path))
    refresh(balls)
    assert ui.exportButton.enabled
    balls.open("study")
    refresh(balls)
    assert not ui.undoTimePointsButton.enabled
    assert ui.undoTimePointsButton.toolTip
    edit_cell(ui.timePointsTable, 0, 3, "77")
    check_cell(ui.timePointsTable, 1, 1, False)
    refresh(balls)
    assert "Changed by hand: 4h, 24h." in ui.studyNeeds.text
    assert "run it again (step 2)" in ui.exportButton.toolTip
    assert "run it again (step 2)" in ui.doseNeeds.text
    balls.click(ui.undoTimePointsButton)
    refresh(balls)
    assert "Changed" not in ui.studyNeeds.text
    assert ui.exportButton.enabled
    assert not ui.undoTimePointsButton.enabled


def test_a_report_holds_the_doses_of_an_edit_made_just_before(balls, tmp_path) -> None:
    balls.export(tmp_path / "before")
    measure.paint(balls, "VOI 1", 3)
    balls.click(balls.ui.exportSection)
    balls.click(balls.ui.exportSection)
    balls.type(balls.ui.exportFolderEdit, str(tmp_path / "after"))
    balls.click(balls.ui.exportButton)
    assert balls.widget.controller.busy
    balls.settle("report")
    before, after = (measure.numbers_of(tmp_path / name) for name in ("before", "after"))
    assert after["VOI 1/volume_ml"] > 1.05 * before["VOI 1/volume_ml"]
    result = balls.widget.controller.live.result("VOI 1")
    for engine, dvh in result.dvh.items():
        assert after[f"VOI 1/dose/{engine}/mean_gy"] == pytest.approx(dvh.mean_gy, rel=2e-3)
        assert after[f"VOI 1/dose/{engine}/mean_gy"] != pytest.approx(
            before[f"VOI 1/dose/{engine}/mean_gy"], rel=1e-3
        )


def test_a_scene_keeps_the_digits_of_an_edited_time_point(balls, tmp_path) -> None:
    from gui.actions import edit_cell
    from TheranosticDoseSlicer import study_nodes

    balls.open("study")
    edit_cell(balls.ui.timePointsTable, 1, 3, "1234.5678912")
    edit_cell(balls.ui.timePointsTable, 1, 2, "24.123456789")
    refresh(balls)
    before = study_nodes.rows(balls.case)
    assert before[1][study_nodes.TIME] == 24.123456789
    key = balls.widget.controller.panels[1]._key()
    balls.save_and_open_again(tmp_path / "case.mrb")
    assert study_nodes.rows(balls.case) == before
    assert balls.widget.controller.panels[1]._key() == key
    # An edit of one time point changes the calibration of no other one.
    edit_cell(balls.ui.timePointsTable, 0, 2, "5")
    refresh(balls)
    scales = [row[study_nodes.SCALE] for row in study_nodes.rows(balls.case)]
    assert scales[0] == scales[2] == 1.0
    assert scales[1] == before[1][study_nodes.SCALE]


def test_another_time_of_the_injection_moves_the_times_of_the_scans(balls) -> None:
    from TheranosticDoseSlicer import study_nodes, tables

    record = balls.case.record(study_nodes.STUDY_RECORD)
    record["administration"]["datetime"] = "2026-03-02T10:00:00"
    for entry in record["acquisitions"]:
        hours = int(entry["time_h"])
        entry["datetime"] = f"2026-03-{2 + (10 + hours) // 24:02d}T{(10 + hours) % 24:02d}:00:00"
    balls.case.set_record(study_nodes.STUDY_RECORD, record)
    before = [row[study_nodes.TIME] for row in study_nodes.rows(balls.case)]
    balls.widget.controller.panels[0].showAdministration()
    balls.open("study")
    balls.widget._parameterNode.administrationTime = "2026-03-02 09:30:00"
    balls.wait(lambda: not balls.widget.controller._refreshTimer.active, 30, "refresh")
    after = [row[study_nodes.TIME] for row in study_nodes.rows(balls.case)]
    shown = tables.rows_of(balls.ui.timePointsTable.mrmlTableNode())
    assert [float(row[study_nodes.TIME]) for row in shown] == pytest.approx(after, rel=1e-3)
    assert after == pytest.approx([time_h + 0.5 for time_h in before])
    assert study_nodes.study_of(balls.case).time_h == pytest.approx(tuple(after))
    balls.type(balls.ui.administrationTimeEdit, "2026-03-12 09:30:00")
    refresh(balls)
    assert "lies after the scan" in balls.ui.messageLabel.text
    assert [row[study_nodes.TIME] for row in study_nodes.rows(balls.case)] == after
    balls.type(balls.ui.administrationTimeEdit, "yesterday")
    refresh(balls)
    assert "'yesterday' is no time" in balls.ui.messageLabel.text
    balls.type(balls.ui.activityBox, "5000")
    refresh(balls)
    assert "'yesterday' is no time" in balls.ui.messageLabel.text
    assert balls.case.record(study_nodes.STUDY_RECORD)["administration"]["activity_mbq"] == 5000.0
    balls.type(balls.ui.administrationTimeEdit, "2026-03-02 09:30:00")
    refresh(balls)
    assert balls.ui.messageLabel.text == ""


def test_blink_and_checkerboard_say_what_they_compare_and_follow_the_time_point(balls) -> None:
    import slicer
    from TheranosticDoseSlicer import case as roles

    ui, case = balls.ui, balls.case
    composite = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    if composite is None:
        composite = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    balls.open("registration")
    balls.click(ui.checkerboardButton)
    assert ui.comparedLabel.text == "24h (reference) and 4h"
    assert composite.GetBackgroundVolumeID() == case.get("checkerboard").GetID()
    case.get(roles.BROWSER).SetSelectedItemNumber(2)
    balls.wait(lambda: "96h" in ui.comparedLabel.text, 10, "another pair")
    balls.click(ui.blinkButton)
    assert not ui.checkerboardButton.checked
    shown = set()
    balls.wait(lambda: shown.add(composite.GetBackgroundVolumeID()) or len(shown) >= 2, 10, "blinking")
    balls.click(ui.blinkButton)
    assert ui.comparedLabel.text == ""
    assert not balls.widget.controller.panels[1]._blinkTimer.active


def test_comparing_ends_with_another_cycle_and_with_the_module(balls) -> None:
    from mrml.ball_case import made_case

    controller, ui = balls.widget.controller, balls.ui
    registration = controller.panels[1]
    balls.open("registration")
    balls.click(ui.blinkButton)
    # The time points of the other cycle are called the same.
    controller.parameters.caseNode = made_case(12, ())[0].node
    refresh(balls)
    assert not ui.blinkButton.checked
    assert not registration._blinkTimer.active
    assert registration._nodes == ()
    balls.click(ui.blinkButton)
    assert registration._blinkTimer.active
    balls.widget.exit()
    assert not registration._blinkTimer.active
    balls.widget.enter()


def test_disabled_fields_say_why(balls) -> None:
    ui = balls.ui
    balls.open("dose")
    refresh(balls)
    for name in ("mcHistoriesBox", "cnnHandoverBox", "cnnDoubtBox", "deidentifyBox"):
        field = getattr(ui, name)
        assert not field.enabled
        assert field.toolTip.startswith("Only for ")
    balls.widget._parameterNode.exportDicom = True
    balls.widget._parameterNode.engines = "mc"
    refresh(balls)
    assert ui.deidentifyBox.enabled
    assert ui.mcHistoriesBox.enabled
    assert not ui.mcHistoriesBox.toolTip.startswith("Only for ")


def test_a_folder_nobody_chose_is_not_shown_as_a_dot(balls) -> None:
    balls.widget._parameterNode.mcHistories = 2000000
    refresh(balls)
    assert balls.ui.exportFolderEdit.currentPath == ""


def test_every_engine_has_an_estimate_before_it_ran(balls) -> None:
    from TheranosticDoseSlicer import engine_table

    case = balls.case
    for engine in ("vsv", "vsv_density", "cnn", "mc"):
        assert engine_table.estimate(case, engine, 10_000_000).startswith("about ")
    assert engine_table.estimate(case, "mc", 600_000_000) == "about 15 min"
    assert engine_table.estimate(case, "gate", 10) == ""
    case.set_record("dose/led", {"seconds": 50.0})
    assert engine_table.estimate(case, "led", 10) == "about 50 s"
    assert engine_table.estimate(None, "led", 10) == ""


def test_an_engine_that_cannot_run_does_not_take_the_others_with_it(balls, monkeypatch) -> None:
    from TheranosticDoseLib.errors import CancelledError, InputError
    from TheranosticDoseLib.workflow import steps
    from TheranosticDoseSlicer import engine_table, worker

    def doses(_tia, _anatomy, _nuclide, engines, _settings, _progress):
        if engines == ("cnn",):
            raise InputError("The voxels are too large.")
        if engines == ("gate",):
            raise CancelledError("stop")
        return {engines[0]: "dose"}

    monkeypatch.setattr(steps, "doses", doses)
    run = (None, None, "Lu-177")
    found, failed = worker._each_engine(*run, ("led", "cnn", "vsv"), None, lambda *_: True)
    assert list(found) == ["led", "vsv"]
    assert failed == {"cnn": "The voxels are too large."}
    with pytest.raises(InputError, match="too large"):
        worker._each_engine(*run, ("cnn",), None, lambda *_: True)
    with pytest.raises(CancelledError):
        worker._each_engine(*run, ("led", "gate"), None, lambda *_: True)
    balls.case.set_record(engine_table.FAILED, failed)
    balls.open("dose")
    refresh(balls)
    assert "No dose of Neural network: The voxels are too large." in balls.ui.doseNeeds.text


def test_isodose_lines_are_named_with_their_colours(balls) -> None:
    import slicer
    from TheranosticDoseSlicer import case as roles

    ui = balls.ui
    balls.open("evaluation")
    highest = float(slicer.util.arrayFromVolume(balls.case.get(roles.DOSE + "led")).max())
    balls.type(ui.isodoseEdit, f"{highest / 2:.3g}, {2 * highest:.3g}")
    balls.click(ui.showDoseButton)
    assert f"{highest / 2:.3g}\N{NO-BREAK SPACE}Gy" in ui.isodosesLabel.text
    assert "above the highest dose" in ui.isodosesLabel.text
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(balls.case.get(roles.DOSE + "led"))
    assert legend.GetVisibility()
    assert legend.GetTitleText() == "Gy"
    balls.type(ui.isodoseEdit, "many")
    assert "'many' is not a dose" in ui.messageLabel.text
    balls.user.messages.clear()
    balls.type(ui.isodoseEdit, "10")
    assert ui.messageLabel.text == ""


def test_a_point_that_is_moved_while_a_step_runs_is_kept(balls, tmp_path) -> None:
    from gui.actions import choose, edit_cell

    balls.open("kinetics")
    choose(balls.ui.voiBox, "VOI 1")
    balls.settle("VOI")
    live = balls.widget.controller.live
    measured = live.measured("VOI 1").activity_mbq[0]
    balls.open("export")
    balls.type(balls.ui.exportFolderEdit, str(tmp_path))
    balls.click(balls.ui.exportButton)
    balls.wait(lambda: balls.widget.controller.task.process is not None, 60, "process")
    balls.open("kinetics")
    edit_cell(balls.ui.pointsTable, 0, 1, f"{1.5 * measured}")
    assert balls.widget.controller.busy
    balls.settle("report and edit")
    assert live.result("VOI 1").activity_mbq[0] == pytest.approx(1.5 * measured)
    assert balls.case.record("edits")["VOI 1"]["moved_mbq"]
