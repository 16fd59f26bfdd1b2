"""Virtual patients: truth against result, from DICOM to dose.

Noise, blur, breathing and posture are on; the VOIs are the true outlines of the reference scan, so
that what is measured is quantification, registration, recovery, curve fit and dose, not outlining.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from TheranosticDoseLib.progress import Progress, part_of
from TheranosticDoseLib.validation.figure import Figure, at_most, reported

SEEDS = (11, 12, 13, 14, 15)
LIMITS = (
    ("kidneys", 4.0),
    ("liver and spleen", 3.0),
    ("lesions over 10 mL", 8.0),
)
REFERENCE = "truth of the virtual patients, seeds {seeds}"


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return the deviations of TIA and dose from the truth, over the seeds."""
    seeds = SEEDS[:1] if quick else SEEDS
    records = []
    for number, seed in enumerate(seeds):
        records += _one(seed, part_of(progress, number / len(seeds), (number + 1) / len(seeds)))
    reference = REFERENCE.format(seeds=", ".join(map(str, seeds)))
    found = []
    for group, limit in LIMITS:
        chosen = [record for record in records if record["group"] == group]
        if not chosen:
            continue
        tia = [abs(100 * record["tia_mbq_h"]["deviation"]) for record in chosen]
        detail = f"{len(chosen)} VOIs; " + _spread([100 * r["tia_mbq_h"]["deviation"] for r in chosen])
        name = f"TIA, {group}: median absolute deviation from the truth"
        found.append(at_most(name, statistics.median(tia), limit, "%", reference=reference, detail=detail))
        dose = [100 * r["dose_gy"]["deviation"] for r in chosen if r["dose_gy"]["deviation"] is not None]
        if dose:
            name = f"Mean dose, {group}: median absolute deviation from the truth"
            value = statistics.median(map(abs, dose))
            found.append(reported(name, value, "%", reference=reference, detail=_spread(dose)))
    _plot(records, out / "virtual_patients_tia.png")
    return found


def _spread(values: list[float]) -> str:
    return f"mean {statistics.fmean(values):+.1f} %, from {min(values):+.1f} to {max(values):+.1f} %"


def _one(seed: int, progress: Progress | None) -> list[dict[str, Any]]:
    """The records of the comparison for one patient, each with its group and seed."""
    import TheranosticDoseLib.demo as demonstration

    with tempfile.TemporaryDirectory() as folder:
        table = demonstration.demo(Path(folder), seed, ("vsv_density",), progress)
    whole = [record for record in table.records if record["whole_in_view"]]
    return [{**record, "seed": seed, "group": _group(record)} for record in whole]


def _group(record: dict[str, Any]) -> str:
    name = record["name"].lower()
    if record["kind"] == "lesion":
        return "lesions over 10 mL" if record["volume_ml"]["truth"] > 10 else "lesions up to 10 mL"
    if name.startswith("kidney"):
        return "kidneys"
    return "liver and spleen" if name in ("liver", "spleen") else "other"


def _plot(records: list[dict[str, Any]], path: Path) -> None:
    from TheranosticDoseLib.report.pictures import figure_of, png

    figure, axes = figure_of(1, 7.0, 4.0)
    axis = axes[0, 0]
    groups = [group for group, _ in LIMITS] + ["lesions up to 10 mL", "other"]
    for number, group in enumerate(groups):
        values = [100 * r["tia_mbq_h"]["deviation"] for r in records if r["group"] == group]
        axis.plot(
            [number + 0.02 * (i - len(values) / 2) for i in range(len(values))], values, "o", ms=4, alpha=0.7
        )
    for number, (_, limit) in enumerate(LIMITS):
        axis.fill_between([number - 0.35, number + 0.35], -limit, limit, color="0.85", zorder=0)
    axis.axhline(0, color="0.4", linewidth=0.8)
    axis.set_xticks(range(len(groups)), groups, fontsize=8)
    axis.set_ylabel("TIA, deviation from the truth, %")
    axis.set_ylim(-60, 60)
    path.write_bytes(png(figure))
