"""Thresholds, components, body outlines and one-click lesion tools."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from DoseSegmentationLib.classical import (
    SegmentationError,
    body_outline,
    body_outline_spect,
    connected_component,
    fixed_threshold,
    percent_of_maximum,
)
from DoseSegmentationLib.classical_lesions import (
    adaptive_threshold,
    fuzzy_c_means,
    region_growing,
    watershed,
)

SPACING = 4.0
LESION = (30.0, -20.0, 10.0)
RADIUS = 18.0


def points(size=(60, 56, 50), spacing=SPACING):
    axes = [(np.arange(n) - (n - 1) / 2) * spacing for n in size]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return np.stack([x, y, z], axis=-1)


def image_of(values: np.ndarray, spacing=SPACING) -> sitk.Image:
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing([spacing] * 3)
    image.SetOrigin([-(n - 1) / 2 * spacing for n in image.GetSize()])
    return image


def ball(p: np.ndarray, centre, radius: float) -> np.ndarray:
    return np.sum((p - np.array(centre)) ** 2, axis=-1) <= radius**2


def array(label: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(label) > 0


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture(scope="module")
def spect():
    """A blurred, noisy lesion (24 mL, contrast 8) in a warm body beside a hotter organ; its truth."""
    p = points()
    truth = ball(p, LESION, RADIUS)
    values = np.where(np.hypot(p[..., 0] / 105, p[..., 1] / 90) < 1, 1.0, 0.0)
    values[truth] = 8.0
    values[ball(p, (-45.0, 20.0, 0.0), 30.0)] = 14.0
    blurred = sitk.SmoothingRecursiveGaussian(image_of(values), 10.0 / 2.355)
    noise = np.random.default_rng(4).normal(0, 1, values.shape)
    noisy = sitk.GetArrayFromImage(blurred) + 0.12 * np.sqrt(np.clip(values, 0, None)) * noise
    return image_of(noisy), truth


@pytest.mark.parametrize("tool", [adaptive_threshold, watershed, fuzzy_c_means, region_growing])
def test_one_click_finds_the_lesion(spect, tool):
    image, truth = spect
    label = tool(image, (LESION[0] + 6.0, LESION[1], LESION[2] - 5.0))
    assert label.GetSize() == image.GetSize()
    assert dice(array(label), truth) > 0.85
    assert np.count_nonzero(array(label)) == pytest.approx(np.count_nonzero(truth), rel=0.25)


@pytest.mark.parametrize("tool", [adaptive_threshold, watershed, fuzzy_c_means, region_growing])
def test_a_click_beside_every_lesion_has_a_sentence(spect, tool):
    image, _ = spect
    with pytest.raises(SegmentationError, match="outside the image"):
        tool(image, (900.0, 0.0, 0.0))
    empty = sitk.Cast(image * 0, sitk.sitkFloat32)
    with pytest.raises(SegmentationError, match="click in the lesion"):
        tool(empty, LESION)


def test_background_correction_beats_the_plain_percentage():
    """At low contrast a percentage of the maximum runs into the background."""
    p = points()
    truth = ball(p, LESION, RADIUS)
    values = np.where(truth, 2.0, 1.0)
    image = sitk.SmoothingRecursiveGaussian(image_of(values), 8.0 / 2.355)
    plain = array(percent_of_maximum(image, 45.0, seed_mm=LESION))
    assert dice(plain, truth) < 0.3
    assert dice(array(adaptive_threshold(image, LESION)), truth) > 0.93


def test_fixed_threshold_and_component():
    p = points()
    one, two = ball(p, (-60, 0, 0), 20.0), ball(p, (60, 0, 0), 20.0)
    image = image_of(5.0 * one + 9.0 * two)
    assert np.array_equal(array(fixed_threshold(image, 4.0)), one | two)
    assert np.array_equal(array(fixed_threshold(image, 4.0, 6.0)), one)
    assert np.array_equal(array(fixed_threshold(image, 4.0, seed_mm=(60, 0, 0))), two)
    region = sitk.Cast(image > 7, sitk.sitkUInt8)
    assert np.array_equal(array(fixed_threshold(image, 4.0, region=region)), two)
    with pytest.raises(SegmentationError, match="outside the segment"):
        connected_component(region, (0.0, 0.0, 0.0))
    with pytest.raises(SegmentationError, match="below the lower"):
        fixed_threshold(image, 6.0, 4.0)


def test_percent_of_maximum_of_a_gaussian_is_its_half_width():
    p = points()
    sigma = 24.0
    image = image_of(np.exp(-np.sum((p - np.array((30.0, -18.0, 10.0))) ** 2, axis=-1) / (2 * sigma**2)))
    label = array(percent_of_maximum(image, 50.0))
    radius = sigma * np.sqrt(2 * np.log(2))
    volume = np.count_nonzero(label) * SPACING**3
    assert volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.05)
    with pytest.raises(SegmentationError, match="between 0 and 100"):
        percent_of_maximum(image, 0.0)
    with pytest.raises(SegmentationError, match="no positive value"):
        percent_of_maximum(image * 0, 40.0)


def torso(table: bool = True, noise: float = 25.0):
    p = points((100, 80, 40), 5.0)
    body = np.hypot(p[..., 0] / 170, p[..., 1] / 110) < 1
    hu = np.where(body, 30.0, -1000.0)
    for side in (-70.0, 70.0):
        hu[np.hypot((p[..., 0] - side) / 50, p[..., 1] / 70) < 1] = -800.0
    if table:
        hu[(np.abs(p[..., 1] - 135.0) < 4.0) & (np.abs(p[..., 0]) < 200)] = 150.0
    hu += np.random.default_rng(0).normal(0, noise, hu.shape)
    return image_of(hu, 5.0), body


def test_body_outline_holds_the_lungs_and_leaves_the_table():
    ct, body = torso()
    outline = array(body_outline(ct))
    assert dice(outline, body) > 0.97
    p = points((100, 80, 40), 5.0)
    assert not outline[p[..., 1] > 125.0].any()
    assert outline[0].any()
    assert outline[-1].any()


def test_body_outline_of_an_oblique_or_empty_image():
    ct, body = torso()
    moved = sitk.Image(ct)
    turn = sitk.Euler3DTransform((0, 0, 0), 0.2, 0.1, -0.15)
    moved.SetDirection(turn.GetMatrix())
    assert dice(array(body_outline(moved)), body) > 0.97
    with pytest.raises(SegmentationError, match="No body"):
        body_outline(sitk.Cast(ct * 0 - 1000, sitk.sitkFloat32))


def test_body_outline_survives_not_a_number():
    ct, body = torso()
    values = sitk.GetArrayFromImage(ct)
    values[10, 3, 3] = np.nan
    assert dice(array(body_outline(image_of(values, 5.0))), body) > 0.97


def test_body_outline_from_a_spect(spect):
    image, _ = spect
    p = points()
    body = np.hypot(p[..., 0] / 105, p[..., 1] / 90) < 1
    assert dice(array(body_outline_spect(image)), body) > 0.85
    with pytest.raises(SegmentationError, match="no activity"):
        body_outline_spect(sitk.Cast(image * 0, sitk.sitkFloat32))
