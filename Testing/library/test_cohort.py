"""Cohorts on a real Dask scheduler with two workers."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from TheranosticDoseLib import workflow
from TheranosticDoseLib.audit import diff, read_results
from TheranosticDoseLib.cli import main
from TheranosticDoseLib.cohort import batch, read_manifest
from TheranosticDoseLib.errors import CancelledError, InputError, OutputError, SettingsError
from TheranosticDoseLib.registration import RegistrationSettings
from TheranosticDoseLib.workflow import RunSettings
from tiny_study import tiny_study

pytest.importorskip("distributed", reason="needs the Python package distributed")

SETTINGS = {"registration": {"method": "none"}}


def write_manifest(folder: Path, listed: dict[str, Path], **common: object) -> Path:
    table = {
        "settings": SETTINGS,
        "engines": ["led"],
        "patients": [{"id": name, "path": os.path.relpath(path, folder)} for name, path in listed.items()],
        **common,
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


def states(result) -> dict[str, str]:
    return {patient["id"]: patient["status"] for patient in result.patients}


def test_finished_patients_stay_and_a_failed_one_does_not_stop_the_rest(tmp_path: Path) -> None:
    from TheranosticDoseLib.cohort.job import compute

    (tmp_path / "empty").mkdir()
    source, out = tiny_study(tmp_path / "source"), tmp_path / "out"
    manifest = write_manifest(
        tmp_path, {"a": source, "broken": tmp_path / "empty", "gone": tmp_path / "gone"}
    )
    a = read_manifest(manifest)[0]
    assert compute(a, str(out / "patients" / "a"))["status"] == "finished"
    before = (out / "patients" / "a" / "results.json").stat().st_mtime_ns
    messages: list[str] = []
    result = batch(manifest, out, workers=1, progress=lambda f, m: messages.append(m) or True)
    assert states(result) == {"a": "finished earlier", "broken": "failed", "gone": "failed"}
    assert (out / "patients" / "a" / "results.json").stat().st_mtime_ns == before
    assert "gone" in result.patients[2]["message"]
    assert messages[-1] == "Done"
    check_tables(out, {"a"})
    # Half-written and left by a killed worker: computed again.
    half = out / "patients" / "a"
    (half / "results.json").write_text((half / "results.json").read_text()[:500])
    (half / ".partial-xyz").mkdir()
    assert compute(a, str(half))["status"] == "finished"
    assert not (half / ".partial-xyz").exists()
    assert read_results(half)


def test_a_cohort_without_identity(tmp_path: Path) -> None:
    pytest.importorskip("dicomanonymizer")
    from TheranosticDoseLib.cohort.job import WITHHELD, compute

    source = tiny_study(tmp_path / "source", patient_id="MUSTERMANN")
    listed = {"p1": source, "p2": tmp_path / "MUSTERMANN"}
    one, gone = read_manifest(write_manifest(tmp_path, listed, deidentify=True))
    out = tmp_path / "out" / "p1"
    assert compute(one, str(out))["status"] == "finished"
    assert read_results(out)["deidentified"]
    assert not [
        p for p in out.rglob("*") if p.suffix in (".json", ".csv", ".dcm") and b"MUSTERMANN" in p.read_bytes()
    ]
    assert (out / "dicom_results" / "SR.dcm").is_file()
    assert compute(one, str(out))["status"] == "finished earlier"
    assert compute(gone, str(tmp_path / "out" / "p2"))["message"] == WITHHELD
    with pytest.raises(InputError, match="true or false"):
        read_manifest(write_manifest(tmp_path, listed, deidentify="yes"))


@pytest.mark.slow
def test_two_workers_compute_what_one_process_computes(tmp_path: Path) -> None:
    source = tiny_study(tmp_path / "source")
    (tmp_path / "empty").mkdir()
    manifest = write_manifest(tmp_path, {"a": source, "broken": tmp_path / "empty", "b": source})
    out = tmp_path / "out"
    result = batch(manifest, out, workers=2)
    assert states(result) == {"a": "finished", "broken": "failed", "b": "finished"}
    a, b = (read_results(out / "patients" / name) for name in "ab")
    assert diff(a, b).identical
    check_tables(out, {"a", "b"})


def check_tables(out: Path, done: set[str]) -> None:
    with open(out / "cohort.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    document = read_results(out / "patients" / "a")
    assert {row["patient"] for row in rows} == done
    assert len(rows) == len(done) * len(document["vois"])
    liver = next(row for row in rows if row["patient"] == "a" and row["voi"] == "Liver")
    dose = next(voi for voi in document["vois"] if voi["name"] == "Liver")["dose"]["led"]["mean_gy"]
    assert float(liver["mean_gy"]) == dose
    assert float(liver["gy_per_gbq"]) == pytest.approx(dose / 7.4)
    page = (out / "cohort.html").read_text(encoding="utf-8")
    assert "not a medical device" in page
    assert "broken" in page


@pytest.mark.slow
def test_a_killed_worker_does_not_lose_its_patient(tmp_path: Path) -> None:
    # The scheduler is one that is there already, as at a site with a cluster.
    from distributed import LocalCluster

    source = tiny_study(tmp_path / "source")
    manifest = write_manifest(tmp_path, {"a": source, "b": source, "c": source})
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0, silence_logs=50
    ) as cluster:
        killed: list[int] = []

        def kill_one() -> None:
            worker = cluster.workers[0]
            while not any(state.processing for state in cluster.scheduler.workers.values() if state.nanny):
                time.sleep(0.02)
            time.sleep(0.5)
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

        thread = threading.Thread(target=kill_one)
        thread.start()
        result = batch(manifest, tmp_path / "out", scheduler=cluster.scheduler_address)
        thread.join()
    assert killed
    assert states(result) == dict.fromkeys("abc", "finished")
    assert killed[0] not in [patient["worker"] for patient in result.patients]
    workflow.run(source, tmp_path / "alone", RunSettings.from_dict(SETTINGS), ("led",))
    alone = read_results(tmp_path / "alone")
    for name in "abc":
        assert diff(alone, read_results(tmp_path / "out" / "patients" / name)).identical


def test_cancelling_leaves_no_summary(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, {"a": tmp_path})
    with pytest.raises(CancelledError):
        batch(manifest, tmp_path / "out", workers=1, progress=lambda f, m: False)
    assert not (tmp_path / "out" / "cohort.csv").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"patients": []}, "no patient"),
        ({"patients": [{"id": "a", "path": "x"}, {"id": "A", "path": "y"}]}, "twice"),
        ({"patients": [{"id": "../a", "path": "x"}]}, "cannot name a folder"),
        ({"patients": [{"id": "a"}]}, "'path' is missing"),
        ({"patients": [{"id": "a", "path": "x", "engine": "led"}]}, "unknown entry 'engine'"),
        ({"settings": {"registraton": {}}}, r"patient 1 \(a\): .*registration"),
        ({"settings": "nowhere.json"}, "nowhere.json"),
        ({"engines": ["magic"]}, "magic"),
        ({"patient": []}, "unknown entry 'patient'"),
    ],
)
def test_a_wrong_manifest_stops_before_any_work(tmp_path: Path, change: dict, text: str) -> None:
    manifest = write_manifest(tmp_path, {"a": tmp_path}, **change)
    with pytest.raises((InputError, SettingsError), match=text):
        read_manifest(manifest)


def test_csv_manifest(tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text(
        "\ufeffid,path,engines,injected_activity_mbq,voi\np1,one,led;vsv,7400.5,a.nrrd;b.nrrd\np2,two,,,\n",
        encoding="utf-8",
    )
    one, two = read_manifest(path)
    assert one.engines == ("led", "vsv")
    assert one.overrides["injected_activity_mbq"] == 7400.5
    assert [Path(file).name for file in one.voi_files] == ["a.nrrd", "b.nrrd"]
    assert two.engines == workflow.DEFAULT_ENGINES
    assert (
        two.settings == json.loads(json.dumps(RunSettings().to_dict()))
        or two.settings == RunSettings().to_dict()
    )
    path.write_text("id,path,injected_activity_mbq\np1,one,many\n", encoding="utf-8")
    with pytest.raises(InputError, match="row 1.*many"):
        read_manifest(path)


def test_the_fingerprint_follows_input_and_settings(tmp_path: Path) -> None:
    import dataclasses

    from TheranosticDoseLib.cohort.job import fingerprint

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_bytes(b"1")
    patient = read_manifest(write_manifest(tmp_path, {"a": tmp_path / "data"}))[0]
    first = fingerprint(patient)
    assert fingerprint(dataclasses.replace(patient, id="other")) == first
    settings = RunSettings(registration=RegistrationSettings(seed=7)).to_dict()
    assert fingerprint(dataclasses.replace(patient, settings=settings)) != first
    (tmp_path / "data" / "x").write_bytes(b"2")
    assert fingerprint(patient) != first


def test_mistakes_in_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_manifest(tmp_path, {"a": tmp_path})
    (tmp_path / "file").write_text("x")
    for arguments, text in (
        (["batch", str(tmp_path / "none.json"), "--out", "o"], "none.json"),
        (["batch", str(manifest), "--out", str(tmp_path / "file")], "file"),
        (["batch", str(manifest), "--out", str(tmp_path / "o"), "--workers", "0"], "at least one"),
    ):
        with pytest.raises(SystemExit) as status:
            main(arguments)
        assert status.value.code == 2
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1


def test_no_scheduler_and_no_target(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, {"a": tmp_path})
    with pytest.raises(InputError, match="No Dask scheduler answers"):
        batch(manifest, tmp_path / "out", scheduler="nonsense://x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        batch(manifest, tmp_path / "file")
