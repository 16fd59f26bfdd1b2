"""Replay of a result, and a cohort that loses a worker."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from TheranosticDoseLib.progress import Progress, part_of, report
from TheranosticDoseLib.validation.figure import Figure, at_least, at_most, reported

PATIENTS = 8
SMALL = {
    "spect_size": (64, 64, 48),
    "spect_spacing_mm": 6.0,
    "refinement": 1,
    "ct_size": (96, 96),
    "ct_field_mm": 450.0,
    "ct_slice_mm": 6.0,
    "truth_engine": "none",
}
SETTINGS = {"registration": {"spacing_mm": 6.0}}


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return the difference of a replay, and how a cohort with a killed worker compares with one by one."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = _patients(Path(folder), 2 if quick else PATIENTS, part_of(progress, 0.0, 0.2))
        found, serial_s, serial = _replayed(Path(folder), manifest, part_of(progress, 0.2, 0.6))
        report(progress, 0.6, "Cohort on two workers, one is killed")
        return found + _cohort(Path(folder), manifest, serial, serial_s)


def _patients(folder: Path, count: int, progress: Progress | None) -> Path:
    from TheranosticDoseLib.demo import write_virtual_patient
    from TheranosticDoseLib.phantom import PhantomSettings

    for number in range(count):
        report(progress, number / count, f"Virtual patient {number + 1} of {count}")
        write_virtual_patient(folder / f"p{number}", 40 + number, settings=PhantomSettings(**SMALL))
    patients = [{"id": f"p{number}", "path": f"p{number}/dicom"} for number in range(count)]
    manifest = folder / "manifest.json"
    table = {"settings": SETTINGS, "engines": ["vsv_density"], "patients": patients}
    manifest.write_text(json.dumps(table), encoding="utf-8")
    return manifest


def _replayed(
    folder: Path, manifest: Path, progress: Progress | None
) -> tuple[list[Figure], float, dict[str, Any]]:
    """One by one with all threads, and the first again with one thread more."""
    import SimpleITK as sitk

    from TheranosticDoseLib import workflow
    from TheranosticDoseLib.audit import read_results, replay
    from TheranosticDoseLib.cohort import read_manifest

    started, serial = time.perf_counter(), {}
    patients = read_manifest(manifest)
    for number, patient in enumerate(patients):
        report(progress, number / (len(patients) + 1), f"{patient.id} alone")
        settings = workflow.RunSettings.from_dict(json.loads(json.dumps(patient.settings)))
        workflow.run(patient.path, folder / "serial" / patient.id, settings, patient.engines)
        serial[patient.id] = read_results(folder / "serial" / patient.id)
    serial_s = time.perf_counter() - started
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads + 1)
        again = replay(folder / "serial" / patients[0].id, patients[0].path)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    name = "Replay on another number of threads: largest relative difference"
    detail = f"{again.compared} values, {len(again.changes)} differ; {threads} and {threads + 1} threads"
    return (
        [at_most(name, again.largest_relative, 0.0, reference="the earlier result", detail=detail)],
        serial_s,
        serial,
    )


def _cohort(folder: Path, manifest: Path, serial: dict[str, Any], serial_s: float) -> list[Figure]:
    from distributed import LocalCluster

    from TheranosticDoseLib.audit import diff, read_results
    from TheranosticDoseLib.cohort import batch

    killed: list[int] = []
    options = {"dashboard_address": None, "memory_limit": 0, "silence_logs": 50, "threads_per_worker": 1}
    with LocalCluster(n_workers=2, **options) as cluster:
        thread = threading.Thread(target=_kill_one, args=(cluster, killed))
        thread.start()
        result = batch(manifest, folder / "cohort", scheduler=cluster.scheduler_address)
        thread.join()
    done = [p["id"] for p in result.patients if p["status"] == "finished"]
    same = [n for n in done if diff(serial[n], read_results(folder / "cohort" / "patients" / n)).identical]
    count = len(serial)
    detail = (
        f"{count} patients, {len(done)} finished, {len(killed)} worker killed after its first seconds of work"
    )
    share = result.seconds / serial_s
    return [
        at_least(
            "Cohort with a killed worker: results identical to one by one",
            len(same), count, reference="the same patients one by one", detail=detail,
        ),
        reported(
            "Cohort on two workers: wall time over that of one by one", share,
            detail=f"{result.seconds:.0f} s against {serial_s:.0f} s, with the restart; {os.cpu_count()} processors",
        ),
    ]  # fmt: skip


def _kill_one(cluster: Any, killed: list[int]) -> None:
    """Kill a worker a few seconds after it began to work."""
    while not all(state.processing for state in cluster.scheduler.workers.values()):
        time.sleep(0.05)
    time.sleep(3.0)
    pid = cluster.workers[0].pid
    os.kill(pid, signal.SIGKILL)
    killed.append(pid)
