"""The result folder: everything, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.files import sha256, staged, to_json, write_image
from TheranosticDoseLib.progress import Progress, part_of, report

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dicom_io import ExportSettings
    from TheranosticDoseLib.workflow.results import Results


def write_results(
    results: Results,
    out: Path,
    progress: Progress | None = None,
    truth: dict[str, Any] | None = None,
    dicom: ExportSettings | None = None,
) -> dict[str, Any]:
    """Write the result folder.

    ``results.json``, ``report.html``, ``report.pdf``, ``tables/*.csv``, ``images/`` (``tia.nii.gz``, its relative
    uncertainty of noise and fit ``tia_relative_u.nii.gz``, how each voxel was fitted ``tia_flags.nii.gz``,
    ``dose_ENGINE.nii.gz`` and its ``_u``, ``bed_ENGINE.nii.gz`` and ``eqd2_ENGINE.nii.gz`` (models),
    ``density.nii.gz``, ``vois.seg.nrrd``-like label map).
    An earlier result in ``out`` is kept under ``earlier``.

    Parameters
    ----------
    results : Results
    out : Path
    progress : callable, optional
    truth : dict, optional
        Table of truth against result, shown in the page.
    dicom : ExportSettings, optional
        Which results to write as DICOM too, to ``dicom_results``; with ``deidentify`` nothing in the folder
        names the patient.

    Returns
    -------
    dict
        The document written to ``results.json``.
    """
    from TheranosticDoseLib.audit.integrity import sealed
    from TheranosticDoseLib.dosiomics import dictionary_csv, table_csv
    from TheranosticDoseLib.report import tables
    from TheranosticDoseLib.report.anonymous import require_own_folder, without_identity
    from TheranosticDoseLib.report.dicom import export_results
    from TheranosticDoseLib.report.document import results_document, validate_document
    from TheranosticDoseLib.report.html import html_report
    from TheranosticDoseLib.report.pdf import pdf_report
    from TheranosticDoseLib.report.pictures import overview

    document = results_document(results)
    original, identified = results, document
    if dicom is not None and dicom.deidentify:
        require_own_folder(Path(out))
        results, document = without_identity(results)
    validate_document(document)
    with staged(Path(out)) as folder:
        report(progress, 0.1, "Writing images")
        _write_images(results, folder / "images")
        report(progress, 0.5, "Writing tables and the page")
        (folder / "tables").mkdir()
        contents = {
            "dose.csv": tables.dose_table(document),
            "activity.csv": tables.activity_table(document),
            "dvh.csv": tables.dvh_table(results),
            "radiobiology.csv": tables.radiobiology_table(document),
            "findings.csv": tables.findings_table(document),
        }
        if results.settings.dosiomics is not None:
            contents |= {
                "features.csv": table_csv(results.features),
                "features_dictionary.csv": dictionary_csv(),
            }
        for name, text in contents.items():
            (folder / "tables" / name).write_text(text, encoding="utf-8", newline="")
        document = sealed({**document, "files": _hashes(folder)})
        shown = overview(results)
        page = html_report(results, document, truth, shown)
        (folder / "report.html").write_text(page, encoding="utf-8")
        (folder / "report.pdf").write_bytes(pdf_report(results, document, shown))
        if dicom is not None:
            export_results(original, identified, folder / "dicom_results", dicom, part_of(progress, 0.6, 1.0))
        (folder / "results.json").write_text(to_json(document), encoding="utf-8")
    return document


def _hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file so far by its name: images and tables, which others go on from."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def _write_images(results: Results, folder: Path) -> None:
    from TheranosticDoseLib.workflow.biology import maps_of

    write_image(results.tia, folder / "tia.nii.gz")
    write_image(results.voxel_fit.relative_uncertainty, folder / "tia_relative_u.nii.gz")
    write_image(results.voxel_fit.flags, folder / "tia_flags.nii.gz")
    write_image(results.anatomy.density, folder / "density.nii.gz")
    for engine, result in results.doses.items():
        write_image(result.dose, folder / f"dose_{engine}.nii.gz")
        if result.uncertainty is not None:
            write_image(result.uncertainty, folder / f"dose_{engine}_u.nii.gz")
    first = next(iter(results.doses))
    for name, image in maps_of(results).items():
        write_image(image, folder / f"{name}_{first}.nii.gz")
    labels, names = label_map(results)
    write_image(labels, folder / "vois.nii.gz")
    (folder / "vois.json").write_text(to_json({"labels": names}), encoding="utf-8")


def label_map(results: Results) -> tuple[sitk.Image, dict[str, int]]:
    """Return the VOIs as one label map on the dose grid; where they overlap, the smaller one shows."""
    import numpy as np
    import SimpleITK as sitk

    from TheranosticDoseLib.geometry import array_of

    array = np.zeros(results.tia.GetSize()[::-1], np.uint16)
    names = {result.name: number for number, result in enumerate(results.vois, start=1)}
    for result in sorted(results.vois, key=lambda r: -r.volume_ml):
        array[np.asarray(array_of(result.voi.weights)) >= 0.5] = names[result.name]
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(results.tia)
    return image, names
