"""The other order of steps: dose rate per time point first, then the fit.

The usual order fits the activity and computes one dose; this one computes a dose rate at every time
point and fits that. With one engine and one model they differ only by what is not linear: selection of
the model per voxel, and anatomy that changes between the scans (which the usual order cannot follow).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.progress import Progress, part_of, report
from TheranosticDoseLib.time_activity.curve import CurveFit, fit_curve
from TheranosticDoseLib.time_activity.settings import FitSettings
from TheranosticDoseLib.time_activity.voxels import VoxelFit, fit_voxels

if TYPE_CHECKING:
    import SimpleITK as sitk


def dose_rate_maps(
    concentration_bq_ml: Sequence[sitk.Image],
    dose_of: Callable[[sitk.Image], sitk.Image],
    progress: Progress | None = None,
) -> list[sitk.Image]:
    """Return the dose rate of each time point, Gy/h.

    Parameters
    ----------
    concentration_bq_ml : sequence of SimpleITK.Image
        Bq/mL, one per time point.
    dose_of : callable
        Dose map (Gy) of a TIA map (MBq h/mL), for example ``lambda tia: absorbed_dose(tia, anatomy).dose``;
        the TIA of one hour at constant activity gives the rate.
    progress : callable, optional
    """
    import SimpleITK as sitk

    rates = []
    for i, image in enumerate(concentration_bq_ml):
        report(progress, i / len(concentration_bq_ml), f"Dose rate of time point {i + 1}")
        rates.append(dose_of(sitk.Cast(image, sitk.sitkFloat32) * 1e-6))
    return rates


def fit_dose_rate_voxels(
    time_h: Any,
    dose_rate_gy_h: Sequence[Any] | np.ndarray,
    *,
    half_life_h: float,
    settings: FitSettings | None = None,
    progress: Progress | None = None,
) -> VoxelFit:
    """Fit the dose rate of every voxel; ``tia_mbq_h_ml`` of the result holds the dose in Gy.

    Parameters are those of ``fit_voxels`` with dose rates in Gy/h.
    """
    fit = fit_voxels(
        time_h, dose_rate_gy_h, half_life_h=half_life_h, settings=settings, progress=part_of(progress, 0, 1)
    )
    return dataclasses.replace(fit, tia_mbq_h_ml=fit.tia_mbq_h_ml * 1e6)


def fit_dose_rate(
    time_h: Any,
    dose_rate_gy_h: Any,
    u_dose_rate_gy_h: Any = None,
    *,
    half_life_h: float,
    settings: FitSettings | None = None,
) -> CurveFit:
    """Fit the mean dose rate of a region; ``tia_mbq_h`` of the result is the dose in Gy.

    Parameters are those of ``fit_curve`` with dose rates in Gy/h.
    """
    return fit_curve(time_h, dose_rate_gy_h, u_dose_rate_gy_h, half_life_h=half_life_h, settings=settings)
