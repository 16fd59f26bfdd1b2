"""Imaging models: what a CT and a reconstructed SPECT show of the virtual patient.

SPECT: the activity of the time point is blurred by a Gaussian point-spread function, each voxel
gets a Poisson number of "events" with the variance of the counts times ``noise_amplification``,
and a second Gaussian (``noise_correlation_mm``) gives the noise the correlation of a regularised
reconstruction.  Both Gaussians together have the stated resolution, so mean and total are exact
and no voxel is negative.  Depth-independent; attenuation and scatter are taken as corrected.

CT: Hounsfield units per region with structure, blurred by the scanner, plus band-limited noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.phantom.motion import Motion, transform_of
from TheranosticDoseLib.phantom.settings import PhantomSettings

if TYPE_CHECKING:
    import SimpleITK as sitk

TABLE_GAP_MM = 10.0
"""Mattress between body and table; leaves room for the motion between time points."""
SIGMA_PER_FWHM = 1.0 / (2.0 * np.sqrt(2.0 * np.log(2.0)))


def moved_activity(concentration: sitk.Image, motion: Motion) -> sitk.Image:
    """Return a concentration at a time point; the activity of each piece of tissue is kept.

    Parameters
    ----------
    concentration : SimpleITK.Image
        On the reference, any unit per mL.
    motion : Motion
    """
    import SimpleITK as sitk

    if not motion.parameters:
        return concentration
    moved = sitk.Resample(concentration, concentration, transform_of(motion.inverse), sitk.sitkLinear, 0.0)
    jacobian = sitk.Resample(
        sitk.Cast(motion.jacobian_of_inverse(), sitk.sitkFloat32),
        concentration,
        sitk.Transform(3, sitk.sitkIdentity),
        sitk.sitkLinear,
        1.0,
    )
    return moved * jacobian


def spect_of(
    concentration_bq_ml: sitk.Image,
    grid: sitk.Image,
    resolution_mm: tuple[float, float, float],
    settings: PhantomSettings,
    rng: np.random.Generator,
    decay_per_h: float = 0.0,
) -> sitk.Image:
    """Return the SPECT of a concentration at the time of the scan.

    Parameters
    ----------
    concentration_bq_ml : SimpleITK.Image
        On the truth grid, at the time point, Bq/mL at the start of the scan.
    grid : SimpleITK.Image
        SPECT grid; its voxels hold whole truth voxels.
    resolution_mm : tuple of float
        Full width at half maximum ``(x, y, z)``, mm.
    settings : PhantomSettings
    rng : numpy.random.Generator
    decay_per_h : float
        Physical decay constant; counts are fewer by the decay during the scan.

    Returns
    -------
    SimpleITK.Image
        Bq/mL at the start of the scan, or counts of the whole acquisition, float32.
    """
    import SimpleITK as sitk

    correlation = settings.noise_correlation_mm if settings.spect_noise else 0.0
    first = [np.sqrt(max(r**2 - correlation**2, 1e-6)) for r in resolution_mm]
    blurred = _blur(array_of(concentration_bq_ml), concentration_bq_ml.GetSpacing(), first)
    fine = image_like(blurred, concentration_bq_ml)
    coarse = sitk.BinShrink(fine, [settings.refinement] * 3)
    values = paste(coarse, grid)
    voxel_ml = float(np.prod(grid.GetSpacing())) / 1000.0
    during = max(decay_per_h * settings.duration_s / 3600.0, 1e-12)
    effective_s = settings.duration_s * -np.expm1(-during) / during
    counts_per_bq_ml = voxel_ml * 1e-6 * settings.camera_factor_cps_per_mbq * effective_s
    if settings.spect_noise:
        events = rng.poisson(values * (counts_per_bq_ml / settings.noise_amplification))
        noisy = events.astype(np.float32) * np.float32(settings.noise_amplification / counts_per_bq_ml)
        values = _blur(noisy, grid.GetSpacing(), [correlation] * 3)
    if settings.counts == "CNTS":
        values = values * np.float32(counts_per_bq_ml)
    return image_like(values, grid)


def _blur(array: np.ndarray, spacing_mm, fwhm_mm) -> np.ndarray:
    """Return a Gaussian blur; what leaves at an edge is not brought back."""
    from scipy import ndimage

    out = np.asarray(array, dtype=np.float32)
    for axis in range(3):
        sigma = fwhm_mm[2 - axis] * SIGMA_PER_FWHM / spacing_mm[2 - axis]
        if sigma > 0.05:
            out = ndimage.gaussian_filter1d(out, sigma, axis=axis, mode="constant", truncate=4.0)
    return out


def paste(image: sitk.Image, grid: sitk.Image) -> np.ndarray:
    """Return the array of ``grid`` with the overlap of an image whose voxels coincide with it, else 0."""
    source = array_of(image)
    target = np.zeros(grid.GetSize()[::-1], np.float32)
    offset = grid.TransformPhysicalPointToContinuousIndex(image.GetOrigin())
    take, put = [], []
    for axis in (2, 1, 0):
        start, n, m = round(offset[axis]), source.shape[2 - axis], target.shape[2 - axis]
        low, high = max(start, 0), max(min(start + n, m), max(start, 0))
        put.append(slice(low, high))
        take.append(slice(low - start, high - start))
    target[tuple(put)] = source[tuple(take)]
    return target


def ct_of(
    hu: sitk.Image,
    grid: sitk.Image,
    motion: Motion,
    settings: PhantomSettings,
    rng: np.random.Generator,
) -> sitk.Image:
    """Return the CT of a time point.

    Parameters
    ----------
    hu : SimpleITK.Image
        Hounsfield units of the reference on the truth grid.
    grid : SimpleITK.Image
        CT grid.
    motion : Motion
    settings : PhantomSettings
    rng : numpy.random.Generator

    Returns
    -------
    SimpleITK.Image
        float32, whole Hounsfield units between -1024 and 3071.
    """
    import SimpleITK as sitk

    transform = transform_of(motion.inverse) if motion.parameters else sitk.Transform(3, sitk.sitkIdentity)
    values = sitk.GetArrayFromImage(sitk.Resample(hu, grid, transform, sitk.sitkLinear, -1000.0))
    if settings.table:
        _add_table(values, grid, _back_mm(hu) + TABLE_GAP_MM)
    if settings.ct_noise_hu > 0:
        values += _ct_noise(values, settings.ct_noise_hu, rng)
    return image_like(np.clip(np.rint(values), -1024.0, 3071.0), grid)


def _ct_noise(values: np.ndarray, deviation_hu: float, rng: np.random.Generator) -> np.ndarray:
    """Return correlated noise: larger in the middle of the body, quiet in the air around it.

    Filtered back projection gives noise without its lowest frequencies; the difference of
    two Gaussians has such a spectrum.
    """
    from scipy import ndimage

    white = rng.standard_normal(values.shape, dtype=np.float32)
    fine = ndimage.gaussian_filter(white, (0.45, 0.75, 0.75), truncate=3.0)
    fine -= ndimage.uniform_filter(fine, (1, 7, 7))
    fine *= np.float32(deviation_hu) / fine[:: max(1, len(fine) // 16)].std()
    body = (values[:, ::4, ::4] > -400).astype(np.float32)
    thickness = ndimage.gaussian_filter(body, (2.0, 12.0, 12.0))
    strength = 0.35 + 0.65 * thickness / max(float(thickness.max()), 1e-3)
    strength = np.repeat(np.repeat(strength, 4, axis=1), 4, axis=2)
    fine *= strength[:, : values.shape[1], : values.shape[2]]
    return fine


def _back_mm(hu: sitk.Image) -> float:
    """Return the lowest (most posterior) coordinate of the body on the reference, mm."""
    body = (array_of(hu)[::4, :, ::4] > -400).any(axis=(0, 2))
    return hu.GetOrigin()[1] + hu.GetSpacing()[1] * float(np.flatnonzero(body).max())


def _add_table(values: np.ndarray, grid: sitk.Image, top_mm: float) -> None:
    """Add a curved carbon-fibre table with a foam core below the back, where there is air."""
    origin, spacing, size = grid.GetOrigin(), grid.GetSpacing(), grid.GetSize()
    x = (origin[0] + spacing[0] * np.arange(size[0]))[None, :]
    y = (origin[1] + spacing[1] * np.arange(size[1]))[:, None]
    top = top_mm - (x / 200.0) ** 2 * 18.0
    depth = y - top
    inside = (depth > 0) & (depth < 26.0) & (np.abs(x) < 205.0)
    shell = inside & ((depth < 3.0) | (depth > 23.0))
    table = np.where(shell, -250.0, np.where(inside, -880.0, -1000.0)).astype(np.float32)
    np.maximum(values, table[None], out=values)
