"""Density and Hounsfield units of the virtual patient, with the structure that a registration can hold on to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.geometry import image_like
from TheranosticDoseLib.phantom.body import Body, Region
from TheranosticDoseLib.phantom.shapes import smooth_field

if TYPE_CHECKING:
    import SimpleITK as sitk

AIR_DENSITY_G_CM3 = 0.001205
VESSEL_RADIUS = {
    "Liver": (0.17, -16.0),
    "Lung_L": (0.22, 560.0),
    "Lung_R": (0.22, 560.0),
    "Visceral_fat": (0.16, 110.0),
}
"""Region: radius of its vessels in units of the random fields, and their contrast in HU."""


def density_map(labels: np.ndarray, region: dict[int, Region], grid: sitk.Image) -> sitk.Image:
    """Return the mass density of each label, g/cm3."""
    table = np.full(256, AIR_DENSITY_G_CM3, np.float32)
    for label, entry in region.items():
        table[label] = entry.density_g_cm3
    return image_like(table[labels], grid)


def hu_map(body: Body, region: dict[int, Region], grid: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    """Return noise-free Hounsfield units: mean per region, structure, vessels, blurred as by the scanner.

    The structure has mean 0 within each region, so that the mean Hounsfield units of a region are
    those of its table.
    """
    from scipy import ndimage

    labels, spacing = body.labels, body.space.spacing_mm
    mean = np.full(256, -1000.0, np.float32)
    texture = np.zeros(256, np.float32)
    for label, entry in region.items():
        mean[label], texture[label] = entry.hu, entry.texture_hu
    structure = 0.8 * smooth_field(labels.shape, spacing, 16.0, rng)
    structure += 0.6 * smooth_field(labels.shape, spacing, 45.0, rng)
    structure *= texture[labels]
    structure += _vessels(body, region, rng)
    structure += _septa(body, rng)
    sums = np.bincount(labels.ravel(), weights=structure.ravel(), minlength=256)
    counts = np.maximum(np.bincount(labels.ravel(), minlength=256), 1)
    structure += (mean - (sums / counts).astype(np.float32))[labels]
    return image_like(ndimage.gaussian_filter(structure, 0.55), grid)


def _vessels(body: Body, region: dict[int, Region], rng: np.random.Generator) -> np.ndarray:
    """Return the contrast of vessels, HU: tubes where two random fields are both near zero."""
    spacing, shape = body.space.spacing_mm, body.labels.shape
    first = smooth_field(shape, spacing, 55.0, rng)
    second = smooth_field(shape, spacing, 55.0, rng)
    distance = np.hypot(first, second)
    contrast = np.zeros(shape, np.float32)
    for label, entry in region.items():
        if entry.name in VESSEL_RADIUS:
            radius, value = VESSEL_RADIUS[entry.name]
            contrast[(body.labels == label) & (distance < radius)] = value
    return contrast


def _septa(body: Body, rng: np.random.Generator) -> np.ndarray:
    """Return the contrast of fat planes within muscle and of strands within fat, HU."""
    field = smooth_field(body.labels.shape, body.space.spacing_mm, 30.0, rng)
    sheet = np.abs(field) < 0.07
    muscle = body.is_in((slice(None),) * 3, "Muscle") & sheet
    fat = body.is_in((slice(None),) * 3, "Subcutaneous_fat") & sheet
    return (-70.0 * muscle + 35.0 * fat).astype(np.float32)
