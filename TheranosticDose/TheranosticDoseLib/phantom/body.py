"""The anatomy under construction: grid, body outline, diaphragm and the region of each voxel."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field

import numpy as np

from TheranosticDoseLib.phantom.shapes import Space, level_of_volume, smooth_field

SHOULDER_MM = 215.0
"""Height of the shoulders above the dome of the diaphragm; neck and head follow above."""


@dataclass(frozen=True)
class Region:
    """A region of the virtual patient.

    Attributes
    ----------
    label : int
    name : str
    hu, density_g_cm3 : float
        Mean Hounsfield units and mass density.
    texture_hu : float
        Standard deviation of the structure within it, HU.
    """

    label: int
    name: str
    hu: float
    density_g_cm3: float
    texture_hu: float


@functools.lru_cache(maxsize=1)
def regions() -> dict[str, Region]:
    """Return the regions of ``Resources/Kinetics/virtual_patient_regions.json`` by name."""
    from DoseSegmentationLib.resources import resource_path

    path = resource_path("Kinetics", "virtual_patient_regions.json")
    table = json.loads(path.read_text(encoding="utf-8"))
    return {entry["name"]: Region(**entry) for entry in table["regions"]}


@dataclass
class Body:
    """What the builders share.

    Attributes
    ----------
    space : Space
        Grid and coordinates.
    labels : numpy.ndarray
        uint8 ``(z, y, x)``.
    names : dict
        Label to region name; lesions are added to it.
    rng : numpy.random.Generator
    half_width_mm, half_depth_mm : float
        Of the body at the diaphragm.
    depth_mm : numpy.ndarray
        Approximate depth below the skin, mm.
    cavity : numpy.ndarray
        Inside of the muscle wall.
    above_diaphragm : numpy.ndarray
    """

    space: Space
    labels: np.ndarray
    rng: np.random.Generator
    half_width_mm: float
    half_depth_mm: float
    fat_mm: float
    wall_mm: float
    depth_mm: np.ndarray
    cavity: np.ndarray
    above_diaphragm: np.ndarray
    names: dict[int, str] = field(default_factory=dict)

    def label(self, name: str) -> int:
        """Return the label of a region and remember its name."""
        value = regions()[name].label
        self.names[value] = name
        return value

    def is_in(self, box, *names: str) -> np.ndarray:
        """Whether the voxels of a box belong to one of these regions."""
        return np.isin(self.labels[box], [regions()[name].label for name in names])

    def fill(self, box, inside: np.ndarray, name: str) -> None:
        """Give the voxels of a box that are ``inside`` to a region."""
        self.labels[box][inside] = self.label(name)

    def grow(self, shape, allowed: np.ndarray, volume_ml: float, name: str) -> float:
        """Give a region the ``volume_ml`` of allowed voxels with the lowest level.

        An organ that the grid cuts takes the level 1 instead: its whole volume is not in view.
        Returns the level at its surface.
        """
        box, level, cut = shape
        voxels = round(volume_ml / self.space.voxel_ml)
        surface = 1.0 if cut else level_of_volume(level, allowed, voxels)
        self.fill(box, allowed & (level <= surface), name)
        return surface


def start_body(shape: tuple[int, int, int], spacing_mm: float, origin_mm, rng: np.random.Generator) -> Body:
    """Return a body of fat, muscle and cavity on a grid of ``shape`` ``(z, y, x)``."""
    space = _space(shape, spacing_mm, origin_mm, rng)
    half_width = float(np.clip(rng.normal(172.0, 9.0), 152.0, 192.0))
    half_depth = float(half_width * rng.uniform(0.62, 0.70))
    fat = float(rng.uniform(12.0, 24.0))
    wall = float(rng.uniform(11.0, 15.0))
    depth = _depth(space, half_width, half_depth)
    cavity = (depth > fat + wall) & (space.z < SHOULDER_MM + 12.0)
    labels = np.zeros(shape, np.uint8)
    above = space.z > _diaphragm(space, half_width - fat - wall, half_depth - fat - wall)
    body = Body(space, labels, rng, half_width, half_depth, fat, wall, depth, cavity, above)
    everywhere = (slice(None),) * 3
    uneven = 3.0 * smooth_field(shape, spacing_mm, 70.0, rng)
    uneven -= (fat - 6.0) / (1.0 + np.exp(-(space.z - 250.0) / 12.0))
    body.fill(everywhere, depth > 0, "Subcutaneous_fat")
    body.fill(everywhere, depth > fat + uneven, "Muscle")
    body.fill(everywhere, cavity, "Visceral_fat")
    return body


def _space(shape, spacing_mm, origin_mm, rng) -> Space:
    """Return the grid with its coordinates warped at two scales."""
    axes = [origin_mm[i] + spacing_mm * np.arange(shape[2 - i], dtype=np.float32) for i in range(3)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij", copy=True)
    for coordinate in (x, y, z):
        coordinate += 3.5 * smooth_field(shape, spacing_mm, 110.0, rng)
        coordinate += 1.3 * smooth_field(shape, spacing_mm, 38.0, rng)
    return Space(tuple(origin_mm), spacing_mm, x, y, z, 14.0)


def _depth(space: Space, half_width: float, half_depth: float) -> np.ndarray:
    """Return the depth below the skin, mm (negative outside): a superellipse that narrows at the waist."""
    profile = 1.0 - 0.06 * np.exp(-(((space.z + 190.0) / 70.0) ** 2))
    profile += 0.05 * np.exp(-(((space.z + 400.0) / 90.0) ** 2))
    back = np.where(space.y > 0, np.float32(0.92), np.float32(1.05))
    width, depth = half_width * profile, half_depth * back
    y = space.y
    if float(space.z.max()) > SHOULDER_MM:
        width, depth, y = _neck_and_head(space, width, depth)
    level = (np.abs(space.x / width) ** 2.4 + np.abs(y / depth) ** 2.4) ** np.float32(1 / 2.4)
    radius = np.sqrt(space.x**2 + y**2) / np.maximum(level, 1e-3)
    # The back is flattened by the table it lies on.
    return np.minimum((1.0 - level) * radius, half_depth * 0.9 - space.y).astype(np.float32)


def _neck_and_head(space: Space, width: np.ndarray, depth: np.ndarray):
    """Return half width, half depth and the centred y coordinate, narrowed above the shoulders."""
    z = space.z
    to_neck = 1.0 / (1.0 + np.exp(-(z - 247.0) / 8.0))
    to_head = 1.0 / (1.0 + np.exp(-(z - 318.0) / 9.0))
    crown = np.sqrt(np.clip(1.0 - (np.clip(z - 400.0, 0.0, None) / 112.0) ** 2, 1e-4, 1.0))
    head_width, head_depth = 76.0 * crown, 97.0 * crown
    width = width + to_neck * (60.0 - width) + to_head * (head_width - 60.0)
    depth = depth + to_neck * (62.0 - depth) + to_head * (head_depth - 62.0)
    return width, depth, space.y - 12.0 * to_neck


def _diaphragm(space: Space, half_width: float, half_depth: float) -> np.ndarray:
    """Return the height of the diaphragm at each voxel, mm: two domes with a deep posterior recess."""
    right = -(((space.x + 0.48 * half_width) ** 2 + (space.y + 8.0) ** 2) / 150.0)
    left = -14.0 - (((space.x - 0.52 * half_width) ** 2 + (space.y + 8.0) ** 2) / 150.0)
    saddle = -14.0 - np.abs(space.x) * 0.02
    center = np.where(np.abs(space.x) < 0.5 * half_width, saddle - 0.4 * np.abs(space.y), -1e3)
    return np.maximum(np.maximum(right, left), np.minimum(center, -14.0)).clip(-95.0, 0.0)
