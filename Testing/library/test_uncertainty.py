"""Uncertainty budget: analytic limits, resampling, coverage."""

from __future__ import annotations

import json

import numpy as np
import pytest
from TheranosticDoseLib.errors import InputError, SettingsError
from TheranosticDoseLib.study import Correction
from TheranosticDoseLib.time_activity import FitSettings, fit_curve
from TheranosticDoseLib.uncertainty import (
    UncertaintySettings,
    outline_relative_u,
    point_relative_u,
    resample,
    sphere_response,
    uncertainty_budget,
)

HALF_LIFE_H = 159.53
TIMES = np.array([4.0, 24, 96, 168])


def test_sphere_recovery_agrees_with_the_analytic_convolution():
    # Part of a Gaussian-blurred sphere inside itself, cold background (Kessler et al. 1984, integrated).
    from scipy.integrate import quad
    from scipy.special import erf

    radius, sigma = (3 * 20e3 / 4 / np.pi) ** (1 / 3), 11 / 2.35482

    def profile(r):
        gauss = np.exp(-((radius - r) ** 2) / 2 / sigma**2) - np.exp(-((radius + r) ** 2) / 2 / sigma**2)
        edges = erf((radius - r) / sigma / 2**0.5) + erf((radius + r) / sigma / 2**0.5)
        return 0.5 * edges - sigma / r / np.sqrt(2 * np.pi) * gauss

    exact = quad(lambda r: 3 * r * r * profile(r) / radius**3, 1e-6, radius)[0]
    response = sphere_response(20.0, 11.0, 0.0, 0.0)
    assert response.recovery == pytest.approx(exact, rel=0.02)
    assert response.volume_exponent == pytest.approx(profile(radius) / exact, rel=0.06)


def test_sphere_response_limits():
    large = sphere_response(2000.0, 4.0, 0.0, 0.0)
    assert large.recovery > 0.93
    assert sphere_response(10.0, 11.0, 5.0).shift_loss > 3 * sphere_response(10.0, 11.0, 2.0).shift_loss
    assert sphere_response(100.0, 11.0, 3.0).shift_loss < sphere_response(5.0, 11.0, 3.0).shift_loss
    assert outline_relative_u(5.0, 1.5, 2.0) == pytest.approx(
        4 ** (1 / 3) * outline_relative_u(20.0, 1.5, 2.0)
    )


def budget(**more):
    values = {"volume_ml": 150.0, "tia_mbq_h": 1000.0, "u_tia_mbq_h": 40.0, **more}
    return uncertainty_budget(**values)


def test_budget_is_the_quadrature_of_its_lines():
    found = budget(
        corrections=[Correction("camera factor", 1.0, 0.03), Correction("camera factor", 1.0, 0.03)],
        recovery=(0.85, 0.02),
        engine_relative_u=0.01,
    )
    lines = {c.source: c for c in found.contributions}
    assert lines["camera factor"].relative_u_tia == 0.03
    assert lines["curve fit (counts, registration)"].relative_u_dose == pytest.approx(0.04)
    assert lines["dose engine"].relative_u_tia == 0
    assert found.relative_u_dose == pytest.approx(
        np.sqrt(sum(c.relative_u_dose**2 for c in found.contributions))
    )
    table = found.to_dict()
    json.dumps(table)
    values = [line["relative_u"] for line in table["contributions"]]
    assert values == sorted(values, reverse=True)


def test_outline_cancels_between_counts_and_mass_in_the_dose():
    found = {c.source: c for c in budget().contributions}["volume (outline)"]
    outline = outline_relative_u(150.0, 1.5, 2.0)
    phi = sphere_response(150.0, 11.0).volume_exponent
    assert found.relative_u_tia == pytest.approx(phi * outline)
    assert found.relative_u_dose == pytest.approx((1 - phi) * outline)
    assert found.relative_u_dose < outline


def test_point_uncertainty_falls_with_counts_to_what_varies_between_scans():
    def u(activity, scan_to_scan):
        return point_relative_u(
            activity, volume_ml=20.0, camera_factor_cps_per_mbq=9.0, duration_s=100.0, registration_mm=0.0,
            settings=UncertaintySettings(scan_to_scan=scan_to_scan),
        )  # fmt: skip

    assert u(1.0, 0.0) == pytest.approx(2 / np.sqrt(900.0))
    assert u(1.0, 0.0) == pytest.approx(10 * u(100.0, 0.0))
    assert u(1e9, 0.015) == pytest.approx(0.015, rel=1e-3)


def test_a_shift_matters_more_to_small_regions_and_to_unequal_surroundings():
    def u(volume_ml, contrast):
        settings = UncertaintySettings(scan_to_scan=0.0, neighbor_contrast=contrast)
        return float(point_relative_u(50.0, volume_ml=volume_ml, registration_mm=3.0, settings=settings))

    assert u(8.0, 0.5) > 2 * u(1500.0, 0.5) > 2 * u(1500.0, 0.0)
    # A sharp sphere moved by d against a step of the surroundings of contrast c gains c d 3/(8 r) of its activity.
    radius = (3 * 8000.0 / (4 * np.pi)) ** (1 / 3)
    gradient = np.sqrt(u(8.0, 0.5) ** 2 - u(8.0, 0.0) ** 2)
    assert gradient == pytest.approx(0.5 * 3.0 / np.sqrt(3) * 3 / (8 * radius), rel=1e-6)


def test_a_change_of_volume_adds_to_what_varies_between_scans():
    def u(change):
        return float(point_relative_u(50.0, volume_ml=150.0, registration_mm=2.0, volume_change=change))

    assert u(-0.04) == pytest.approx(np.hypot(u(0.0), 0.04))


@pytest.mark.parametrize(
    "settings", [FitSettings(), FitSettings(method="bayes"), FitSettings(model="trapezoid_slope")]
)
def test_resampling_agrees_with_the_analytic_budget(settings):
    y = 50 * np.exp(-np.log(2) / 60 * TIMES)
    fit = fit_curve(TIMES, y, 0.04 * y, half_life_h=HALF_LIFE_H, settings=settings)
    lines = budget(tia_mbq_h=fit.tia_mbq_h, u_tia_mbq_h=fit.u_tia_mbq_h, recovery=(0.85, 0.03))
    samples = 400 if settings.method == "fit" else 60
    found = resample(fit, lines, half_life_h=HALF_LIFE_H, settings=settings, samples=samples)
    assert found.relative_u_dose == pytest.approx(lines.relative_u_dose, rel=0.25)
    assert found.interval_95[0] < found.interval_68[0] < 1.02 < found.interval_68[1] < found.interval_95[1]


def test_bad_values():
    with pytest.raises(InputError, match="positive volume"):
        budget(volume_ml=0.0)
    with pytest.raises(SettingsError, match="density"):
        UncertaintySettings(density=1.5)
