"""The panel of Theranostic Dose, with mouse and keyboard only, on a small virtual patient."""

from __future__ import annotations

import datetime as dt
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from gui import measure

CHECKOUT = Path(__file__).resolve().parents[2]
UI = CHECKOUT / "TheranosticDose" / "Resources" / "UI" / "TheranosticDose.ui"
SECTIONS = ("study", "registration", "segmentation", "kinetics", "dose", "evaluation", "export")
PATIENCE_S = 300


@pytest.fixture(scope="module")
def patient(tmp_path_factory) -> Path:
    """DICOM files of the small virtual patient."""
    from small_patient import small_patient
    from TheranosticDoseLib.phantom import write_patient

    folder = tmp_path_factory.mktemp("patient")
    write_patient(small_patient(0), folder)
    return folder / "dicom"


@pytest.fixture
def way(module_widget):
    from gui.way import Way

    return Way(module_widget("TheranosticDose"))


@pytest.mark.parametrize(
    ("label", "method"),
    [
        ("rigid", "rigid"),
        pytest.param("rigid, then deformable", "deformable", marks=pytest.mark.slow),
    ],
)
def test_whole_way_gives_the_numbers_of_a_run(
    way, patient, tmp_path, event_loop_watchdog, label: str, method: str
) -> None:
    from TheranosticDoseLib.workflow import RunSettings, run

    way.load(patient)
    assert way.ui.timePointsTable.mrmlTableNode().GetNumberOfRows() == 4
    way.register(label)
    way.dose("led")
    way.export(tmp_path / "panel")
    assert (tmp_path / "panel" / "report.html").is_file()
    settings = RunSettings.from_dict({"registration": {"method": method}})
    run(patient, tmp_path / "shell", settings, ("led",))
    panel, shell = (measure.numbers_of(tmp_path / name) for name in ("panel", "shell"))
    assert len(shell) > 100
    assert measure.difference(panel, shell)[0] < 1e-5, measure.difference(panel, shell)
    documents = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("panel", "shell")]
    assert documents[0]["request"] == {"overrides": None, "voi_files": [], "by_hand": {}}
    for entry, expected in zip(*(document["audit"] for document in documents), strict=True):
        assert (entry["step"], entry["product"]) == (expected["step"], expected["product"])
        assert dt.datetime.fromisoformat(entry["finished"]).year >= 2026
    finished = {entry["step"]: entry["finished"] for entry in documents[0]["audit"]}
    times = [finished[step] for step in ("load", "quantify", "register", "vois", "dose")]
    assert times == sorted(times)


def test_every_parameter_is_bound_and_every_binding_is_a_parameter(slicer_app, module_widget) -> None:
    widget = module_widget("TheranosticDose")
    tree = ET.parse(UI)
    bound = {
        prop.findtext("string") for prop in tree.iter("property") if prop.get("name") == "SlicerParameterName"
    }
    fields = set(type(widget._parameterNode).__annotations__)
    assert bound == fields - {"engines"}  # check boxes, made for the engines of the library


def test_parameters_mirror_the_settings_of_the_library(slicer_app, module_widget) -> None:
    import enum

    from TheranosticDoseLib.workflow import RunSettings
    from TheranosticDoseSlicer import parameters

    node = module_widget("TheranosticDose")._parameterNode
    settings = parameters.run_settings(node)
    defaults = RunSettings()
    assert settings.registration == defaults.registration
    assert settings.quantification == defaults.quantification
    assert settings.fit == defaults.fit
    assert settings.tia_map == defaults.tia_map
    for parameter, (group, field) in parameters.SETTING_OF_PARAMETER.items():
        holder = defaults if group is None else getattr(defaults, group)
        assert hasattr(holder, field)
        value = getattr(node, parameter)
        if isinstance(value, enum.Enum):
            for choice in type(value):
                extra = {"fwhm_mm": 10.0} if choice.value == "gtm" else {}
                type(holder).from_dict({field: choice.value, **extra})


