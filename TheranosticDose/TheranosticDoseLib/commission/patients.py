"""Virtual patients, from DICOM to dose, against their truth."""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from TheranosticDoseLib.commission.check import Check
from TheranosticDoseLib.progress import Progress, part_of

SEEDS = (21, 22)
LIMITS = {"Kidney": 0.10, "Liver": 0.10, "Spleen": 0.10}
"""Of the TIA of one organ of one patient; the medians over many are the figures of ``validate``."""


def checks(quick: bool = False, progress: Progress | None = None) -> list[Check]:
    """Return TIA and dose of the large organs of virtual patients, and whether their uncertainties fit."""
    found: list[Check] = []
    seeds = SEEDS[:1] if quick else SEEDS
    for number, seed in enumerate(seeds):
        found += _one(seed, quick, part_of(progress, number / len(seeds), (number + 1) / len(seeds)))
    scores = [check.z for check in found if check.z is not None]
    if scores:
        within = sum(abs(z) <= 2 for z in scores) / len(scores)
        text = f"share of {len(scores)} deviations within two standard uncertainties"
        found.append(Check("Virtual patients", text, within, 0.95, "", None, source="normal distribution"))
        median = statistics.median(abs(z) for z in scores)
        found.append(
            Check("Virtual patients", "median of |z|", median, 0.67, "", None, source="normal distribution")
        )
    return found


def _one(seed: int, quick: bool, progress: Progress | None) -> list[Check]:
    from TheranosticDoseLib.demo import demo
    from TheranosticDoseLib.phantom import PhantomSettings

    small = {
        "spect_size": (64, 64, 48),
        "spect_spacing_mm": 6.0,
        "refinement": 1,
        "ct_size": (128, 128),
        "ct_slice_mm": 6.0,
        "truth_engine": "vsv_density",
    }
    settings = PhantomSettings(**small) if quick else PhantomSettings()
    with tempfile.TemporaryDirectory() as folder:
        table = demo(Path(folder), seed, ("vsv_density",), progress, settings)
        document = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
    vois = {voi["name"]: voi for voi in document["vois"]}
    return [check for record in table.records for check in _of_record(record, vois[record["name"]], seed)]


def _of_record(record: dict[str, Any], voi: dict[str, Any], seed: int) -> list[Check]:
    limit = next((limit for key, limit in LIMITS.items() if record["name"].startswith(key)), None)
    if limit is None or not record.get("whole_in_view", True):
        return []
    found = []
    dose = voi["dose"]["vsv_density"]
    relative = {"tia_mbq_h": voi["tia_rel_u"], "dose_gy": _share(dose.get("u_mean_gy"), dose["mean_gy"])}
    for key, unit in (("tia_mbq_h", "MBq h"), ("dose_gy", "Gy")):
        truth, result = record[key]["truth"], record[key]["result"]
        if truth:
            u = (relative[key] or 0.0) * result
            name = f"patient {seed}, {record['name']}, {'TIA' if key == 'tia_mbq_h' else 'mean dose'}"
            found.append(
                Check("Virtual patients", name, result, truth, unit, limit, u, source="truth of the patient")
            )
    return found


def _share(u: float | None, mean: float) -> float | None:
    return u / mean if u is not None and mean > 0 else None
