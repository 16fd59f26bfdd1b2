"""The process that does long work: ``python -m TheranosticDoseSlicer.worker REQUEST.json``.

Runs without Slicer.  Progress, result or error go to standard output as JSON lines.  The process
ends when its standard input closes, so that it does not outlive the application that started it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from DoseSegmentationLib.segmentation import now
from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseLib.progress import part_of

from TheranosticDoseSlicer import worker_segmentation


def main(arguments: list[str] | None = None) -> int:
    """Do what the request file says; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    _end_with_parent()
    try:
        result = STEPS[request["step"]](request, Path(request["folder"]), _progress)
    except TheranosticDoseError as error:
        _say({"error": str(error)})
        return 2
    except MemoryError:
        _say(
            {"error": "There is not enough memory for this step; close other programs or use a coarser grid."}
        )
        return 2
    except OSError as error:
        _say({"error": f"{error.strerror or error} ({error.filename or 'no file named'})."})
        return 2
    except ValueError as error:
        logging.exception("%s failed", request["step"])
        _say({"error": f"{error}"})
        return 2
    _say({"result": result})
    return 0


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _progress(fraction: float, message: str) -> bool:
    _say({"fraction": round(float(fraction), 4), "message": message})
    return True


def _end_with_parent() -> None:
    """Leave as soon as the parent is gone: its end of our standard input closes then."""

    def watch() -> None:
        # Not ``sys.stdin``: its lock would be held while the interpreter ends.
        while os.read(0, 4096):
            pass
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


def load(request: dict[str, Any], folder: Path, progress) -> dict[str, Any]:
    """Read a study from files: DICOM, or images with a manifest."""
    from TheranosticDoseLib.dicom_io import load_study

    from TheranosticDoseSlicer import exchange, weights

    # A relative path lies in the folder of the request (files that were put together there).
    study = load_study(folder / request["path"], _overrides(request), part_of(progress, 0.0, 0.9))
    # Outlines on a CT are many times its size together; each goes on as the box around it.
    vois = tuple(voi for voi in map(weights.boxed, study.vois) if voi is not None)
    for _ in exchange.write_study(dataclasses.replace(study, vois=vois), folder):
        pass
    return {"acquisitions": len(study.acquisitions), "vois": len(study.vois), "finished": {"load": now()}}


def _overrides(request: dict[str, Any]):
    values = request.get("overrides")
    if not values:
        return None
    from TheranosticDoseLib.dicom_io import Overrides

    return Overrides.from_dict(values)


def register(request: dict[str, Any], folder: Path, progress) -> dict[str, Any]:
    """Quantify and register; write what lies on the dose grid then."""
    from TheranosticDoseLib.quantification import quantify
    from TheranosticDoseLib.registration import register as registration
    from TheranosticDoseLib.workflow import steps

    from TheranosticDoseSlicer import exchange, exchange_results

    settings = _settings(request)
    study = exchange.read_study(folder)
    study = quantify(study, settings.quantification, part_of(progress, 0.0, 0.1))
    finished = {"quantify": now()}
    registered = registration(study, settings.registration, part_of(progress, 0.1, 0.8))
    finished["register"] = now()
    progress(0.8, "VOIs and density on the dose grid")
    vois, findings = on_dose_grid(registered, settings)
    out = folder / "out"
    out.mkdir()
    for part in (
        exchange_results.write_registered(registered, out),
        exchange_results.write_vois(vois, out),
        exchange_results.write_anatomy(steps.anatomy_of(registered), out),
    ):
        for _ in part:
            pass
    finished["vois"] = now()
    return {"findings": [finding.to_dict() for finding in findings], "finished": finished}


def on_dose_grid(registered, settings):
    """Return the VOIs on the dose grid as a run makes them, with the body outline, and what was found."""
    from TheranosticDoseLib.workflow.run import vois_on_grid

    return vois_on_grid(registered, settings)


def dose(request: dict[str, Any], folder: Path, progress) -> dict[str, Any]:
    """Fit the voxels where asked, make the TIA map and run the engines."""
    from TheranosticDoseLib.workflow import steps
    from TheranosticDoseLib.workflow.run import check_engines

    from TheranosticDoseSlicer import exchange, exchange_results

    settings, engines = _settings(request), tuple(request["engines"])
    check_engines(engines, settings)
    registered = exchange_results.read_registered(folder)
    anatomy = exchange_results.read_anatomy(folder)
    results, findings = curves(registered, anatomy, folder, settings, request["edits"])
    voxels = steps.voxel_fit(registered, settings, part_of(progress, 0.0, 0.2))
    tia, scaled = steps.tia_map(voxels, results, settings)
    finished = {"fit": now()}
    nuclide = registered.study.administration.nuclide
    doses, failed = _each_engine(tia, anatomy, nuclide, engines, settings, part_of(progress, 0.2, 0.97))
    finished["dose"] = now()
    out = folder / "out"
    out.mkdir()
    exchange.write_image(tia, out, "tia")
    for part in (exchange_results.write_voxels(voxels, out), exchange_results.write_doses(doses, out)):
        for _ in part:
            pass
    return {
        "findings": [finding.to_dict() for finding in (*findings, *scaled)],
        "finished": finished,
        "failed": failed,
    }


