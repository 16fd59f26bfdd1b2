"""VOIs from RTSTRUCT, SEG and label maps, on the images of a study."""

from __future__ import annotations

import dataclasses
import hashlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.rtstruct import vois_of_rtstruct
from TheranosticDoseLib.dicom_io.scan import Header, Series, kind_of, quiet_pydicom
from TheranosticDoseLib.dicom_io.targets import Target
from TheranosticDoseLib.errors import InputError, TheranosticDoseError
from TheranosticDoseLib.study import Study, Voi

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from TheranosticDoseLib.findings import Finding

DICOM_KINDS = ("RTSTRUCT", "SEG")


def read_vois(
    series: list[Series], targets: list[Target], hashes: dict[str, str], journal: Journal
) -> list[Voi]:
    """Return the VOIs of all structure sets and segmentations, with names unique in each acquisition."""
    vois: list[Voi] = []
    for one in series:
        for header in one.headers:
            try:
                vois += vois_of_object(header, one.kind, targets, hashes, journal)
            except TheranosticDoseError as error:
                journal.fail(error, "VOIs", header.name)
    vois = with_unique_names(vois)
    for voi in vois:
        journal.row(
            "VOIs", f"{voi.name} ({voi.acquisition})", f"{volume_ml(voi):.2f} mL, {voi.kind}", voi.origin
        )
    return vois


def vois_of_object(
    header: Header, kind: str, targets: list[Target], hashes: dict[str, str], journal: Journal
) -> list[Voi]:
    """Return the VOIs of one RTSTRUCT or SEG."""
    dataset = _read_whole(header, hashes)
    if kind == "RTSTRUCT":
        return vois_of_rtstruct(header, dataset, targets, journal)
    from TheranosticDoseLib.dicom_io.seg import vois_of_seg

    return vois_of_seg(header, dataset, targets, journal)


def _read_whole(header: Header, hashes: dict[str, str]) -> Dataset:
    """Return the complete object and note the hash of its file."""
    import pydicom

    data = header.path.read_bytes()
    hashes[header.name] = hashlib.sha256(data).hexdigest()
    try:
        return pydicom.dcmread(BytesIO(data), force=True)
    except Exception as error:  # noqa: BLE001 - a damaged file is named, whatever it breaks in the parser
        raise InputError(f"{header.name}: cannot be read ({type(error).__name__}); copy it again.") from None


def with_unique_names(vois: list[Voi]) -> list[Voi]:
    """Return the VOIs; the second of a name within one acquisition becomes ``name (2)``."""
    taken: set[tuple[str, str]] = set()
    unique = []
    for voi in vois:
        name, number = voi.name, 1
        while (voi.acquisition, name) in taken:
            number += 1
            name = f"{voi.name} ({number})"
        taken.add((voi.acquisition, name))
        unique.append(dataclasses.replace(voi, name=name))
    return unique


def volume_ml(voi: Voi) -> float:
    """Return the volume of a VOI, mL."""
    from TheranosticDoseLib.geometry import array_of, voxel_volume_ml

    return float(array_of(voi.weights).sum(dtype="float64")) * voxel_volume_ml(voi.weights)


def targets_of(study: Study) -> list[Target]:
    """Return the images of a study that a VOI can have been drawn on."""
    references = study.dicom.get("acquisitions", {})
    targets = []
    for acquisition in study.acquisitions:
        for kind, image in (("SPECT", acquisition.spect), ("CT", acquisition.ct)):
            if image is not None:
                known = references.get(acquisition.label, {}).get(kind.lower(), {})
                series, frame = known.get("series", ""), known.get("frame_of_reference", "")
                targets.append(Target(acquisition.label, kind, image, series, frame))
    return targets


def load_voi_file(path: str | Path, study: Study, findings: list[Finding] | None = None) -> tuple[Voi, ...]:
    """Load VOIs from an additional file.

    Parameters
    ----------
    path : path
        RTSTRUCT, SEG, or a label map that SimpleITK reads (NRRD with Slicer's segment
        names, NIfTI with names in ``NAME.json``: ``{"1": "Liver", ...}``).
    study : Study
        The VOIs are put on the grid of the acquisition that the file refers to; a label
        map goes with the acquisition whose SPECT or CT has its grid, else the first one
        that it overlaps.  A name that the study has on that acquisition already becomes ``name (2)``.
    findings : list, optional
        Gets what was doubtful or left out.

    Raises
    ------
    InputError
        If the file holds no VOI of this study.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give an RTSTRUCT, SEG, NRRD or NIfTI.")
    journal = Journal(strict=True)
    with quiet_pydicom():
        header = _dicom_header(path)
        if header is None:
            from TheranosticDoseLib.dicom_io.labelmap import vois_of_labelmap

            vois = vois_of_labelmap(path, targets_of(study), journal)
        else:
            kind = kind_of(header)
            if kind not in DICOM_KINDS:
                raise InputError(f"{path.name}: is {kind}; VOIs come from RTSTRUCT, SEG, NRRD or NIfTI.")
            vois = vois_of_object(header, kind, targets_of(study), {}, journal)
    unique = with_unique_names([*study.vois, *vois])[len(study.vois) :]
    for voi, named in zip(vois, unique, strict=True):
        if voi.name != named.name:
            text = f"{path.name}: there is a VOI {voi.name!r} already; this one is called {named.name!r}."
            journal.find("info", f"vois.{named.name}", text, value=named.name, source=path.name)
    if findings is not None:
        findings += journal.findings
    if not vois:
        reasons = " ".join(finding.message for finding in journal.findings if finding.severity == "missing")
        raise InputError(f"{path.name}: holds no VOI of this study. {reasons}".strip())
    return tuple(unique)


def _dicom_header(path: Path) -> Header | None:
    """Return the header of a DICOM file, ``None`` where it is another kind of file."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        return Header(path, path.name, pydicom.dcmread(path, stop_before_pixels=True))
    except (InvalidDicomError, EOFError):
        return None
    except Exception as error:  # noqa: BLE001 - a damaged file is named, whatever it breaks in the parser
        raise InputError(f"{path.name}: cannot be read as DICOM ({type(error).__name__}).") from None
