"""Few scans: published formulae, population prior, schedules, fitted priors."""

from __future__ import annotations

import numpy as np
import pytest
from TheranosticDoseLib.errors import EngineUnavailableError, InputError
from TheranosticDoseLib.radiobiology import bed, dose_rate_terms
from TheranosticDoseLib.time_activity import FitSettings, fit_curve
from TheranosticDoseLib.time_activity.population import area, population, populations, prior_key, shape
from TheranosticDoseLib.time_activity.priors import fit_priors
from TheranosticDoseLib.time_activity.schedules import compare_schedules, expected_error, fit_many

HALF_LIFE_H = 159.53
DECAY = np.log(2) / HALF_LIFE_H
KIDNEY = "177Lu-DOTATATE/kidney"


def test_haenscheid_is_his_formula_and_exact_at_one_and_two_half_lives():
    for half_life, factor in ((72.0, 1.0), (36.0, 2.0)):
        rate = np.log(2) / half_life
        fit = fit_curve(
            [72.0],
            [10 * np.exp(-rate * 72)],
            [0.1],
            half_life_h=HALF_LIFE_H,
            settings=FitSettings(method="haenscheid"),
        )
        assert fit.tia_mbq_h == pytest.approx(10 * np.exp(-rate * 72) * 2 * 72 / np.log(2))
        assert fit.tia_mbq_h == pytest.approx(10 / rate), factor


def test_haenscheid_after_the_physical_half_life_is_held_and_said():
    fit = fit_curve(
        [200.0], [10.0], [0.1], half_life_h=HALF_LIFE_H, settings=FitSettings(method="haenscheid")
    )
    assert fit.effective_half_life_h == pytest.approx(HALF_LIFE_H)
    assert any("slower than physical" in finding.message for finding in fit.findings)


@pytest.mark.parametrize("method", ["madsen", "mean_half_life", "haenscheid", "bayes"])
def test_one_scan_of_a_typical_patient_is_within_its_uncertainty(method):
    prior = population(KIDNEY)
    latent = prior.mean[None]
    truth = 100 * area(latent, DECAY)[0]
    y = 100 * shape(latent, np.array([72.0]), DECAY)[0]
    fit = fit_curve(
        [72.0], y, 0.03 * y, half_life_h=HALF_LIFE_H, settings=FitSettings(method=method, prior=KIDNEY)
    )
    assert abs(fit.tia_mbq_h - truth) < 2 * fit.u_tia_mbq_h
    assert 0.03 < fit.u_tia_mbq_h / fit.tia_mbq_h < 0.12
    assert fit.predict([72.0])[0][0] == pytest.approx(y[0], rel=0.05)


def test_methods_need_their_population():
    with pytest.raises(InputError, match="set prior"):
        fit_curve([72.0], [1.0], [0.1], half_life_h=HALF_LIFE_H, settings=FitSettings(method="madsen"))
    with pytest.raises(InputError, match="known: generic"):
        population("177Lu-DOTATATE/kidny")


def test_bayes_follows_precise_points_whatever_the_prior():
    times = np.array([2.0, 8, 24, 72, 120, 168])
    rate = np.log(2) / 20
    y = 50 * np.exp(-rate * times)
    fit = fit_curve(
        times,
        y,
        0.01 * y,
        half_life_h=HALF_LIFE_H,
        settings=FitSettings(method="bayes", prior="177Lu-PSMA/kidney"),
    )
    assert fit.tia_mbq_h == pytest.approx(50 / rate, rel=0.05)


def test_the_exponentials_of_a_posterior_hold_its_integral_and_give_a_bed():
    times = np.array([4.0, 24, 96, 168])
    y = 50 * np.exp(-np.log(2) / 60 * times)
    fits = [
        fit_curve(times, y, 0.03 * y, half_life_h=HALF_LIFE_H, settings=FitSettings(method=method))
        for method in ("fit", "bayes")
    ]
    terms = dose_rate_terms(fits[1])
    assert sum(a / r for a, r in terms) == pytest.approx(fits[1].tia_mbq_h, rel=1e-6)
    curve = sum(a * np.exp(-r * times) for a, r in terms)
    assert np.allclose(curve, y, rtol=0.1)
    mono, posterior = (bed(20.0, fit, 2.6, 2.8) for fit in fits)
    assert posterior == pytest.approx(mono, rel=0.03)


def test_every_prior_is_physical_and_positive():
    for prior in populations().values():
        latent = prior.draw(500, np.random.default_rng(0))
        assert np.all(area(latent, DECAY) > 0)
        late = shape(latent, np.array([500.0, 500.0 + HALF_LIFE_H]), DECAY)
        assert np.all(late[:, 1] <= late[:, 0] * 0.5 * (1 + 1e-6) + 1e-11)
        assert prior.source


