"""The list of patients: JSON, or CSV as a spreadsheet writes it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

from TheranosticDoseLib.errors import InputError, SettingsError

KNOWN = {"id", "path", "settings", "engines", "voi", "overrides"}
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,79}")


@dataclasses.dataclass(frozen=True)
class Patient:
    """What ``run`` is given for one patient; plain values, so that it travels to any worker.

    Attributes
    ----------
    id : str
        Name of the patient's result folder; unique in the cohort.
    path : str
        Folder of DICOM, or images with a manifest.
    settings : dict
        Of :class:`RunSettings`.
    engines : tuple of str
    voi_files : tuple of str
    overrides : dict
        Values that replace what the files say.
    deidentify : bool
        Whether nothing in the result folder may name the patient (with DICOM results, as ``run --deidentify``).
    """

    id: str
    path: str
    settings: dict[str, Any]
    engines: tuple[str, ...]
    voi_files: tuple[str, ...] = ()
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    deidentify: bool = False


def read_manifest(path: str | Path) -> tuple[Patient, ...]:
    """Return the patients of a manifest.

    Parameters
    ----------
    path : str or Path
        JSON: ``{"settings": {...}, "engines": [...], "overrides": {...}, "deidentify": true, "patients": [{"id",
        "path", "settings", "engines", "voi", "overrides"}, ...]}``; what a patient names replaces what is common.
        CSV: columns ``id``, ``path`` and, where wanted, ``voi`` and ``engines`` (several separated by
        ``;``), ``settings`` (a JSON file) and any field of the overrides (``injected_activity_mbq`` ...).
        Paths are relative to the manifest.

    Raises
    ------
    InputError, SettingsError
        With the row, for anything that would fail later for the whole cohort: unknown columns, a repeated
        or unusable id, settings that are not valid.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read the manifest {path}: {error}.") from error
    common, rows = _csv_rows(text, path) if path.suffix.lower() == ".csv" else _json_rows(text, path)
    if not rows:
        raise InputError(f"The manifest {path} lists no patient.")
    patients = tuple(_patient(number, row, common, path) for number, row in enumerate(rows, start=1))
    seen: set[str] = set()
    for patient in patients:
        if patient.id.lower() in seen:
            raise InputError(f"{path}: the id {patient.id!r} is given twice (case does not count).")
        seen.add(patient.id.lower())
    return patients


def _json_rows(text: str, path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}.") from error
    if not isinstance(table, dict) or not isinstance(table.get("patients"), list):
        raise InputError(f"{path}: a table with a list 'patients' was expected.")
    unknown = set(table) - {"patients", "settings", "engines", "overrides", "deidentify"}
    if unknown:
        raise InputError(f"{path}: unknown entry {sorted(unknown)[0]!r}.")
    if not isinstance(table.get("deidentify", False), bool):
        raise InputError(f"{path}: 'deidentify' is true or false.")
    if not all(isinstance(row, dict) for row in table["patients"]):
        raise InputError(f"{path}: every patient is a table with 'id' and 'path'.")
    return {key: value for key, value in table.items() if key != "patients"}, table["patients"]


def _csv_rows(text: str, path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return rows as the JSON has them; columns that are fields of the overrides become such a table."""
    from TheranosticDoseLib.dicom_io import Overrides

    fields = {field.name: field.type for field in dataclasses.fields(Overrides)} if text else {}
    rows = []
    for number, cells in enumerate(
        csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True), start=1
    ):
        row: dict[str, Any] = {"overrides": {}}
        for key, cell in cells.items():
            if key is None or (cell or "").strip() == "":
                continue
            name, value = key.strip(), cell.strip()
            if name in ("voi", "engines"):
                row[name] = [part.strip() for part in value.split(";") if part.strip()]
            elif name in fields:
                row["overrides"][name] = (
                    _number(value, name, number, path) if "float" in fields[name] else value
                )
            else:
                row[name] = value
        rows.append({key: value for key, value in row.items() if value != {}})
    return {}, rows


def _number(text: str, name: str, row: int, path: Path) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{path}, row {row}: {name} is {text!r}; a number is needed.") from None


def _patient(number: int, row: dict[str, Any], common: dict[str, Any], path: Path) -> Patient:
    from TheranosticDoseLib import workflow
    from TheranosticDoseLib.dicom_io import Overrides

    where = f"{path}, patient {number}"
    unknown = set(row) - KNOWN
    if unknown:
        raise InputError(f"{where}: unknown entry {sorted(unknown)[0]!r}; known: {', '.join(sorted(KNOWN))}.")
    name, folder = row.get("id"), row.get("path")
    if not isinstance(name, str) or not SAFE_ID.fullmatch(name):
        raise InputError(f"{where}: the id {name!r} cannot name a folder; use letters, digits and _.@+-")
    if not isinstance(folder, str) or not folder:
        raise InputError(f"{where} ({name}): 'path' is missing.")
    base = path.resolve().parent
    overrides = {**common.get("overrides", {}), **row.get("overrides", {})}
    engines = tuple(row.get("engines") or common.get("engines") or workflow.DEFAULT_ENGINES)
    try:
        values = {**_settings(common.get("settings"), base), **_settings(row.get("settings"), base)}
        settings = workflow.RunSettings.from_dict(values)
        workflow.check_engines(engines, settings)
        overrides = Overrides.from_dict(overrides).to_dict() if overrides else {}
    except (InputError, SettingsError) as error:
        raise type(error)(f"{where} ({name}): {error}") from error
    return Patient(
        id=name,
        path=str(base / folder),
        settings=settings.to_dict(),
        engines=engines,
        voi_files=tuple(str(base / file) for file in row.get("voi", ())),
        overrides=overrides,
        deidentify=common.get("deidentify", False),
    )


def _settings(value: Any, base: Path) -> dict[str, Any]:
    """Return settings given as a table, or as the name of a JSON file."""
    if value is None or isinstance(value, dict):
        return value or {}
    file = base / str(value)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read the settings {file}: {error}.") from error
