"""The virtual patient: everything known about it, and how it is made."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.geometry import image_like
from TheranosticDoseLib.phantom.kinetics import BodyKinetics, Kinetics
from TheranosticDoseLib.phantom.settings import PhantomSettings
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.study import Administration

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.phantom.body import Body
    from TheranosticDoseLib.phantom.motion import Motion

INJECTION = dt.datetime(2026, 3, 2, 10, 0, 0)
MARGIN_VOXELS = 6
"""Margin of the truth grid above and below the field of view, in SPECT voxels: room for motion and blur."""
BODY_MM = (460.0, 345.6)
"""In-plane extent of the truth grid, mm; holds the largest body."""


@dataclasses.dataclass(frozen=True)
class TruthVoi:
    """A volume of interest of the truth.

    Attributes
    ----------
    name, kind : str
        ``kind`` is ``organ``, ``lesion`` or ``body``.
    labels : tuple of int
        Labels that it is made of.
    """

    name: str
    kind: str
    labels: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class VirtualPatient:
    """A patient whose truth is known.  All truth is in the reference posture on the truth grid.

    Attributes
    ----------
    seed : int
    settings : PhantomSettings
    administration : Administration
    labels : SimpleITK.Image
        uint8; 0 is air outside of the body.
    names : dict
        Label to region name.
    density_g_cm3, hu, tia_mbq_h_ml : SimpleITK.Image
        float32 on the grid of ``labels``.
    vois : tuple of TruthVoi
    kinetics : BodyKinetics
        Per label.
    time_h : tuple of float
    spect : list of SimpleITK.Image
        What the camera measured at each time point, Bq/mL at the start of the scan (or counts).
    ct : list of SimpleITK.Image
    displacement : list of SimpleITK.Image
        Vector images, mm: a point ``x`` of the reference lies at ``x + displacement(x)`` at the time point.
    motions : tuple of Motion
        The same with their inverses and parameters.
    resolution_mm : tuple of float
        Full width at half maximum of the SPECT ``(x, y, z)``.
    """

    seed: int
    settings: PhantomSettings
    administration: Administration
    labels: sitk.Image
    names: dict[int, str]
    density_g_cm3: sitk.Image
    hu: sitk.Image
    tia_mbq_h_ml: sitk.Image
    vois: tuple[TruthVoi, ...]
    kinetics: BodyKinetics
    time_h: tuple[float, ...]
    spect: list[sitk.Image]
    ct: list[sitk.Image]
    displacement: list[sitk.Image]
    motions: tuple[Motion, ...]
    resolution_mm: tuple[float, float, float]
    heterogeneity: np.ndarray | None = None

    def voi(self, name: str) -> TruthVoi:
        """Return the VOI of this name; ``KeyError`` where there is none."""
        for voi in self.vois:
            if voi.name == name:
                return voi
        raise KeyError(name)

    def mask(self, voi: TruthVoi) -> np.ndarray:
        """Return the voxels ``(z, y, x)`` of a VOI on the truth grid."""
        from TheranosticDoseLib.geometry import array_of

        return np.isin(array_of(self.labels), voi.labels)

    def voi_kinetics(self, voi: TruthVoi) -> Kinetics:
        """Return the kinetics of a VOI: the exponentials of all its labels."""
        parts = [self.kinetics.by_label[label] for label in voi.labels if label in self.kinetics.by_label]
        return Kinetics(
            tuple(a for part in parts for a in part.amplitude_mbq),
            tuple(k for part in parts for k in part.rate_per_h),
        )

    def concentration_bq_ml(self, time_h: float) -> sitk.Image:
        """Return the concentration in the reference posture at ``time_h``, Bq/mL, on the truth grid."""
        per_label = {label: k.activity_mbq(time_h) * 1e6 for label, k in self.kinetics.by_label.items()}
        return _painted(self.labels, per_label, self.heterogeneity)


def virtual_patient(
    seed: int = 0, settings: PhantomSettings | None = None, progress: Progress | None = None
) -> VirtualPatient:
    """Make a virtual patient.

    Parameters
    ----------
    seed : int
        The same seed and settings give the same patient, bit for bit.
    settings : PhantomSettings, optional
    progress : callable, optional

    Returns
    -------
    VirtualPatient

    Raises
    ------
    CancelledError
        If ``progress`` returned ``False``.
    """
    settings = PhantomSettings() if settings is None else settings
    report(progress, 0.0, "Anatomy")
    streams = [np.random.default_rng([seed, part]) for part in range(5)]
    body, lesions = _anatomy(settings, streams[0])
    grid = _image(body.labels, body.space)
    report(progress, 0.25, "Kinetics and tissues")
    patient = _still(seed, settings, body, lesions, grid, streams[1], streams[2])
    motions = _motions(patient, body, streams[3])
    patient = dataclasses.replace(
        patient, motions=tuple(motions), displacement=[motion.forward for motion in motions]
    )
    return _scanned(patient, streams[4], progress)


def spect_grid(settings: PhantomSettings) -> sitk.Image:
    """Return the empty SPECT grid of these settings."""
    import SimpleITK as sitk

    size, h = settings.spect_size, settings.spect_spacing_mm
    grid = sitk.Image([int(n) for n in size], sitk.sitkFloat32)
    grid.SetSpacing([h] * 3)
    # Voxel edges lie on multiples of the voxel so that the truth grid refines any SPECT grid.
    grid.SetOrigin([-(size[0] // 2) * h + h / 2, -(size[1] // 2) * h + h / 2, _bottom_mm(settings) + h / 2])
    return grid


def ct_grid(settings: PhantomSettings) -> sitk.Image:
    """Return the empty CT grid: the axial extent of the SPECT in slices of ``ct_slice_mm``."""
    import SimpleITK as sitk

    height = settings.spect_size[2] * settings.spect_spacing_mm
    slices = int(np.ceil(height / settings.ct_slice_mm))
    pixel = settings.ct_field_mm / settings.ct_size[0]
    grid = sitk.Image([*(int(n) for n in settings.ct_size), slices], sitk.sitkFloat32)
    grid.SetSpacing([pixel, pixel, settings.ct_slice_mm])
    corner = [-(n - 1) / 2 * pixel for n in settings.ct_size]
    grid.SetOrigin([*corner, _bottom_mm(settings) + settings.ct_slice_mm / 2])
    return grid


def _bottom_mm(settings: PhantomSettings) -> float:
    h = settings.spect_spacing_mm
    return (round(settings.top_mm / h) - settings.spect_size[2]) * h


def _anatomy(settings: PhantomSettings, rng: np.random.Generator) -> tuple[Body, dict[str, str]]:
    """Return the labelled body on the truth grid and its lesions."""
    from TheranosticDoseLib.phantom.body import start_body
    from TheranosticDoseLib.phantom.head import add_head
    from TheranosticDoseLib.phantom.lesions import add_lesions
    from TheranosticDoseLib.phantom.organs import add_organs
    from TheranosticDoseLib.phantom.skeleton import add_skeleton

    coarse, fine = settings.spect_spacing_mm, settings.spect_spacing_mm / settings.refinement
    half = [int(np.ceil(extent / 2 / coarse)) for extent in BODY_MM]
    coarse_size = (2 * half[0], 2 * half[1], settings.spect_size[2] + 2 * MARGIN_VOXELS)
    bottom = _bottom_mm(settings) - MARGIN_VOXELS * coarse
    origin = (-half[0] * coarse + fine / 2, -half[1] * coarse + fine / 2, bottom + fine / 2)
    shape = tuple(int(n) * settings.refinement for n in coarse_size[::-1])
    body = start_body(shape, fine, origin, rng)
    add_skeleton(body)
    add_organs(body)
    add_head(body)
    lesions = add_lesions(body, settings, (_bottom_mm(settings), settings.top_mm))
    return body, lesions


def _image(array: np.ndarray, space: Any) -> sitk.Image:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetSpacing([space.spacing_mm] * 3)
    image.SetOrigin(space.origin_mm)
    return image


def _still(seed, settings, body, lesions, grid, rng, texture_rng) -> VirtualPatient:
    """Return the patient with kinetics and tissues, before it moves and is scanned."""
    from TheranosticDoseLib.phantom.body import regions
    from TheranosticDoseLib.phantom.kinetics import draw_kinetics, kinetics_table
    from TheranosticDoseLib.phantom.tissue_maps import density_map, hu_map

    counts = np.bincount(body.labels.ravel(), minlength=256)
    names = {label: name for label, name in sorted(body.names.items()) if counts[label] > 0}
    volume_ml = {label: float(counts[label] * body.space.voxel_ml) for label in names}
    region = {
        label: regions()[f"Lesion_{lesions[name]}"] if name in lesions else regions()[name]
        for label, name in names.items()
    }
    table = kinetics_table(settings.radiopharmaceutical)
    kinetics = draw_kinetics(
        table,
        volume_ml,
        {label: entry.density_g_cm3 for label, entry in region.items()},
        {name: label for label, name in names.items()},
        lesions,
        settings.activity_mbq,
        rng,
    )
    heterogeneity = _heterogeneity(body, settings, texture_rng)
    tia = {label: k.tia_mbq_h for label, k in kinetics.by_label.items()}
    resolution = settings.resolution_mm or tuple(float(v) for v in rng.uniform(10.0, 12.0, 1).repeat(3))
    administration = Administration(
        nuclide=table["nuclide"],
        activity_mbq=settings.activity_mbq,
        datetime=INJECTION,
        radiopharmaceutical=table["radiopharmaceutical"],
    )
    return VirtualPatient(
        seed, settings, administration, grid, names,
        density_map(body.labels, region, grid),
        hu_map(body, region, grid, texture_rng),
        _painted(grid, tia, heterogeneity),
        _vois(names, lesions), kinetics, settings.time_h, [], [], [], (), resolution, heterogeneity,
    )  # fmt: skip


def _vois(names: dict[int, str], lesions: dict[str, str]) -> tuple[TruthVoi, ...]:
    """Return the VOIs that a site would draw: organs of one or more regions, lesions, body."""
    labels = {name: label for label, name in names.items()}
    organs = {
        "Liver": ("Liver",),
        "Spleen": ("Spleen",),
        "Kidney_L": ("Kidney_L_cortex", "Kidney_L_medulla"),
        "Kidney_R": ("Kidney_R_cortex", "Kidney_R_medulla"),
        "Marrow": ("Spine_marrow",),
        "Lungs": ("Lung_L", "Lung_R"),
        "Stomach": ("Stomach_wall", "Stomach_content"),
        "Pancreas": ("Pancreas",),
        "Gallbladder": ("Gallbladder",),
        "Bowel": ("Bowel_wall", "Bowel_content"),
        "Bladder": ("Bladder",),
        "Parotid_L": ("Parotid_L",),
        "Parotid_R": ("Parotid_R",),
        "Submandibular_L": ("Submandibular_L",),
        "Submandibular_R": ("Submandibular_R",),
    }
    found = []
    for name, parts in organs.items():
        present = tuple(labels[part] for part in parts if part in labels)
        if present:
            found.append(TruthVoi(name, "organ", present))
    found += [TruthVoi(name, "lesion", (labels[name],)) for name in lesions if name in labels]
    found.append(TruthVoi("Body", "body", tuple(names)))
    return tuple(found)


def _heterogeneity(body: Body, settings: PhantomSettings, rng) -> np.ndarray | None:
    """Return a factor per voxel whose mean over each region is 1, or ``None``."""
    if settings.heterogeneity == 0:
        return None
    from TheranosticDoseLib.phantom.shapes import smooth_field

    field = smooth_field(body.labels.shape, body.space.spacing_mm, 25.0, rng)
    factor = np.exp(settings.heterogeneity * field)
    sums = np.bincount(body.labels.ravel(), weights=factor.ravel(), minlength=256)
    counts = np.bincount(body.labels.ravel(), minlength=256)
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), 1.0)
    return (factor / mean[body.labels]).astype(np.float32)


def _painted(labels: sitk.Image, total: dict[int, float], factor: np.ndarray | None) -> sitk.Image:
    """Return an image that shares the ``total`` of each label among its voxels, per mL."""
    import SimpleITK as sitk

    array = sitk.GetArrayViewFromImage(labels)
    voxel_ml = float(np.prod(labels.GetSpacing())) / 1000.0
    counts = np.bincount(array.ravel(), minlength=256)
    table = np.zeros(256, np.float32)
    for label, value in total.items():
        if counts[label]:
            table[label] = value / (counts[label] * voxel_ml)
    values = table[array]
    return image_like(values if factor is None else values * factor, labels)


def _motions(patient: VirtualPatient, body: Body, rng: np.random.Generator) -> list[Motion]:
    """Draw the motion of each time point on a grid as coarse as the SPECT."""
    import SimpleITK as sitk
    from scipy import ndimage

    from TheranosticDoseLib.phantom.motion import draw_motion, no_motion

    settings = patient.settings
    cavity = _image(body.cavity.astype(np.float32), body.space)
    coarse = sitk.BinShrink(cavity, [settings.refinement] * 3)
    moving = ndimage.gaussian_filter(sitk.GetArrayFromImage(coarse), 14.0 / settings.spect_spacing_mm)
    z, y = np.indices(moving.shape[:2]) * settings.spect_spacing_mm
    y = y + coarse.GetOrigin()[1]
    # Near the spine everything moves less.
    moving *= (1.0 / (1.0 + np.exp((y - 62.0) / 14.0)))[:, :, None]
    bladder = (0.0, -18.0, -385.0)
    motions = []
    for index in range(len(patient.time_h)):
        draw = np.random.default_rng([int(rng.integers(2**31)), index])
        still = index == settings.reference
        motions.append(no_motion(coarse) if still else draw_motion(coarse, moving, bladder, settings, draw))
    return motions


def _scanned(patient: VirtualPatient, rng: np.random.Generator, progress: Progress | None) -> VirtualPatient:
    """Return the patient with its images of all time points."""
    from TheranosticDoseLib.phantom.acquisition import ct_of, moved_activity, spect_of

    settings, spects, cts = patient.settings, [], []
    decay = patient.kinetics.administered.rate_per_h[0]
    grids = spect_grid(settings), ct_grid(settings)
    for index, (time, motion) in enumerate(zip(patient.time_h, patient.motions, strict=True)):
        report(progress, 0.35 + 0.65 * index / len(patient.time_h), f"Images at {time:g} h")
        moved = moved_activity(patient.concentration_bq_ml(time), motion)
        spects.append(spect_of(moved, grids[0], patient.resolution_mm, settings, rng, decay))
        if settings.ct:
            cts.append(ct_of(patient.hu, grids[1], motion, settings, rng))
    report(progress, 1.0, "Virtual patient ready")
    return dataclasses.replace(patient, spect=spects, ct=cts)
