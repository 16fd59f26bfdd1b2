"""Seal, trail, diff and replay of results."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_study import small_study_folder
from TheranosticDoseLib import workflow
from TheranosticDoseLib.audit import content_hash, diff, read_results, replay, sealed
from TheranosticDoseLib.cli import main
from TheranosticDoseLib.dicom_io import Overrides
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.files import to_json
from TheranosticDoseLib.quantification import QuantificationSettings
from TheranosticDoseLib.registration import RegistrationSettings
from TheranosticDoseLib.workflow import RunSettings

SETTINGS = RunSettings(
    quantification=QuantificationSettings(recovery="gtm", fwhm_mm=11.0),
    registration=RegistrationSettings(method="none"),
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited")
    overrides = Overrides(injected_activity_mbq=7500.0)
    workflow.run(small_study_folder() / "dicom", folder, SETTINGS, ("led",), overrides=overrides)
    return folder


@pytest.fixture
def document(out: Path) -> dict:
    return read_results(out)


def written(document: dict, path: Path) -> Path:
    path.write_text(to_json(document), encoding="utf-8")
    return path


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=6), JSON, max_size=4))
def test_the_seal_survives_writing_and_reading(values: dict) -> None:
    again = json.loads(to_json(sealed(values)))
    assert again["integrity"]["sha256"] == content_hash(again)


def test_a_changed_number_breaks_the_seal(document: dict, tmp_path: Path) -> None:
    document["vois"][0]["mass_g"] *= 1.0 + 1e-15
    with pytest.raises(InputError, match="changed after it was written"):
        read_results(written(document, tmp_path / "results.json"))


def test_no_seal_older_schema_other_files_and_half_a_file(document: dict, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    bare = {key: value for key, value in document.items() if key != "integrity"}
    with pytest.raises(InputError, match="no seal"):
        read_results(written(bare, path))
    with pytest.raises(InputError, match="results/0.*run"):
        read_results(written(sealed({**document, "schema": "theranostic-dose/results/0"}), path))
    with pytest.raises(InputError, match="no result"):
        read_results(written({"a": 1}, path))
    path.write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(InputError, match="no result"):
        read_results(path)
    path.write_text(to_json(document)[:1000], encoding="utf-8")
    with pytest.raises(InputError, match="not a whole"):
        read_results(path)
    with pytest.raises(InputError, match="missing.json"):
        read_results(tmp_path / "missing.json")


def test_every_step_is_in_the_trail(document: dict) -> None:
    steps = {entry["step"] for entry in document["audit"]}
    assert steps == {"load", "quantify", "register", "vois", "fit", "dose"}
    assert all(entry["finished"] for entry in document["audit"])
    products = [entry["product"] for entry in document["audit"]]
    assert {voi["name"] for voi in document["vois"]} <= set(products)


def test_diff_finds_what_was_changed_and_sorts_by_size(document: dict) -> None:
    other = copy.deepcopy(document)
    liver = next(voi for voi in other["vois"] if voi["name"] == "Liver")
    liver["mass_g"] *= 1.01
    liver["dose"]["led"]["mean_gy"] *= 2
    removed = next(voi for voi in other["vois"] if voi["name"] == "Spleen")
    other["vois"].remove(removed)
    result = diff(document, other)
    missing, dose, mass = result.changes
    assert (missing.path, missing.kind, missing.b) == ("vois[Spleen]", "only in A", None)
    back = diff(other, document).changes[0]
    assert (back.path, back.kind, back.a) == ("vois[Spleen]", "only in B", None)
    assert (dose.path, mass.path) == ("vois[Liver].dose.led.mean_gy", "vois[Liver].mass_g")
    assert dose.relative == pytest.approx(0.5)
    assert mass.relative == pytest.approx(1 - 1 / 1.01)
    numbers = [c for c in diff(document, other, 0.02).changes if c.kind == "number"]
    assert [c.path for c in numbers] == ["vois[Liver].dose.led.mean_gy"]
    assert diff(document, copy.deepcopy(document)).identical


def test_diff_does_not_take_true_for_one_nor_clocks_for_results() -> None:
    assert not diff({"a": True}, {"a": 1}).identical
    assert (
        diff({"timings_s": {"x": 1}, "engines": {"e": {"seconds": 1}}}, {"engines": {"e": {}}}).compared == 1
    )
    with pytest.raises(InputError, match="tolerance"):
        diff({}, {}, -1.0)


def test_replay_gives_identical_numbers(out: Path) -> None:
    result = replay(out, small_study_folder() / "dicom")
    assert result.identical, result.changes[:5]
    assert result.compared > 500


@pytest.mark.slow
def test_replay_gives_identical_numbers_with_another_number_of_threads(tmp_path: Path) -> None:
    import SimpleITK as sitk

    out = tmp_path / "out"
    settings = RunSettings(
        registration=RegistrationSettings(spacing_mm=6.0, iterations=(20, 10)),
        engine_settings={"mc": {"histories": 20000}},
    )
    workflow.run(small_study_folder() / "dicom", out, settings, ("vsv_density", "mc"))
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads + 1)
        result = replay(out, small_study_folder() / "dicom")
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    assert result.identical, result.changes[:5]


def test_replay_names_the_first_step_that_differs(out: Path, document: dict, tmp_path: Path) -> None:
    document["settings"]["quantification"]["fwhm_mm"] = 9.0
    result = replay(written(sealed(document), tmp_path / "results.json"), small_study_folder() / "dicom")
    assert not result.identical
    assert any("'fit'" in note for note in result.notes), result.notes
    assert not any(c.path.startswith("audit[register") for c in result.changes)


def test_replay_refuses_other_input(out: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "dicom"
    shutil.copytree(small_study_folder() / "dicom", inputs)
    file = next(path for path in sorted(inputs.rglob("*.dcm")))
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"another SHA-256"):
        replay(out, inputs)
    file.unlink()
    with pytest.raises(InputError, match=f"not in .*{file.name}"):
        replay(out, inputs)
    with pytest.raises(InputError, match="nothing at"):
        replay(out, tmp_path / "nowhere")


def test_replay_asks_for_the_voi_files_of_the_run(document: dict, tmp_path: Path) -> None:
    document["request"]["voi_files"] = [{"name": "tumors.nrrd", "sha256": "0" * 64}]
    with pytest.raises(InputError, match=r"tumors.nrrd.*--voi"):
        replay(written(sealed(document), tmp_path / "r.json"), small_study_folder() / "dicom")


def test_shell(out: Path, document: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as status:
        main(["diff", str(out), str(out / "results.json")])
    assert status.value.code == 0
    assert "Identical" in capsys.readouterr().out
    document["vois"][0]["mass_g"] *= 2
    other = written(sealed(document), tmp_path / "b.json")
    with pytest.raises(SystemExit) as status:
        main(["diff", str(out), str(other), "--json", str(tmp_path / "d.json")])
    assert status.value.code == 1
    assert "+50 %" in capsys.readouterr().out
    assert json.loads((tmp_path / "d.json").read_text())["largest_relative"] == pytest.approx(0.5)
    other.write_text(other.read_text().replace("Liver", "River"))
    with pytest.raises(SystemExit) as status:
        main(["diff", str(out), str(other)])
    assert status.value.code == 2
    assert "was changed" in capsys.readouterr().err
