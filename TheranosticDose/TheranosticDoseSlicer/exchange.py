"""A study as a folder of NRRD files and one JSON file: what the panel and its worker hand each other.

Nothing is lost on the way: voxels are float32 and uncompressed, VOI weights stay fractions,
findings, corrections, hashes of the inputs and DICOM attributes travel with them.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import OutputError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.study import Acquisition, Administration, Correction, Study, Voi

from TheranosticDoseSlicer.beside import last

if TYPE_CHECKING:
    import SimpleITK as sitk

STUDY_FILE = "study.json"


def write_study(study: Study, folder: Path) -> Iterator[str]:
    """Write a study, one file each step."""
    folder = Path(folder)
    record = study_record(study)
    for number, acquisition in enumerate(study.acquisitions):
        entry = record["acquisitions"][number]
        entry["spect_file"] = write_image(acquisition.spect, folder, f"spect{number}")
        yield entry["spect_file"]
        if acquisition.ct is not None:
            entry["ct_file"] = write_image(acquisition.ct, folder, f"ct{number}")
            yield entry["ct_file"]
    for number, voi in enumerate(study.vois):
        record["vois"][number]["file"] = write_image(voi.weights, folder, f"voi{number}")
        yield voi.name
    write_json(folder / STUDY_FILE, record)


def read_study(folder: Path) -> Study:
    """Read what :func:`write_study` wrote."""
    return last(study_reading(folder))


def study_reading(folder: Path) -> Generator[str, None, Study]:
    """Do :func:`read_study`, one file each step."""
    folder = Path(folder)
    record = read_json(folder / STUDY_FILE)
    images = {}
    for entry in record["acquisitions"]:
        spect = read_image(folder / entry["spect_file"])
        yield entry["spect_file"]
        images[entry["label"]] = (
            spect,
            read_image(folder / entry["ct_file"]) if entry.get("ct_file") else None,
        )
        yield entry["label"]
    weights = [read_image(folder / entry["file"]) for entry in record["vois"]]
    return study_of(record, images, weights)


def study_record(study: Study) -> dict[str, Any]:
    """Return everything of a study but its voxels, JSON-serialisable."""
    administration = dataclasses.asdict(study.administration)
    administration["datetime"] = _text(study.administration.datetime)
    return {
        "administration": administration,
        "acquisitions": [_acquisition_record(acquisition) for acquisition in study.acquisitions],
        "vois": [voi_record(voi) for voi in study.vois],
        "findings": [finding.to_dict() for finding in study.findings],
        "patient_id": study.patient_id,
        "inputs": dict(study.inputs),
        "dicom": plain(study.dicom),
    }


def study_of(
    record: dict[str, Any],
    images: dict[str, tuple[sitk.Image, sitk.Image | None]],
    weights: list[sitk.Image] | None = None,
) -> Study:
    """Return the study of a record; ``images`` maps a label to its SPECT and CT."""
    administration = dict(record["administration"])
    administration["datetime"] = _time(administration.get("datetime"))
    acquisitions = []
    for entry in record["acquisitions"]:
        spect, ct = images[entry["label"]]
        acquisitions.append(
            Acquisition(
                label=entry["label"],
                time_h=float(entry["time_h"]),
                spect=spect,
                unit=entry["unit"],
                ct=ct,
                duration_s=entry.get("duration_s"),
                datetime=_time(entry.get("datetime")),
                frame_of_reference=entry.get("frame_of_reference", ""),
                corrections=tuple(Correction(**values) for values in entry.get("corrections", ())),
                files=tuple(entry.get("files", ())),
            )
        )
    vois = tuple(
        Voi(
            name=entry["name"],
            weights=image,
            acquisition=entry.get("acquisition", ""),
            kind=entry.get("kind", "organ"),
            code=entry.get("code"),
            origin=entry.get("origin", ""),
        )
        for entry, image in zip(record.get("vois", ()), weights or (), strict=False)
    )
    return Study(
        administration=Administration(**administration),
        acquisitions=tuple(acquisitions),
        vois=vois,
        findings=tuple(Finding(**values) for values in record.get("findings", ())),
        patient_id=record.get("patient_id", ""),
        inputs=dict(record.get("inputs", {})),
        dicom=dict(record.get("dicom", {})),
    )


def voi_record(voi: Voi) -> dict[str, Any]:
    """Return a VOI without its weights."""
    return {
        "name": voi.name,
        "acquisition": voi.acquisition,
        "kind": voi.kind,
        "code": voi.code,
        "origin": voi.origin,
    }


def write_image(image: sitk.Image, folder: Path, name: str) -> str:
    """Write an uncompressed NRRD; return its file name.

    Raises
    ------
    OutputError
        If it cannot be written, mostly because the disk is full.
    """
    import SimpleITK as sitk

    file_name = f"{name}.nrrd"
    try:
        sitk.WriteImage(image, str(Path(folder) / file_name), useCompression=False)
    except RuntimeError as error:
        free_mb = shutil.disk_usage(folder).free / 1e6
        msg = f"{file_name} cannot be written to the temporary folder {folder}, where {free_mb:.0f} MB are free."
        raise OutputError(msg) from error
    return file_name


def read_image(path: Path) -> sitk.Image:
    """Read an image as it was written."""
    import SimpleITK as sitk

    return sitk.ReadImage(str(path))


def write_json(path: Path, values: Any) -> None:
    """Write JSON; NaN becomes ``null``."""
    from TheranosticDoseLib import files

    Path(path).write_text(files.to_json(values), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def plain(values: Any) -> Any:
    """Return values with nothing in them but JSON's own types."""
    from TheranosticDoseLib import files

    return files.plain(values)


def _acquisition_record(acquisition: Acquisition) -> dict[str, Any]:
    return {
        "label": acquisition.label,
        "time_h": acquisition.time_h,
        "unit": acquisition.unit,
        "duration_s": acquisition.duration_s,
        "datetime": _text(acquisition.datetime),
        "frame_of_reference": acquisition.frame_of_reference,
        "corrections": [dataclasses.asdict(correction) for correction in acquisition.corrections],
        "files": list(acquisition.files),
    }


def _text(value: dt.datetime | None) -> str | None:
    return value.isoformat() if value is not None else None


def _time(value: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(value) if value else None
