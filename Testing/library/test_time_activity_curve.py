"""Curve fits: analytic answers, physical bound, bad points."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from TheranosticDoseLib.errors import InputError, UnitsError
from TheranosticDoseLib.time_activity import MODELS, TRAPEZOIDS, FitSettings, fit_curve, fit_curves
from TheranosticDoseLib.time_activity.models import MODEL

HALF_LIFE_H = 159.53
DECAY = np.log(2) / HALF_LIFE_H
TIMES = np.array([4.0, 24.0, 96.0, 168.0])
DENSE = np.array([0.5, 1, 2, 4, 8, 24, 48, 72, 96, 120, 168, 240])


def exponentials(time, terms):
    return sum(a * np.exp(-r * np.asarray(time, float)) for a, r in terms)


def messages(fit):
    return " ".join(finding.message for finding in fit.findings)


def test_mono_exponential_is_exact():
    rate = np.log(2) / 60
    fit = fit_curve(TIMES, 50 * np.exp(-rate * TIMES), 0.5 * np.ones(4), half_life_h=HALF_LIFE_H)
    assert fit.model == "mono"
    assert fit.tia_mbq_h == pytest.approx(50 / rate, rel=1e-6)
    assert fit.effective_half_life_h == pytest.approx(60, rel=1e-6)
    assert fit.extrapolated_fraction == pytest.approx(np.exp(-rate * 168), rel=1e-5)
    json.dumps(fit.to_dict())


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("bi", [(60, np.log(2) / 100), (40, np.log(2) / 10)]),
        ("mono_uptake", [(60, np.log(2) / 80), (-60, np.log(2) / 3)]),
        ("bi_uptake", [(40, np.log(2) / 100), (50, np.log(2) / 15), (-90, np.log(2) / 1)]),
        ("bi_physical", [(60, DECAY), (40, np.log(2) / 10)]),
    ],
)
def test_generating_model_gives_its_integral(name, terms):
    fit = fit_curve(
        DENSE,
        exponentials(DENSE, terms),
        0.01 * exponentials(DENSE, terms),
        half_life_h=HALF_LIFE_H,
        settings=FitSettings(model=name),
    )
    assert fit.tia_mbq_h == pytest.approx(sum(a / r for a, r in terms), rel=5e-3)


@given(
    st.sampled_from(MODELS),
    st.lists(st.floats(0.1, 100), min_size=3, max_size=3),
    st.lists(st.floats(-5, 0.5), min_size=4, max_size=4),
    st.floats(0, 50),
)
@settings(max_examples=40, deadline=None)
def test_integral_and_derivatives_agree_with_numbers(name, amplitudes, logs, start):
    model = MODEL[name]
    logs = logs[: model.n_parameters - model.phases]
    theta = np.r_[amplitudes[: model.phases], logs][None]
    value, gradient = model.integral(theta, DECAY, start)

    def activity(t):
        return float(model.evaluate(theta, np.array([t]), DECAY)[0][0, 0])

    pieces = [start + x for x in (0, 1, 10, 100, 1000, 5000)]
    numeric = sum(quad(activity, a, b, limit=200)[0] for a, b in zip(pieces, pieces[1:], strict=False))
    assert value[0] == pytest.approx(numeric, rel=1e-5, abs=1e-6)
    for i in range(model.n_parameters):
        step = np.zeros_like(theta)
        step[0, i] = 1e-5 * max(1.0, abs(theta[0, i]))
        up, down = (
            model.integral(theta + step, DECAY, start)[0],
            model.integral(theta - step, DECAY, start)[0],
        )
        assert gradient[0, i] == pytest.approx(
            (up - down)[0] / (2 * step[0, i]), rel=1e-3, abs=1e-4 * value[0]
        )


@given(
    st.lists(st.floats(0.01, 1000), min_size=1, max_size=6), st.sampled_from(["auto", "average", *TRAPEZOIDS])
)
@settings(max_examples=40, deadline=None)
def test_tail_is_never_slower_than_physical(values, model):
    times = np.array([1.0, 4, 24, 72, 120, 168])[: len(values)]
    if max(values) / min(values) > 30:
        values = np.clip(values, max(values) / 30, None)
    fit = fit_curve(times, values, half_life_h=HALF_LIFE_H, settings=FitSettings(model=model))
    assert np.isfinite(fit.tia_mbq_h)
    assert np.isfinite(fit.u_tia_mbq_h)
    late = fit.predict([2000.0, 2000.0 + HALF_LIFE_H])[0]
    assert late[1] <= 0.5 * late[0] * (1 + 1e-6)


def test_slower_than_physical_is_allowed_when_asked():
    rate = np.log(2) / 400
    y = 20 * np.exp(-rate * TIMES)
    held = fit_curve(TIMES, y, 0.01 * y, half_life_h=HALF_LIFE_H)
    free = fit_curve(
        TIMES,
        y,
        0.01 * y,
        half_life_h=HALF_LIFE_H,
        settings=FitSettings(model="mono", allow_slower_than_physical=True),
    )
    assert free.tia_mbq_h == pytest.approx(20 / rate, rel=1e-4)
    assert held.tia_mbq_h < 0.6 * free.tia_mbq_h
    assert "more slowly than physical" in messages(held)


def test_one_and_two_points_are_answered_by_the_population_and_said():
    for times in ([24.0], [4.0, 24.0]):
        y = 10 * np.exp(-np.log(2) / 50 * np.array(times))
        fit = fit_curve(times, y, 0.05 * y, half_life_h=HALF_LIFE_H)
        physical = y[-1] * np.exp(DECAY * 24) / DECAY
        assert fit.model == "bayes"
        assert fit.tia_mbq_h < 0.7 * physical
        assert fit.u_tia_mbq_h > 0.1 * fit.tia_mbq_h
        assert any(f.severity == "assumption" and "population generic" in f.message for f in fit.findings)
    asked = fit_curve([24.0], [10.0], [0.5], half_life_h=HALF_LIFE_H, settings=FitSettings(model="physical"))
    assert asked.tia_mbq_h == pytest.approx(10 * np.exp(DECAY * 24) / DECAY)
    assert asked.u_tia_mbq_h == pytest.approx(0.05 * asked.tia_mbq_h)


def test_covariance_of_the_tia_agrees_with_resampling():
    rng = np.random.default_rng(1)
    y = 50 * np.exp(-np.log(2) / 60 * TIMES)
    u = 0.04 * y
    tia = [
        fit_curve(
            TIMES, rng.normal(y, u), u, half_life_h=HALF_LIFE_H, settings=FitSettings(model="mono")
        ).tia_mbq_h
        for _ in range(400)
    ]
    fit = fit_curve(TIMES, y, u, half_life_h=HALF_LIFE_H, settings=FitSettings(model="mono"))
    assert fit.u_tia_mbq_h == pytest.approx(np.std(tia), rel=0.12)


def test_average_lies_between_its_models():
    fit = fit_curve(
        DENSE[3:],
        exponentials(DENSE[3:], [(60, 0.009), (20, 0.05)]),
        half_life_h=HALF_LIFE_H,
        settings=FitSettings(model="average"),
    )
    tia = [c["tia_mbq_h"] for c in fit.candidates if c["weight"] > 1e-4]
    assert min(tia) <= fit.tia_mbq_h <= max(tia)
    assert sum(c["weight"] for c in fit.candidates) == pytest.approx(1)


@pytest.mark.parametrize(("before", "first"), [("constant", 40.0), ("zero", 20.0)])
def test_trapezoid_by_hand(before, first):
    fit = fit_curve(
        [4.0, 24.0],
        [10.0, 6.0],
        [0.1, 0.1],
        half_life_h=HALF_LIFE_H,
        settings=FitSettings(model="trapezoid_physical", before_first=before),
    )
    assert fit.tia_mbq_h == pytest.approx(first + 160 + 6 / DECAY)


@pytest.mark.parametrize(
    ("times", "values", "u", "error", "word"),
    [
        ([], [], None, InputError, "at least one"),
        ([4, 24, 24], [3, 2, 2], None, InputError, "same time"),
        ([4, 24], [3, -2], None, InputError, "negative"),
        ([4, 24], [3, float("nan")], None, InputError, "point 2"),
        ([-1, 24], [3, 2], None, InputError, "before the administration"),
        ([4, 24], [3, 2], [0.1, 0], InputError, "uncertainty"),
        ([4, 24, 96, 168], [30, 24000, 10, 5], None, UnitsError, "kBq"),
        ([4, 24, 96], [3, 2], None, InputError, "as many times"),
        ([0.0], [3], None, InputError, "before any uptake"),
        ([4, 24, 96], [3, 2, 1], [0.1, 0.1], InputError, "one uncertainty"),
        (["a day"], [3], None, InputError, "lists of numbers"),
        ([14400, 86400, 345600], [30, 24, 10], None, UnitsError, "seconds or minutes"),
    ],
)
def test_bad_points_are_one_sentence(times, values, u, error, word):
    with pytest.raises(error, match=word):
        fit_curve(times, values, u, half_life_h=HALF_LIFE_H)


def test_whole_curve_in_kbq_is_seen_against_the_administered_activity():
    with pytest.raises(UnitsError, match="kBq"):
        fit_curve(
            TIMES, 5e4 * np.exp(-0.01 * TIMES), half_life_h=HALF_LIFE_H,
            settings=FitSettings(administered_activity_mbq=7400.0),
        )  # fmt: skip


def test_times_in_days_missing_uncertainty_and_zeros_are_findings():
    days = fit_curve(TIMES / 24, 50 * np.exp(-0.01 * TIMES), half_life_h=HALF_LIFE_H)
    assert "in days" in messages(days)
    assert "No uncertainty" in messages(days)
    for early in ([3.0], [1.0, 4.0]):
        fit = fit_curve(early, 10 * np.exp(-0.2 * np.array(early)), half_life_h=HALF_LIFE_H)
        assert "in days" in messages(fit)
    zero = fit_curve(TIMES, np.zeros(4), half_life_h=HALF_LIFE_H)
    assert zero.tia_mbq_h == 0
    assert "zero" in messages(zero)


def test_points_in_two_units_are_a_finding_and_fast_clearance_is_not():
    mixed = fit_curve(TIMES, [60e3, 45e3, 18.0, 8.0], half_life_h=HALF_LIFE_H)
    assert "at 4, 24 h" in messages(mixed)
    assert "kBq" in messages(mixed)
    assert "kBq" in messages(fit_curve([24.0, 96.0], [45e3, 18.0], half_life_h=HALF_LIFE_H))
    fast = fit_curve(TIMES, 1e5 * np.exp(-np.log(2) / 6 * TIMES), half_life_h=HALF_LIFE_H)
    assert "kBq" not in messages(fast)


def test_half_life_of_rising_points_is_not_beyond_the_physical_one():
    fit = fit_curve([24.0, 96.0], [20.0, 40.0], half_life_h=HALF_LIFE_H)
    assert 0 < fit.effective_half_life_h <= HALF_LIFE_H * (1 + 1e-9)
    assert "rises" in messages(fit)


def test_a_zero_point_without_width_does_not_stop_the_fit():
    y = np.array([40.0, 25, 8, 0.0])
    fit = fit_curve(TIMES, y, 0.05 * y, half_life_h=HALF_LIFE_H)
    assert np.isfinite(fit.u_tia_mbq_h)
    assert 0 < fit.tia_mbq_h < 40 * HALF_LIFE_H / np.log(2)


def test_one_outlier_is_named():
    times = np.array([4.0, 24, 48, 96, 120, 168])
    y = 50 * np.exp(-np.log(2) / 60 * times)
    y[2] *= 1.6
    fit = fit_curve(times, y, 0.03 * y, half_life_h=HALF_LIFE_H)
    assert "48 h" in messages(fit)


@pytest.mark.parametrize("method", ["fit", "bayes"])
def test_a_large_part_after_the_last_point_is_said(method):
    times = np.array([1.0, 4, 24])
    y = 30 * np.exp(-np.log(2) / 70 * times)
    fit = fit_curve(times, y, 0.05 * y, half_life_h=HALF_LIFE_H, settings=FitSettings(method=method))
    assert fit.extrapolated_fraction > 0.5
    assert any(f.severity == "warning" and "after the last point" in f.message for f in fit.findings)


def test_late_rise_is_a_finding():
    fit = fit_curve(TIMES, [30, 20, 10, 16], [1, 1, 0.5, 0.5], half_life_h=HALF_LIFE_H)
    assert "rises" in messages(fit)


def test_order_of_points_does_not_matter():
    y = np.array([40.0, 30, 14, 7])
    shuffled = [2, 0, 3, 1]
    a = fit_curve(TIMES, y, 0.05 * y, half_life_h=HALF_LIFE_H)
    b = fit_curve(TIMES[shuffled], y[shuffled], 0.05 * y[shuffled], half_life_h=HALF_LIFE_H)
    assert a.tia_mbq_h == pytest.approx(b.tia_mbq_h)
    assert np.allclose(a.residuals[shuffled], b.residuals)


def test_curves_fitted_together_are_those_fitted_alone():
    """Curves of other shapes, times and settings, some of them badly fitted, among one another."""
    rng = np.random.default_rng(5)
    curves, chosen = [], []
    for number in range(12):
        times = TIMES if number % 4 else TIMES[:3]
        y = 60 * np.exp(-rng.uniform(0.004, 0.03) * times) * (1 - 0.6 * np.exp(-0.2 * times))
        y *= rng.normal(1.0, 0.25 if number % 3 == 0 else 0.03, len(y))
        curves.append((times, y, 0.05 * y))
        chosen.append(FitSettings(model="average" if number % 5 == 0 else "auto"))
    curves.append((TIMES, np.zeros(4), np.ones(4)))
    curves.append((TIMES[:1], np.ones(1), np.ones(1)))
    chosen += [FitSettings(), FitSettings(model="trapezoid_physical")]
    together = fit_curves(curves, half_life_h=HALF_LIFE_H, settings=chosen)
    for curve, own, fit in zip(curves, chosen, together, strict=True):
        alone = fit_curve(*curve, half_life_h=HALF_LIFE_H, settings=own)
        assert fit.model == alone.model
        assert fit.tia_mbq_h == pytest.approx(alone.tia_mbq_h, rel=1e-9)
        assert fit.u_tia_mbq_h == pytest.approx(alone.u_tia_mbq_h, rel=1e-6)
        assert [f.message for f in fit.findings] == [f.message for f in alone.findings]
    assert any(f.field == "time_activity.misfit" for fit in together for f in fit.findings)
