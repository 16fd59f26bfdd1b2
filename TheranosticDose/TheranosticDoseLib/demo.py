"""The whole way on a virtual patient, with truth beside result."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.progress import Progress, part_of, report

if TYPE_CHECKING:
    from TheranosticDoseLib.phantom import PhantomSettings, VirtualPatient
    from TheranosticDoseLib.workflow import Results, RunSettings

DEMO_ENGINES = ("vsv_density", "led")
NOTE = (
    "Deviations in percent of the truth. Volume: what voxels and outlines lose. Activity: noise, resolution and what "
    "recovery correction does not bring back (mean over the scans). TIA: these and the curve fit. "
    "Dose: these and the dose engine."
)


@dataclasses.dataclass(frozen=True)
class TruthTable:
    """Truth beside result, ready to be shown."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str
    records: tuple[dict[str, Any], ...]
    """One a VOI: name, truth, result and relative deviation of volume, activity, TIA and dose."""


def write_virtual_patient(
    out: Path, seed: int = 1, progress: Progress | None = None, settings: PhantomSettings | None = None
) -> VirtualPatient:
    """Make the virtual patient of a seed and write ``out/dicom`` and ``out/truth``."""
    from TheranosticDoseLib.phantom import PhantomSettings, virtual_patient, write_patient

    settings = PhantomSettings() if settings is None else settings
    patient = virtual_patient(seed, settings, part_of(progress, 0.0, 0.6))
    write_patient(patient, Path(out), part_of(progress, 0.6, 1.0))
    return patient


def demo_settings(patient: VirtualPatient) -> RunSettings:
    """Return the settings of the demo: recovery with the resolution that a sphere phantom would have shown."""
    from TheranosticDoseLib.quantification import QuantificationSettings
    from TheranosticDoseLib.workflow import RunSettings

    fwhm_mm = sum(patient.resolution_mm) / 3.0
    return RunSettings(quantification=QuantificationSettings(recovery="gtm", fwhm_mm=fwhm_mm))


def demo(
    out: Path,
    seed: int = 1,
    engines: Sequence[str] = (),
    progress: Progress | None = None,
    settings: PhantomSettings | None = None,
) -> TruthTable:
    """Write a virtual patient, compute it from its DICOM and compare with its truth.

    Parameters
    ----------
    out : Path
        Gets ``dicom``, ``truth`` and the result folder's files.
    seed : int
        Of the virtual patient.
    engines : sequence of str
        Default: ``vsv_density`` and ``led``.
    progress : callable, optional
    settings : PhantomSettings, optional

    Returns
    -------
    TruthTable
    """
    from TheranosticDoseLib import workflow
    from TheranosticDoseLib.dicom_io import load_study
    from TheranosticDoseLib.report import write_results

    engines = tuple(engines) or DEMO_ENGINES
    workflow.check_engines(engines)
    out = Path(out)
    patient = write_virtual_patient(out, seed, part_of(progress, 0.0, 0.4), settings)
    run_settings = demo_settings(patient)
    study = load_study(out / "dicom", None, part_of(progress, 0.4, 0.45))
    results = workflow.evaluate(study, run_settings, engines, part_of(progress, 0.45, 0.92))
    truth = json.loads((out / "truth" / "truth.json").read_text(encoding="utf-8"))
    table = truth_against_result(truth, results)
    report(progress, 0.93, "Writing the report")
    write_results(results, out, part_of(progress, 0.93, 1.0), dataclasses.asdict(table))
    return table


def truth_against_result(truth: dict[str, Any], results: Results) -> TruthTable:
    """Compare per VOI name; VOIs that only one side has are named in the note."""
    engine = next(iter(results.doses))
    by_name = {voi["name"]: voi for voi in truth["vois"]}
    records = []
    for result in results.vois:
        expected = by_name.get(result.name)
        if expected is None or result.fit is None:
            continue
        pairs = {
            "volume_ml": (expected["volume_ml"], result.volume_ml),
            "tia_mbq_h": (expected["tia_mbq_h"], result.fit.tia_mbq_h),
            "dose_gy": (expected["dose_gy"], result.dvh[engine].mean_gy),
        }
        whole = bool(expected.get("whole_in_view", True))
        record: dict[str, Any] = {"name": result.name, "kind": result.voi.kind, "whole_in_view": whole}
        for key, (true, found) in pairs.items():
            record[key] = {"truth": true, "result": found, "deviation": _deviation(true, found)}
        deviations = [
            _deviation(t, f) for t, f in zip(expected["activity_mbq"], result.activity_mbq, strict=True)
        ]
        known = [deviation for deviation in deviations if deviation is not None]
        record["activity_deviation"] = sum(known) / len(known) if known else None
        record["activity_deviations"] = deviations
        records.append(record)
    header = (
        "VOI",
        "volume, mL",
        "±%",
        "activity ±%",
        "TIA, MBq h",
        "truth",
        "±%",
        f"dose {engine}, Gy",
        "truth",
        "±%",
    )
    missing = sorted(set(by_name) - {record["name"] for record in records})
    note = NOTE + (f" Not compared: {', '.join(missing)}." if missing else "")
    if not all(record["whole_in_view"] for record in records):
        note += (
            " (cut): reaches beyond the field of view of the SPECT, so the truth holds more than was scanned."
        )
    made_by = ((truth.get("dose") or {}).get("record") or {}).get("engine", "no engine")
    title = f"Truth against result (dose of the truth by {made_by})"
    return TruthTable(title, header, tuple(_row(record) for record in records), note, tuple(records))


def _deviation(true: float | None, found: float) -> float | None:
    return None if not true or found != found else (found - true) / true


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:+.1f}"

    volume, tia, dose = (record[key] for key in ("volume_ml", "tia_mbq_h", "dose_gy"))
    return (
        record["name"] + ("" if record["whole_in_view"] else " (cut)"),
        f"{volume['result']:.1f}",
        percent(volume["deviation"]),
        percent(record["activity_deviation"]),
        f"{tia['result']:.4g}",
        f"{tia['truth']:.4g}",
        percent(tia["deviation"]),
        f"{dose['result']:.3g}",
        "-" if dose["truth"] is None else f"{dose['truth']:.3g}",
        percent(dose["deviation"]),
    )
