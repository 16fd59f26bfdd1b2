"""Voxel fits: exact without noise, never slower than physical, deterministic."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib.errors import GeometryError, InputError
from TheranosticDoseLib.geometry import image_like
from TheranosticDoseLib.time_activity import FitSettings, fit_voxels

HALF_LIFE_H = 159.53
DECAY = np.log(2) / HALF_LIFE_H
TIMES = np.array([4.0, 24.0, 96.0, 168.0])


def phantom(noise=0.0, shape=(8, 20, 20), seed=0):
    rng = np.random.default_rng(seed)
    rate = np.full(shape, np.log(2) / 50)
    rate[:, :, shape[2] // 2 :] = np.log(2) / 90
    amplitude = 1e5 * (1 + rng.random(shape))
    data = amplitude * np.exp(-rate * TIMES[:, None, None, None])
    return rng.normal(data, np.sqrt(noise * data)), amplitude / rate * 1e-6, rate


def test_without_noise_and_prior_it_is_exact():
    data, tia, rate = phantom()
    fit = fit_voxels(
        TIMES, data, half_life_h=HALF_LIFE_H, settings=FitSettings(voxel_prior_width=0.0, voxel_smoothing=1)
    )
    assert np.allclose(fit.tia_mbq_h_ml, tia, rtol=1e-4)
    assert np.allclose(fit.effective_half_life_h, np.log(2) / rate, rtol=1e-4)


@pytest.mark.parametrize("models", ["mono", "average"])
def test_noise_leaves_the_total_and_the_uncertainty_tells_it(models):
    data, tia, _ = phantom(noise=500.0)
    fit = fit_voxels(TIMES, data, half_life_h=HALF_LIFE_H, settings=FitSettings(voxel_models=models))
    assert fit.tia_mbq_h_ml.sum() == pytest.approx(tia.sum(), rel=0.03)
    error = np.abs(fit.tia_mbq_h_ml - tia) / (fit.relative_uncertainty * fit.tia_mbq_h_ml)
    assert 0.5 < np.mean(error < 1) < 0.9
    assert fit.noise_factor_bq_ml == pytest.approx(500, rel=0.3)


def test_never_slower_than_physical_whatever_the_values():
    rng = np.random.default_rng(3)
    data = rng.uniform(0, 1e5, (4, 6, 10, 10))
    data[1, 0] = -5.0
    data[2, 1] = np.nan
    data[:, 2] = 0.0
    data[3, 3] = 9e5
    fit = fit_voxels(TIMES, data, half_life_h=HALF_LIFE_H, settings=FitSettings(voxel_models="average"))
    assert np.all(np.isfinite(fit.tia_mbq_h_ml))
    assert np.all(fit.tia_mbq_h_ml >= 0)
    assert np.all(fit.tia_mbq_h_ml[2] == 0)
    assert np.all(fit.effective_half_life_h <= HALF_LIFE_H * (1 + 1e-6))
    assert any("negative or not finite" in finding.message for finding in fit.findings)


def test_low_counts_take_the_shape_of_the_region():
    data, tia, _ = phantom(noise=3e4)
    data[:, :4] *= 0.002
    fit = fit_voxels(
        TIMES, np.maximum(data, 0), half_life_h=HALF_LIFE_H, settings=FitSettings(minimum_signal_to_noise=6.0)
    )
    assert np.mean(fit.flags[:3] == 3) > 0.5
    assert any("shape of their neighborhood" in finding.message for finding in fit.findings)


def test_same_numbers_with_one_and_two_threads():
    import numba

    data, _, _ = phantom(noise=500.0)
    before = numba.get_num_threads()
    maps = []
    for threads in {1, before}:
        numba.set_num_threads(threads)
        maps.append(fit_voxels(TIMES, data, half_life_h=HALF_LIFE_H).tia_mbq_h_ml)
    numba.set_num_threads(before)
    assert all(np.array_equal(maps[0], other) for other in maps)


def test_images_keep_their_grid_and_must_share_it():
    data, tia, _ = phantom()
    grid = sitk.Image(data.shape[:0:-1], sitk.sitkFloat32)
    grid.SetSpacing((4.8, 4.8, 5.0))
    images = [image_like(array, grid) for array in data]
    fit = fit_voxels(TIMES, images, half_life_h=HALF_LIFE_H, mask=image_like(np.ones(tia.shape), grid))
    assert fit.tia_mbq_h_ml.GetSpacing() == (4.8, 4.8, 5.0)
    images[1].SetSpacing((4.0, 4.0, 4.0))
    with pytest.raises(GeometryError, match="different grids"):
        fit_voxels(TIMES, images, half_life_h=HALF_LIFE_H)


def test_one_time_point_decays_physically():
    data, _, _ = phantom()
    fit = fit_voxels(TIMES[:1], data[:1], half_life_h=HALF_LIFE_H)
    assert np.allclose(fit.tia_mbq_h_ml, data[0] * np.exp(DECAY * 4) / DECAY * 1e-6, rtol=1e-5)
    assert any(finding.severity == "assumption" for finding in fit.findings)


def test_bad_times():
    data, _, _ = phantom()
    with pytest.raises(InputError, match="increasing"):
        fit_voxels([4, 24, 24, 96], data, half_life_h=HALF_LIFE_H)
    with pytest.raises(InputError, match="one time per image"):
        fit_voxels([4, 24], data, half_life_h=HALF_LIFE_H)