def test_settings_of_the_network_dose_go_into_the_run(way) -> None:
    from gui.actions import choose
    from TheranosticDoseLib.dose import cnn
    from TheranosticDoseSlicer.parameters import engine_settings, run_settings

    node = way.widget._parameterNode
    given = engine_settings(node)
    assert cnn.EngineSettings.from_dict(given["cnn"]) == cnn.EngineSettings()
    way.open("dose")
    boxes = (way.ui.cnnHandoverBox, way.ui.cnnDoubtBox)
    assert not any(box.enabled for box in boxes)
    node.engines = "vsv_density, cnn"
    way.widget.controller.refresh()
    assert all(box.enabled for box in boxes)
    choose(way.ui.cnnHandoverBox, "Monte Carlo for the doubtful voxels")
    way.ui.cnnDoubtBox.value = 2.5
    assert run_settings(node).engine_settings == {
        "mc": {"histories": 10_000_000},
        "cnn": {"handover": "region", "doubt": 0.025},
    }


def test_the_choices_of_the_panel_are_all_of_the_library() -> None:
    from TheranosticDoseLib.dose import cnn
    from TheranosticDoseLib.time_activity import settings
    from TheranosticDoseSlicer import choices

    assert {method.value for method in choices.FitMethod} == set(settings.METHODS)
    for handover in choices.Handover:
        cnn.EngineSettings(handover=handover.value)
    models = {"auto", "average", *settings.MODELS, *settings.TRAPEZOIDS}
    assert {model.value for model in choices.FitModel} == models


def test_every_engine_of_the_library_is_listed_with_the_reason_where_it_cannot_run(way, monkeypatch) -> None:
    from TheranosticDoseSlicer import engine_table
    from TheranosticDoseSlicer.parameters import chosen_engines

    listed = engine_table.availability()
    new = {"available": False, "reason": "it is not built yet.", "description": "An engine of tomorrow"}
    monkeypatch.setattr(engine_table, "availability", lambda: {**listed, "tomorrow": new})
    way.open("dose")
    panel = way.widget.controller.panels[4]
    assert list(panel.boxes) == [*listed, "tomorrow"]
    for engine, entry in {**listed, "tomorrow": new}.items():
        box = panel.boxes[engine]
        assert box.toolTip == (entry["reason"] or entry["description"])
        assert ("not available" in box.text) != entry["available"], engine
    assert not panel.boxes["tomorrow"].enabled
    assert chosen_engines(way.widget._parameterNode) == ["vsv_density"]
    for engine in ("led", "mc"):
        way.click(panel.boxes[engine])
    way.wait(lambda: way.ui.enginesLabel.text == "Monte Carlo, VSV density, LED", PATIENCE_S, "label")
    assert chosen_engines(way.widget._parameterNode) == ["mc", "vsv_density", "led"]
    assert way.ui.mcHistoriesBox.enabled
    way.widget._parameterNode.engines = "vsv"
    way.wait(lambda: panel.boxes["vsv"].checked, PATIENCE_S, "box follows the parameter")
    assert not panel.boxes["mc"].checked


def test_an_empty_panel_explains_itself(way) -> None:
    ui = way.ui
    for name in SECTIONS:
        getattr(ui, f"{name}Section").collapsed = False
    for button in (
        "loadButton",
        "registerButton",
        "computeButton",
        "exportButton",
        "showDvhButton",
        "blinkButton",
    ):
        assert not getattr(ui, button).enabled
        assert getattr(ui, button).toolTip.endswith("."), button
    for name in SECTIONS:
        assert getattr(ui, f"{name}Needs").text


def test_the_panel_needs_no_more_than_480_pixels_and_the_keyboard_reaches_everything(way, screenshot) -> None:
    from gui.actions import tab_order

    for name in SECTIONS:
        getattr(way.ui, f"{name}Section").collapsed = False
    assert way.widget.parent.minimumSizeHint.width() <= 480
    way.wait(lambda: way.widget.controller.panels[4].boxes["led"].visible, PATIENCE_S, "engines")
    order = [widget.objectName for widget in tab_order(way.widget.parent)]
    reached = set(order)
    assert order.index("engine_led") + 1 == order.index("engine_vsv") < order.index("isodoseEdit")
    assert {"tryButton", "registrationMethodBox", "fitModelBox", "engine_led", "isodoseEdit"} <= reached
    for dark in (False, True):
        assert screenshot(way.widget.parent, "all-sections", dark=dark).is_file()


