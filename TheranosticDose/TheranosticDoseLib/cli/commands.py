"""The commands, each a few lines on top of a function of the library."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.cli.console import progress_of, say, show_table
from TheranosticDoseLib.errors import CancelledError, EngineUnavailableError, InputError, SettingsError

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dicom_io import Overrides


def demo(options: argparse.Namespace) -> None:
    """``phantom``, then ``run`` on its DICOM, then truth beside result."""
    from TheranosticDoseLib.demo import demo as run_demo

    with progress_of(options.progress) as progress:
        table = run_demo(options.out, options.seed, tuple(options.engine or ()), progress)
    show_table(table.title, table.header, table.rows)
    say(table.note)
    say(f"Report: {options.out / 'report.html'}")


def phantom(options: argparse.Namespace) -> None:
    """Write a virtual patient."""
    from TheranosticDoseLib.demo import write_virtual_patient

    with progress_of(options.progress) as progress:
        write_virtual_patient(options.out, options.seed, progress)
    say(f"DICOM: {options.out / 'dicom'}")
    say(f"Truth: {options.out / 'truth'}")


def inspect(options: argparse.Namespace) -> None:
    """Show what is in the files."""
    from TheranosticDoseLib.dicom_io import inspect_path

    inspection = inspect_path(options.path, overrides_of(options))
    if options.json:
        say(json.dumps(inspection.to_dict(), indent=1, default=str))
        return
    from TheranosticDoseLib.cli.inspection import show_inspection

    show_inspection(inspection)


def run(options: argparse.Namespace) -> None:
    """From files to the result folder."""
    from TheranosticDoseLib import workflow
    from TheranosticDoseLib.dicom_io import ExportSettings
    from TheranosticDoseLib.dosiomics import DosiomicsSettings

    settings = workflow.RunSettings.from_dict(read_json(options.settings) if options.settings else None)
    if options.features and settings.dosiomics is None:
        settings = dataclasses.replace(settings, dosiomics=DosiomicsSettings())
    engines = tuple(options.engine or workflow.DEFAULT_ENGINES)
    dicom = ExportSettings(deidentify=options.deidentify) if options.dicom or options.deidentify else None
    with progress_of(options.progress) as progress:
        results = workflow.run(
            options.path,
            options.out,
            settings,
            engines,
            options.voi or (),
            overrides_of(options),
            progress,
            dicom,
        )
    if options.progress == "json":
        return
    header = ["VOI", "volume, mL", "TIA, MBq h", *(f"dose {engine}, Gy" for engine in engines)]
    rows = [
        [r.name, f"{r.volume_ml:.1f}", f"{r.fit.tia_mbq_h:.4g}" if r.fit else "-"]
        + [f"{r.dvh[engine].mean_gy:.3g}" for engine in engines]
        for r in results.vois
    ]
    show_table("Absorbed dose", header, rows)
    doubts = sum(finding.severity != "info" for finding in results.findings)
    say(f"{doubts} assumptions and warnings; they are listed in the report.")
    say(f"Report: {options.out / 'report.html'}")


def dose(options: argparse.Namespace) -> None:
    """Dose of a TIA map."""
    from TheranosticDoseLib.dose import Anatomy, absorbed_dose
    from TheranosticDoseLib.files import staged, to_json, write_image, write_whole

    if options.material and not options.density:
        raise InputError(
            "--material goes with --density; with --ct the tissue follows from the Hounsfield units."
        )
    for given in (options.tia, options.ct, options.density, options.material):
        if given and given.resolve() == options.out.resolve():
            raise InputError(f"--out {options.out} is one of the inputs; give the dose another name.")
    tia = read_image(options.tia, "--tia")
    if options.ct:
        anatomy = Anatomy.from_ct(read_image(options.ct, "--ct")).on_grid(tia)
    else:
        material = read_image(options.material, "--material") if options.material else None
        anatomy = Anatomy(read_image(options.density, "--density"), material)
    with progress_of(options.progress) as progress:
        result = absorbed_dose(
            tia, anatomy, options.engine, options.nuclide, progress, **engine_settings(options.set)
        )
    with staged(options.out.parent, keep_earlier=False) as folder:
        name = folder / options.out.name
        write_image(result.dose, name)
        if result.uncertainty is not None:
            write_image(result.uncertainty, beside(name, "_u"))
        write_whole(beside(name, "", ".json"), to_json(result.record))
    for finding in result.record["findings"]:
        if finding["severity"] != "info":
            say(f"{finding['severity']}: {finding['message']} {finding['remedy']}")
    say(f"Dose in Gy: {options.out}")


def segment(options: argparse.Namespace) -> None:
    """Organs and lesions."""
    try:
        from DoseSegmentationLib.backends import names_path, segment_files
    except ImportError as error:
        raise InputError(f"Segmentation is not part of this installation: {error}.") from error
    from DoseSegmentationLib.segmentation import BackendUnavailable, SegmentationCancelled, SegmentationError

    kinds = {SegmentationCancelled: CancelledError, BackendUnavailable: EngineUnavailableError}
    with progress_of(options.progress) as progress:
        try:
            settings = engine_settings(options.set)
            if options.pet is not None or options.pet_ct is not None:
                settings["prior"] = _lesion_prior(options)
            records = segment_files(
                options.ct,
                options.spect,
                options.out,
                options.backend,
                options.structure,
                progress,
                **settings,
            )
        except SegmentationError as error:
            raise kinds.get(type(error), InputError)(str(error)) from error
    rows = [
        [
            record["name"],
            f"{record['volume_ml']:.1f}",
            "-" if record["confidence"] is None else f"{record['confidence']:.2f}",
            " ".join(record["checks"]),
        ]
        for record in records
    ]
    show_table("Segmentation", ["structure", "volume, mL", "confidence", "to check"], rows)
    for note in read_json(names_path(options.out))["notes"]:
        say(note)


def _lesion_prior(options: argparse.Namespace) -> sitk.Image:
    """Return the prior of a diagnostic PET on the grid of the CT (else SPECT), registered where its CT is given."""
    from DoseSegmentationLib.inputs import read_image

    from TheranosticDoseLib.lesion_prior import prior_of_pet

    if options.pet is None:
        raise InputError("--pet-ct is the CT of a diagnostic PET; give the PET itself with --pet.")
    if options.ct is None and (options.pet_ct is not None or options.spect is None):
        raise InputError("--pet-ct registers the PET to the CT that is segmented; give that with --ct.")
    paths = (options.pet, options.pet_ct, options.ct, None if options.ct else options.spect)
    prior, messages = prior_of_pet(*(read_image(path) if path is not None else None for path in paths))
    for message in messages:
        say(message)
    return prior


def validate(options: argparse.Namespace) -> None:
    """Measure again; with ``--cases`` an engine on a site's own cases, exit status 1 where it is not passed."""
    if options.cases is not None or options.engine is not None:
        _accept_engine(options)
        return
    from TheranosticDoseLib.validation.run import validate as run_validation

    with progress_of(options.progress) as progress:
        summary = run_validation(options.out, options.topic, options.quick, progress)
    header = ["topic", "figures", "within limit", "missed", "reported"]
    show_table("Validation", header, summary)
    say(f"Pages: {options.out}")


