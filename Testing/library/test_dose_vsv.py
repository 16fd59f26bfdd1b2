"""Voxel S values: the convolution against the textbook, geometry, energy, speed."""

import time

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib import nuclides
from TheranosticDoseLib.dose import Anatomy, absorbed_dose
from TheranosticDoseLib.dose.kernels import point_kernel, voxel_kernel
from TheranosticDoseLib.errors import SettingsError


def image(array, spacing=(4.0, 4.0, 4.0)):
    result = sitk.GetImageFromArray(np.asarray(array, np.float32))
    result.SetSpacing(spacing)
    result.SetOrigin((-31.0, 7.0, 100.0))
    result.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, -1))
    return result


def voxels(image):
    return sitk.GetArrayFromImage(image)


def test_point_source_gives_the_kernel_where_it_is():
    tia = np.zeros((11, 12, 13))
    tia[3, 4, 9] = 2.0
    image_tia = image(tia, (3.0, 4.0, 5.0))
    result = absorbed_dose(image_tia, Anatomy.water(image_tia), engine="vsv")
    kernel = voxel_kernel(point_kernel(nuclides.nuclide("Lu-177")), (3.0, 4.0, 5.0), (11, 12, 13))
    dose = voxels(result.dose)
    s = kernel.s_value_mgy_per_mbq_s() * 1e-3 * 2.0 * 0.06 * 3600  # 2 MBq h/mL in 0.06 mL
    assert dose[3, 4, 9] == pytest.approx(s[0, 0, 0], rel=1e-5)
    assert dose[3, 4, 7] == pytest.approx(s[0, 0, 2], rel=1e-3)
    assert dose[3, 6, 9] == pytest.approx(s[0, 2, 0], rel=1e-3)
    assert dose[5, 4, 9] == pytest.approx(s[2, 0, 0], rel=1e-3)
    assert dose[0, 0, 0] == pytest.approx(s[3, 4, 9], rel=0.02)
    assert result.dose.GetDirection() == image_tia.GetDirection()
    assert result.dose.GetOrigin() == image_tia.GetOrigin()


def test_centre_of_a_large_uniform_activity_reaches_equilibrium():
    # within 10 cm of water: all electrons, and the photons that are absorbed within 10 cm
    tia = image(np.ones((51, 51, 51)))
    result = absorbed_dose(tia, Anatomy.water(tia), engine="vsv")
    centre = voxels(result.dose)[25, 25, 25]
    lu177 = nuclides.nuclide("Lu-177")
    per_kev = 3.6e9 * 1.602176634e-13
    electrons = per_kev * lu177.electron_energy_kev
    assert electrons < centre < electrons + per_kev * lu177.photon_energy_kev
    assert centre == pytest.approx(electrons + 0.34 * per_kev * lu177.photon_energy_kev, rel=0.03)


def test_energy_in_the_record_and_provenance_of_the_kernel():
    tia = np.zeros((33, 33, 33))
    tia[14:19, 14:19, 14:19] = 1.0
    record = absorbed_dose(image(tia), Anatomy.water(image(tia)), engine="vsv").record
    assert 0.82 < record["energy_absorbed_fraction"] < 0.9
    assert record["kernel"]["histories_per_grid"] >= 100_000
    assert record["settings"] == {"medium": "water", "density_g_cm3": None}


def test_linear_in_the_activity():
    rng = np.random.default_rng(3)
    first, second = rng.random((9, 10, 11)), rng.random((9, 10, 11))
    water = Anatomy.water(image(first))
    dose = [
        voxels(absorbed_dose(image(t), water, engine="vsv").dose) for t in (first, second, first + 2 * second)
    ]
    np.testing.assert_allclose(dose[2], dose[0] + 2 * dose[1], rtol=1e-4)


def test_activity_in_lung_is_a_finding():
    tia, density = image(np.ones((8, 8, 8))), np.ones((8, 8, 8))
    density[:4] = 0.3
    record = absorbed_dose(tia, Anatomy(image(density)), engine="vsv").record
    assert any(
        f["field"] == "dose.vsv.density" and f["value"] == pytest.approx(0.5) for f in record["findings"]
    )


def test_medium_that_does_not_exist_is_refused():
    tia = image(np.ones((4, 4, 4)))
    with pytest.raises(SettingsError, match="medium"):
        absorbed_dose(tia, Anatomy.water(tia), engine="vsv", medium="cheese")


@pytest.mark.slow
def test_128_cubed_takes_less_than_a_second_of_processor_time():
    tia = image(np.random.default_rng(0).random((128, 128, 128)))
    water = Anatomy.water(tia)
    absorbed_dose(tia, water, engine="vsv")
    started = time.process_time()
    absorbed_dose(tia, water, engine="vsv")
    # processor time of all threads: an upper bound of the time on two free cores
    assert time.process_time() - started < 2.0
