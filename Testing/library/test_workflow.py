"""The whole way on a small virtual patient: files to results, and the contracts of the result folder."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from small_study import small_study_folder
from TheranosticDoseLib import workflow
from TheranosticDoseLib.demo import truth_against_result
from TheranosticDoseLib.dicom_io import ExportSettings, read_rtdose, read_sr
from TheranosticDoseLib.errors import CancelledError, EngineUnavailableError, SettingsError
from TheranosticDoseLib.geometry import array_of, total_activity_mbq, voxel_volume_ml
from TheranosticDoseLib.quantification import QuantificationSettings
from TheranosticDoseLib.registration import RegistrationSettings
from TheranosticDoseLib.report import results_document, validate_document
from TheranosticDoseLib.uncertainty import UncertaintySettings
from TheranosticDoseLib.workflow import RunSettings, steps

SETTINGS = RunSettings(
    quantification=QuantificationSettings(recovery="gtm", fwhm_mm=11.0),
    registration=RegistrationSettings(spacing_mm=6.0, iterations=(20, 20)),
)
ENGINES = ("led", "vsv")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("result")


@pytest.fixture(scope="module")
def results(out: Path) -> workflow.Results:
    return workflow.run(small_study_folder() / "dicom", out, SETTINGS, ENGINES, dicom=ExportSettings())


@pytest.fixture(scope="module")
def document(results: workflow.Results, out: Path) -> dict:
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def truth() -> dict:
    return json.loads((small_study_folder() / "truth" / "truth.json").read_text(encoding="utf-8"))


def test_the_expected_error_of_the_schedule_stands_beside_the_result(document: dict, out: Path) -> None:
    kidney = next(voi for voi in document["vois"] if voi["name"] == "Kidney_L")
    expected = kidney["expected_error"]
    assert expected["population"] == "177Lu-DOTATATE/kidney"
    assert expected["method"] == "auto"
    assert -0.2 < expected["low"] < 0 < expected["high"] < 0.2
    shown = f"{100 * expected['low']:+.0f} to {100 * expected['high']:+.0f}"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Schedule, %" in page
    assert shown in page
    with (out / "tables" / "dose.csv").open(newline="", encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if row["voi"] == "Kidney_L")
    assert float(row["schedule_error_high"]) == pytest.approx(expected["high"])
    if shutil.which("pdftotext"):
        command = ["pdftotext", "-layout", str(out / "report.pdf"), "-"]
        assert shown in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_results_json_is_to_its_schema(document: dict) -> None:
    validate_document(document)
    assert [point["time_h"] for point in document["time_points"]] == pytest.approx([4, 24, 96, 168])
    assert document["administration"]["activity_mbq"] == pytest.approx(7400)
    assert set(document["engines"]) == set(ENGINES)
    assert len(document["inputs"]) > 100
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in document["inputs"].values())


def test_the_schema_refuses_a_wrong_document(document: dict) -> None:
    from TheranosticDoseLib.errors import InputError

    broken = json.loads(json.dumps(document))
    broken["vois"][0]["volume_ml"] = -1
    with pytest.raises(InputError, match="volume_ml"):
        validate_document(broken)


def test_every_voi_of_the_truth_is_there(document: dict, truth: dict) -> None:
    assert {voi["name"] for voi in document["vois"]} >= {voi["name"] for voi in truth["vois"]}


def test_large_organs_come_close_to_the_truth(results: workflow.Results, truth: dict) -> None:
    # Coarse voxels (6 mm) and a quick registration: the accuracy itself is measured by ``validate``.
    table = truth_against_result(truth, results)
    by_name = {record["name"]: record for record in table.records}
    for name in ("Liver", "Kidney_L", "Kidney_R"):
        assert abs(by_name[name]["tia_mbq_h"]["deviation"]) < 0.15, name
        assert abs(by_name[name]["volume_ml"]["deviation"]) < 0.08, name


def test_the_tia_map_adds_up_to_the_vois(results: workflow.Results) -> None:
    tia = np.asarray(array_of(results.tia), np.float64)
    (finding,) = (f for f in results.findings if f.field == "tia.scaled_to_vois")
    checked = 0
    for result in results.vois:
        if result.voi.kind != "body" and result.fit and result.name not in finding.value["left"]:
            weights = np.asarray(array_of(result.voi.weights))
            inside = float((weights * tia).sum()) * voxel_volume_ml(results.tia)
            assert inside == pytest.approx(result.fit.tia_mbq_h, rel=0.03), result.name
            checked += 1
    assert checked >= 8


def test_the_map_as_measured_is_the_voxel_fit(results: workflow.Results) -> None:
    from TheranosticDoseLib.workflow.steps import tia_map

    plain, findings = tia_map(results.voxel_fit, results.vois, RunSettings(tia_map="voxel"))
    assert np.array_equal(array_of(plain), np.maximum(array_of(results.voxel_fit.tia_mbq_h_ml), 0))
    assert findings == ()


def test_total_activity_per_time_point_is_that_of_the_files(
    results: workflow.Results, document: dict
) -> None:
    for acquisition, point in zip(results.study.acquisitions, document["time_points"], strict=True):
        assert point["total_activity_mbq"] == pytest.approx(total_activity_mbq(acquisition.spect))


def test_tables_repeat_the_document(document: dict, out: Path) -> None:
    with open(out / "tables" / "dose.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(document["vois"]) * len(ENGINES)
    for row in rows:
        voi = next(v for v in document["vois"] if v["name"] == row["voi"])
        assert float(row["mean_gy"]) == voi["dose"][row["engine"]]["mean_gy"]
    with open(out / "tables" / "activity.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(document["vois"]) * len(document["time_points"])


def test_images_are_on_the_dose_grid(results: workflow.Results, out: Path) -> None:
    for name in ("tia", "tia_relative_u", "tia_flags", "density", "vois", "dose_led", "dose_vsv"):
        image = sitk.ReadImage(str(out / "images" / f"{name}.nii.gz"))
        assert image.GetSize() == results.tia.GetSize()
        assert image.GetSpacing() == pytest.approx(results.tia.GetSpacing(), rel=1e-5)
    names = json.loads((out / "images" / "vois.json").read_text())["labels"]
    assert set(names) == {result.name for result in results.vois}


def test_dicom_results_repeat_the_numbers(results: workflow.Results, document: dict, out: Path) -> None:
    import pydicom

    names = {path.name for path in (out / "dicom_results").iterdir()}
    assert names >= {
        "RTDOSE_led.dcm",
        "RTDOSE_vsv.dcm",
        "PM_tia.dcm",
        "SEG.dcm",
        "RTSTRUCT.dcm",
        "SR.dcm",
        "REG_96h.dcm",
    }
    dose = read_rtdose(out / "dicom_results" / "RTDOSE_vsv.dcm")
    expected = np.asarray(array_of(results.doses["vsv"].dose))
    assert np.allclose(sitk.GetArrayFromImage(dose), expected, atol=1e-6 * expected.max())
    report = pydicom.dcmread(out / "dicom_results" / "SR.dcm")
    source = pydicom.dcmread(next((small_study_folder() / "dicom").rglob("*.dcm")), stop_before_pixels=True)
    assert report.PatientID == source.PatientID
    assert report.StudyInstanceUID in {
        pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID
        for path in (small_study_folder() / "dicom").rglob("SPECT*.dcm")
    }
    written = read_sr(out / "dicom_results" / "SR.dcm")
    assert set(written) == {voi["name"] for voi in document["vois"]}
    for voi in document["vois"]:
        found = {(m.quantity, m.method): m for m in written[voi["name"]]}
        for engine in ENGINES:
            mean = found["mean_gy", engine]
            assert mean.value == pytest.approx(voi["dose"][engine]["mean_gy"], rel=1e-6)
            assert mean.uncertainty == pytest.approx(voi["dose"][engine]["u_mean_gy"], rel=1e-6)
        assert found["volume_ml", ""].value == pytest.approx(voi["volume_ml"], rel=1e-6)


def test_the_page_is_self_contained(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "not a medical device" in page
    body = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", body)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the Debian package chromium")
def test_the_page_opens_in_a_browser_and_draws_its_plots(
    out: Path, results: workflow.Results, tmp_path: Path
) -> None:
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [
        "--no-first-run",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path}",
    ]
    command += ["--virtual-time-budget=10000", "--dump-dom", (out / "report.html").as_uri()]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert page.count('class="main-svg"') >= 2
    for result in results.vois:
        assert result.name in page


def test_the_same_input_gives_the_same_numbers(results: workflow.Results) -> None:
    again = workflow.evaluate(results.study, SETTINGS, ENGINES)
    first, second = (results_document(r) for r in (results, again))
    for voi, other in zip(first["vois"], second["vois"], strict=True):
        assert voi["dose"] == other["dose"]
        assert voi["tia_mbq_h"] == other["tia_mbq_h"]


def test_cancelling_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CancelledError):
        workflow.run(
            small_study_folder() / "dicom", tmp_path / "x", SETTINGS, ENGINES, progress=lambda f, m: f < 0.3
        )
    assert not (tmp_path / "x").exists()


def test_an_unknown_engine_stops_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="led"):
        workflow.run(tmp_path / "nothing", tmp_path / "out", engines=("magic",))


def test_wrong_engine_settings_stop_before_any_work(tmp_path: Path) -> None:
    settings = RunSettings(engine_settings={"led": {"nope": 1}})
    with pytest.raises(SettingsError, match="nope"):
        workflow.run(tmp_path / "nothing", tmp_path / "out", settings, ("led",))
    with pytest.raises(SettingsError, match="ledd"):
        RunSettings(engine_settings={"ledd": {}})


def test_an_engine_that_is_not_installed_says_what_is_missing(tmp_path: Path) -> None:
    from TheranosticDoseLib.dose import engines

    if engines()["gate"]["available"]:
        pytest.skip("GATE is installed here")
    with pytest.raises(EngineUnavailableError, match="opengate"):
        workflow.run(tmp_path / "nothing", tmp_path / "out", engines=("gate",))


def test_settings_go_to_json_and_back() -> None:
    values = json.loads(json.dumps(SETTINGS.to_dict()))
    assert RunSettings.from_dict(values) == SETTINGS
    with pytest.raises(SettingsError, match="registration"):
        RunSettings.from_dict({"registraton": {}})


def test_one_switch_resamples_the_budgets(results: workflow.Results) -> None:
    asked = dataclasses.replace(SETTINGS, uncertainty=UncertaintySettings(resamples=150))
    kidneys = tuple(result for result in results.vois if result.name.startswith("Kidney"))
    assert steps.resampled(kidneys, "Lu-177", SETTINGS) == kidneys
    for result in steps.resampled(kidneys, "Lu-177", asked):
        for budget in result.uncertainty.values():
            drawn = budget["resampled"]
            assert drawn["samples"] == 150
            assert drawn["relative_u_dose"] == pytest.approx(budget["relative_u_dose"], rel=0.4)
            assert drawn["interval_95"][0] < 1 < drawn["interval_95"][1]
    with pytest.raises(SettingsError, match="50 to 100000"):
        UncertaintySettings(resamples=3)


def test_without_vois_the_body_is_reported_and_said(results: workflow.Results) -> None:
    bare = dataclasses.replace(results.study, vois=())
    one = dataclasses.replace(bare, acquisitions=bare.acquisitions[1:2])
    alone = workflow.evaluate(one, RunSettings(), ("led",))
    assert [result.name for result in alone.vois] == ["Body"]
    assert any(finding.field == "vois" and finding.severity == "missing" for finding in alone.findings)
