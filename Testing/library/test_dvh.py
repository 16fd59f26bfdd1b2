"""DVH: analytic answers, and properties that hold for any dose and any weights."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from TheranosticDoseLib.dvh import dose_volume_histogram
from TheranosticDoseLib.errors import GeometryError, InputError


def image(array, spacing=(2.0, 2.0, 2.5)):
    result = sitk.GetImageFromArray(np.asarray(array, np.float32))
    result.SetSpacing(spacing)
    return result


def test_a_ramp_of_one_hundred_voxels():
    dose = np.arange(1, 101, dtype=float).reshape(4, 5, 5)
    dvh = dose_volume_histogram(image(dose), image(np.ones_like(dose)))
    assert dvh.volume_ml == pytest.approx(100 * 0.01)
    assert (dvh.mean_gy, dvh.min_gy, dvh.max_gy) == (50.5, 1.0, 100.0)
    # the largest dose that at least x percent of the voxels receive
    assert [dvh.d(p) for p in (100, 98, 95, 50, 2, 1, 0)] == [1, 3, 6, 51, 99, 100, 100]
    np.testing.assert_allclose([dvh.v(d) for d in (0, 1, 50.5, 100, 100.5)], [100, 100, 50, 1, 0], rtol=1e-12)
    assert dvh.v_ml(91) == pytest.approx(0.1)


def test_partial_voxels_count_with_their_fraction():
    dose = image([[[10.0, 20.0, 30.0]]])
    dvh = dose_volume_histogram(dose, image([[[1.0, 0.5, 0.5]]]))
    assert dvh.mean_gy == pytest.approx(17.5)
    assert dvh.volume_ml == pytest.approx(0.02)
    assert dvh.v(20) == pytest.approx(50)
    assert dvh.v(30) == pytest.approx(25)
    assert [dvh.d(p) for p in (25, 25.1, 50, 50.1)] == [30, 20, 20, 10]


def test_to_dict_has_the_keys_of_the_contract():
    dose = image(np.full((2, 2, 2), 12.0))
    u = image(np.full((2, 2, 2), 0.8))
    values = dose_volume_histogram(dose, image(np.ones((2, 2, 2))), u).to_dict()
    assert list(values) == [
        "mean_gy", "u_mean_gy", "min", "max", "d98_gy", "d95_gy", "d50_gy", "d2_gy",
        "v10_gy_percent", "v20_gy_percent", "v40_gy_percent",
    ]  # fmt: skip
    assert values["u_mean_gy"] == pytest.approx(0.8 / np.sqrt(8))
    assert values["v10_gy_percent"] == 100
    assert values["v20_gy_percent"] == 0


def test_curve_is_the_histogram_at_even_doses():
    dose = np.linspace(0, 10, 1000).reshape(10, 10, 10)
    dvh = dose_volume_histogram(image(dose), image(np.ones_like(dose)))
    dose_gy, volume_percent = dvh.curve(101)
    assert dose_gy[0] == 0
    assert volume_percent[0] == 100
    np.testing.assert_allclose(volume_percent, 100 - 10 * dose_gy, atol=0.11)


def test_what_cannot_be_used_is_refused():
    dose = image(np.ones((3, 3, 3)))
    with pytest.raises(InputError, match="empty"):
        dose_volume_histogram(dose, image(np.zeros((3, 3, 3))))
    with pytest.raises(InputError, match="fractions"):
        dose_volume_histogram(dose, image(np.full((3, 3, 3), 2.0)))
    with pytest.raises(GeometryError):
        dose_volume_histogram(dose, image(np.ones((3, 3, 4))))
    with pytest.raises(InputError, match="NaN"):
        dose_volume_histogram(image(np.full((3, 3, 3), np.nan)), image(np.ones((3, 3, 3))))
    with pytest.raises(InputError, match="0 to 100"):
        dose_volume_histogram(dose, image(np.ones((3, 3, 3)))).d(101)


def test_nan_outside_the_voi_does_no_harm():
    dose = np.ones((3, 3, 3))
    dose[0] = np.nan
    weights = np.zeros((3, 3, 3))
    weights[1] = 1
    assert dose_volume_histogram(image(dose), image(weights)).mean_gy == 1


@settings(max_examples=60, deadline=None)
@given(
    dose=arrays(np.float32, (3, 4, 5), elements=st.floats(0, 100, width=32)),
    weights=arrays(np.float32, (3, 4, 5), elements=st.floats(0, 1, width=32)),
    percent=st.floats(0, 100),
)
def test_properties(dose, weights, percent):
    if weights.max() < 0.01:
        weights[1, 1, 1] = 1
    dvh = dose_volume_histogram(image(dose), image(weights))
    np.testing.assert_allclose(
        dvh.mean_gy, np.average(dose, weights=weights.astype(float)), rtol=1e-5, atol=1e-6
    )
    assert dvh.volume_ml == pytest.approx(weights.sum(dtype=float) * 0.01, rel=1e-5)
    d = dvh.d(percent)
    assert dvh.v(d) >= percent * (1 - 1e-6)
    assert dvh.v(np.nextafter(d, np.inf)) <= percent * (1 + 1e-6) or percent == 0
    assert dvh.d(98) <= dvh.d(50) <= dvh.d(2) <= dose[weights > 0].max()
    # the mean dose is the area under the cumulative histogram
    area = np.sum(np.diff(np.append(0, dvh.sorted_dose_gy)) * dvh.volume_at_least_ml) / dvh.volume_ml
    assert area == pytest.approx(dvh.mean_gy, rel=1e-5, abs=1e-6)


def test_errors_that_are_alike_do_not_average_out():
    from TheranosticDoseLib.dose import DoseResult
    from TheranosticDoseLib.dvh import histogram_of

    dose = sitk.GetImageFromArray(np.full((10, 10, 10), 2.0, np.float32))
    weights = sitk.GetImageFromArray(np.ones((10, 10, 10), np.float32))
    statistical = histogram_of(DoseResult(dose, dose * 0.1, {}), weights)
    predicted = histogram_of(DoseResult(dose, dose * 0.1, {"uncertainty_correlated": True}), weights)
    assert statistical.u_mean_gy == pytest.approx(0.2 / np.sqrt(1000), rel=1e-4)
    assert predicted.u_mean_gy == pytest.approx(0.2, rel=1e-4)
