"""Dose-rate route and prediction before treatment."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.time_activity import FitSettings, fit_voxels
from TheranosticDoseLib.time_activity.dose_rate import dose_rate_maps, fit_dose_rate, fit_dose_rate_voxels
from TheranosticDoseLib.time_activity.population import area, population, shape
from TheranosticDoseLib.time_activity.pretherapy import predict_from_pet

HALF_LIFE_H = 159.53
TIMES = np.array([4.0, 24.0, 96.0, 168.0])


def test_both_orders_of_steps_give_the_same_dose_of_mono_exponentials():
    grid = sitk.Image((12, 12, 6), sitk.sitkFloat32)
    amplitude = 1e5 * (1 + np.random.default_rng(0).random((6, 12, 12)))
    rate = np.log(2) / 60
    images = [image_like(amplitude * np.exp(-rate * t), grid) for t in TIMES]

    def dose_of(tia):
        return sitk.DiscreteGaussian(tia, 1.0) * 0.085  # any linear engine

    settings = FitSettings(voxel_smoothing=1)
    usual = dose_of(fit_voxels(TIMES, images, half_life_h=HALF_LIFE_H, settings=settings).tia_mbq_h_ml)
    rates = dose_rate_maps(images, dose_of)
    other = fit_dose_rate_voxels(TIMES, rates, half_life_h=HALF_LIFE_H, settings=settings).tia_mbq_h_ml
    assert np.allclose(array_of(other), array_of(usual), rtol=1e-3)
    mean = [float(array_of(image).mean()) for image in rates]
    assert fit_dose_rate(TIMES, mean, half_life_h=HALF_LIFE_H).tia_mbq_h == pytest.approx(
        float(array_of(usual).mean()), rel=1e-3
    )


def test_prediction_from_pet_covers_the_population():
    prior = population("177Lu-PSMA/kidney")
    rng = np.random.default_rng(3)
    latent = prior.draw(60, rng)
    decay, pet_decay = np.log(2) / HALF_LIFE_H, np.log(2) / 1.1285
    truth = 0.05 * area(latent, decay)
    pet = 0.05 * shape(latent, np.array([1.0]), pet_decay)[:, 0] * 150.0
    found = [
        predict_from_pet(
            p,
            150.0,
            1.0,
            prior,
            pet_half_life_h=1.1285,
            therapy_half_life_h=HALF_LIFE_H,
            pet_relative_u=0.02,
            ligand_relative_u=0.02,
            mass_g=150.0,
            energy_kev=147.9,
        )  # fmt: skip
        for p in pet
    ]
    inside = [f.interval_95[0] < t < f.interval_95[1] for f, t in zip(found, truth, strict=True)]
    assert np.mean(inside) > 0.85
    one = found[0]
    assert one.dose_gy_per_gbq == pytest.approx(one.tia_h * 1e3 * 3.6e9 * 147.9 * 1.602176634e-16 / 0.150)


@pytest.mark.parametrize(
    ("more", "word"), [({"mass_g": 0.0}, "mass_g"), ({"ligand_relative_u": -0.1}, "ligand_relative_u")]
)
def test_what_is_no_mass_and_no_uncertainty_is_an_error(more, word):
    given = {"pet_half_life_h": 1.13, "therapy_half_life_h": 159.5, "energy_kev": 147.9, **more}
    with pytest.raises(InputError, match=word):
        predict_from_pet(5.0, 150.0, 1.0, "177Lu-PSMA/kidney", **given)


def test_more_than_was_given_is_an_error():
    with pytest.raises(InputError, match="decay correction"):
        predict_from_pet(
            140.0, 150.0, 1.0, "177Lu-PSMA/kidney", pet_half_life_h=1.13, therapy_half_life_h=159.5
        )
