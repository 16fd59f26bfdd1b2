"""The dose of a change of the TIA map is what the engines give for the map before and after it."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib.dose import Anatomy, absorbed_dose
from TheranosticDoseLib.dose.change import ENGINES, DoseOfChange
from TheranosticDoseLib.dose.kernels import point_kernel, voxel_kernel
from TheranosticDoseLib.dose.kernels import two_scale as scales
from TheranosticDoseLib.dose.kernels.convolve import convolve
from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.nuclides import nuclide

SPACING_MM = (4.8, 4.4, 4.8)


def test_blocks_far_away_give_the_convolution():
    """On a grid of odd sizes, what is added and what is taken away; photons to 1 %, which is 5e-4 of the dose."""
    shape = (81, 85, 90)
    assert np.prod(shape) > scales.SMALL
    kernel = voxel_kernel(point_kernel(nuclide("Lu-177"), "water"), SPACING_MM, shape)
    source = np.zeros(shape, np.float32)
    source[30:47, 20:40, 55:78] = 1.0
    source[70, 70, 72] = -3.0
    for part, allowed in (("photon_kev", 1e-2), ("energy_kev", 5e-4)):
        exact = convolve(source, getattr(kernel, part))
        quick = scales.two_scale(kernel, part)(source)
        assert np.abs(quick - exact).max() < allowed * np.abs(exact).max()
        far = (slice(1, -1), slice(1, -1), slice(1, 25))  # 15 cm away, where the dose is 1e-4 of the largest
        assert quick[far] == pytest.approx(exact[far], rel=0.03)
        assert quick.sum(dtype=float) == pytest.approx(exact.sum(dtype=float), rel=1e-3)


def test_one_slice_is_convolved():
    shape = (1, 12, 14)
    kernel = voxel_kernel(point_kernel(nuclide("Lu-177"), "water"), SPACING_MM, shape)
    source = np.zeros(shape, np.float32)
    source[0, 3:6, 4:9] = 1.0
    quick = scales.two_scale(kernel, "energy_kev")(source)
    assert quick == pytest.approx(convolve(source, kernel.energy_kev), rel=1e-5)


def test_no_change_has_no_dose():
    kernel = voxel_kernel(point_kernel(nuclide("Lu-177"), "water"), SPACING_MM, (81, 85, 90))
    assert not scales.two_scale(kernel, "photon_kev")(np.zeros((81, 85, 90))).any()


@pytest.mark.parametrize("engine", ENGINES)
def test_dose_follows_a_change(engine):
    """Soft tissue with bone, lung and fat; what is added and taken away."""
    rng = np.random.default_rng(3)
    shape = (40, 36, 44)
    density = np.full(shape, 1.04, np.float32)
    density[:, :, 30:34], density[:, :8], density[30:, 20:] = 1.4, 0.25, 0.93
    anatomy = Anatomy(_image(density))
    tia = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    tia[15:25, 10:20, 24:36] *= 20
    box = (slice(14, 26), slice(6, 18), slice(22, 34))
    added = 0.3 * tia[box]
    added[:4] *= -1
    after = tia.copy()
    after[box] += added
    doses = [array_of(absorbed_dose(_image(m), anatomy, engine).dose) for m in (tia, after)]
    change = DoseOfChange(engine, anatomy, _image(tia))(added, box)
    # The factor on the photons and the means of the classes are those of the map before.
    assert np.abs(doses[0] + change - doses[1]).max() < 5e-3 * doses[1].max()
    inside = doses[1][box] - doses[0][box]
    assert np.abs(change[box] - inside).max() < 0.02 * np.abs(inside).max()


def _image(values: np.ndarray) -> sitk.Image:
    grid = sitk.Image(values.shape[::-1], sitk.sitkFloat32)
    grid.SetSpacing(SPACING_MM)
    return image_like(values, grid)