@pytest.mark.parametrize(
    ("agent", "name", "kind", "key"),
    [
        ("177Lu-DOTATATE", "Kidney_L", "organ", "177Lu-DOTATATE/kidney"),
        ("Lutathera", "spleen", "organ", "177Lu-DOTATATE/spleen"),
        ("[177Lu]Lu-PSMA-617", "Parotid left", "organ", "177Lu-PSMA/salivary_gland"),
        ("177Lu-PSMA-617", "Liver seg 4", "lesion", "177Lu-PSMA/lesion"),
        ("177Lu-PSMA-617", "Bladder", "organ", "generic"),
        ("", "Kidney_L", "organ", "generic"),
    ],
)
def test_the_prior_of_a_tissue_is_found_by_agent_and_name(agent, name, kind, key):
    assert prior_key(agent, name, kind) == key
    assert population(key).key == key


def test_default_fit_states_intervals_that_hold_for_few_points():
    results = compare_schedules(
        [[24, 72, 168], [4, 24, 96]], "177Lu-PSMA/kidney", half_life_h=HALF_LIFE_H, relative_noise=0.04,
        patients=60, methods=("auto",),
    )  # fmt: skip
    for r in results:
        assert r.coverage_68 > 0.45
        assert r.coverage_95 > 0.8
    mean = np.mean([r.coverage_68 for r in results])
    assert 0.57 < mean < 0.79


def test_uncertainty_of_the_default_fit_is_that_of_the_tissue_while_the_points_lie_in_it():
    times = np.array([24.0, 72.0, 168.0])

    def u(y, prior):
        fit = fit_curve(times, y, 0.04 * y, half_life_h=HALF_LIFE_H, settings=FitSettings(prior=prior))
        return fit.u_tia_mbq_h / fit.tia_mbq_h

    psma = 100.0 * shape(population("177Lu-PSMA/kidney").mean[None], times, DECAY)[0]
    assert u(psma, "177Lu-PSMA/kidney") < 0.8 * u(psma, "")  # nothing early: the wide population knows less
    assert u(psma, "generic") == u(psma, "")
    late = 100.0 * (np.exp(-DECAY * times) - np.exp(-(DECAY + np.log(2) / 60) * times))  # uptake of days
    assert u(late, "177Lu-PSMA/spleen") == u(late, "")


def test_expected_error_of_a_schedule_is_that_of_the_formula_over_the_population():
    found = expected_error(
        [72.0], "haenscheid", KIDNEY, half_life_h=HALF_LIFE_H, relative_noise=1e-6, patients=400
    )
    latent = population(KIDNEY).draw(400, np.random.default_rng(0))
    ratio = shape(latent, np.array([72.0]), DECAY)[:, 0] * 2 * 72 / np.log(2) / area(latent, DECAY) - 1
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(ratio, [0.025, 0.975])), rel=1e-3)
    assert found["over_10_percent"] == pytest.approx(np.mean(np.abs(ratio) > 0.1))
    assert (found["population"], found["method"], found["patients"]) == (KIDNEY, "haenscheid", 400)
    four, two = (
        expected_error(times, method, KIDNEY, half_life_h=HALF_LIFE_H, relative_noise=0.03, patients=60)
        for times, method in (([4.0, 24, 96, 168], "auto"), ([4.0, 24.0], "mono"))
    )
    assert four["median_absolute"] < 0.03 < 0.1 < two["median_absolute"]


def test_schedules_order_and_coverage():
    results = compare_schedules(
        [[72], [4, 24, 96, 168]], KIDNEY, half_life_h=HALF_LIFE_H, relative_noise=0.04, patients=200,
        methods=("bayes", "madsen", "average"),
    )  # fmt: skip
    by = {(r.schedule_h, r.method): r for r in results}
    assert ((72.0,), "average") not in by
    four = by[(4.0, 24.0, 96.0, 168.0), "bayes"]
    assert four.sd < 0.6 * by[(72.0,), "bayes"].sd
    assert abs(four.bias) < 0.01
    assert 0.58 < four.coverage_68 < 0.78
    assert 0.90 < four.coverage_95 < 0.99
    again = compare_schedules(
        [[72]], KIDNEY, half_life_h=HALF_LIFE_H, relative_noise=0.04, patients=200, methods=("madsen",)
    )
    assert again[0].sd > 0.03


