"""Real 177Lu-PSMA organ activities: the decay that is slower than physical is caught."""

from __future__ import annotations

import numpy as np
import pytest
from TheranosticDoseLib.time_activity import FitSettings, fit_curve
from TheranosticDoseLib.validation.time_activity import trap_curves

HALF_LIFE_H = 159.53
pytestmark = pytest.mark.realdata


def test_right_kidney_trap(reference_data):
    times, values, sigma = trap_curves(reference_data("svalues_tacs"))["right_kid"]
    assert values == pytest.approx([24.564204, 12.43602, 10.01794])
    fit = fit_curve(times, values, sigma, half_life_h=HALF_LIFE_H)
    assert any(finding.field == "time_activity.late_decay" for finding in fit.findings)
    assert any(finding.field == "time_activity.misfit" for finding in fit.findings)
    assert fit.effective_half_life_h <= HALF_LIFE_H * (1 + 1e-9)
    # The source extrapolates with 0.0030 /h, below the physical 0.004345 /h, to 5231 MBq h.
    assert fit.tia_mbq_h < 0.8 * 5231.31
    assert fit.u_tia_mbq_h > 0.1 * fit.tia_mbq_h


def test_all_organs_give_a_bounded_tia_with_uncertainty(reference_data):
    curves = trap_curves(reference_data("svalues_tacs"))
    assert {"liver", "spleen", "right_kid", "left_kid"} <= set(curves)
    for times, values, sigma in curves.values():
        upper = 1.3 * np.max(values) * HALF_LIFE_H / np.log(2)
        for settings in (FitSettings(), FitSettings(model="average"), FitSettings(method="bayes")):
            fit = fit_curve(times, values, sigma, half_life_h=HALF_LIFE_H, settings=settings)
            assert 0 < fit.tia_mbq_h < upper
            assert np.isfinite(fit.u_tia_mbq_h)
            late = fit.predict([1500.0, 1500.0 + HALF_LIFE_H])[0]
            assert late[1] <= 0.5 * late[0] * (1 + 1e-6)