def scene_volume(name: str, size: tuple[int, int, int], quantity: str):
    import SimpleITK as sitk
    from TheranosticDoseSlicer import images

    return images.volume_from(sitk.Image(*size, sitk.sitkFloat32) + 100.0, name, quantity)


def test_volumes_of_the_scene_with_large_cts_never_hold_the_event_loop(way, event_loop_watchdog) -> None:
    for time_h in (24, 4):
        scene_volume(f"SPECT {time_h}h", (32, 32, 32), "spect_bq_ml")
        scene_volume(f"CT {time_h}h", (512, 512, 130), "ct_hu")
    way.widget.controller.refresh()
    event_loop_watchdog.passes.clear()
    way.ready()
    way.click(way.ui.sceneButton)
    way.settle("volumes")
    assert way.ui.timePointsTable.mrmlTableNode().GetNumberOfRows() == 2
    assert sorted(way.case.labels("ct/")) == ["24h", "4h"]


def test_a_volume_without_a_time_in_its_name_is_one_sentence(way) -> None:
    scene_volume("SPECT late", (8, 8, 8), "spect_bq_ml")
    way.widget.controller.refresh()
    way.click(way.ui.sceneButton)
    [text] = way.user.texts("error")
    assert "rename it" in text
    assert way.case is None


def test_a_folder_without_dicom_is_one_sentence(way, tmp_path) -> None:
    (tmp_path / "note.txt").write_text("nothing")
    way.type(way.ui.inputFolderEdit, str(tmp_path))
    way.click(way.ui.loadButton)
    way.wait(way.idle, PATIENCE_S, "refusal")
    [text] = way.user.texts("error")
    assert "Traceback" not in text
    assert way.ui.messageLabel.text == text
    assert way.ui.loadButton.enabled


def test_cancel_keeps_nothing_and_the_way_goes_on(way, patient) -> None:
    way.type(way.ui.inputFolderEdit, str(patient))
    way.click(way.ui.loadButton)
    way.wait(lambda: way.widget.controller.task.process is not None, PATIENCE_S, "process")
    folder, process = way.widget.controller.task.folder, way.widget.controller.task.process
    way.click(way.ui.cancelButton)
    assert not folder.exists()
    assert process.returncode not in (None, 0)
    assert "cancelled" in way.ui.messageLabel.text
    assert way.widget.controller.case.record("study") is None
    way.load(patient)
    assert way.widget.controller.case.record("study") is not None


def test_a_killed_process_is_reported(way, patient) -> None:
    way.type(way.ui.inputFolderEdit, str(patient))
    way.click(way.ui.loadButton)
    way.wait(lambda: way.widget.controller.task.process is not None, PATIENCE_S, "process")
    way.widget.controller.task.process._popen.kill()
    way.wait(way.idle, PATIENCE_S, "end")
    [text] = way.user.texts("error")
    assert "ended" in text
    assert way.ui.loadButton.enabled


def test_closing_the_scene_stops_the_run(way, patient) -> None:
    import slicer

    way.type(way.ui.inputFolderEdit, str(patient))
    way.click(way.ui.loadButton)
    way.wait(lambda: way.widget.controller.task.process is not None, PATIENCE_S, "process")
    task = way.widget.controller.task
    slicer.mrmlScene.Clear(0)
    assert not task.folder.exists()
    assert task.process.returncode not in (None, 0)
    assert way.widget.controller.case is None
    way.load(patient)
    assert way.ui.timePointsTable.mrmlTableNode().GetNumberOfRows() == 4


def test_reloading_the_module_stops_the_run(way, patient) -> None:
    way.type(way.ui.inputFolderEdit, str(patient))
    way.click(way.ui.loadButton)
    way.wait(lambda: way.widget.controller.task.process is not None, PATIENCE_S, "process")
    task = way.widget.controller.task
    way.widget.cleanup()
    assert not task.folder.exists()
    assert task.process.returncode not in (None, 0)


def test_generic_checks_of_slicer(module_widget) -> None:
    from gui.generic import check_module

    module_widget("TheranosticDose")
    check_module("TheranosticDose")


