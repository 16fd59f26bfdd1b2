"""A dose engine on a site's own cases: what is read, measured, judged and filed."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from TheranosticDoseLib.cli import main
from TheranosticDoseLib.commission import engine_cases
from TheranosticDoseLib.commission.engine import Acceptance, accept_engine, checks_of
from TheranosticDoseLib.comparison import ComparisonSettings, compare_doses
from TheranosticDoseLib.dose import DoseResult
from TheranosticDoseLib.errors import CancelledError, EngineUnavailableError, InputError, SettingsError
from TheranosticDoseLib.geometry import array_of, image_like

sitk = pytest.importorskip("SimpleITK")
pytest.importorskip("numba")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two cases: one as ``run`` writes it, one with a CT and no VOIs."""
    root = tmp_path_factory.mktemp("cases")
    tia = np.zeros((16, 16, 16), np.float32)
    tia[4:12, 4:12, 4:12] = 2.0
    image = sitk.GetImageFromArray(tia)
    image.SetSpacing((4.0, 4.0, 4.0))
    first = root / "first" / "images"
    first.mkdir(parents=True)
    sitk.WriteImage(image, str(first / "tia.nii.gz"))
    sitk.WriteImage(image_like(np.full_like(tia, 1.0), image), str(first / "density.nii.gz"))
    sitk.WriteImage(sitk.Cast(image_like(tia > 0, image), sitk.sitkUInt16), str(first / "vois.nii.gz"))
    (first / "vois.json").write_text(json.dumps({"labels": {"Lesion": 1}}), encoding="utf-8")
    results = {"administration": {"nuclide": "Lu-177"}}
    (first.parent / "results.json").write_text(json.dumps(results), encoding="utf-8")
    second = root / "second"
    second.mkdir()
    sitk.WriteImage(image, str(second / "tia.nrrd"))
    sitk.WriteImage(image_like(np.zeros_like(tia), image), str(second / "ct.nrrd"))
    return root


def test_result_folders_and_plain_images_are_read(folder):
    first, second = engine_cases.read_cases(folder)
    assert (first.name, second.name) == ("first", "second")
    assert [voi.name for voi in first.vois] == ["Lesion"]
    assert second.vois == ()
    assert array_of(second.anatomy.density)[8, 8, 8] == pytest.approx(1.0, abs=0.05)
    only = engine_cases.read_cases(folder / "second")
    assert [case.name for case in only] == ["second"]


def test_folders_without_cases_are_named(tmp_path, folder):
    with pytest.raises(InputError, match="no folder"):
        engine_cases.read_cases(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no case"):
        engine_cases.read_cases(tmp_path)
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkFloat32), str(tmp_path / "tia.nii"))
    with pytest.raises(InputError, match="neither density nor ct"):
        engine_cases.read_cases(tmp_path)


def test_the_net_error_takes_the_noise_of_the_reference_off():
    rng = np.random.default_rng(0)
    truth = np.full((40, 40, 40), 2.0)
    noise = np.full_like(truth, 0.04)
    exact = truth + noise * rng.standard_normal(truth.shape)
    where = np.ones(truth.shape, bool)
    right = engine_cases.errors_in(truth, exact, noise, where)
    assert right["mean_absolute"] == pytest.approx(0.02 * np.sqrt(2 / np.pi), rel=0.02)
    assert right["net"] < 0.003
    wrong = engine_cases.errors_in(truth * 1.03, exact, noise, where)
    assert wrong["net"] == pytest.approx(0.03, abs=0.001)
    assert wrong["bias"] == pytest.approx(0.03, abs=0.001)
    assert engine_cases.errors_in(truth, exact, noise, ~where)["voxels"] == 0


def test_borders_are_where_tissues_meet():
    dose = np.ones((8, 8, 8), np.float32)
    tissue = np.zeros((8, 8, 8), np.int16)
    tissue[:, :, 4:] = 3
    image = sitk.GetImageFromArray(dose)
    exact = DoseResult(image, image * 0.001, {})
    found = engine_cases.voxel_errors(dose, exact, tissue)
    assert found["high"]["voxels"] == 512
    assert found["border"]["voxels"] == 2 * 64


