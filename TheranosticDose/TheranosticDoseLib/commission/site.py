"""Cases that the site has, with numbers to hold them against: the public SNMMI challenge data, an earlier study."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.commission.check import Check
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.progress import Progress, part_of

if TYPE_CHECKING:
    from TheranosticDoseLib.workflow.results import VoiResult

FILE = "reference.json"
KEYS = {"data", "source", "engine", "settings", "vois"}
NUMBERS = {"volume_ml": ("volume", "mL"), "tia_mbq_h": ("TIA", "MBq h"), "dose_gy": ("mean dose", "Gy")}
VOI_KEYS = {"name", "limit", "relative_u", *NUMBERS}


def read_case(folder: str | Path) -> dict[str, Any]:
    """Return the content of ``reference.json`` after checking it.

    ``data``: folder of DICOM or a manifest, relative to the case (default ``dicom``); ``source`` of the numbers;
    ``engine``; ``settings`` of the run; ``vois``: ``name`` and any of ``volume_ml``, ``tia_mbq_h``, ``dose_gy``,
    with ``limit`` (relative; only reported without) and ``relative_u`` of these numbers.

    Raises
    ------
    InputError
        Where the file is missing or not like this.
    """
    path = Path(folder) / FILE
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"A case needs a readable {path}: {error}.") from error
    if not isinstance(table, dict) or not isinstance(table.get("vois"), list) or not table["vois"]:
        raise InputError(f"{path}: a table with a list 'vois' was expected.")
    unknown = set(table) - KEYS
    for voi in table["vois"]:
        if not isinstance(voi, dict) or not voi.get("name"):
            raise InputError(f"{path}: every VOI is a table with a 'name'.")
        unknown |= set(voi) - VOI_KEYS
        given = [voi[key] for key in VOI_KEYS - {"name"} if key in voi]
        if not all(isinstance(v, (int, float)) and math.isfinite(v) and v > 0 for v in given):
            raise InputError(f"{path}: the numbers of {voi['name']} must be finite and above 0.")
    if unknown:
        raise InputError(f"{path}: unknown entry {sorted(unknown)[0]!r}.")
    return table


def checks(folder: str | Path, progress: Progress | None = None) -> list[Check]:
    """Compute a case and return its numbers beside those of ``reference.json``."""
    from TheranosticDoseLib import workflow
    from TheranosticDoseLib.dicom_io import load_study

    folder = Path(folder)
    table = read_case(folder)
    settings = workflow.RunSettings.from_dict(table.get("settings"))
    engines = (str(table.get("engine", workflow.DEFAULT_ENGINES[0])),)
    study = load_study(folder / str(table.get("data", "dicom")), None, part_of(progress, 0.0, 0.1))
    results = workflow.evaluate(study, settings, engines, part_of(progress, 0.1, 1.0))
    by_name = {result.name: result for result in results.vois}
    missing = [voi["name"] for voi in table["vois"] if voi["name"] not in by_name]
    if missing:
        raise InputError(f"{folder / FILE} names {missing[0]!r}; the data hold {', '.join(by_name)}.")
    source = str(table.get("source", FILE))
    return [
        check
        for voi in table["vois"]
        for check in _of_voi(f"Case {folder.name}", voi, by_name[voi["name"]], engines[0], source)
    ]


def _of_voi(group: str, voi: dict[str, Any], result: VoiResult, engine: str, source: str) -> list[Check]:
    mean = result.dvh[engine].mean_gy
    budget = result.uncertainty.get(engine, {})
    measured = {
        "volume_ml": (result.volume_ml, 0.0),
        "tia_mbq_h": (result.fit.tia_mbq_h if result.fit else 0.0, budget.get("relative_u_tia", 0.0)),
        "dose_gy": (mean, budget.get("relative_u_dose", 0.0)),
    }
    found = []
    for key, (words, unit) in NUMBERS.items():
        if key in voi:
            value, relative = measured[key]
            u = math.hypot(relative * value, voi.get("relative_u", 0.0) * voi[key])
            name = f"{voi['name']}, {words}"
            found.append(Check(group, name, value, voi[key], unit, voi.get("limit"), u, source=source))
    return found
