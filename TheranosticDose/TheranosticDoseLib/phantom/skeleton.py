"""Ribs, spine and pelvis: cortical shells around marrow."""

from __future__ import annotations

import numpy as np

from TheranosticDoseLib.phantom.body import SHOULDER_MM, Body

VERTEBRA_PERIOD_MM = 34.0
VERTEBRA_HEIGHT_MM = 27.0
NECK_TOP_MM = 335.0


def add_skeleton(body: Body) -> None:
    """Add the skeleton; to be called before the organs, which grow around it."""
    _ribs(body)
    _pelvis(body)
    _spine(body)


def spine_center_y(body: Body, z: np.ndarray | float) -> np.ndarray | float:
    """Return the posterior coordinate of the vertebral bodies at the height ``z``, mm (lumbar lordosis)."""
    base = 0.92 * body.half_depth_mm - body.fat_mm - 47.0
    return base - 12.0 * np.exp(-(((z + 250.0) / 80.0) ** 2))


def _ribs(body: Body) -> None:
    """Rings in the chest wall that slope down to the front and end at the costal arch."""
    space = body.space
    front = -space.y / body.half_depth_mm
    arch = -140.0 + 120.0 * np.clip(front, 0.0, 1.0)
    height = space.z + 62.0 * front
    phase = np.abs(np.mod(height, 27.0) - 13.5)
    within = np.abs(body.depth_mm - body.fat_mm - 6.0) < 4.5
    radial = ((body.depth_mm - body.fat_mm - 6.0) / 4.5) ** 2 + (phase / 6.0) ** 2
    ribs = within & (radial < 1.0) & (space.z > arch) & (space.z < SHOULDER_MM) & (np.abs(space.x) > 18.0)
    everywhere = (slice(None),) * 3
    body.fill(everywhere, ribs, "Rib_cortical")
    body.fill(everywhere, ribs & (radial < 0.30), "Rib_marrow")


def _spine(body: Body) -> None:
    """Vertebral bodies and discs, spinal canal, posterior elements."""
    space = body.space
    box, _ = space.box((0.0, spine_center_y(body, -150.0), float(space.z.mean())), 75.0)
    top = int(np.searchsorted(space.z.mean(axis=(1, 2)), NECK_TOP_MM))
    box = (slice(0, top), box[1], box[2])
    x, y, z = space.x[box], space.y[box], space.z[box]
    center = spine_center_y(body, z).astype(np.float32)
    level = np.sqrt((x / 23.0) ** 2 + ((y - center) / 17.5) ** 2)
    phase = np.abs(np.mod(z, VERTEBRA_PERIOD_MM) - VERTEBRA_PERIOD_MM / 2)
    vertebra = phase < VERTEBRA_HEIGHT_MM / 2
    spinous = (np.abs(x) < 4.0) & (y > center + 34.0) & (y < center + 58.0) & (phase < 10.0)
    lamina = np.abs(np.hypot(x / 1.15, y - center - 26.0) - 13.0) < 3.6
    transverse = (np.abs(y - center - 22.0 - 0.1 * np.abs(x)) < 4.0) & (np.abs(x) < 42.0) & (phase < 5.0)
    body.fill(box, (lamina & (phase < 11.0)) | spinous | (transverse & (np.abs(x) > 10.0)), "Spine_cortical")
    body.fill(box, level < 1.0, "Disc")
    body.fill(box, vertebra & (level < 1.0), "Spine_cortical")
    body.fill(box, (phase < VERTEBRA_HEIGHT_MM / 2 - 2.0) & (level < 0.90), "Spine_marrow")
    canal = np.hypot(x / 1.1, y - center - 26.0) < 9.5
    body.fill(box, canal, "Spinal_canal")


def _pelvis(body: Body) -> None:
    """Iliac wings as parts of a bowl, the sacrum between them, hip bones below."""
    space = body.space
    wings = space.z < -285.0 - 0.25 * np.clip(-space.y, 0.0, None)
    x, y, z = np.abs(space.x), space.y, space.z
    bowl = np.sqrt((x / 122.0) ** 2 + ((y - 25.0) / 92.0) ** 2 + ((z + 345.0) / 125.0) ** 2)
    thick = 0.075 + 0.03 * np.clip((-z - 330.0) / 60.0, 0.0, 1.0)
    wall = wings & (np.abs(bowl - 0.86) < thick) & (x > 34.0) & (y > -55.0) & body.cavity
    inner = wall & (np.abs(bowl - 0.86) < thick - 0.028)
    everywhere = (slice(None),) * 3
    body.fill(everywhere, wall, "Pelvis_cortical")
    body.fill(everywhere, inner, "Pelvis_marrow")
    center = spine_center_y(body, -250.0) + 18.0
    sacrum = np.sqrt(
        (x / 46.0) ** 2 + ((y - center + 0.25 * (z + 330)) / 20.0) ** 2 + ((z + 350.0) / 55.0) ** 2
    )
    body.fill(everywhere, sacrum < 1.0, "Pelvis_cortical")
    body.fill(everywhere, sacrum < 0.87, "Pelvis_marrow")
