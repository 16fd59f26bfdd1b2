"""Arrays of images, without copying and without danger."""

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
