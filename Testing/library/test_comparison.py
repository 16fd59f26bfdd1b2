"""Dose maps against each other: known differences, gamma against a simple direct search and a baseline."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib.comparison import ComparisonSettings, compare_doses, gamma_index
from TheranosticDoseLib.dose import DoseResult
from TheranosticDoseLib.errors import GeometryError, InputError, SettingsError
from TheranosticDoseLib.study import Voi


def image(array, spacing=(3.0, 3.0, 3.0)):
    result = sitk.GetImageFromArray(np.asarray(array, np.float32))
    result.SetSpacing(spacing)
    return result


@pytest.fixture
def dose():
    z, y, x = np.indices((12, 14, 16))
    return 20 * np.exp(-((z - 6) ** 2 + (y - 7) ** 2 + (x - 8) ** 2) / 30)


@pytest.fixture
def results(dose):
    return {
        "vsv": DoseResult(image(1.1 * dose)),
        "mc": DoseResult(image(dose), image(0.05 * dose)),
        "led": DoseResult(image(dose + 0.5)),
    }


@pytest.fixture
def voi(dose):
    return Voi("tumor", image((dose > 10).astype(float)), kind="lesion")


def test_known_differences(results, voi, dose):
    comparison = compare_doses(results, [voi], ComparisonSettings(gamma_points=0))
    assert comparison.reference == "mc"
    rows = {row["engine"]: row for row in comparison.table}
    assert rows["vsv"]["difference_percent"] == pytest.approx(10, rel=1e-4)
    assert rows["led"]["difference_gy"] == pytest.approx(0.5, rel=1e-4)
    inside = dose[dose > 10]
    u = 0.05 * np.sqrt(np.sum(inside**2)) / inside.size
    assert rows["vsv"]["u_difference_gy"] == pytest.approx(u, rel=1e-4)
    assert "difference_gy" not in rows["mc"]
    np.testing.assert_allclose(sitk.GetArrayFromImage(comparison.differences["led"]), 0.5, atol=1e-5)
    assert comparison.bland_altman["led"]["bias_gy"] == pytest.approx(0.5, rel=1e-4)
    assert comparison.bland_altman["led"]["sd_gy"] == pytest.approx(0, abs=1e-5)
    json.dumps(comparison.to_dict())


def test_a_named_reference(results, voi):
    comparison = compare_doses(results, [voi], ComparisonSettings(reference="vsv", gamma_points=0))
    assert set(comparison.differences) == {"mc", "led"}
    assert comparison.gamma["mc"] == {"reason": "left out by the settings"}


def test_gamma_of_a_shift_by_less_than_the_distance(dose):
    same = gamma_index(image(dose), image(dose))
    assert same["pass_fraction"] == 1
    shifted = np.roll(dose, 1, axis=2)
    assert gamma_index(image(dose), image(shifted), 3, 3.1, 50)["pass_fraction"] == 1
    assert gamma_index(image(dose), image(shifted), 3, 3.1, 50, interpolate=False)["pass_fraction"] == 1
    assert gamma_index(image(dose), image(shifted), 1, 1, 50)["pass_fraction"] < 0.6


def test_gamma_of_a_uniform_difference_is_that_difference():
    flat = np.full((6, 6, 6), 10.0)
    for factor, gamma in ((1.015, 0.5), (1.03 - 1e-6, 1.0), (1.045, 1.5)):
        result = gamma_index(image(flat), image(factor * flat))
        assert result["mean"] == pytest.approx(gamma, abs=0.01)


def test_gamma_of_some_voxels_is_that_of_all_within_its_uncertainty(dose):
    rng = np.random.default_rng(0)
    other = dose * (1 + 0.03 * rng.standard_normal(dose.shape))
    everything = gamma_index(image(dose), image(other), 1, 1)
    some = gamma_index(image(dose), image(other), 1, 1, points=200)
    assert some["points"] in (200, 201)
    assert abs(some["pass_fraction"] - everything["pass_fraction"]) < 4 * some["u_pass_fraction"]


def test_html_holds_the_tables_and_plots(results, voi):
    html = compare_doses(results, [voi], ComparisonSettings(gamma_points=30)).html()
    assert html.count("plotly-graph-div") == 3
    assert "data:image/png;base64," in html
    assert "+10.0" in html
    assert "gamma 3 % / 3 mm" in html


def test_names_are_escaped(results, dose):
    voi = Voi("<script>alert(1)</script>", image((dose > 10).astype(float)))
    html = compare_doses(results, [voi], ComparisonSettings(gamma_points=0)).html()
    assert "<td><script>" not in html


def test_what_cannot_be_compared_is_refused(results, dose):
    with pytest.raises(InputError, match="needs two"):
        compare_doses({"mc": results["mc"]})
    with pytest.raises(InputError, match="not among"):
        compare_doses(results, settings=ComparisonSettings(reference="gate"))
    with pytest.raises(GeometryError, match="different grids"):
        compare_doses({**results, "other": DoseResult(image(dose, (2.0, 3.0, 3.0)))})
    with pytest.raises(SettingsError, match="gamma_distance_mm"):
        ComparisonSettings(gamma_distance_mm=0.0)


@pytest.mark.realdata
def test_gamma_of_two_treatment_days_against_the_slicerrt_baseline(reference_data):
    data = reference_data("slicerrt_dose_dvh_gamma") / "Data"
    first = sitk.ReadImage(str(data / "EclipseEnt_Dose.nrrd"))
    second = sitk.ReadImage(str(data / "EclipseEnt_Dose_Day2.nrrd"))
    # SlicerRT (plastimatch): 3 %/3 mm global, 10 % threshold, voxel centres: 0.8090 of 88129, mean 0.5797.
    result = gamma_index(first, second, interpolate=False)
    assert result["points"] == 88129
    assert result["pass_fraction"] == pytest.approx(0.80895, abs=2e-5)
    assert result["mean"] == pytest.approx(0.57974, abs=2e-5)


@pytest.mark.realdata
@pytest.mark.slow
def test_interpolation_finds_more_matches_than_voxel_centres(reference_data):
    data = reference_data("slicerrt_dose_dvh_gamma") / "Data"
    first = sitk.ReadImage(str(data / "EclipseEnt_Dose.nrrd"))
    second = sitk.ReadImage(str(data / "EclipseEnt_Dose_Day2.nrrd"))
    result = gamma_index(first, second, points=1000, seed=1)
    assert 0.8090 < result["pass_fraction"] < 0.95


def test_seven_engines_fit_into_the_plots_with_their_times(dose, voi):
    names = ("led", "vsv", "vsv_density", "mc", "gate", "cnn", "cnn_pvc")
    results = {
        name: DoseResult(image(dose * (1 + 0.01 * number)), None, {"seconds": 1.5 + number})
        for number, name in enumerate(names)
    }
    page = compare_doses(results, [voi], ComparisonSettings(gamma_points=0)).html()
    for number, name in enumerate(names):
        assert f"tumor, {name}" in page  # its line among the DVHs
        assert f"{name} {1.5 + number:.2g} s" in page
