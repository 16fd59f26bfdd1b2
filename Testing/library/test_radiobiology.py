"""Radiobiological models against closed forms, direct integration and published examples."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from TheranosticDoseLib import radiobiology as rb
from TheranosticDoseLib.errors import InputError


def mono(half_life_h):
    return [(1.0, np.log(2) / half_life_h)]


def image(array):
    result = sitk.GetImageFromArray(np.asarray(array, np.float32))
    result.SetSpacing((4.0, 4.0, 4.0))
    return result


def by_integration(terms, repair_half_time_h):
    """Lea-Catcheside factor from its definition: the inner integral as an ODE state, the outer by quadrature."""
    mu = np.log(2) / repair_half_time_h

    def rate(t):
        return sum(a * np.exp(-r * t) for a, r in terms)

    def inner(t):
        return quad(lambda s: rate(s) * np.exp(-mu * (t - s)), 0, t, epsrel=1e-9, limit=200)[0]

    horizon = 40 / min(r for _, r in terms)
    edges = np.concatenate([[0], np.geomspace(1e-3, horizon, 30)])
    outer = sum(
        quad(lambda t: rate(t) * inner(t), low, high, epsrel=1e-7)[0]
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    )
    return 2 * outer / sum(a / r for a, r in terms) ** 2


def test_published_kidney_example():
    assert rb.bed(2.741, [(1.0, 0.014081)], 2.6, 2.8) == pytest.approx(2.897, abs=5e-4)


def test_one_exponential_is_the_closed_form():
    assert rb.lea_catcheside(mono(50.0), 2.8) == pytest.approx(2.8 / 52.8, rel=1e-12)


@pytest.mark.parametrize(
    "terms",
    [
        [(3.0, 0.1), (1.0, 0.012)],
        [(1.0, 0.0136), (-1.0, 0.6)],
        [(2.0, 0.2), (1.0, 0.02), (0.5, 0.0044)],
        [(1.0, np.log(2) / 2.8), (0.2, 0.01)],  # a rate that equals the repair rate
    ],
)
def test_several_exponentials_against_direct_integration(terms):
    assert rb.lea_catcheside(terms, 2.8) == pytest.approx(by_integration(terms, 2.8), rel=2e-5)


@settings(max_examples=50, deadline=None)
@given(
    amplitudes=st.lists(st.floats(0.01, 100), min_size=1, max_size=3),
    half_life=st.floats(0.5, 500),
    repair=st.floats(0.1, 20),
)
def test_protraction_lies_between_zero_and_one_and_splitting_a_term_changes_nothing(
    amplitudes, half_life, repair
):
    rate = np.log(2) / half_life
    split = [(a, rate) for a in amplitudes]
    g = rb.lea_catcheside(split, repair)
    assert 0 < g < 1
    assert g == pytest.approx(repair / (repair + half_life), rel=1e-9)


def test_limits_of_repair():
    # no repair during the decay: the full quadratic term; instant repair: none
    assert rb.bed(10.0, mono(50.0), 2.6, 1e9) == pytest.approx(10 * (1 + 10 / 2.6), rel=1e-6)
    assert rb.bed(10.0, mono(50.0), 2.6, 1e-9) == pytest.approx(10.0, rel=1e-6)


def test_eqd2_of_two_gray_fractions_is_their_sum():
    bed_of_fractions = 15 * 2 * (1 + 2 / 2.6)
    assert rb.eqd2(bed_of_fractions, 2.6) == pytest.approx(30.0)


def test_eud_of_two_halves():
    dose, weights = np.array([10.0, 30.0]), np.array([1.0, 1.0])
    alpha = 0.3
    expected = -np.log(0.5 * np.exp(-3) + 0.5 * np.exp(-9)) / alpha
    assert rb.eud(dose, weights, alpha) == pytest.approx(expected, rel=1e-12)
    assert rb.eud(np.array([4000.0, 4000.0]), weights, alpha) == pytest.approx(4000.0)
    assert rb.geud(dose, weights, 1) == pytest.approx(20)
    assert rb.geud(dose, weights, 200) == pytest.approx(30, rel=0.01)
    assert rb.geud(dose, weights, -200) == pytest.approx(10, rel=0.01)
    assert rb.geud(dose, np.array([1.0, 3.0]), 2) == pytest.approx(np.sqrt((100 + 3 * 900) / 4))


def test_ntcp_is_one_half_at_td50_and_follows_the_normal_distribution():
    ones = np.ones(5)
    result = rb.ntcp(28 * ones, ones, "kidney")
    assert result["probability"] == pytest.approx(0.5)
    assert rb.ntcp(23 * ones, ones, "kidney")["probability"] == pytest.approx(norm.cdf(-5 / 2.8))
    assert "Burman" in result["source"]
    assert rb.ntcp(ones, ones, "marrow") is None


def test_tcp_rises_from_zero_to_one():
    tumor = rb.biology_of("liver lesion 1", kind="lesion")
    ones = np.ones(100)
    probability = [rb.tcp(d * ones, ones, 0.064, tumor)["probability"] for d in (0, 40, 50, 100)]
    assert probability[0] == 0
    assert probability == sorted(probability)
    assert probability[-1] > 0.999999
    assert rb.tcp(ones, ones, 0.064, rb.biology_of("kidney")) is None


@pytest.mark.parametrize(
    ("name", "kind", "tissue", "alpha_beta"),
    [
        ("Left Kidney", "organ", "kidney", 2.6),
        ("Lesion in left kidney", "lesion", "tumor", 10.0),
        ("red marrow", "organ", "marrow", 10.0),
        ("spleen", "organ", "late", 3.0),
    ],
)
def test_parameters_by_name(name, kind, tissue, alpha_beta):
    biology = rb.biology_of(name, kind)
    assert (biology.tissue, biology.alpha_beta_gy) == (tissue, alpha_beta)
    assert biology.source
    assert biology.checked == (tissue == "kidney")


def test_every_row_of_the_table_has_its_source():
    tables = rb._tables()
    for part in ("tissues", "limits", "ntcp", "tcp"):
        assert all(row["source"] and isinstance(row["checked"], bool) for row in tables[part])
    assert [row["limit_gy"] for row in rb.limits_of("kidney")] == [23.0, 28.0, 40.0]


def test_evaluation_of_a_voi():
    dose = image(np.full((4, 4, 4), 11.5))
    result = rb.evaluate(dose, image(np.ones((4, 4, 4))), mono(49.22), rb.biology_of("kidney"), u_mean_gy=1.0)
    g = 2.8 / (2.8 + 49.22)
    assert result["bed_gy"] == pytest.approx(11.5 * (1 + g * 11.5 / 2.6), rel=1e-6)
    assert result["mean_voxel_bed_gy"] == pytest.approx(result["bed_gy"], rel=1e-6)
    assert result["u_bed_gy"] == pytest.approx(1 + 2 * g * 11.5 / 2.6)
    assert result["limits"][0]["fraction_used"] == pytest.approx(0.5, rel=1e-6)
    assert result["eubed_gy"] is None
    assert "model" in result["note"]
    json.dumps(result)


def test_heterogeneous_dose_has_a_higher_voxel_bed_than_its_mean_and_a_lower_eud():
    dose = image(np.linspace(5, 80, 64).reshape(4, 4, 4))
    result = rb.evaluate(dose, image(np.ones((4, 4, 4))), mono(80), rb.biology_of("lesion", "lesion"))
    assert result["mean_voxel_bed_gy"] > result["bed_gy"]
    assert 5 < result["eud_gy"] < 42.5
    assert result["eubed_gy"] > result["eud_gy"]


def test_bed_map_takes_the_parameters_of_each_region():
    dose = image(np.full((2, 2, 2), 10.0))
    half = np.zeros((2, 2, 2))
    half[0] = 1
    kidney, late = rb.biology_of("kidney"), rb.biology_of("muscle")
    maps = rb.bed_map(dose, [(image(half), mono(50), kidney)], (mono(60), late))
    result, equivalent = map(sitk.GetArrayFromImage, maps)
    np.testing.assert_allclose(equivalent[0], result[0] / (1 + 2 / 2.6), rtol=1e-6)
    np.testing.assert_allclose(equivalent[1], result[1] / (1 + 2 / 3.0), rtol=1e-6)
    np.testing.assert_allclose(result[0], rb.bed(10.0, mono(50), 2.6, 2.8), rtol=1e-6)
    np.testing.assert_allclose(result[1], rb.bed(10.0, mono(60), 3.0, 1.5), rtol=1e-6)


def test_terms_of_a_fitted_curve():
    from TheranosticDoseLib.time_activity import FitSettings, fit_curve

    time_h = np.array([1.0, 4.0, 24.0, 48.0, 96.0, 168.0])
    activity = 50 * (np.exp(-0.0136 * time_h) - np.exp(-0.5 * time_h))
    fit = fit_curve(
        time_h, activity, 0.02 * activity, half_life_h=159.53, settings=FitSettings(model="mono_uptake")
    )
    terms = rb.dose_rate_terms(fit)
    assert sum(a / r for a, r in terms) == pytest.approx(fit.tia_mbq_h, rel=1e-6)
    assert rb.lea_catcheside(fit, 2.8) == pytest.approx(
        rb.lea_catcheside([(50, 0.0136), (-50, 0.5)], 2.8), rel=0.01
    )


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: rb.bed(1.0, mono(50), 0, 2.8), "alpha/beta is 0"),
        (lambda: rb.bed(1.0, mono(50), 2.6, -1), "repair half-time is -1"),
        (lambda: rb.bed(-1.0, mono(50), 2.6, 2.8), "not negative"),
        (lambda: rb.bed(np.nan, mono(50), 2.6, 2.8), "finite"),
        (lambda: rb.bed(1.0, [(1.0, 0.0)], 2.6, 2.8), "rates above 0"),
        (lambda: rb.bed(1.0, [], 2.6, 2.8), "rates above 0"),
        (lambda: rb.bed(1.0, [(-1.0, 0.1)], 2.6, 2.8), "integrates to nothing"),
        (lambda: rb.geud(np.ones(2), np.ones(2), 0), "exponent"),
        (lambda: rb.eud(np.ones(2), np.zeros(2), 0.3), "no voxel"),
        (lambda: rb.eud(np.array([np.nan]), np.ones(1), 0.3), "NaN"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
