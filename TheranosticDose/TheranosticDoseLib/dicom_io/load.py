"""From a folder of DICOM to a :class:`Study`."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.dicom_io import units
from TheranosticDoseLib.dicom_io.acquisitions import Scan, reject_unknown_keys, scans_of
from TheranosticDoseLib.dicom_io.administration import (
    administration_of,
    choose_nuclide,
    decay_constant_per_h,
    dose_of,
)
from TheranosticDoseLib.dicom_io.balance import check_balance
from TheranosticDoseLib.dicom_io.clock import Moment, duration_of
from TheranosticDoseLib.dicom_io.dose_report import dose_report_of
from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.overrides import Overrides, read_sidecar
from TheranosticDoseLib.dicom_io.pairing import check_overlap, pair_ct
from TheranosticDoseLib.dicom_io.pixels import read_stack
from TheranosticDoseLib.dicom_io.scan import Series, find_objects, quiet_pydicom
from TheranosticDoseLib.dicom_io.selection import choose_series
from TheranosticDoseLib.dicom_io.series_kinds import usable
from TheranosticDoseLib.dicom_io.targets import Target
from TheranosticDoseLib.dicom_io.volume import stack_of
from TheranosticDoseLib.errors import InputError, TheranosticDoseError
from TheranosticDoseLib.progress import Progress, part_of, report
from TheranosticDoseLib.study import Acquisition, Administration, Correction, Study

if TYPE_CHECKING:
    import SimpleITK as sitk


def load_study(
    path: str | Path, overrides: Overrides | None = None, progress: Progress | None = None
) -> Study:
    """Load all scans of one administration.

    Parameters
    ----------
    path : path
        A folder (read recursively) of DICOM objects of one patient, or a manifest
        (JSON) or the folder of a ``manifest.json`` that lists NRRD or NIfTI images.
    overrides : Overrides, optional
        Values that replace what the files say.
    progress : callable, optional
        ``progress(fraction, message) -> bool``; ``False`` cancels.

    Returns
    -------
    Study
        Acquisitions in order of time; SPECT in Bq/mL at the start of the acquisition, or in counts.

    Raises
    ------
    TheranosticDoseError
        Where a value that a dose depends on is missing, contradictory or not usable;
        the text names file, tag and remedy.
    """
    with quiet_pydicom():
        study = read_study(Path(path), overrides, Journal(strict=True), progress)
    if study is None:  # a strict journal raises before
        raise InputError(f"{path}: no study could be loaded.")
    return study


def read_study(
    path: Path, overrides: Overrides | None, journal: Journal, progress: Progress | None = None
) -> Study | None:
    """Return the study; with a patient journal, as much of it as can be read, or ``None``."""
    from TheranosticDoseLib.dicom_io import manifest

    overrides = overrides or Overrides()
    listing = manifest.find_manifest(path)
    if listing is not None and manifest.lists_images(listing):
        return manifest.read_manifest(listing, overrides, journal, progress)
    if listing is not None:
        overrides, path = overrides.over(manifest.manifest_overrides(listing)), listing.parent
    sidecar = read_sidecar(path) if path.is_dir() else None
    if sidecar is not None:
        overrides = overrides.over(sidecar)
    return _read_dicom(path, overrides, journal, progress)


def _read_dicom(
    path: Path, overrides: Overrides, journal: Journal, progress: Progress | None
) -> Study | None:
    """Return the study of the DICOM objects below ``path``."""
    found = find_objects(path, journal, part_of(progress, 0.0, 0.25), overrides.patient_id)
    roles = usable(found, overrides, journal)
    if not roles["SPECT"]:
        _tell_ct(roles["CT"], journal)
        kinds = ", ".join(list(dict.fromkeys(series.title for series in found))[:6])
        raise InputError(f"{path}: no reconstructed SPECT (NM or PT) among {kinds}; add the SPECT series.")
    doses = [dose_of(series) for series in roles["SPECT"]]
    nuclide = choose_nuclide(doses, overrides, journal)
    doses = [dose for dose in doses if dose.nuclide in (None, nuclide)] or doses
    doses = choose_series(doses, journal)
    reports = [dose_report_of(header) for series in roles["RRDSR"] for header in series.headers]
    given, injection = administration_of(doses, nuclide, overrides, journal, reports)
    scans = scans_of(doses, injection, overrides, journal)
    reject_unknown_keys(overrides, scans, found, journal)
    study = _assemble(scans, given, injection, roles, journal, part_of(progress, 0.25, 1.0))
    report(progress, 1.0, "Loaded")
    return study


def _tell_ct(series: list[Series], journal: Journal) -> None:
    """Write down what can be said about CTs without a SPECT."""
    for one in series:
        try:
            stack = stack_of(one)
        except TheranosticDoseError as error:
            journal.row("CT", one.title, str(error), one.first.name, "error")
            continue
        journal.row("CT", one.title, grid_text(stack), one.first.name)


def grid_text(stack: Any) -> str:
    """Return size and spacing of a stack in words."""
    return " x ".join(map(str, stack.size)) + " / " + " x ".join(f"{s:.4g}" for s in stack.spacing) + " mm"


def _assemble(
    scans: list[Scan],
    given: Administration,
    injection: Moment | None,
    roles: dict[str, list[Series]],
    journal: Journal,
    progress: Progress | None,
) -> Study | None:
    """Read the voxels and VOIs and put the study together."""
    from TheranosticDoseLib.dicom_io.attributes import study_attributes
    from TheranosticDoseLib.dicom_io.vois import read_vois

    hashes: dict[str, str] = {}
    zone = injection.value.tzinfo if injection else None
    acquisitions, targets, cts = [], [], {}
    for index, scan in enumerate(scans):
        step = part_of(progress, 0.9 * index / len(scans), 0.9 * (index + 1) / len(scans))
        try:
            acquisition = _acquisition(scan, given, hashes, zone, journal, part_of(step, 0.0, 0.4))
        except TheranosticDoseError as error:
            journal.fail(error, f"Acquisition {scan.label}", "SPECT")
            continue
        targets.append(_target(scan.label, "SPECT", acquisition.spect, scan.series))
        try:
            ct_series = pair_ct(scan, acquisition.spect, roles["CT"], journal)
            ct = read_ct(ct_series, hashes, part_of(step, 0.4, 1.0)) if ct_series else None
            if ct is not None:
                check_overlap(scan.label, acquisition.spect, ct, journal)
        except TheranosticDoseError as error:
            journal.fail(error, f"Acquisition {scan.label}", "CT", f"set ct = none for {scan.label}")
            ct_series = ct = None
        if ct is not None:
            targets.append(_target(scan.label, "CT", ct, ct_series))
            cts[scan.label] = ct_series
            files = acquisition.files + tuple(header.name for header in ct_series.headers)
            acquisition = dataclasses.replace(acquisition, ct=ct, files=files)
        acquisitions.append(acquisition)
    if not acquisitions:
        return None
    report(progress, 0.9, "Reading VOIs")
    vois = read_vois(roles["RTSTRUCT"] + roles["SEG"], targets, hashes, journal)
    check_balance(acquisitions, given, journal)
    start = injection.value.replace(tzinfo=None) if injection else None
    study = Study(
        dataclasses.replace(given, datetime=start),
        tuple(acquisitions),
        tuple(vois),
        (),
        str(scans[0].series.get("PatientID", "") or ""),
        dict(sorted(hashes.items())),
        study_attributes(scans, cts, roles, zone),
    )
    return dataclasses.replace(study, findings=tuple(journal.findings))


def _target(label: str, kind: str, image: sitk.Image, series: Series) -> Target:
    return Target(label, kind, image, series.uid, str(series.get("FrameOfReferenceUID", "") or ""))


def _acquisition(
    scan: Scan,
    given: Administration,
    hashes: dict[str, str],
    zone: dt.tzinfo | None,
    journal: Journal,
    progress: Progress | None,
) -> Acquisition:
    """Read one SPECT, undo its decay correction and check its values."""
    section = f"Acquisition {scan.label}"
    series = scan.series
    meaning = units.meaning_of(series, scan.given)
    _tell_meaning(scan, meaning, journal)
    stack = stack_of(series)
    for severity, text in stack.notes:
        journal.find(
            severity,
            f"acquisitions.{scan.label}.geometry",
            f"{series.title}: {text}.",
            source=series.first.name,
            section=section,
            item="geometry",
        )
    array = read_stack(
        stack, lambda header, frame: units.rescale_of(header, frame, meaning), hashes, progress, series.title
    )
    check_voxels(array, series.title, f"acquisitions.{scan.label}.spect", section, journal)
    duration_s = _duration(scan, journal)
    unit, corrections = meaning.unit, []
    if unit == "CPS":
        if duration_s is None:
            raise InputError(
                f"{series.tag('Units')} is CPS and the duration is missing; set duration_s of {scan.label}."
            )
        array *= np.float32(duration_s)
        unit, corrections = "CNTS", [Correction("counts per second to counts", duration_s, 0.0, "x duration")]
    corrections += _undo_decay(scan, meaning, given, array, stack, duration_s, journal)
    size = (
        " x ".join(str(n) for n in stack.size) + " / " + " x ".join(f"{s:.4g}" for s in stack.spacing) + " mm"
    )
    journal.row(section, "grid", size, series.first.name)
    start = scan.start.value if scan.start else None
    if start is not None and start.tzinfo is not None:
        start = start.astimezone(zone).replace(tzinfo=None) if zone else start.replace(tzinfo=None)
    frame = str(series.get("FrameOfReferenceUID", "") or "")
    names = tuple(sorted({header.name for header, _ in stack.frames}))
    return Acquisition(
        scan.label,
        scan.time_h,
        stack.image(array),
        unit,
        None,
        duration_s,
        start,
        frame,
        tuple(corrections),
        names,
    )


def _tell_meaning(scan: Scan, meaning: units.Meaning, journal: Journal) -> None:
    """Write the unit of an acquisition down."""
    section, item = f"Acquisition {scan.label}", "unit"
    field = f"acquisitions.{scan.label}.unit"
    if scan.given.unit is not None:
        text = f"{scan.label}: unit {meaning.unit} was given."
        journal.find(
            "info", field, text, value=meaning.unit, source="user", section=section, item=item, status="set"
        )
    elif meaning.assumed:
        journal.find(
            "assumption",
            field,
            f"{scan.series.title}: {meaning.assumed}.",
            value=meaning.unit,
            source=meaning.source,
            remedy=f"Set unit of {scan.label}.",
            section=section,
            item=item,
        )
    else:
        journal.row(section, item, meaning.unit, meaning.source)


def _duration(scan: Scan, journal: Journal) -> float | None:
    """Return the real time of the acquisition in seconds."""
    section, item, field = f"Acquisition {scan.label}", "duration, s", f"acquisitions.{scan.label}.duration_s"
    if scan.given.duration_s is not None:
        text = f"{scan.label}: duration_s = {scan.given.duration_s:g} was given."
        journal.find(
            "info",
            field,
            text,
            value=scan.given.duration_s,
            source="user",
            section=section,
            item=item,
            status="set",
        )
        return float(scan.given.duration_s)
    seconds, source, doubt = duration_of(scan.series)
    remedy = f"Set duration_s of {scan.label}."
    if seconds is None:
        text = f"{scan.series.title}: the duration of the acquisition is not stated."
        journal.find("missing", field, text, remedy=remedy, section=section, item=item)
        return None
    journal.row(section, item, round(seconds, 3), source, "doubtful" if doubt else "ok")
    if doubt:
        text = f"{scan.label}: duration {seconds:.1f} s; {doubt}."
        journal.find("warning", field, text, value=seconds, source=source, remedy=remedy)
    return seconds


def _undo_decay(
    scan: Scan,
    meaning: units.Meaning,
    given: Administration,
    array: np.ndarray,
    stack: Any,
    duration_s: float | None,
    journal: Journal,
) -> list[Correction]:
    """Bring ``array`` to the start of the acquisition, in place, and return what was done."""
    reference = units.decay_reference(scan.series, meaning, scan.given, journal, scan.label)
    rate = decay_constant_per_h(scan.dose, given.nuclide)
    if reference == "ADMIN" and rate is None:
        raise InputError(
            f"{scan.series.tag('DecayCorrection')} is ADMIN and the half-life of {given.nuclide} is not known; "
            "set nuclide."
        )
    own = scan.dose.moment if scan.dose.moment is not None and not scan.dose.moment.doubt else None
    correction = units.decay_correction(
        reference, meaning.unit, rate, scan.start, own, scan.time_h, duration_s
    )
    if reference == "ADMIN" and correction is not None:
        units.check_decay_factor(scan.series, scan.label, 1.0 / correction.factor, journal)
    if scan.given.decay_reference is not None:
        text = f"{scan.label}: decay_reference = {reference} was given."
        journal.find(
            "info", f"acquisitions.{scan.label}.decay_reference", text, value=reference, source="user"
        )
    done = []
    if correction is not None:
        array *= np.float32(correction.factor)
        done.append(correction)
    if reference == "NONE" and rate is not None and scan.start is not None and len(stack.frames) > 1:
        delays = units.slice_delays_h(scan.series, scan.start)
        factors = np.exp(rate * np.array([delays.get(header.name, 0.0) for header, _ in stack.frames]))
        if factors.max() > 1.0 + 1e-6:
            array *= factors.astype(np.float32)[:, None, None]
            done.append(
                Correction("decay between beds", float(factors.mean()), 0.0, "each slice to the common start")
            )
    return done


def check_voxels(array: np.ndarray, title: str, field: str, section: str, journal: Journal) -> None:
    """Raise for values that are no numbers; tell negative ones."""
    if not np.isfinite(array).all():
        count = int(np.count_nonzero(~np.isfinite(array)))
        raise InputError(f"{title}: {count} voxels are not a number or infinite; export the images again.")
    low = float(array.min())
    if low < 0:
        part = float(np.sum(array, where=array < 0, dtype=np.float64))
        total = float(np.sum(np.abs(array), dtype=np.float64))
        text = (
            f"{title}: negative voxels (lowest {low:.4g}) hold {100 * -part / total:.2g} % of all activity."
        )
        journal.find(
            "warning",
            field,
            text,
            value=low,
            remedy="Check rescale and reconstruction.",
            section=section,
            item="negative voxels",
        )
    if float(array.max()) <= 0:
        raise InputError(f"{title}: no voxel is above zero; the image holds no activity.")


def read_ct(series: Series, hashes: dict[str, str], progress: Progress | None = None) -> sitk.Image:
    """Return a CT in Hounsfield units."""
    stack = stack_of(series)

    def rescale(header: Any, frame: int) -> tuple[float, float]:
        slope, intercept = units.linear_rescale(header, frame)
        if slope is None or slope == 0 or all(key not in header.dataset for key in _CT_KEYS):
            raise InputError(f"{header.name} (0028,1053) RescaleSlope is missing; Hounsfield units need it.")
        return slope, intercept

    return stack.image(read_stack(stack, rescale, hashes, progress, series.title))


_CT_KEYS = ("RescaleSlope", "SharedFunctionalGroupsSequence")
