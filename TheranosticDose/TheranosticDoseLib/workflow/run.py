"""From a folder of files to results, in one call."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import InputError, SettingsError
from TheranosticDoseLib.files import require_writable, sha256
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.progress import Progress, part_of, report
from TheranosticDoseLib.workflow import steps
from TheranosticDoseLib.workflow.features import with_features
from TheranosticDoseLib.workflow.results import Results
from TheranosticDoseLib.workflow.settings import RunSettings

if TYPE_CHECKING:
    from TheranosticDoseLib.comparison import Comparison
    from TheranosticDoseLib.dicom_io import ExportSettings, Overrides
    from TheranosticDoseLib.dose import DoseResult
    from TheranosticDoseLib.registration import RegisteredStudy
    from TheranosticDoseLib.study import Study, Voi
    from TheranosticDoseLib.workflow.results import VoiResult

DEFAULT_ENGINES = ("vsv_density",)


class _Clock:
    """Wall time of each step, and when it was done."""

    def __init__(self) -> None:
        self.timings_s: dict[str, float] = {}
        self.finished: dict[str, str] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.timings_s[name] = self.timings_s.get(name, 0.0) + time.perf_counter() - started
        self.finished[name] = _now()


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")


def run(
    path: str | Path,
    out: str | Path,
    settings: RunSettings | None = None,
    engines: Sequence[str] = DEFAULT_ENGINES,
    voi_files: Sequence[str | Path] = (),
    overrides: Overrides | None = None,
    progress: Progress | None = None,
    dicom: ExportSettings | None = None,
) -> Results:
    """Read a study, compute everything and write the result folder.

    Parameters
    ----------
    path : str or Path
        Folder of DICOM, or images with a manifest.
    out : str or Path
        Result folder: ``results.json``, ``report.html``, tables and images.  Made whole or not at all;
        an earlier result there is kept under ``earlier``.
    settings : RunSettings, optional
    engines : sequence of str
        Dose engines, the first is the one that BED is computed from.
    voi_files : sequence of Path
        RTSTRUCT, SEG or label maps beside those in ``path``.
    overrides : Overrides, optional
        Values that replace or add to what the files say.
    progress : callable, optional
        ``progress(fraction, message) -> bool``; ``False`` cancels.
    dicom : ExportSettings, optional
        Which results to write as DICOM too, to ``dicom_results``; with ``deidentify`` nothing in the folder
        names the patient.

    Returns
    -------
    Results

    Raises
    ------
    TheranosticDoseError
        With one sentence for the user; nothing was written then.
    """
    from TheranosticDoseLib.dicom_io import load_study, load_voi_file
    from TheranosticDoseLib.report import write_results
    from TheranosticDoseLib.report.anonymous import require_own_folder

    check_engines(engines, settings)
    if dicom is not None and dicom.deidentify:
        require_own_folder(Path(out))
    require_writable(Path(out))
    started = time.perf_counter()
    study = load_study(path, overrides, part_of(progress, 0.0, 0.15))
    doubts: list[Finding] = []
    for file in voi_files:
        study = dataclasses.replace(study, vois=study.vois + load_voi_file(file, study, doubts))
    study = dataclasses.replace(study, findings=(*study.findings, *doubts))
    loaded, loaded_at = time.perf_counter() - started, _now()
    results = evaluate(study, settings, engines, part_of(progress, 0.15, 0.9))
    results = dataclasses.replace(
        results,
        timings_s={"load": loaded, **results.timings_s},
        finished={"load": loaded_at, **results.finished},
        request=_request(overrides, voi_files),
    )
    report(progress, 0.9, "Writing the report")
    write_results(results, Path(out), part_of(progress, 0.9, 1.0), dicom=dicom)
    report(progress, 1.0, "Done")
    return results


def evaluate(
    study: Study,
    settings: RunSettings | None = None,
    engines: Sequence[str] = DEFAULT_ENGINES,
    progress: Progress | None = None,
) -> Results:
    """Compute everything about a study, in memory; parameters as in :func:`run`."""
    from TheranosticDoseLib.quantification import quantify
    from TheranosticDoseLib.registration import register

    settings = RunSettings() if settings is None else settings
    check_engines(engines, settings)
    clock = _Clock()
    with clock.step("quantify"):
        study = quantify(study, settings.quantification, part_of(progress, 0.0, 0.05))
    with clock.step("register"):
        registered = register(study, settings.registration, part_of(progress, 0.05, 0.45))
    with clock.step("vois"):
        vois, findings = vois_on_grid(registered, settings)
        anatomy = steps.anatomy_of(registered)
    with clock.step("fit"):
        report(progress, 0.5, "Fitting the curves of the VOIs")
        results = steps.voi_results(registered, vois, anatomy, settings)
        voxels = steps.voxel_fit(registered, settings, part_of(progress, 0.5, 0.6))
        tia, scaled = steps.tia_map(voxels, results, settings)
    with clock.step("dose"):
        nuclide = study.administration.nuclide
        dose = steps.doses(tia, anatomy, nuclide, tuple(engines), settings, part_of(progress, 0.6, 0.95))
    with clock.step("evaluate"):
        corrections = tuple(c for acquisition in study.acquisitions for c in acquisition.corrections)
        results = tuple(steps.with_dose(result, dose, corrections, settings) for result in results)
        results = steps.resampled(results, nuclide, settings)
        comparison = compared(dose, vois, settings)
    findings = (*registered.findings, *findings, *voxels.findings, *scaled, *engine_findings(dose))
    whole = Results(
        study=study,
        registered=registered,
        anatomy=anatomy,
        tia=tia,
        voxel_fit=voxels,
        vois=results,
        doses=dose,
        comparison=comparison,
        findings=unique_findings((*study.findings, *findings, *fit_findings(results))),
        timings_s=clock.timings_s,
        finished=clock.finished,
        settings=settings,
    )
    if settings.dosiomics is None:
        return whole
    with clock.step("dosiomics"):
        return with_features(whole, part_of(progress, 0.95, 1.0))


def _request(overrides: Overrides | None, voi_files: Sequence[str | Path]) -> dict[str, Any]:
    """Return what a replay needs beside the folder and the settings."""
    return {
        "overrides": overrides.to_dict() if overrides is not None else None,
        "voi_files": [{"name": Path(file).name, "sha256": sha256(Path(file))} for file in voi_files],
    }


def check_engines(engines: Sequence[str], settings: RunSettings | None = None) -> None:
    """Raise before any work where an engine is unknown or not installed, or its settings are wrong."""
    from TheranosticDoseLib.dose.engines import require_engine
    from TheranosticDoseLib.dosiomics import require_mirp

    if settings is not None and settings.dosiomics is not None:
        require_mirp()
    if not engines or len(set(engines)) != len(engines):
        raise SettingsError("Name at least one dose engine, and each only once.")
    if steps.DEBLURRING in engines:
        _check_deblurring(engines, settings)
    for engine in engines:
        require_engine(engine, steps.engine_settings(engine, settings) if settings is not None else None)


def _check_deblurring(engines: Sequence[str], settings: RunSettings | None) -> None:
    """Raise where the de-blurred dose would stand alone, or the blur be undone twice."""
    name = steps.DEBLURRING
    if "cnn" not in engines or engines[0] == name:
        raise SettingsError(
            f"The engine {name!r} is only shown beside 'cnn' and never first; name 'cnn' before it."
        )
    if settings is not None and settings.quantification.recovery != "none" and settings.tia_map == "voi":
        raise SettingsError(
            f"The engine {name!r} undoes the blur of the SPECT itself; with quantification.recovery "
            f"{settings.quantification.recovery!r} it would be undone twice. Set recovery to 'none' or tia_map to "
            "'voxel', or leave the engine out."
        )


def vois_on_grid(
    registered: RegisteredStudy, settings: RunSettings
) -> tuple[tuple[Voi, ...], tuple[Finding, ...]]:
    """Return the VOIs on the dose grid, the body outline added where there is none."""
    from TheranosticDoseLib.voi_tools import map_vois

    findings: list[Finding] = []
    mapped = map_vois(registered, findings)
    vois = tuple(result.voi for result in mapped)
    findings += [finding for result in mapped for finding in result.findings]
    if settings.body_voi and not any(voi.kind == "body" for voi in vois):
        vois += _body(registered, findings)
    if all(voi.kind == "body" for voi in vois):
        findings.append(
            Finding(
                "missing",
                "vois",
                "No organ or lesion was outlined; only the body as a whole is reported.",
                remedy="Add an RTSTRUCT, a SEG or a label map (--voi), or segment first.",
            )
        )
    return vois, tuple(findings)


def _body(registered: RegisteredStudy, findings: list[Finding]) -> tuple[Voi, ...]:
    from TheranosticDoseLib.voi_tools import body_voi

    image, modality = (registered.ct, "ct") if registered.ct is not None else (registered.spect[0], "spect")
    try:
        return (body_voi(image, modality, name="Body"),)
    except InputError as error:
        findings.append(Finding("missing", "vois.Body", f"No body outline was found: {error}"))
        return ()


def compared(dose: dict[str, DoseResult], vois: tuple[Voi, ...], settings: RunSettings) -> Comparison | None:
    """Compare the engines where there are several."""
    if not settings.compare or len(dose) < 2:
        return None
    from TheranosticDoseLib.comparison import compare_doses

    return compare_doses(dose, vois)


def engine_findings(dose: dict[str, DoseResult]) -> list[Finding]:
    """Return what the engines found, from their records."""
    return [Finding(**finding) for result in dose.values() for finding in result.record.get("findings", [])]


def fit_findings(results: tuple[VoiResult, ...]) -> list[Finding]:
    """Return the findings of each VOI's points and curve, the latter with the VOI's name in front."""
    return [finding for result in results for finding in result.findings] + [
        dataclasses.replace(
            finding, field=f"voi[{result.name}].{finding.field}", message=f"{result.name}: {finding.message}"
        )
        for result in results
        if result.fit is not None
        for finding in result.fit.findings
    ]


def unique_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Drop what two engines or steps said in the same words."""
    return tuple({(f.severity, f.field, f.message): f for f in findings}.values())