@pytest.mark.parametrize("hours", [[24, 4], [0], [float("nan")], [24, float("inf")], [], [-4, 24]])
def test_schedule_rejects_what_is_none(hours):
    with pytest.raises(InputError, match="increasing hours"):
        compare_schedules([hours], KIDNEY, half_life_h=HALF_LIFE_H, methods=("haenscheid",))


def test_schedule_rejects_other_methods_and_too_few_patients():
    with pytest.raises(InputError, match="Unknown method"):
        compare_schedules([[24]], KIDNEY, half_life_h=HALF_LIFE_H, methods=("best",))
    with pytest.raises(InputError, match="at least 20"):
        compare_schedules([[24]], KIDNEY, half_life_h=HALF_LIFE_H, patients=0)


@pytest.mark.parametrize(
    ("curve", "word"),
    [
        ([4, 24], "time_h and activity_mbq"),
        ({"time_h": [4, 24]}, "time_h and activity_mbq"),
        ({"time_h": [4, 24], "activity_mbq": [0, 0]}, "no activity"),
        ({"time_h": [4, 4], "activity_mbq": [2, 1]}, "same time"),
        ({"time_h": [4, 24], "activity_mbq": ["a", 1]}, "lists of numbers"),
    ],
)
def test_a_bad_curve_of_a_cohort_is_named(curve, word):
    good = {"time_h": [4, 24, 96], "activity_mbq": [50, 40, 15]}
    with pytest.raises(InputError, match=f"Curve 5 .*{word}"):
        fit_priors([good] * 4 + [curve], "own/kidney", half_life_h=HALF_LIFE_H)


def test_many_curves_are_fitted_as_one():
    rng = np.random.default_rng(5)
    times = np.array([1.0, 4, 24, 72, 120, 168])
    y = 50 * np.exp(-0.02 * times) * (1 + 0.03 * rng.standard_normal((5, 6)))
    for model in ("auto", "average"):
        settings = FitSettings(model=model)
        tia, u_tia, _, _ = fit_many(times, y, 0.03 * y, HALF_LIFE_H, settings)
        for i in range(5):
            one = fit_curve(times, y[i], 0.03 * y[i], half_life_h=HALF_LIFE_H, settings=settings)
            assert one.tia_mbq_h == pytest.approx(tia[i], rel=1e-4)
            assert one.u_tia_mbq_h >= u_tia[i] * 0.999


def test_a_prior_is_recovered_from_a_cohort(tmp_path):
    rng = np.random.default_rng(0)
    truth = population("177Lu-PSMA/kidney")
    times = np.array([1.0, 4, 24, 48, 96, 168])
    y = shape(truth.draw(25, rng), times, DECAY) * rng.uniform(50, 100, (25, 1))
    y = y * (1 + 0.03 * rng.standard_normal(y.shape))
    cohort = [{"time_h": times, "activity_mbq": row, "u_activity_mbq": 0.03 * row} for row in y]
    file = tmp_path / "own.json"
    found = fit_priors(cohort, "own/kidney", half_life_h=HALF_LIFE_H, out=file)
    generic = population("generic")
    assert abs(found.mean[3] - truth.mean[3]) < 0.5 * abs(generic.mean[3] - truth.mean[3])
    assert np.sqrt(found.covariance[3, 3]) == pytest.approx(np.sqrt(truth.covariance[3, 3]), rel=0.5)
    assert population(str(file)).mean == pytest.approx(found.mean)
    with pytest.raises(InputError, match="at least 5"):
        fit_priors(cohort[:3], "own/kidney", half_life_h=HALF_LIFE_H)


def test_learned_predictor_agrees_with_the_prior_or_says_what_to_install():
    prior = population(KIDNEY)
    times = np.array([24.0, 96.0])
    y = 100 * shape(prior.mean[None], times, DECAY)[0]
    settings = FitSettings(method="learned", prior=KIDNEY)
    try:
        import sklearn  # noqa: F401
    except ImportError:
        with pytest.raises(EngineUnavailableError, match="scikit-learn"):
            fit_curve(times, y, 0.04 * y, half_life_h=HALF_LIFE_H, settings=settings)
        return
    fit = fit_curve(times, y, 0.04 * y, half_life_h=HALF_LIFE_H, settings=settings)
    bayes = fit_curve(
        times, y, 0.04 * y, half_life_h=HALF_LIFE_H, settings=FitSettings(method="bayes", prior=KIDNEY)
    )
    assert fit.tia_mbq_h == pytest.approx(bayes.tia_mbq_h, rel=0.04)
    assert fit.u_tia_mbq_h == pytest.approx(bayes.u_tia_mbq_h, rel=0.5)