def test_pictures_of_the_user_guide_are_there_and_small() -> None:
    guide = CHECKOUT / "docs" / "user_guide"
    for picture in (guide / "images").glob("*.png"):
        assert picture.stat().st_size < 150_000, picture.name
    for page in guide.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (guide / target).exists(), f"{page.name}: {target}"


def test_results_stay_with_a_saved_scene_and_the_work_continues(way, patient, tmp_path, slicer_app) -> None:
    way.load(patient)
    way.register("none (scanner coordinates)")
    way.dose("led")
    way.export(tmp_path / "before")
    before = measure.scene_content()
    assert len(before) > 50
    way.save_and_open_again(tmp_path / "case.mrb")
    assert measure.lost(before, measure.scene_content()) == []
    way.export(tmp_path / "after")
    numbers = [measure.numbers_of(tmp_path / name) for name in ("before", "after")]
    assert measure.difference(*numbers)[0] < 1e-5, measure.difference(*numbers)


def test_nodes_that_are_deleted_while_they_are_shown(way, patient) -> None:
    import slicer
    from TheranosticDoseSlicer import case as roles

    way.load(patient)
    case = way.widget.controller.case
    slicer.mrmlScene.RemoveNode(case.get(roles.SPECT + "24h"))
    way.wait(way.idle, PATIENCE_S, "refresh")
    way.open("registration")
    way.wait(lambda: not way.ui.registerButton.enabled, PATIENCE_S, "button")
    for text in (way.ui.registerButton.toolTip, way.ui.registrationNeeds.text):
        assert "'24h' was deleted" in text
    slicer.mrmlScene.RemoveNode(case.get(roles.TIME_POINTS))
    way.wait(lambda: way.ui.timePointsTable.mrmlTableNode() is None, PATIENCE_S, "table gone")
    slicer.mrmlScene.RemoveNode(case.node)
    way.wait(lambda: way.widget.controller.case is None, PATIENCE_S, "case gone")
    assert not way.ui.registerButton.enabled
    way.user.messages.clear()
    way.load(patient)
    assert way.ui.timePointsTable.mrmlTableNode().GetNumberOfRows() == 4


def test_a_study_keeps_the_administration_of_its_files(way, patient) -> None:
    """What the panel shows before a study is loaded is of no study, or of another one."""
    parameters = way.widget._parameterNode
    for _ in range(2):
        parameters.nuclide, parameters.administeredActivityMbq = "Y-90", 5000.0
        parameters.administrationTime = "2020-01-01 08:00:00"
        way.load(patient)
        found = way.case.record("study")["administration"]
        assert (found["nuclide"], parameters.nuclide) == ("Lu-177", "Lu-177")
        assert found["activity_mbq"] != 5000.0
        assert not found["datetime"].startswith("2020")
        assert way.case.record("administrationByHand") == {}


def test_a_cycle_keeps_its_administration_and_its_segments(way) -> None:
    from TheranosticDoseSlicer.case import SEGMENTATION, Case

    first = measure.show_balls(way, 12, ())
    controller, parameters = way.widget.controller, way.widget._parameterNode
    given = first.record("study")["administration"]
    segmentation = first.get(SEGMENTATION)
    second = Case.create("Cycle 2")
    parameters.caseNode = second.node
    way.wait(lambda: controller.case.node is second.node, PATIENCE_S, "second cycle")
    assert second.get(SEGMENTATION) is None
    assert parameters.segmentation is None
    assert parameters.administeredActivityMbq == 0.0
    scene_volume("SPECT 30h", (8, 8, 8), "spect_bq_ml")
    parameters.nuclide = "Y-90"
    way.open("study")
    way.type(way.ui.activityBox, "5000")
    way.click(way.ui.sceneButton)
    way.settle("second cycle")
    found = second.record("study")["administration"]
    assert (found["nuclide"], found["activity_mbq"]) == ("Y-90", 5000.0)
    parameters.caseNode = first.node
    way.wait(lambda: controller.case.node is first.node, PATIENCE_S, "first cycle")
    way.settle("first cycle")
    assert first.record("study")["administration"] == given
    assert parameters.nuclide == given["nuclide"]
    assert parameters.segmentation is segmentation is first.get(SEGMENTATION)
    assert second.record("study")["administration"]["activity_mbq"] == 5000.0
    assert way.ui.activityBox.value == (given["activity_mbq"] or 0.0)