def test_a_good_engine_passes_and_a_wrong_one_does_not(folder):
    case = engine_cases.read_cases(folder)[0]
    measured = engine_cases.measure(case, ("vsv", "led"), noise=0.05, histories=400_000, gamma_points=50)
    checks = {check.name: check for check in checks_of(measured, "vsv")}
    assert checks["Lesion: mean dose"].passed
    assert measured.seconds("vsv") > 0
    dose = measured.results["vsv"]
    wrong = dataclasses.replace(dose, dose=dose.dose * 1.05)
    doses = {"vsv": wrong, "mc": measured.results["mc"]}
    settings = ComparisonSettings(reference="mc", gamma_points=50)
    errors = engine_cases.voxel_errors(
        array_of(wrong.dose), measured.results["mc"], case.anatomy.tissue_array()
    )
    worse = engine_cases.Measured(case, doses, compare_doses(doses, case.vois, settings), {"vsv": errors})
    failed = {check.name for check in checks_of(worse, "vsv") if not check.passed}
    assert {"Lesion: mean dose", "voxels above 10 % of the maximum: mean absolute error"} <= failed


def test_the_report_holds_every_case_and_a_place_to_sign(folder, tmp_path, monkeypatch):
    from TheranosticDoseLib.commission import engine

    def quicker(case, engines, **more):
        return engine_cases.measure(case, engines, noise=0.2, histories=20_000, gamma_points=20)

    monkeypatch.setattr(engine, "measure", quicker)
    found = accept_engine("vsv_density", folder, tmp_path, quick=True)
    assert [row[0] for row in found.rows] == ["first", "second"]
    document = json.loads((tmp_path / "engine_acceptance.json").read_text(encoding="utf-8"))
    assert document["engine"] == "vsv_density"
    assert (document["passed"], document["verdict"]) == (found.passed, found.verdict)
    assert "no acceptance" in document["verdict"]
    assert set(document["cases"][0]["seconds"]) == {"led", "vsv", "vsv_density", "mc"}
    page = (tmp_path / "engine_acceptance.html").read_text(encoding="utf-8")
    assert "not a medical device" in page
    assert "Accepted by" in page
    for name in ("first", "second", "Lesion"):
        assert name in page
    assert (tmp_path / "engine_acceptance.pdf").read_bytes().startswith(b"%PDF")


def test_what_cannot_be_accepted_is_one_sentence(folder, tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match="compared with"):
        accept_engine("mc", folder, tmp_path)
    with pytest.raises(SettingsError, match="no dose engine"):
        accept_engine("magic", folder, tmp_path)
    monkeypatch.setattr("TheranosticDoseLib.commission.engine.require_engine", lambda name: None)
    with pytest.raises(SettingsError, match="no truth"):
        accept_engine("cnn_pvc", folder, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("TheranosticDoseLib.dose.gate.unavailable", lambda: "GATE is not there.")
    with pytest.raises(EngineUnavailableError, match="GATE"):
        accept_engine("gate", folder, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_cases_that_cannot_be_computed_are_named_and_a_cancelled_one_ends_it(folder, tmp_path, monkeypatch):
    failing = {"first": InputError("There is a hole."), "second": InputError("There is another one.")}
    exact = engine_cases.measure

    def measure(case, *arguments, **options):
        if case.name in failing:
            raise failing[case.name]
        return exact(case, *arguments, histories=20_000, **options)

    monkeypatch.setattr("TheranosticDoseLib.commission.engine.measure", measure)
    with pytest.raises(InputError, match="None of the 2 cases.*hole"):
        accept_engine("led", folder, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    del failing["first"]
    found = accept_engine("led", folder, tmp_path / "one", quick=True)
    assert not found.passed
    rows = {row[0]: row for row in found.rows}
    assert rows["first"][1] > 0
    assert rows["second"] == ["second", 0, 0, 0, "There is another one."]
    failing["first"] = CancelledError("Cancelled.")
    with pytest.raises(CancelledError):
        accept_engine("led", folder, tmp_path / "two")
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(
    ("passed", "verdict", "status"), [(True, "within the limits", 0), (False, "NOT within the limits", 1)]
)
def test_the_shell_prints_the_verdict_and_ends_with_it(
    passed, verdict, status, tmp_path, monkeypatch, capsys
):
    found = Acceptance(passed, verdict, [["first", 4, 4 * passed, 4 - 4 * passed, ""]])
    monkeypatch.setattr("TheranosticDoseLib.commission.engine.accept_engine", lambda *_: found)
    with pytest.raises(SystemExit) as ended:
        main(["validate", "--progress", "none", "--engine", "led", "--cases", "x", "--out", str(tmp_path)])
    assert ended.value.code == status
    assert f"led against mc: {verdict}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--engine", "cnn"], "--cases"),
        (["--cases", "x", "--topic", "dvh"], "--topic"),
        (["--engine", "magic", "--cases", "x"], "magic"),
    ],
)
def test_the_shell_says_what_is_missing(options, word, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["validate", "--progress", "none", *options])
    assert word in capsys.readouterr().err
