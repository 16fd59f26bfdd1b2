"""How a blurred region answers to its outline and to a shift: numbers instead of rules of thumb."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class SphereResponse:
    """Response of a uniform sphere of the region's volume, blurred by the SPECT.

    Attributes
    ----------
    recovery : float
        Part of its activity measured inside its true outline.
    volume_exponent : float
        ``d ln(activity inside) / d ln(volume of the outline)``; 0 for an outline far outside all activity.
    shift_loss : float
        Relative loss of the measured activity by the shift.
    """

    recovery: float
    volume_exponent: float
    shift_loss: float


@lru_cache(maxsize=512)
def sphere_response(
    volume_ml: float, fwhm_mm: float, shift_mm: float = 0.0, background: float = 0.1
) -> SphereResponse:
    """Return the response of a sphere of ``volume_ml`` in a uniform background.

    Parameters
    ----------
    volume_ml : float
    fwhm_mm : float
        Resolution of the SPECT.
    shift_mm : float
        Distance between outline and activity (registration residual).
    background : float
        Concentration outside over inside.

    References
    ----------
    Gear et al. 2018, doi:10.1007/s00259-018-4136-7 (role of the outline: their phi and dR/dv).
    """
    from scipy.ndimage import gaussian_filter

    radius = (3.0 * volume_ml * 1000.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
    reach = radius + fwhm_mm + shift_mm
    step = 2 * reach / 48
    axis = (np.arange(48) - 23.5) * step
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    inside = _ball(np.sqrt(x * x + y * y + z * z), radius, step)
    blurred = gaussian_filter(
        background + (1 - background) * inside, fwhm_mm / _FWHM_PER_SIGMA / step, mode="nearest"
    )
    measured = float(np.sum(blurred * inside))
    grown = _ball(np.sqrt(x * x + y * y + z * z), radius * 1.02, step)
    exponent = np.log(np.sum(blurred * grown) / measured) / np.log(grown.sum() / inside.sum())
    moved = _ball(np.sqrt((x - shift_mm) ** 2 + y * y + z * z), radius, step)
    loss = 1.0 - float(np.sum(blurred * moved)) / measured * inside.sum() / moved.sum()
    return SphereResponse(measured / float(inside.sum()), float(exponent), float(max(loss, 0.0)))


def _ball(distance: np.ndarray, radius: float, step: float) -> np.ndarray:
    """Return the part of each cell within the radius (linear across one cell)."""
    return np.clip((radius - distance) / step + 0.5, 0.0, 1.0)


def outline_relative_u(volume_ml: float, voxel_mm: float, fwhm_mm: float) -> float:
    """Return u(v)/v of an outline drawn on an image.

    ``u(v)/v = 3 u(d)/d`` with ``u(d)^2 = a^2/6 + w^2/(4 ln 2)`` for voxel ``a`` and resolution ``w``: both
    edges of the diameter, each uniform over a voxel and normal with the width of the resolution.

    Parameters
    ----------
    volume_ml : float
    voxel_mm : float
        Of the image that was outlined on.
    fwhm_mm : float
        Uncertainty of the edge as a full width at half maximum (resolution of that image, or reader variation).

    References
    ----------
    Gear et al. 2018, doi:10.1007/s00259-018-4136-7, section on volume.
    """
    diameter = 2.0 * (3.0 * volume_ml * 1000.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
    return float(3.0 * np.sqrt(voxel_mm**2 / 6.0 + fwhm_mm**2 / (4.0 * np.log(2.0))) / diameter)
