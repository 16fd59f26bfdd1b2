"""A case from dose to report and through a saved scene; nodes that go while they are needed."""

from __future__ import annotations

import json

import pytest

slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
pytestmark = pytest.mark.slicer

from mrml.ball_case import exhaust, made_case  # noqa: E402
from TheranosticDoseLib.errors import InputError  # noqa: E402
from TheranosticDoseSlicer import case as roles  # noqa: E402
from TheranosticDoseSlicer import (  # noqa: E402
    compare,
    dose_nodes,
    edits,
    images,
    segments,
    study_nodes,
    tables,
    tasks,
)
from TheranosticDoseSlicer.case import Case, cases  # noqa: E402
from TheranosticDoseSlicer.jobs import JobError  # noqa: E402
from TheranosticDoseSlicer.live import Live  # noqa: E402


def updated(case, settings) -> Live:
    live = Live(case, settings)
    exhaust(live.update())
    return live


def test_an_edited_case_is_exported_with_its_edits(scene, tmp_path) -> None:
    case, settings = made_case(24, ("vsv",))
    live = updated(case, settings)
    moved = {"0": 1.2 * live.measured("VOI 2").activity_mbq[0]}
    case.set_record("edits", {"VOI 2": edits.CurveEdit("mono", (True, True, False, True), moved).to_dict()})
    exhaust(live.update())
    assert case.record("followed") == ["vsv"]
    tasks.export(case, settings, tmp_path / "out", live).wait(300)
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert (tmp_path / "out" / "report.html").is_file()
    found = {voi["name"]: voi for voi in results["vois"]}
    for result in live.results:
        assert found[result.name]["tia_mbq_h"] == pytest.approx(result.fit.tia_mbq_h, rel=1e-9)
        assert found[result.name]["dose"]["vsv"]["mean_gy"] == pytest.approx(
            result.dvh["vsv"].mean_gy, rel=1e-4
        )
    said = " ".join(finding["message"] for finding in results["findings"])
    assert "VOI 2: the point at 96 h was left out of the fit by the user" in said
    assert "VOI 2: the activity at 4 h was set by the user" in said
    assert "VOI 2: the model 'mono' was chosen by the user" in said


def test_dicom_objects_are_written_on_request(scene, tmp_path) -> None:
    import pydicom

    case, settings = made_case(16, ("led",))
    live = updated(case, settings)
    tasks.export(case, settings, tmp_path / "out", live, dicom=True).wait(300)
    objects = [pydicom.dcmread(file) for file in (tmp_path / "out" / "dicom_results").rglob("*.dcm")]
    [dose] = [item for item in objects if item.Modality == "RTDOSE" and item.DoseType == "PHYSICAL"]
    array = dose.pixel_array * float(dose.DoseGridScaling)
    expected = slicer.util.arrayFromVolume(case.get("dose/led"))
    assert array.max() == pytest.approx(float(expected.max()), rel=1e-4)
    assert dose.DoseUnits == "GY"


def test_an_unwritable_folder_is_one_sentence_and_nothing_is_lost(scene, tmp_path) -> None:
    case, settings = made_case(16, ("led",))
    live = updated(case, settings)
    blocked = tmp_path / "a file"
    blocked.write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        tasks.export(case, settings, blocked, live)
    with pytest.raises(InputError, match="Choose a folder"):
        tasks.export(case, settings, "", live)
    with pytest.raises(JobError, match="Cannot write to") as error:
        tasks.export(case, settings, blocked / "below", live).wait(300)
    assert "Traceback" not in str(error.value)
    assert blocked.read_text() == "mine"
    assert live.result("VOI 1").dvh["led"].mean_gy > 0


@pytest.mark.parametrize(
    ("role", "text"),
    [
        (roles.SERIES, "registered series was deleted"),
        (roles.SEGMENTATION, "no segmentation"),
        (roles.DENSITY, "density map was deleted"),
        (roles.SPECT + "24h", "SPECT of '24h' was deleted"),
    ],
)
def test_a_node_that_was_deleted_is_named(scene, role: str, text: str) -> None:
    case, settings = made_case(16, ("led",))
    case.remove(role)
    with pytest.raises(InputError, match=text):
        exhaust(Live(case, settings).update())


def test_a_deleted_dose_leaves_the_curves(scene) -> None:
    case, settings = made_case(16, ("led",))
    case.remove("dose/led")
    with pytest.raises(InputError, match="no dose"):
        exhaust(Live(case, settings).update())
    live = Live(case, settings)
    exhaust(live.update_curves())
    assert len(live.results) == 4


def test_an_empty_segment_is_left_out_and_named(scene) -> None:
    case, settings = made_case(16, ("led",))
    live = updated(case, settings)
    node = case.get(roles.SEGMENTATION)
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName("VOI 1")
    label = segments.read_segment(node, segment_id).mask * 0
    segments.set_segment(node, "VOI 1", label, kind="lesion")
    exhaust(live.update())
    assert live.problems == ["The segment 'VOI 1' is empty and left out."]
    assert [result.name for result in live.results] == ["VOI 0", "VOI 2", "VOI 3"]


