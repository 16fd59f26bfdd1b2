"""Grids, resampling and totals."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from TheranosticDoseLib.errors import ActivityConservationError, GeometryError
from TheranosticDoseLib.geometry import (
    array_of,
    image_like,
    require_same_grid,
    resample,
    resample_activity,
    same_grid,
    total_activity_mbq,
    voxel_volume_ml,
)


def grid(size=(12, 10, 8), spacing=(2.0, 3.0, 4.0), origin=(5.0, -7.0, 1.0)) -> sitk.Image:
    image = sitk.Image(size, sitk.sitkFloat32)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    return image


def test_a_view_keeps_its_image() -> None:
    expected = np.arange(960, dtype=np.float32).reshape(8, 10, 12)
    views = [array_of(image_like(expected, grid())) for _ in range(20)]
    gc.collect()
    junk = [np.full(960, np.nan, np.float32) for _ in range(200)]
    assert all(np.array_equal(view, expected) for view in views)
    assert len(junk) == 200


def test_a_view_is_read_only() -> None:
    image = grid()
    with pytest.raises(ValueError, match="read-only"):
        array_of(image)[0, 0, 0] = 1


def test_image_like_refuses_another_shape() -> None:
    with pytest.raises(GeometryError, match="does not fit"):
        image_like(np.zeros((2, 2, 2)), grid())


def test_grids_that_differ_are_both_named() -> None:
    other = grid(origin=(5.0, -7.0, 2.0))
    assert not same_grid(grid(), other)
    with pytest.raises(GeometryError, match=r"1\) mm against .*2\) mm"):
        require_same_grid(grid(), other, "A and B")


def test_a_turned_grid_is_another_grid() -> None:
    other = grid()
    other.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, 1))
    assert not same_grid(grid(), other)


def test_total_activity_by_hand() -> None:
    image = image_like(np.full((8, 10, 12), 1e6), grid())
    assert voxel_volume_ml(image) == pytest.approx(0.024)
    assert total_activity_mbq(image) == pytest.approx(960 * 0.024)


@settings(max_examples=25, deadline=None)
@given(
    factor=st.integers(1, 4),
    shift=st.floats(-0.5, 0.5),
    spacing=st.floats(1.0, 5.0),
)
def test_coarser_grids_keep_the_total(factor: int, shift: float, spacing: float) -> None:
    fine = grid((40, 40, 40), (spacing,) * 3, (0.0, 0.0, 0.0))
    array = np.zeros((40, 40, 40), np.float32)
    array[12:28, 14:26, 13:27] = 1e5
    source = sitk.SmoothingRecursiveGaussian(image_like(array, fine), 2 * spacing)
    step = spacing * factor
    n = int(np.ceil(44 / factor))
    first = -2 * spacing + (factor - 1) / 2 * spacing + shift * spacing
    coarse = grid((n, n, n), (step,) * 3, (first,) * 3)
    image, record = resample_activity(source, coarse, tolerance=0.02, what="test")
    assert same_grid(image, coarse)
    assert abs(record["relative_change"]) < 0.02


def test_activity_that_leaves_the_grid_is_an_error() -> None:
    source = image_like(np.ones((8, 10, 12)), grid())
    half = grid(size=(6, 10, 8))
    with pytest.raises(ActivityConservationError, match=r"from 0\.00 to 0\.00 MBq \(-50"):
        resample_activity(source, half, tolerance=0.1, what="SPECT")


def test_resampling_to_the_same_grid_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    source = image_like(rng.random((8, 10, 12)), grid())
    assert np.allclose(array_of(resample(source, grid())), array_of(source), atol=1e-6)


def test_unknown_interpolation() -> None:
    with pytest.raises(ValueError, match="linear"):
        resample(grid(), grid(), order="cubic")
