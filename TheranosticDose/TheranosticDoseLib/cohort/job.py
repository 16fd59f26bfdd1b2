"""One patient of a cohort; runs on a worker and never raises."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

from TheranosticDoseLib import __version__
from TheranosticDoseLib.cohort.manifest import Patient
from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseLib.files import sha256, to_json, write_whole

MARK = "batch.json"
FINISHED, EARLIER, FAILED = "finished", "finished earlier", "failed"


def fingerprint(patient: Patient) -> str:
    """Return a hash of all that decides the result: input files, settings, engines and version."""
    root = Path(patient.path)
    listed = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else _of_manifest(root)
    folder = root if root.is_dir() else root.parent
    files = {str(file.relative_to(folder)): sha256(file) for file in listed}
    for file in patient.voi_files:
        files[f"voi:{Path(file).name}"] = sha256(Path(file))
    parts = {key: value for key, value in dataclasses.asdict(patient).items() if key in _DECIDES}
    text = json.dumps([__version__, files, parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _of_manifest(path: Path) -> list[Path]:
    """Return a manifest of images and the files that it names."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [path]

    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            return [text for item in value for text in texts(item)]
        return [value] if isinstance(value, str) else []

    names = sorted({text for text in texts(values) if text and (path.parent / text).is_file()})
    return [path, *(path.parent / name for name in names)]


_DECIDES = ("settings", "engines", "overrides", "deidentify")
WITHHELD = "What went wrong may name the patient and is not repeated here; run this patient alone."


def compute(patient: Patient, out: str) -> dict[str, Any]:
    """Run one patient, or find it done; what goes wrong becomes the text of ``message``.

    Parameters
    ----------
    patient : Patient
    out : str
        The patient's result folder.

    Returns
    -------
    dict
        ``id``, ``status``, ``message``, ``seconds``, ``worker`` (process number).
    """
    started = time.perf_counter()
    status, message = FAILED, ""
    try:
        status = _compute(patient, Path(out))
    except TheranosticDoseError as error:
        message = str(error)
    except Exception as error:  # noqa: BLE001 - whatever happens to one patient must not stop the rest
        where = traceback.extract_tb(error.__traceback__)[-1]
        message = f"Unexpected {type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {error}"
    if message and patient.deidentify:
        message = WITHHELD
    seconds = time.perf_counter() - started
    return {"id": patient.id, "status": status, "message": message, "seconds": seconds, "worker": os.getpid()}


def _compute(patient: Patient, out: Path) -> str:
    from TheranosticDoseLib import workflow
    from TheranosticDoseLib.dicom_io import ExportSettings, Overrides
    from TheranosticDoseLib.errors import InputError

    missing = [file for file in (patient.path, *patient.voi_files) if not Path(file).exists()]
    if missing:
        raise InputError(f"There is nothing at {missing[0]}.")
    mark = fingerprint(patient)
    if _is_done(out, mark):
        return EARLIER
    for rest in out.glob(".partial-*"):  # of a worker that was killed while writing
        shutil.rmtree(rest, ignore_errors=True)
    overrides = Overrides.from_dict(patient.overrides) if patient.overrides else None
    settings = workflow.RunSettings.from_dict(json.loads(json.dumps(patient.settings)))
    dicom = ExportSettings(deidentify=True) if patient.deidentify else None
    workflow.run(patient.path, out, settings, patient.engines, patient.voi_files, overrides, dicom=dicom)
    seal = json.loads((out / "results.json").read_text(encoding="utf-8"))["integrity"]["sha256"]
    write_whole(out / MARK, to_json({"fingerprint": mark, "results": seal}))
    return FINISHED


def _is_done(out: Path, mark: str) -> bool:
    """Whether a whole, unchanged result of the same input and settings is there."""
    from TheranosticDoseLib.audit import read_results

    try:
        earlier = json.loads((out / MARK).read_text(encoding="utf-8"))
        if earlier["fingerprint"] != mark:
            return False
        return read_results(out)["integrity"]["sha256"] == earlier["results"]
    except (OSError, ValueError, KeyError, TypeError, TheranosticDoseError):
        return False
