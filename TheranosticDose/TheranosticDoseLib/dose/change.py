"""The dose of a change of the TIA map: what follows an edit at once, for the engines with kernels.

Their dose is linear in the map, but for a factor on the photons and the mean densities of ``vsv_density`` that
the whole map decides.  Far from the change the kernel is convolved on blocks of voxels, see ``two_scale``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dose.anatomy import Anatomy

ENGINES = ("vsv", "vsv_density")


class DoseOfChange:
    """One engine in one anatomy; call it with a change to get the dose of it.

    Parameters
    ----------
    engine : str
        One of :data:`ENGINES`.
    anatomy : Anatomy
    tia : SimpleITK.Image
        The whole map before the changes, MBq h per mL, on the grid of the anatomy.
    nuclide : str
    **settings
        Of the engine.
    """

    def __init__(
        self, engine: str, anatomy: Anatomy, tia: sitk.Image, nuclide: str = "Lu-177", **settings: Any
    ) -> None:
        from TheranosticDoseLib.dose.engines import require_engine
        from TheranosticDoseLib.nuclides import nuclide as of_name

        self._module, self._anatomy, self._tia = require_engine(engine, settings), anatomy, tia
        self._settings = self._module.EngineSettings.from_dict(settings)
        self._nuclide, self._more = of_name(nuclide), None

    def __call__(self, added: np.ndarray, box: tuple[slice, slice, slice]) -> np.ndarray:
        """Return the dose, Gy, ``(z, y, x)`` on the whole grid.

        Parameters
        ----------
        added : ndarray
            MBq h per mL that the map has more, or less where negative, inside ``box``; not zero everywhere.
        box : tuple of slice
        """
        from TheranosticDoseLib.dose.engines import decays_per_voxel
        from TheranosticDoseLib.geometry import image_like

        if self._more is None:
            self._more = self._of_the_whole(decays_per_voxel(self._tia))
        change = np.zeros(self._tia.GetSize()[::-1], np.float32)
        change[box] = added
        decays = decays_per_voxel(image_like(change, self._tia))
        return self._module.change(decays, self._anatomy, self._nuclide, self._settings, *self._more)

    def _of_the_whole(self, decays: np.ndarray) -> tuple[Any, ...]:
        if not hasattr(self._module, "factor_of_photons"):
            return ()
        decays = (decays / decays.max()).astype(np.float32)
        factor = self._module.factor_of_photons(decays, self._anatomy, self._nuclide, self._settings)
        return factor, self._module.class_means(decays, self._anatomy, self._settings)
