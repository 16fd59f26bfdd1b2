"""The long steps of a case as tasks: what they write, what the worker does, what is loaded afterwards."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import InputError

from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import dose_nodes, engine_table, exchange, exchange_results, study_nodes, trail
from TheranosticDoseSlicer.beside import beside, each_beside
from TheranosticDoseSlicer.case import Case
from TheranosticDoseSlicer.jobs import Task
from TheranosticDoseSlicer.live import DOSE_OF
from TheranosticDoseSlicer.live_dose import FOLLOWED

if TYPE_CHECKING:
    from TheranosticDoseLib.workflow import RunSettings

    from TheranosticDoseSlicer.live import Live

EDITS = "edits"


def load_study(case: Case, path: str | Path, overrides: dict[str, Any] | None = None) -> Task:
    """Read files into the case."""
    path = Path(path).expanduser()
    if not str(path).strip(". ") or not path.exists():
        raise InputError(f"The folder {str(path)!r} does not exist; choose the folder of the study.")
    request = {"step": "load", "path": str(path), "overrides": overrides}

    def load(folder: Path, result: dict[str, Any]) -> Iterator[str]:
        study = yield from each_beside(exchange.study_reading(folder))
        yield from study_nodes.load(case, study)
        trail.note_load(case, result, overrides)

    return Task(f"Loading {path.name}", request, None, load)


def load_files(case: Case, files: list[Path], overrides: dict[str, Any] | None = None) -> Task:
    """Read these files into the case (the DICOM browser gives files, not a folder)."""
    if not files:
        raise InputError("No files were selected.")

    def prepare(folder: Path) -> Iterator[str]:
        together = folder / "selected"
        together.mkdir()
        for number, file in enumerate(files):
            _link(file, together / f"{number:06d}{file.suffix or '.dcm'}")
            if number % 50 == 0:
                yield file.name

    def load(folder: Path, result: dict[str, Any]) -> Iterator[str]:
        study = yield from each_beside(exchange.study_reading(folder))
        yield from study_nodes.load(case, study)
        trail.note_load(case, result, overrides)

    request = {"step": "load", "path": "selected", "overrides": overrides}
    return Task("Loading", request, prepare, load)


def use_volumes(case: Case, volumes: list[tuple[Any, Any, float]], activity_mbq: float | None = None) -> Task:
    """Make a study of volumes of the scene: ``(SPECT node, CT node or None, hours)`` each."""

    def load(_folder: Path, _result: dict[str, Any]) -> Iterator[str]:
        yield from study_nodes.study_from_nodes(case, volumes, activity_mbq)

    return Task("Volumes of the scene", None, None, load)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def register(case: Case, settings: RunSettings) -> Task:
    """Quantify and register the time points of the case."""
    plan = study_nodes.planned(case)
    units = {entry["label"]: entry["unit"] for entry, _ in plan[0]}

    def prepare(folder: Path) -> Iterator[str]:
        study = yield from study_nodes.study_steps(case, plan)
        yield from each_beside(exchange.write_study(study, folder))

    def load(folder: Path, result: dict[str, Any]) -> Iterator[str]:
        out = folder / "out"
        registered = yield from each_beside(exchange_results.registered_reading(out))
        clear_doses(case)
        yield from dose_nodes.load_registered(case, registered, units)
        anatomy = yield from _beside(exchange_results.read_anatomy, out)
        dose_nodes.load_anatomy(case, anatomy)
        yield "density"
        yield from dose_nodes.load_vois(case, (yield from _beside(exchange_results.read_vois, out)))
        found = [*registered.study.findings, *registered.findings]
        study_nodes.set_findings(case, "register", found)
        case.set_record(study_nodes.STEP_FINDINGS + "vois", result["findings"])
        trail.note(case, result)

    return Task("Registration", {"step": "register", "settings": settings.to_dict()}, prepare, load)


def _beside(function, *arguments):
    return beside(functools.partial(function, *arguments), "files", finish=True)


def clear_doses(case: Case) -> None:
    """Remove what was computed from an earlier registration."""
    for role in (roles.VOXEL, roles.DOSE, roles.DOSE_U, roles.ISODOSE):
        case.remove_all(role)
    for role in (roles.TIA, roles.DVH_CHART, roles.DVH, roles.COMPARISON):
        case.remove(role)
    case.set_record("engineOrder", [])


def dose(case: Case, settings: RunSettings, engines: list[str], live: Live) -> Task:
    """Fit the voxels, make the TIA map and run the engines."""
    if not engines:
        raise InputError("Choose at least one dose engine.")
    request = {"step": "dose", "settings": settings.to_dict(), "engines": list(engines)}
    keys: dict[str, str] = {}

    def prepare(folder: Path) -> Iterator[str]:
        yield from live.update_curves()
        vois = live.vois()
        registered, anatomy = live.registered_for_run(), live.anatomy()
        request["edits"] = case.record(EDITS, {})
        keys.update(live.keys())
        yield from each_beside(exchange_results.write_registered(registered, folder))
        yield from each_beside(exchange_results.write_anatomy(anatomy, folder))
        yield from each_beside(exchange_results.write_vois(vois, folder))

    def load(folder: Path, result: dict[str, Any]) -> Iterator[str]:
        out = folder / "out"
        doses = yield from _beside(exchange_results.read_doses, out)
        voxels = yield from _beside(exchange_results.read_voxels, out)
        yield from dose_nodes.load_voxels(case, voxels)
        tia = yield from _beside(exchange.read_image, out / "tia.nrrd")
        yield from dose_nodes.load_doses(case, doses, tia)
        found = exchange_results.findings_of(result["findings"])
        study_nodes.set_findings(case, "dose", found)
        case.set_record(engine_table.FAILED, result.get("failed", {}))
        case.set_record(FOLLOWED, [])
        case.set_record(DOSE_OF, keys)
        trail.note(case, result)
        live.forget_dose()
        yield from live.update()

    return Task("Dose", request, prepare, load)


def export(
    case: Case,
    settings: RunSettings,
    out: str | Path,
    live: Live,
    *,
    dicom: bool = False,
    deidentify: bool = False,
) -> Task:
    """Write the report and the results of the case; with ``dicom`` as DICOM objects too."""
    out = Path(out).expanduser()
    if not str(out).strip(". "):
        raise InputError("Choose a folder for the results.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{str(out)!r} is a file; choose a folder for the results.")
    request = {
        "step": "export",
        "settings": settings.to_dict(),
        "out": str(out),
        "dicom": {"deidentify": deidentify} if dicom else None,
    }

    def prepare(folder: Path) -> Iterator[str]:
        # The report holds the doses of the outlines and curves as they are now.
        yield from live.update()
        vois = live.vois()
        registered, anatomy = live.registered_for_run(), live.anatomy()
        voxels, doses, tia = dose_nodes.voxels_of(case), dose_nodes.doses_of(case), dose_nodes.tia_of(case)
        request.update(
            edits=case.record(EDITS, {}),
            findings=study_nodes.all_findings(case, ("vois", "dose")),
            timings_s=case.record("timings", {}),
            finished=case.record(trail.FINISHED, {}),
            request=trail.request_of(case, live.digests()),
            # Doses that followed an edit piece by piece are computed again in one go.
            again=case.record(FOLLOWED, []),
        )
        yield from each_beside(exchange_results.write_registered(registered, folder))
        yield from each_beside(exchange_results.write_anatomy(anatomy, folder))
        yield from each_beside(exchange_results.write_vois(vois, folder))
        yield from each_beside(exchange_results.write_voxels(voxels, folder))
        yield from each_beside(exchange_results.write_doses(doses, folder))
        yield from _beside(exchange.write_image, tia, folder, "tia")

    return Task("Export", request, prepare)


def virtual_patient(out: str | Path, seed: int = 1, phantom: dict[str, Any] | None = None) -> Task:
    """Write the virtual patient as DICOM below ``out``."""
    request = {"step": "phantom", "out": str(out), "seed": seed, "phantom": phantom or {}}
    return Task("Virtual patient", request)
