"""A prior for lesions from a diagnostic PET: where it is hot, the network needs less to call a lesion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from DoseSegmentationLib.arrays import array_of
from DoseSegmentationLib.classical import SegmentationError, body_outline_spect

if TYPE_CHECKING:
    import SimpleITK as sitk

STEEPNESS = 4.0
"""How fast the probability rises with the logarithm of the uptake."""


def pet_probability(
    pet: sitk.Image,
    grid: sitk.Image,
    transform: sitk.Transform | None = None,
    *,
    factor: float = 2.5,
    blur_mm: float = 8.0,
) -> sitk.Image:
    """Return how much a diagnostic PET speaks for a lesion at each voxel, 0 to 1; 0.5 says nothing.

    Parameters
    ----------
    pet : SimpleITK.Image
        Uptake in any unit proportional to it (Bq/mL, SUV).
    grid : SimpleITK.Image
        Of the result: the CT or SPECT that is segmented.
    transform : SimpleITK.Transform, optional
        Points of ``grid`` to points of the PET, mm; without it both share their coordinates.
    factor : float
        Uptake, in means over the body, at which the PET says nothing.
    blur_mm : float
        Full width by which the prior is blurred: what the registration leaves.

    Returns
    -------
    SimpleITK.Image
        float32 on ``grid``; 0.5 outside the field of view of the PET.

    Raises
    ------
    SegmentationError
        For a PET without activity, with voxels that are no numbers, or that does not reach the grid.

    Notes
    -----
    ``1 / (1 + (factor mean / uptake) ** 4)``: a prior by uptake alone.  Organs with physiological uptake are
    hot too, so it shifts what a network finds and never decides by itself.
    """
    import SimpleITK as sitk

    if factor <= 0 or blur_mm < 0:
        raise SegmentationError(
            f"factor is {factor:g} and blur_mm {blur_mm:g}; expected above 0 and at least 0."
        )
    pet = sitk.Cast(pet, sitk.sitkFloat32)
    if not np.isfinite(array_of(pet)).all():
        raise SegmentationError("The PET holds voxels that are no numbers.")
    inside = array_of(body_outline_spect(pet)) > 0
    level = factor * float(array_of(pet)[inside].mean())
    if blur_mm > 0:
        pet = sitk.SmoothingRecursiveGaussian(pet, blur_mm / 2.355)
    uptake = np.clip(array_of(pet), 1e-6 * level, None)
    probability = sitk.GetImageFromArray((1.0 / (1.0 + (level / uptake) ** STEEPNESS)).astype(np.float32))
    probability.CopyInformation(pet)
    moved = sitk.Resample(probability, grid, transform or sitk.Transform(), sitk.sitkLinear, -1.0)
    values = array_of(moved).copy()
    if values.max() < 0:
        raise SegmentationError("The PET and the image that is segmented do not overlap in space.")
    values[values < 0] = 0.5
    result = sitk.GetImageFromArray(values)
    result.CopyInformation(grid)
    return result