def _each_engine(
    tia, anatomy, nuclide: str, engines: tuple[str, ...], settings, progress
) -> tuple[dict, dict]:
    """Return the doses, and why an engine gave none: what the others took long to compute is not lost with it."""
    from TheranosticDoseLib.errors import CancelledError, TheranosticDoseError
    from TheranosticDoseLib.workflow import steps

    doses, failed, first = {}, {}, None
    for number, engine in enumerate(engines):
        part = part_of(progress, number / len(engines), (number + 1) / len(engines))
        try:
            doses |= steps.doses(tia, anatomy, nuclide, (engine,), settings, part)
        except CancelledError:
            raise
        except TheranosticDoseError as error:
            failed[engine], first = str(error), first or error
    if not doses:
        raise first
    return doses, failed


def curves(registered, anatomy, folder: Path, settings, edits_: dict[str, Any]):
    """Return the VOI results without dose, the user's changes applied, and their findings."""
    from TheranosticDoseLib.nuclides import nuclide
    from TheranosticDoseLib.workflow import steps

    from TheranosticDoseSlicer import edits, exchange_results

    vois = exchange_results.read_vois(folder)
    results = steps.voi_results(registered, vois, anatomy, settings)
    half_life_h = nuclide(registered.study.administration.nuclide).half_life_h
    changed, findings = [], []
    for result in results:
        edit = edits.CurveEdit.from_dict(edits_.get(result.name, {}))
        result, found = edits.with_edit(result, edit, registered.study.time_h, half_life_h, settings)
        changed.append(result)
        findings += found
    return tuple(changed), tuple(findings)


def export(request: dict[str, Any], folder: Path, progress) -> dict[str, Any]:
    """Write the result folder of a case whose doses are there."""
    from TheranosticDoseLib.findings import Finding
    from TheranosticDoseLib.report import write_results
    from TheranosticDoseLib.workflow import Results, steps
    from TheranosticDoseLib.workflow.run import compared, engine_findings, fit_findings, unique_findings

    from TheranosticDoseSlicer import edits, exchange, exchange_results

    settings = _settings(request)
    registered = exchange_results.read_registered(folder)
    anatomy = exchange_results.read_anatomy(folder)
    voxels = exchange_results.read_voxels(folder)
    doses = exchange_results.read_doses(folder)
    nuclide = registered.study.administration.nuclide
    tia = exchange.read_image(folder / "tia.nrrd")
    results, findings = curves(registered, anatomy, folder, settings, request["edits"])
    finished = {**request.get("finished", {}), "fit": now()}
    again = tuple(engine for engine in doses if engine in request.get("again", ()))
    if again:
        tia, _ = steps.tia_map(voxels, results, settings)
        doses |= steps.doses(tia, anatomy, nuclide, again, settings, part_of(progress, 0.0, 0.2))
        finished["dose"] = now()
    progress(0.2, "Dose-volume histograms")
    corrections = edits.corrections_of(registered.study)
    results = tuple(steps.with_dose(result, doses, corrections, settings) for result in results)
    results = steps.resampled(results, nuclide, settings)
    vois = tuple(result.voi for result in results)
    given = tuple(Finding(**values) for values in request.get("findings", ()))
    whole = Results(
        study=registered.study,
        registered=registered,
        anatomy=anatomy,
        tia=tia,
        voxel_fit=voxels,
        vois=results,
        doses=doses,
        comparison=compared(doses, vois, settings),
        findings=unique_findings(
            (
                *registered.study.findings,
                *registered.findings,
                *given,
                *voxels.findings,
                *findings,
                *engine_findings(doses),
                *fit_findings(results),
            )
        ),
        timings_s=request.get("timings_s", {}),
        finished={**finished, "evaluate": now()},
        request=request.get("request", {}),
        settings=settings,
    )
    from TheranosticDoseLib.dicom_io import ExportSettings

    dicom = ExportSettings.from_dict(request["dicom"]) if request.get("dicom") else None
    write_results(whole, Path(request["out"]), part_of(progress, 0.3, 1.0), dicom=dicom)
    return {"out": request["out"]}


def phantom(request: dict[str, Any], folder: Path, progress) -> dict[str, Any]:
    """Write the virtual patient."""
    from TheranosticDoseLib.phantom import PhantomSettings, virtual_patient, write_patient

    settings = PhantomSettings.from_dict(request.get("phantom", {}))
    patient = virtual_patient(int(request["seed"]), settings, part_of(progress, 0.0, 0.8))
    write_patient(patient, Path(request["out"]))
    return {"out": request["out"]}


def _settings(request: dict[str, Any]):
    from TheranosticDoseLib.workflow import RunSettings

    return RunSettings.from_dict(request["settings"])


STEPS = {
    "load": load,
    "register": register,
    "dose": dose,
    "export": export,
    "phantom": phantom,
    **worker_segmentation.STEPS,
}


if __name__ == "__main__":
    sys.exit(main())
