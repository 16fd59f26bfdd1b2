"""CSV tables: one row a VOI and engine, one row a VOI and time point, one row a DVH point."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from TheranosticDoseLib.workflow.results import Results


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return CSV (RFC 4180, UTF-8) with numbers in full precision and nothing for ``None``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(["" if value is None else value for value in row])
    return text.getvalue()


def dose_table(document: dict[str, Any]) -> str:
    """Return the dose of each VOI by each engine."""
    keys: list[str] = []
    for voi in document["vois"]:
        for dose in voi["dose"].values():
            keys += [key for key in dose if key not in keys]
    header = [
        "voi",
        "kind",
        "volume_ml",
        "mass_g",
        "tia_mbq_h",
        "tia_rel_u",
        "schedule_error_low",
        "schedule_error_high",
        "engine",
        *keys,
        "bed_gy",
        "eqd2_gy",
    ]
    rows = []
    for voi in document["vois"]:
        head = [voi[key] for key in ("name", "kind", "volume_ml", "mass_g", "tia_mbq_h", "tia_rel_u")]
        expected = voi.get("expected_error") or {}
        head += [expected.get("low"), expected.get("high")]
        for number, (engine, dose) in enumerate(voi["dose"].items()):
            biology = [voi["bed_gy"], voi["eqd2_gy"]] if number == 0 else [None, None]
            rows.append([*head, engine, *(dose.get(key) for key in keys), *biology])
    return csv_text(header, rows)


def activity_table(document: dict[str, Any]) -> str:
    """Return the activity of each VOI at each time point."""
    header = ["voi", "time_point", "time_h", "activity_mbq", "u_activity_mbq", "recovery"]
    rows = []
    for voi in document["vois"]:
        columns = (voi["activity_mbq"], voi["u_activity_mbq"], voi["recovery"])
        for point, *values in zip(document["time_points"], *columns, strict=True):
            rows.append([voi["name"], point["label"], point["time_h"], *values])
    return csv_text(header, rows)


def dvh_table(results: Results, points: int = 200) -> str:
    """Return the cumulative DVHs, in percent of the volume."""
    rows = []
    for result in results.vois:
        for engine, dvh in result.dvh.items():
            dose_gy, percent = dvh.curve(points)
            rows += [
                [result.name, engine, d, p] for d, p in zip(dose_gy.tolist(), percent.tolist(), strict=True)
            ]
    return csv_text(["voi", "engine", "dose_gy", "volume_percent"], rows)


MODELS = (
    "tissue", "status", "checked", "alpha_beta_gy", "repair_half_time_h", "alpha_per_gy", "lea_catcheside", "bed_gy",
    "u_bed_gy", "eqd2_gy", "mean_voxel_bed_gy", "eud_gy", "eubed_gy", "ntcp", "tcp", "source",
)  # fmt: skip


def radiobiology_table(document: dict[str, Any]) -> str:
    """Return the models of each VOI (of the first engine) with their parameters and the source of those."""
    rows = []
    for voi in document["vois"]:
        found = {**voi["radiobiology"], "bed_gy": voi["bed_gy"], "eqd2_gy": voi["eqd2_gy"]}
        for name in ("ntcp", "tcp"):
            found[name] = (found.get(name) or {}).get("probability")
        rows.append([voi["name"], *(found.get(key) for key in MODELS)])
    return csv_text(["voi", *MODELS], rows)


def findings_table(document: dict[str, Any]) -> str:
    """Return the findings."""
    header = ["severity", "field", "message", "value", "source", "remedy"]
    return csv_text(header, ([finding[key] for key in header] for finding in document["findings"]))