def _accept_engine(options: argparse.Namespace) -> None:
    if options.cases is None:
        raise SettingsError("--engine needs --cases DIR: the cases that it is held against mc on.")
    if options.topic:
        raise SettingsError("--topic measures the program, --cases an engine on own cases; give one of them.")
    from TheranosticDoseLib.commission.engine import accept_engine

    engine = options.engine or "cnn"
    with progress_of(options.progress) as progress:
        found = accept_engine(engine, options.cases, options.out, options.quick, progress)
    header = ["case", "numbers", "within limit", "outside", "not computed"]
    show_table(f"{engine} against mc", header, found.rows)
    say(f"{engine} against mc: {found.verdict}")
    say(f"Report: {options.out / 'engine_acceptance.html'} (and .pdf, .json)")
    if not found.passed:
        raise SystemExit(1)


def benchmark(options: argparse.Namespace) -> None:
    """Speed and memory."""
    from TheranosticDoseLib.benchmark import benchmark as run_benchmark
    from TheranosticDoseLib.files import to_json, write_whole

    # stdout is the JSON; a bar goes to stderr, lines would not.
    with progress_of(options.progress if sys.stderr.isatty() else "none") as progress:
        measured = run_benchmark(quick=options.quick, progress=progress)
    if options.out:
        write_whole(options.out, to_json(measured))
    say(to_json(measured).rstrip())


