"""Studies of NRRD or NIfTI images that a manifest lists.

A manifest whose ``acquisitions`` is a list names images; one without such a list
holds values that replace those of the DICOM files beside it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.dicom_io.balance import check_balance
from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.labelmap import not_finite_in_nifti, read_image, vois_of_labelmap
from TheranosticDoseLib.dicom_io.overrides import DECAY_REFERENCES, UNITS, Overrides, read_json
from TheranosticDoseLib.dicom_io.targets import Target
from TheranosticDoseLib.dicom_io.vois import with_unique_names
from TheranosticDoseLib.errors import InputError, SettingsError, TheranosticDoseError
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.settings import Settings
from TheranosticDoseLib.study import Acquisition, Administration, Correction, Study, Voi

if TYPE_CHECKING:
    import SimpleITK as sitk

NAME = "manifest.json"


@dataclasses.dataclass(frozen=True)
class ListedAcquisition(Settings):
    """One acquisition of a manifest; files are relative to the manifest.

    Attributes
    ----------
    spect : str
        Image of ``unit``.
    ct : str or None
        Image in Hounsfield units.
    label : str or None
    time_h : float or None
        Start, hours after the administration; or ``datetime`` (ISO 8601).
    unit : str or None
        ``BQML`` or ``CNTS``; else ``units`` of the manifest.
    decay_reference : str or None
        ``START`` (default), ``ADMIN`` or ``NONE``.
    duration_s, camera_factor_cps_per_mbq : float or None
    vois : tuple of str
        Label maps drawn on the SPECT or CT.
    """

    spect: str
    ct: str | None = None
    label: str | None = None
    time_h: float | None = None
    datetime: str | None = None
    unit: str | None = None
    decay_reference: str | None = None
    duration_s: float | None = None
    camera_factor_cps_per_mbq: float | None = None
    vois: tuple[str, ...] = ()
    use: bool = True

    def validate(self) -> None:
        """Check the ranges."""
        self.require(self.unit in (None, *UNITS), "unit", " or ".join(UNITS))
        self.require(
            self.decay_reference in (None, *DECAY_REFERENCES), "decay_reference", ", ".join(DECAY_REFERENCES)
        )
        self.require(
            self.time_h is None or self.time_h >= 0, "time_h", "hours after the administration, >= 0"
        )
        self.require(self.duration_s is None or self.duration_s > 0, "duration_s", "seconds > 0")
        self.require(self.time_h is not None or self.datetime is not None, "time_h", "a time_h or a datetime")


def find_manifest(path: Path) -> Path | None:
    """Return the manifest that ``path`` is or holds, ``None`` where there is none."""
    if path.is_file() and path.suffix.lower() == ".json":
        return path
    return path / NAME if path.is_dir() and (path / NAME).is_file() else None


def lists_images(path: Path) -> bool:
    """Whether a manifest lists images; else it holds values for DICOM files."""
    return isinstance(read_json(path).get("acquisitions"), list)


def manifest_overrides(path: Path) -> Overrides:
    """Return the values of a manifest that lists no images."""
    try:
        return Overrides.from_dict({"source": path.name, **read_json(path)})
    except SettingsError as error:
        raise SettingsError(f"{path.name}: {error}") from None


def read_manifest(
    path: Path, overrides: Overrides, journal: Journal, progress: Progress | None = None
) -> Study | None:
    """Return the study of images that a manifest lists.

    Raises
    ------
    SettingsError
        For an unknown key (with the nearest known one) or a value out of range.
    InputError
        For an image that cannot be read or a time that is missing.
    """
    values = read_json(path)
    listed = _listed(path, values.pop("acquisitions"))
    shared = overrides.over(_shared(path, values))
    given, injection = _administration(shared, journal)
    files = _Files(path.parent, {path.name: _hash(path)})
    acquisitions, vois, factors = [], [], {}
    for index, one in enumerate(listed):
        report(progress, index / len(listed), f"Reading {one.spect}")
        one = _overridden(one, shared)
        if not one.use:
            continue
        try:
            acquisition = _acquisition(one, index, shared, given, injection, files, journal)
            vois += _vois(one, acquisition, files, journal)
        except TheranosticDoseError as error:
            journal.fail(error, f"Acquisition {one.label or index + 1}", one.spect)
            continue
        if factor := (one.camera_factor_cps_per_mbq or shared.camera_factor_cps_per_mbq):
            factors[acquisition.label] = factor
        acquisitions.append(acquisition)
    if not acquisitions:
        return None
    acquisitions.sort(key=lambda acquisition: acquisition.time_h)
    _unique_labels(acquisitions, path)
    check_balance(acquisitions, given, journal)
    study = Study(
        given,
        tuple(acquisitions),
        tuple(with_unique_names(vois)),
        (),
        shared.patient_id or "",
        files.hashes,
        {"camera_factors": factors},
    )
    return dataclasses.replace(study, findings=tuple(journal.findings))


def _listed(path: Path, items: list[Any]) -> list[ListedAcquisition]:
    """Return the acquisitions of a manifest."""
    if not items:
        raise InputError(f"{path.name}: acquisitions is empty; list at least one SPECT with its time_h.")
    listed = []
    for number, item in enumerate(items, 1):
        try:
            if isinstance(item, dict) and isinstance(item.get("vois"), str):
                item = {**item, "vois": [item["vois"]]}
            if isinstance(item, dict) and "spect" not in item:
                raise SettingsError("spect is missing; name the image.")
            listed.append(ListedAcquisition.from_dict(item))
        except SettingsError as error:
            raise SettingsError(f"{path.name}, acquisition {number}: {error}") from None
    return listed


def _shared(path: Path, values: dict[str, Any]) -> Overrides:
    """Return the values of a manifest for all acquisitions."""
    try:
        return Overrides.from_dict({"source": path.name, **values})
    except SettingsError as error:
        raise SettingsError(f"{path.name}: {error}") from None


def _overridden(one: ListedAcquisition, shared: Overrides) -> ListedAcquisition:
    """Return an acquisition with the values that the shell gave for its label."""
    given = shared.acquisitions.get(one.label or "")
    if given is None:
        return one
    values = given if isinstance(given, dict) else given.to_dict()
    known = {field.name for field in dataclasses.fields(one)}
    return dataclasses.replace(one, **{k: v for k, v in values.items() if v is not None and k in known})


def _administration(shared: Overrides, journal: Journal) -> tuple[Administration, dt.datetime | None]:
    """Return what a manifest says about the administration."""
    from TheranosticDoseLib.dicom_io.administration import administration_of, choose_nuclide

    nuclide = choose_nuclide([], shared, journal)
    given, moment = administration_of([], nuclide, shared, journal)
    injection = moment.value.replace(tzinfo=None) if moment else None
    return dataclasses.replace(given, datetime=injection), moment.value if moment else None


@dataclasses.dataclass(frozen=True)
class _Files:
    """The folder of a manifest and the hashes of what was read from it."""

    folder: Path
    hashes: dict[str, str]

    def image(self, name: str) -> sitk.Image:
        """Return an image as float32 and note its hash."""
        import SimpleITK as sitk

        image = read_image(self.folder / name)
        if bad := not_finite_in_nifti(self.folder / name):
            raise InputError(f"{name}: {bad} voxels are not a number or infinite; export the image again.")
        self.hashes[name] = _hash(self.folder / name)
        if image.GetNumberOfComponentsPerPixel() != 1:
            raise InputError(f"{name}: has several components; grey values are expected.")
        return sitk.Cast(image, sitk.sitkFloat32)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _acquisition(
    one: ListedAcquisition,
    index: int,
    shared: Overrides,
    given: Administration,
    injection: dt.datetime | None,
    files: _Files,
    journal: Journal,
) -> Acquisition:
    """Return one acquisition of a manifest."""
    from TheranosticDoseLib.dicom_io.load import check_voxels
    from TheranosticDoseLib.geometry import array_of

    start = dt.datetime.fromisoformat(one.datetime) if one.datetime else None
    time_h = _time_h(one, start, injection)
    label = one.label or f"{time_h:.4g}h"
    section = f"Acquisition {label}"
    unit = one.unit or shared.units
    if unit is None:
        raise InputError(f"{one.spect}: its unit is not stated; set units (BQML or CNTS) in the manifest.")
    spect = files.image(one.spect)
    check_voxels(array_of(spect), one.spect, f"acquisitions.{label}.spect", section, journal)
    spect, corrections = _undo_decay(one, shared, given, spect, unit, time_h)
    journal.row(section, "hours after the injection", time_h, shared.source)
    journal.row(section, "unit", unit, shared.source)
    ct = files.image(one.ct) if one.ct else None
    if ct is None:
        text = f"{label}: no CT belongs to this SPECT."
        journal.find(
            "missing",
            f"acquisitions.{label}.ct",
            text,
            remedy="Name a ct in the manifest.",
            section=section,
            item="CT",
        )
    if one.duration_s is None:
        text = f"{label}: the duration of the acquisition is not stated."
        journal.find(
            "missing",
            f"acquisitions.{label}.duration_s",
            text,
            remedy="Set duration_s in the manifest.",
            section=section,
            item="duration, s",
        )
    names = (one.spect, one.ct) if one.ct else (one.spect,)
    when = start.replace(tzinfo=None) if start else None
    return Acquisition(label, time_h, spect, unit, ct, one.duration_s, when, "", corrections, names)


def _time_h(one: ListedAcquisition, start: dt.datetime | None, injection: dt.datetime | None) -> float:
    """Return hours after the administration."""
    from TheranosticDoseLib.dicom_io.clock import difference_h

    if one.time_h is not None:
        return float(one.time_h)
    if injection is None or start is None:
        raise InputError(
            f"{one.spect}: a datetime needs injection_datetime; set it or time_h in the manifest."
        )
    hours = difference_h(start, injection)
    if hours < 0:
        raise InputError(
            f"{one.spect}: starts {-hours:.2f} h before the injection; check both times in the manifest."
        )
    return hours


def _undo_decay(
    one: ListedAcquisition,
    shared: Overrides,
    given: Administration,
    spect: sitk.Image,
    unit: str,
    time_h: float,
) -> tuple[sitk.Image, tuple[Correction, ...]]:
    """Return the image at the start of the acquisition and what was done."""
    import math

    from TheranosticDoseLib.dicom_io.nuclide_names import half_life_s
    from TheranosticDoseLib.dicom_io.units import decay_correction

    reference = one.decay_reference or shared.decay_reference or "START"
    half_life = half_life_s(given.nuclide)
    rate = math.log(2.0) / (half_life / 3600.0) if half_life else None
    correction = decay_correction(reference, unit, rate, None, None, time_h, one.duration_s)
    return (spect * correction.factor, (correction,)) if correction else (spect, ())


def _vois(one: ListedAcquisition, acquisition: Acquisition, files: _Files, journal: Journal) -> list[Voi]:
    """Return the VOIs that were drawn on an acquisition."""
    targets = [Target(acquisition.label, "SPECT", acquisition.spect)]
    if acquisition.ct is not None:
        targets.append(Target(acquisition.label, "CT", acquisition.ct))
    vois: list[Voi] = []
    for name in one.vois:
        vois += vois_of_labelmap(files.folder / name, targets, journal)
        files.hashes[name] = _hash(files.folder / name)
    return vois


def _unique_labels(acquisitions: list[Acquisition], path: Path) -> None:
    labels = [acquisition.label for acquisition in acquisitions]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise InputError(
            f"{path.name}: two acquisitions are called {', '.join(sorted(twice))}; give each its own label."
        )
