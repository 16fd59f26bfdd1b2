"""Arrays of images, without copying and without danger, and whether images share a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk


class _Pixels:
    """Memory of an image, offered to numpy; holds the image as long as any array looks at it."""

    def __init__(self, image: sitk.Image, view: np.ndarray) -> None:
        self.image = image
        self.__array_interface__ = view.__array_interface__


def array_of(image: sitk.Image) -> np.ndarray:
    """Return the read-only ``(z, y, x)`` view of an image.

    SimpleITK's own view dangles when the image goes (``array_of(resample(...))``); this one keeps it.
    """
    import SimpleITK as sitk

    return np.asarray(_Pixels(image, sitk.GetArrayViewFromImage(image)))


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...]:
    """Return the box of what is not zero, ``margin`` voxels wider on each side and within the array.

    Raises
    ------
    IndexError
        Where everything is zero.
    """
    filled = mask if mask.dtype == bool else mask != 0
    box = []
    for size in mask.shape:
        # The first axis is seen and put aside: what is left has a dimension less.
        hit = np.flatnonzero(filled.reshape(len(filled), -1).any(axis=1))
        box.append(slice(max(0, int(hit[0]) - margin), min(size, int(hit[-1]) + 1 + margin)))
        filled = filled.any(axis=0)
    return tuple(box)


def same_grid(first: sitk.Image, second: sitk.Image, tolerance_mm: float = 1e-3) -> bool:
    """Whether two images have the same size and their voxel centres agree within ``tolerance_mm``."""
    if first.GetSize() != second.GetSize():
        return False
    corners = [(0, 0, 0), tuple(n - 1 for n in first.GetSize())]
    corners += [tuple((first.GetSize()[i] - 1) if i == axis else 0 for i in range(3)) for axis in range(3)]
    for corner in corners:
        a = np.array(first.TransformIndexToPhysicalPoint(corner))
        b = np.array(second.TransformIndexToPhysicalPoint(corner))
        if np.max(np.abs(a - b)) > tolerance_mm:
            return False
    return True