def engines(options: argparse.Namespace) -> None:
    """Which engines and segmentation backends there are."""
    from TheranosticDoseLib.dose import engines as known

    listed = known()
    if options.json:
        say(json.dumps(listed, indent=1))
        return
    header = ["available", "what it is, or what it needs"]
    show_table("Dose engines", ["engine", *header], [[name, *_state(e)] for name, e in listed.items()])
    from DoseSegmentationLib.backends import backends
    from DoseSegmentationLib.models import SHIPPED, model_of

    rows = []
    for name, entry in backends().items():
        state = _state(entry)
        if name in SHIPPED and entry["available"]:
            model = model_of(name)
            state[1] += (
                f" Licence {model.licence}, SHA-256 {model.sha256[:12]}..., card in Resources/Models/{name}."
            )
        rows.append([name, *state])
    show_table("Segmentation backends", ["backend", *header], rows)


def _state(entry: dict[str, Any]) -> list[str]:
    return ["yes" if entry["available"] else "no", entry["reason"] or entry["description"]]


def overrides_of(options: argparse.Namespace) -> Overrides | None:
    """Return the values given on the command line and in the manifest; the command line wins."""
    from TheranosticDoseLib.dicom_io import Overrides

    values: dict[str, Any] = read_json(options.manifest) if options.manifest else {}
    given = {
        "injected_activity_mbq": options.activity,
        "injection_datetime": options.injected_at,
        "nuclide": options.nuclide,
        "camera_factor_cps_per_mbq": options.camera_factor,
    }
    values.update({key: value for key, value in given.items() if value is not None})
    return Overrides.from_dict(values) if values else None


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file; the error names the file and the line."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: a table of settings was expected.")
    return values


def read_image(path: Path, option: str) -> sitk.Image:
    """Return a volume of grey values, float32; the error names the option and the file."""
    import SimpleITK as sitk

    from TheranosticDoseLib.dicom_io.labelmap import not_finite_in_nifti
    from TheranosticDoseLib.dicom_io.labelmap import read_image as read

    try:
        image = read(path)
        if bad := not_finite_in_nifti(path):
            raise InputError(
                f"{path.name}: {bad} voxels are NaN or infinite; repair them or set them to zero."
            )
    except InputError as error:
        raise InputError(f"{option}: {error}") from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{option}: {path} has several components a voxel; grey values are expected.")
    return sitk.Cast(image, sitk.sitkFloat32)


def engine_settings(pairs: list[str]) -> dict[str, Any]:
    """Return ``KEY=VALUE`` pairs as a table; values are JSON where they can be, else text."""
    values = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise SettingsError(f"--set {pair!r}: KEY=VALUE was expected.")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text
    return values


def beside(path: Path, addition: str, ending: str | None = None) -> Path:
    """Return the path with ``addition`` before its (possibly double) ending."""
    endings = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    stem = path.name[: len(path.name) - len(endings)] if endings else path.name
    return path.with_name(stem + addition + (endings if ending is None else ending))
