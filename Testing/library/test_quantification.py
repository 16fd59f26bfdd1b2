"""Counts to activity, dead time, recovery."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.ndimage import gaussian_filter
from TheranosticDoseLib.errors import InputError, SettingsError, UnitsError
from TheranosticDoseLib.geometry import image_like, resample, total_activity_mbq
from TheranosticDoseLib.quantification import (
    QuantificationSettings,
    RecoveryCurve,
    dead_time_factor,
    decay_during_scan,
    quantify,
    recovery_factors,
    recovery_gtm,
    recovery_of_scans,
)
from TheranosticDoseLib.study import Acquisition, Administration, Study, Voi

SPACING = 4.8


def grid(size=(64, 64, 48)):
    image = sitk.Image(size, sitk.sitkFloat32)
    image.SetSpacing((SPACING,) * 3)
    return image


def study(counts=1e6, unit="CNTS", duration_s=1800.0):
    image = image_like(np.full((48, 64, 64), counts / 48 / 64 / 64), grid())
    return Study(Administration(), (Acquisition("24h", 24.0, image, unit, duration_s=duration_s),))


def test_counts_become_activity():
    done = quantify(study(1e6), QuantificationSettings(camera_factor_cps_per_mbq=10.0))
    acquisition = done.acquisitions[0]
    decay = decay_during_scan(1800.0, 159.53)
    assert acquisition.unit == "BQML"
    assert total_activity_mbq(acquisition.spect) == pytest.approx(1e6 / 1800 / 10 * decay, rel=1e-4)
    assert [c.name for c in acquisition.corrections] == ["decay during the scan", "camera factor"]


def test_bqml_passes_with_an_assumption():
    before = study(1e6, "BQML")
    done = quantify(before)
    assert np.array_equal(
        sitk.GetArrayFromImage(done.acquisitions[0].spect),
        sitk.GetArrayFromImage(before.acquisitions[0].spect),
    )
    assert done.findings[-1].severity == "assumption"
    assert done.acquisitions[0].corrections[-1].relative_uncertainty == 0.05


@given(st.floats(1e2, 3e5), st.floats(1e-7, 3e-6))
def test_dead_time_inverts_the_paralysable_model(true_cps, tau):
    observed = true_cps * np.exp(-true_cps * tau)
    assert observed * dead_time_factor(observed, tau) == pytest.approx(true_cps, rel=1e-6)


def test_dead_time_past_the_maximum_is_an_error():
    settings = QuantificationSettings(
        camera_factor_cps_per_mbq=10.0, dead_time_s=1e-5, observed_count_rate_cps=(4e4,)
    )
    with pytest.raises(InputError, match="24h.*above the maximum"):
        quantify(study(), settings)


def test_decay_during_the_scan_is_the_mean():
    lam = np.log(2) / 6.0
    mean = quad(lambda t: np.exp(-lam * t), 0, 1.5)[0] / 1.5
    assert decay_during_scan(1.5 * 3600, 6.0) == pytest.approx(1 / mean)


def test_missing_values_name_the_remedy():
    with pytest.raises(InputError, match="camera_factor_cps_per_mbq"):
        quantify(study())
    with pytest.raises(InputError, match="duration"):
        quantify(study(duration_s=None), QuantificationSettings(camera_factor_cps_per_mbq=10.0))
    with pytest.raises(UnitsError, match="PROPCPS"):
        quantify(study(unit="PROPCPS"))
    with pytest.raises(InputError, match="1 acquisitions"):
        quantify(study(), QuantificationSettings(observed_count_rate_cps=(1.0, 2.0)))
    with pytest.raises(SettingsError, match="fwhm_mm"):
        QuantificationSettings(recovery="gtm")


def test_recovery_curve_is_recovered_with_its_uncertainty():
    volume = np.array([0.5, 1, 2, 4, 8, 16, 32, 64, 128])
    truth = 1 / (1 + (3.0 / volume) ** 0.9)
    rng = np.random.default_rng(2)
    found = np.array([RecoveryCurve.fit(volume, rng.normal(truth, 0.02), 0.02)(5.0) for _ in range(150)])
    exact = 1 / (1 + (3.0 / 5.0) ** 0.9)
    assert found[:, 0].mean() == pytest.approx(exact, rel=0.01)
    assert np.std(found[:, 0] / exact) == pytest.approx(found[:, 1].mean(), rel=0.25)
    curve = RecoveryCurve.fit(volume, truth, 0.02)
    assert RecoveryCurve.from_dict(json.loads(json.dumps(curve.to_dict()))) == curve
    with pytest.raises(InputError, match="three volumes"):
        RecoveryCurve.fit([1, 2], [0.3, 0.5])


def ellipsoid(center, radii):
    z, y, x = np.mgrid[:48, :64, :64] * SPACING
    r = (
        ((z - center[0]) / radii[0]) ** 2
        + ((y - center[1]) / radii[1]) ** 2
        + ((x - center[2]) / radii[2]) ** 2
    )
    return (r < 1).astype(np.float32)


def scene():
    kidney, liver = ellipsoid((110, 200, 90), (45, 24, 26)), ellipsoid((130, 130, 110), (50, 50, 60))
    lesion = ellipsoid((130, 130, 110), (14, 14, 14))
    kidney = kidney * (1 - liver)
    activity = 2e4 + 9.8e5 * kidney + 2.8e5 * liver * (1 - lesion) + 1.5e6 * lesion
    blurred = gaussian_filter(activity, 11.0 / 2.35482 / SPACING)
    vois = {"kidney": kidney, "liver": liver, "lesion": lesion}
    return activity, image_like(blurred, grid()), {name: image_like(w, grid()) for name, w in vois.items()}


def test_gtm_corrects_spill_between_neighbors():
    activity, spect, vois = scene()
    corrected = recovery_gtm(spect, vois, 11.0)
    factors = recovery_factors(spect, vois, QuantificationSettings(recovery="gtm", fwhm_mm=11.0))
    for name, image in vois.items():
        weights = sitk.GetArrayFromImage(image)
        truth = np.sum(activity * weights) / weights.sum()
        measured = np.sum(sitk.GetArrayFromImage(spect) * weights) / weights.sum()
        assert corrected[name] == pytest.approx(truth, rel=0.01)
        assert measured / factors[name][0] == pytest.approx(truth, rel=0.01)
        assert abs(measured / truth - 1) > 0.02


def test_a_scan_that_was_moved_is_corrected_for_its_interpolation():
    center = (110.4, 148.8, 148.8)
    lesion = ellipsoid(center, (14, 14, 14))
    blurred = gaussian_filter(2e4 + 1.5e6 * lesion, 11.0 / 2.35482 / SPACING)
    # Turned about its center a sphere stays what it is; only the interpolation is new.
    turn = sitk.VersorTransform((0.4, 0.5, 0.77), 0.5)
    turn.SetCenter(center[::-1])
    moved = resample(image_like(blurred, grid()), grid(), turn)
    vois = {"lesion": image_like(lesion, grid())}
    settings = QuantificationSettings(recovery="gtm", fwhm_mm=11.0)
    measured = np.sum(sitk.GetArrayFromImage(moved) * lesion) / lesion.sum()
    factors = [recovery_of_scans([moved], vois, settings, (flag,))[0]["lesion"][0] for flag in (False, True)]
    without, corrected = (measured / factor / 1.52e6 - 1 for factor in factors)
    assert without < -0.05
    assert abs(corrected) < 0.015


def test_recovery_modes():
    _, spect, vois = scene()
    assert recovery_factors(spect, vois, QuantificationSettings())["kidney"] == (1.0, 0.0)
    curve = RecoveryCurve(3.0, 0.9)
    settings = QuantificationSettings(recovery="curve", recovery_curve=curve.to_dict())
    volume = sitk.GetArrayFromImage(vois["lesion"]).sum() * SPACING**3 / 1000
    assert recovery_factors(spect, vois, settings)["lesion"][0] == pytest.approx(curve(volume)[0])
    body = [Voi("body", vois["liver"], kind="body")]
    assert recovery_factors(spect, body, settings) == {"body": (1.0, 0.0)}