def test_two_cycles_do_not_disturb_each_other(scene) -> None:
    first, settings = made_case(16, ("led",))
    second, _ = made_case(16, ("led",))
    assert [case.name for case in cases()] == ["Cycle 1", "Cycle 1_1"]
    live = updated(first, settings)
    second.set_record("edits", {"VOI 1": {"model": "physical"}})
    updated(second, settings)
    assert live.result("VOI 1").fit.model != "physical"
    assert first.folder != second.folder


def test_the_table_of_time_points_changes_the_study(scene) -> None:
    case, _ = made_case(16, ("led",))
    table = case.get(roles.TIME_POINTS)
    tables.set_cell(table, 1, study_nodes.TIME, 25.0)
    tables.set_cell(table, 3, study_nodes.USE, False)
    before = tables.rows_of(table)[0][study_nodes.ACTIVITY]
    tables.set_cell(table, 0, study_nodes.ACTIVITY, 2 * before)
    assert study_nodes.reconcile(case)
    study = study_nodes.study_of(case)
    assert study.time_h == (4.0, 25.0, 96.0)
    assert tables.rows_of(table)[0][study_nodes.SCALE] == pytest.approx(2.0)
    original = images.image_of(case.get(roles.SPECT + "4h"))
    assert study.acquisitions[0].spect[8, 8, 8] == pytest.approx(2 * original[8, 8, 8])
    tables.set_cell(table, 0, study_nodes.SCALE, 1.5)
    assert study_nodes.reconcile(case)
    assert tables.rows_of(table)[0][study_nodes.ACTIVITY] == pytest.approx(1.5 * before)
    said = " ".join(finding.message for finding in study.findings)
    for text in ("time was set by the user to 25 h", "multiplied by 2", "'168h' was left out"):
        assert text in said


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        (study_nodes.TIME, -1.0, "before the administration"),
        (study_nodes.SCALE, 0.0, "positive factor"),
    ],
)
def test_impossible_cells_are_one_sentence(scene, column: str, value: float, text: str) -> None:
    case, _ = made_case(16, ("led",))
    tables.set_cell(case.get(roles.TIME_POINTS), 0, column, value)
    with pytest.raises(InputError, match=text):
        study_nodes.study_of(case)


def test_no_time_point_left_is_one_sentence(scene) -> None:
    case, _ = made_case(16, ("led",))
    for row in range(4):
        tables.set_cell(case.get(roles.TIME_POINTS), row, study_nodes.USE, False)
    with pytest.raises(InputError, match="All time points are left out"):
        study_nodes.study_of(case)


def test_isodoses_and_difference(scene) -> None:
    import numpy as np

    case, settings = made_case(24, ("vsv", "led"))
    live = updated(case, settings)
    highest = float(slicer.util.arrayFromVolume(case.get("dose/vsv")).max())
    compare.isodoses(case, "vsv", [0.2 * highest, 0.5 * highest])
    first = case.labels(roles.ISODOSE)
    assert len(first) == 2
    for key in first:
        surface = case.get(roles.ISODOSE + key).GetPolyData()
        assert surface.GetNumberOfCells() > 0
    compare.isodoses(case, "vsv", [0.5 * highest])
    assert case.labels(roles.ISODOSE) == first[1:]
    node, text = compare.difference(case, "vsv", "led", live)
    difference = slicer.util.arrayFromVolume(node)
    expected = slicer.util.arrayFromVolume(case.get("dose/vsv")) - slicer.util.arrayFromVolume(
        case.get("dose/led")
    )
    assert np.array_equal(difference, expected)
    assert text.startswith("VSV water against LED, mean dose: VOI ")


def test_a_saved_case_goes_on_where_it_stopped(scene, tmp_path) -> None:
    case, settings = made_case(20, ("led",))
    before = {
        r.name: (r.volume_ml, r.fit.tia_mbq_h, r.dvh["led"].mean_gy) for r in updated(case, settings).results
    }
    file = str(tmp_path / "case.mrb")
    assert scene.WriteToMRB(file)
    scene.Clear(True)
    scene.SetURL(file)
    assert scene.ReadFromMRB(file, True)
    [case] = cases()
    live = updated(case, settings)
    after = {r.name: (r.volume_ml, r.fit.tia_mbq_h, r.dvh["led"].mean_gy) for r in live.results}
    assert set(after) == set(before)
    for name, values in before.items():
        assert after[name] == pytest.approx(values, rel=1e-5), name
    assert case.record("followed", []) == []
    assert isinstance(case, Case)
    assert dose_nodes.registered_of(case).reference == "24h"
