"""Voxel S values with density and tissue: limits that are known, and the Monte Carlo beside it."""

import time

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib import nuclides, tissues
from TheranosticDoseLib.dose import Anatomy, absorbed_dose
from TheranosticDoseLib.dose.blocks import block_means, spread
from TheranosticDoseLib.dose.photon_tissue import PhotonSettings, photon_factor
from TheranosticDoseLib.dose.vsv_density import EngineSettings
from TheranosticDoseLib.errors import SettingsError


def image(array, spacing=(4.0, 4.0, 4.0)):
    result = sitk.GetImageFromArray(np.asarray(array, np.float32))
    result.SetSpacing(spacing)
    return result


def voxels(image):
    return sitk.GetArrayFromImage(image)


def dose_of(engine, tia, density, **settings):
    return absorbed_dose(image(tia), Anatomy(image(density)), engine=engine, **settings)


def test_in_water_it_is_the_plain_kernel():
    rng = np.random.default_rng(2)
    tia = rng.random((12, 14, 16))
    anatomy = Anatomy.water(image(tia))
    corrected, plain = (absorbed_dose(image(tia), anatomy, engine=name) for name in ("vsv_density", "vsv"))
    np.testing.assert_allclose(voxels(corrected.dose), voxels(plain.dose), rtol=3e-3)


@pytest.mark.parametrize("rho", [0.26, 0.95, 1.05, 1.7])
def test_equilibrium_electron_dose_in_a_homogeneous_tissue(rho):
    # far from the faces the electron dose is emitted energy over mass, whatever the medium
    tia = np.zeros((31, 31, 31))
    tia[:] = 1.0
    density = np.full(tia.shape, rho)
    corrected = voxels(dose_of("vsv_density", tia, density).dose)[15, 15, 15]
    local = voxels(dose_of("led", tia, density).dose)[15, 15, 15]
    # on top come photons that were absorbed: the same energy per volume of water, at most all of them
    photons = 3.6e9 * 1.602176634e-13 * nuclides.nuclide("Lu-177").photon_energy_kev
    assert local * 0.995 < corrected < local * 1.005 + photons * (1 if rho < 1.12 else 2)


def test_electron_energy_is_kept_across_tissues():
    rng = np.random.default_rng(4)
    tia = np.zeros((20, 20, 20))
    tia[6:14, 6:14, 6:14] = rng.random((8, 8, 8))
    density = rng.choice([0.26, 0.95, 1.05, 1.5], tia.shape)
    record = dose_of("vsv_density", tia, density).record
    assert record["electron_energy_kept"] == pytest.approx(1.0, abs=3e-3)
    assert len(record["kernel_classes"]) == 4


def test_gas_gets_the_dose_of_water():
    tia = np.ones((12, 12, 12))
    density = np.ones(tia.shape)
    density[5:7, 5:7, 5:7] = 0.0012
    dose = voxels(dose_of("vsv_density", tia, density).dose)
    assert dose[5, 5, 5] == pytest.approx(dose[4, 4, 4], rel=0.01)


def test_tissues_absorb_photons_as_their_coefficients_say():
    # one plane away from the source is bone or fat: mass energy-absorption against water, softened photons
    tia = np.zeros((9, 9, 41))
    tia[4, 4, 4] = 1.0
    plain = None
    for rho, low, high in ((1.7, 1.3, 2.5), (0.95, 0.85, 0.96)):
        density = np.ones(tia.shape)
        density[:, :, 30] = rho
        result = voxels(dose_of("vsv_density", tia, density).dose)
        plain = voxels(dose_of("vsv", tia, density).dose) if plain is None else plain
        assert low < result[4, 4, 30] / plain[4, 4, 30] < high
        assert result[4, 4, 20] / plain[4, 4, 20] == pytest.approx(0.98, abs=0.02)


def test_bone_shields_itself():
    tia = np.zeros((11, 11, 41))
    tia[5, 5, 2] = 1.0
    density = np.ones(tia.shape)
    density[:, :, 30] = 1.7
    thin = voxels(dose_of("vsv_density", tia, density).dose)[5, 5, 30]
    density[:, :, 22:38] = 1.7
    thick = voxels(dose_of("vsv_density", tia, density).dose)[5, 5, 30]
    assert 0.4 * thin < thick < 0.9 * thin


def test_photon_factor_of_water_is_one_and_of_air_around_is_less():
    tia, material = image(np.ones((20, 20, 20))), image(np.full((20, 20, 20), tissues.WATER))
    inside = np.ones((20, 20, 20), np.float32)
    for density, low, high in (
        (inside, 0.9999, 1.0001),
        (np.where(np.indices(inside.shape)[2] < 10, 1.0, 0.0012), 0.8, 0.9),
    ):
        factor = photon_factor(
            voxels(tia), density.astype(np.float32), voxels(material).astype(int), nuclides.nuclide("Lu-177"),
            (4.0, 4.0, 4.0), PhotonSettings(),
        )  # fmt: skip
        assert low < factor[10, 10, 9] < high


def test_blocks_keep_means_and_straight_lines():
    rng = np.random.default_rng(0)
    values = rng.random((8, 10, 7))
    coarse = block_means(values, (4, 3, 7))
    assert coarse.shape == (2, 4, 1)
    assert coarse[1, 3, 0] == pytest.approx(values[4:, 9:].mean())
    line = np.broadcast_to(np.arange(16.0)[:, None, None], (16, 4, 4))
    again = spread(block_means(line, (4, 2, 1)), (4, 2, 1), line.shape)
    np.testing.assert_allclose(again[2:-2], line[2:-2], atol=1e-5)


@pytest.mark.parametrize(
    "values", [{"bone_shielding": -1.0}, {"scatter_share": 2.0}, {"bone_length_mm": 0.0}]
)
def test_photon_settings_out_of_range(values):
    with pytest.raises(SettingsError, match=next(iter(values))):
        EngineSettings(**values)


@pytest.mark.slow
def test_beside_the_monte_carlo_in_lung_soft_tissue_and_bone():
    tia, density = np.ones((24, 24, 36)), np.ones((24, 24, 36))
    density[:, :, :12], density[:, :, 24:] = 0.26, 1.6
    corrected = voxels(dose_of("vsv_density", tia, density).dose)
    monte_carlo = dose_of("mc", tia, density, histories=400_000, seed=5)
    reference = voxels(monte_carlo.dose)
    tissue = Anatomy(image(density)).tissue_array()
    middle = (slice(6, 18), slice(6, 18))
    for index, (low, high) in {tissues.LUNG: (4, 11), tissues.SOFT: (13, 23), tissues.BONE: (25, 32)}.items():
        part = (*middle, slice(low, high))
        assert (tissue[part] == index).all()
        assert corrected[part].mean() == pytest.approx(reference[part].mean(), rel=0.05)


@pytest.mark.slow
def test_128_cubed_in_little_time():
    rng = np.random.default_rng(0)
    density = rng.choice([0.26, 0.95, 1.05, 1.5], (128, 128, 128))
    tia, anatomy = image(rng.random(density.shape)), Anatomy(image(density))
    absorbed_dose(tia, anatomy, engine="vsv_density")
    started = time.process_time()
    absorbed_dose(tia, anatomy, engine="vsv_density")
    assert time.process_time() - started < 5.0
