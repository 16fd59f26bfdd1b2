"""Lesions that touch, told apart by the valley of uptake between them."""

from __future__ import annotations

import numpy as np

DEPTH = 0.1
"""Valley that separates two lesions, in natural logarithms of the uptake: about a tenth of the lower peak."""


def split_touching(mask: np.ndarray, uptake: np.ndarray, depth: float = DEPTH) -> np.ndarray:
    """Return the lesions of a mask, each with its number from 1 on; touching ones parted at their valley.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)
    uptake : ndarray of float, shape (z, y, x)
        In any unit; smoothed by about a voxel before its valleys are looked for.
    depth : float
        Natural logarithm of the lower peak over the valley from which two peaks are two lesions.

    Returns
    -------
    ndarray of int32, shape (z, y, x)
    """
    import SimpleITK as sitk
    from scipy import ndimage

    components, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    smooth = ndimage.gaussian_filter(np.asarray(uptake, np.float32), 0.7)
    found, count = np.zeros(mask.shape, np.int32), 0
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
        inside = components[box] == number
        height = -np.log(np.maximum(smooth[box], 1e-6 * float(smooth[box].max()) + 1e-30))
        # Around the component a wall that no water crosses.
        wall = float(height[inside].max()) + 50.0
        relief = sitk.GetImageFromArray(np.where(inside, height, wall).astype(np.float32))
        basins = sitk.GetArrayFromImage(
            sitk.MorphologicalWatershed(relief, level=depth, markWatershedLine=False, fullyConnected=True)
        )
        for basin in np.unique(basins[inside]):
            count += 1
            found[box][inside & (basins == basin)] = count
    return found
