"""Figures that say how well one scan was brought onto another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.registration import fields
from TheranosticDoseLib.registration.prepare import Prepared

if TYPE_CHECKING:
    import SimpleITK as sitk


def correlation(fixed: Prepared, moving: Prepared, transform: sitk.Transform) -> float:
    """Return the correlation of the prepared images within the bodies and the common field of view."""
    import SimpleITK as sitk

    grid = fixed.value
    moved = sitk.Resample(moving.value, grid, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    seen = sitk.Resample(moving.valid, grid, transform, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    there = sitk.Resample(moving.body, grid, transform, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    both = sitk.GetArrayFromImage(sitk.And(fixed.valid, seen)) > 0
    both &= (sitk.GetArrayFromImage(fixed.body) > 0) | (sitk.GetArrayFromImage(there) > 0)
    if np.count_nonzero(both) < 100:
        return -1.0
    a = sitk.GetArrayFromImage(fixed.value)[both].astype(np.float64)
    b = sitk.GetArrayFromImage(moved)[both].astype(np.float64)
    if a.std() == 0 or b.std() == 0:
        return -1.0
    return float(np.corrcoef(a, b)[0, 1])


def field_figures(field: sitk.Image | None, body: sitk.Image) -> dict[str, Any]:
    """Return Jacobian range, folded fraction, inverse consistency and displacement within the body."""
    import SimpleITK as sitk

    if field is None:
        names = ("folded_fraction", "inverse_consistency_mm", "inverse_consistency_max_mm")
        return {
            "jacobian_min": 1.0,
            "jacobian_max": 1.0,
            **dict.fromkeys(names, 0.0),
            "displacement_mean_mm": 0.0,
            "displacement_max_mm": 0.0,
        }
    inside = sitk.GetArrayViewFromImage(body) > 0
    determinant = fields.jacobian(field)
    # Every second voxel: the field is smooth over much more, and the inverse is only a check here.
    coarse = sitk.Shrink(field, [2, 2, 2])
    residual = fields.residual(coarse, fields.invert_field(coarse))
    within = sitk.GetArrayFromImage(sitk.Shrink(body, [2, 2, 2])) > 0
    length = np.linalg.norm(sitk.GetArrayViewFromImage(field), axis=-1)
    return {
        "jacobian_min": float(determinant[inside].min()),
        "jacobian_max": float(determinant[inside].max()),
        "folded_fraction": float(np.mean(determinant <= 0)),
        "inverse_consistency_mm": float(residual[within].mean()),
        "inverse_consistency_max_mm": float(residual[within].max()),
        "displacement_mean_mm": float(length[inside].mean()),
        "displacement_max_mm": float(length[inside].max()),
    }
