"""``register``: every scan of a study onto the grid of one of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.errors import ActivityConservationError, InputError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import image_like, resample, total_activity_mbq
from TheranosticDoseLib.progress import Progress, part_of, report
from TheranosticDoseLib.registration import checks, fields
from TheranosticDoseLib.registration.deformable import deformable_field, field_transform
from TheranosticDoseLib.registration.prepare import Prepared, prepare_ct, prepare_spect, working_grid
from TheranosticDoseLib.registration.quality import correlation, field_figures
from TheranosticDoseLib.registration.result import RegisteredStudy
from TheranosticDoseLib.registration.rigid import rigid_transform
from TheranosticDoseLib.registration.settings import RegistrationSettings
from TheranosticDoseLib.study import Acquisition, Study

if TYPE_CHECKING:
    import SimpleITK as sitk

_MARGIN_MM = 20.0


@dataclass(frozen=True)
class _Match:
    """The transform of one pair with what it is judged by."""

    transform: sitk.Transform
    field: sitk.Image | None
    figures: dict[str, Any]
    findings: tuple[Finding, ...] = ()


def register(
    study: Study,
    settings: RegistrationSettings = RegistrationSettings(),  # noqa: B008 (frozen)
    progress: Progress | None = None,
) -> RegisteredStudy:
    """Bring every scan onto the grid of the reference SPECT.

    Parameters
    ----------
    study : Study
        All SPECTs in Bq/mL (``quantify`` first).
    settings : RegistrationSettings
    progress : callable, optional

    Returns
    -------
    RegisteredStudy

    Raises
    ------
    InputError
        No acquisition, an unknown reference, images that are empty or do not overlap.
    UnitsError
        A SPECT that is not in Bq/mL.
    ActivityConservationError
        If moving a scan changes its total activity by more than ``activity_tolerance``.
    CancelledError
    """
    import SimpleITK as sitk

    position = checks.reference_index(study, settings.reference)
    checks.require_usable(study)
    reference = study.acquisitions[position]
    findings = list(checks.study_findings(study))
    grid = _empty(reference.spect)
    prepared: dict[str, Prepared] = {}
    spect, transforms, quality = [], [], []
    for index, moving in enumerate(study.acquisitions):
        step = part_of(progress, index / len(study.acquisitions), (index + 1) / len(study.acquisitions))
        report(step, 0.0, f"Registering {moving.label} to {reference.label}")
        start = time.perf_counter()
        if index == position:
            match = _Match(sitk.Transform(3, sitk.sitkIdentity), None, _identity_figures(reference))
        else:
            match = _match(reference, moving, settings, prepared, step)
        image, activity = _moved_activity(moving, grid, match, settings)
        findings += match.findings
        spect.append(image)
        transforms.append(match.transform)
        record = {"from": moving.label, "to": reference.label, **match.figures, **activity}
        quality.append({**record, "seconds": time.perf_counter() - start})
    ct = (
        None
        if reference.ct is None
        else resample(checks.finite(reference.ct, -1024.0), grid, outside=-1000.0)
    )
    report(progress, 1.0, "Registered")
    return RegisteredStudy(
        study, reference.label, grid, ct, tuple(spect), tuple(transforms), tuple(quality), tuple(findings)
    )


def transform_between(
    fixed: sitk.Image,
    moving: sitk.Image,
    settings: RegistrationSettings | None = None,
    progress: Progress | None = None,
) -> tuple[sitk.Transform, tuple[Finding, ...]]:
    """Register one CT to another, for what comes with it (a diagnostic PET, an earlier cycle).

    Parameters
    ----------
    fixed, moving : SimpleITK.Image
        HU.
    settings : RegistrationSettings, optional
    progress : callable, optional

    Returns
    -------
    tuple
        Transform from points of ``fixed`` to points of ``moving``, mm, and the findings.

    Raises
    ------
    InputError
        If one of them is no CT of a body.
    """
    settings = replace(settings or RegistrationSettings(), image="ct")
    scans = [Acquisition(name, 1.0, image, ct=image) for name, image in (("CT", fixed), ("other CT", moving))]
    match = _match(*scans, settings, {}, progress)
    return match.transform, match.findings


def _empty(image: sitk.Image) -> sitk.Image:
    """Return a grid without content, so that nobody takes it for an image."""
    import SimpleITK as sitk

    grid = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    grid.CopyInformation(image)
    return grid


def _identity_figures(reference: Acquisition) -> dict[str, Any]:
    return {
        "method": "reference",
        "image": "ct" if reference.ct is not None else "spect",
        "similarity_metric": "correlation",
        "similarity_before": 1.0,
        "similarity_rigid": 1.0,
        "similarity_deformable": 1.0,
        **field_figures(None, reference.spect),
    }


def _match(
    reference: Acquisition,
    moving: Acquisition,
    settings: RegistrationSettings,
    prepared: dict[str, Prepared],
    progress: Progress | None,
) -> _Match:
    """Register one scan to the reference."""
    import SimpleITK as sitk

    image = checks.image_to_use(reference, moving, settings.image)
    if settings.method == "none":
        figures = {**_identity_figures(reference), "method": "none", "image": image}
        figures.update(dict.fromkeys(("similarity_before", "similarity_rigid", "similarity_deformable")))
        return _Match(sitk.Transform(3, sitk.sitkIdentity), None, figures)
    doubts: list[Finding] = []
    if image not in prepared:
        prepared[image] = _prepared(reference, image, settings, grid_of=reference.spect)
        if image == "ct":
            doubts += checks.alignment_findings(reference, prepared[image].body, prepared[image].valid)
    fixed = prepared[image]
    other = _prepared(moving, image, settings, grid_of=moving.ct if image == "ct" else moving.spect)
    if image == "ct":
        doubts += checks.alignment_findings(moving, other.body, other.valid)
    report(progress, 0.1, f"Rigid registration of {moving.label}")
    start = sitk.Transform(3, sitk.sitkIdentity)
    before = correlation(fixed, other, start)
    rigid, rigid_value, findings = _rigid_or_better(fixed, other, before, settings, moving.label)
    findings = doubts + findings
    figures = {
        "method": "rigid",
        "image": image,
        "similarity_metric": "correlation",
        "similarity_before": before,
        "similarity_rigid": rigid_value,
        "similarity_deformable": rigid_value,
    }
    deform = settings.method == "deformable" and (image == "ct" or settings.spect_method == "deformable")
    if not deform:
        return _Match(rigid, None, {**figures, **field_figures(None, fixed.body)}, tuple(findings))
    report(progress, 0.4, f"Deformable registration of {moving.label}")
    smoothing = settings.smoothing_mm if image == "ct" else settings.spect_smoothing_mm
    field, rounds, folded = deformable_field(
        fixed, other, rigid, settings.iterations, smoothing, part_of(progress, 0.4, 0.9)
    )
    findings += checks.folding_findings(moving.label, rounds, folded)
    transform = field_transform(
        rigid, field, working_grid(reference.spect, field.GetSpacing()[0], _MARGIN_MM)
    )
    value = correlation(fixed, other, transform)
    if value < rigid_value:
        findings.append(checks.kept_rigid(moving.label, rigid_value, value))
        return _Match(rigid, None, {**figures, **field_figures(None, fixed.body)}, tuple(findings))
    figures.update(method="rigid+deformable", similarity_deformable=value)
    return _Match(transform, field, {**figures, **field_figures(field, fixed.body)}, tuple(findings))


def _rigid_or_better(
    fixed: Prepared, moving: Prepared, before: float, settings: RegistrationSettings, label: str
) -> tuple[sitk.Transform, float, list[Finding]]:
    """Return the rigid transform, or the scanner coordinates where they fit better."""
    import SimpleITK as sitk

    identity = sitk.Transform(3, sitk.sitkIdentity)
    try:
        rigid = rigid_transform(fixed, moving, settings)
    except RuntimeError as error:
        text = str(error).strip().splitlines()[-1]
        return identity, before, [checks.rigid_failed(label, text)]
    after = correlation(fixed, moving, rigid)
    if after < before:
        return identity, before, [checks.kept_scanner(label, before, after)]
    return rigid, after, []


def _prepared(
    acquisition: Acquisition, image: str, settings: RegistrationSettings, grid_of: sitk.Image
) -> Prepared:
    """Return the prepared CT or SPECT of an acquisition on a working grid around ``grid_of``."""
    spacing = settings.spacing_mm if image == "ct" else settings.spect_spacing_mm
    grid = working_grid(grid_of, spacing, _MARGIN_MM if grid_of is acquisition.spect else 0.0)
    try:
        if image == "ct":
            return prepare_ct(acquisition.ct, grid).cropped()
        return prepare_spect(acquisition.spect, grid).cropped()
    except InputError as error:
        raise InputError(f"{acquisition.label}: {error}") from error


def _moved_activity(
    moving: Acquisition, grid: sitk.Image, match: _Match, settings: RegistrationSettings
) -> tuple[sitk.Image, dict[str, float]]:
    """Return the SPECT on the grid and what became of its activity."""
    spect = checks.finite(moving.spect, 0.0)
    before = total_activity_mbq(spect)
    image = resample(spect, grid, match.transform)
    kept = total_activity_mbq(image)
    covered = kept
    if match.field is not None:
        weighted = _times_jacobian(image, match.field)
        covered = total_activity_mbq(weighted)
        if settings.mass_preserving:
            image, kept = weighted, covered
    change = (kept - before) / before if before > 0 else 0.0
    if abs(change) > settings.activity_tolerance:
        msg = (
            f"{moving.label}: moving the scan onto the reference changed its activity from {before:.2f} to "
            f"{kept:.2f} MBq ({100 * change:+.1f} %, tolerance {100 * settings.activity_tolerance:.1f} %); "
            f"{before - covered:.2f} MBq lie outside the reference field of view. Choose a reference whose "
            "field of view covers the others, or raise RegistrationSettings.activity_tolerance."
        )
        raise ActivityConservationError(msg)
    return image, {
        "activity_before_mbq": before,
        "activity_after_mbq": kept,
        "activity_relative_change": change,
        "activity_outside_mbq": before - covered,
    }


def _times_jacobian(image: sitk.Image, field: sitk.Image) -> sitk.Image:
    """Return the concentration times the Jacobian determinant of the transform (rigid part: 1)."""
    import SimpleITK as sitk

    determinant = image_like(fields.jacobian(field), field)
    factor = sitk.Resample(determinant, image, sitk.Transform(), sitk.sitkLinear, 1.0, sitk.sitkFloat32)
    return image_like(
        sitk.GetArrayViewFromImage(image) * np.maximum(sitk.GetArrayViewFromImage(factor), 0.0), image
    )
