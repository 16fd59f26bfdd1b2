"""Soft organs of the trunk, placed from the large to the small; each takes only what is still free."""

from __future__ import annotations

import numpy as np

from TheranosticDoseLib.phantom.body import Body
from TheranosticDoseLib.phantom.shapes import smooth_field
from TheranosticDoseLib.phantom.skeleton import spine_center_y

EVERYWHERE = (slice(None),) * 3


def drawn_volume_ml(body: Body, mean: float, sd: float, low: float, high: float) -> float:
    """Return a normally distributed organ volume within its reference range, mL."""
    return float(np.clip(body.rng.normal(mean, sd), low, high))


def add_organs(body: Body) -> None:
    """Add all soft organs to a body with skeleton.

    Mean volumes after the reference adults of ICRP Publications 89 and 110 (masses over densities).
    """
    _chest(body)
    _vessels(body)
    _kidneys(body)
    _liver(body)
    _spleen(body)
    _stomach_and_pancreas(body)
    _psoas(body)
    _bladder(body)
    _bowel(body)


def free(body: Body, box, above: bool = False) -> np.ndarray:
    """Whether the voxels of a box are cavity that no organ has taken, below (or above) the diaphragm."""
    side = body.above_diaphragm[box] if above else ~body.above_diaphragm[box]
    return body.is_in(box, "Visceral_fat") & body.cavity[box] & side


def _chest(body: Body) -> None:
    space = body.space
    box, level, _ = space.ellipsoid((22.0, -38.0, 38.0), (58.0, 46.0, 48.0), (0, 25, -20))
    body.fill(box, free(body, box, above=True) & (level < 1.0), "Heart")
    apex = 218.0 - ((np.abs(space.x) - 62.0) ** 2 + space.y**2) / 55.0
    column = np.hypot(space.x / 1.3, space.y - spine_center_y(body, 0.0) + 14.0) < 26.0
    front = (np.abs(space.x) < 14.0) & (space.y < -20.0)
    lung = free(body, EVERYWHERE, above=True) & ~column & ~front & (space.z < apex)
    body.fill(EVERYWHERE, lung & (space.x < 0), "Lung_R")
    body.fill(EVERYWHERE, lung & (space.x >= 0), "Lung_L")


def _vessels(body: Body) -> None:
    """Aorta and vena cava in front of the spine down to their bifurcation, then the iliac vessels."""
    space = body.space
    center = spine_center_y(body, space.z) - 29.0
    split = np.clip(-265.0 - space.z, 0.0, None)
    vessels = np.zeros(space.shape, bool)
    for x0, radius, direction in ((9.0, 10.5, 1.0), (-19.0, 11.5, -1.0)):
        x = x0 + direction * 0.42 * split
        r = np.where(split > 0, radius * 0.62, radius)
        vessels |= np.hypot(space.x - x, space.y - center + 0.05 * split) < r
    body.fill(EVERYWHERE, vessels & body.is_in(EVERYWHERE, "Visceral_fat"), "Blood")


def _kidneys(body: Body) -> None:
    rng, y0 = body.rng, spine_center_y(body, -150.0)
    total = drawn_volume_ml(body, 300.0, 42.0, 210.0, 400.0)
    share = float(rng.uniform(0.47, 0.53))
    for side, x, z, volume in (("L", 66.0, -140.0, total * share), ("R", -68.0, -155.0, total * (1 - share))):
        sign = 1.0 if side == "L" else -1.0
        center = (x + rng.uniform(-4, 4), y0 - 4 + rng.uniform(-4, 4), z + rng.uniform(-10, 10))
        tilt = (rng.uniform(8, 16), -sign * rng.uniform(8, 14), sign * rng.uniform(20, 35))
        scale = (volume / 150.0) ** (1 / 3)
        shape = body.space.ellipsoid(center, (28.0 * scale, 24.0 * scale, 54.0 * scale), tilt)
        medial = (center[0] - sign * 19.0 * scale, center[1] - 6.0, center[2])
        sinus = body.space.ellipsoid(medial, (17.0 * scale, 11.0 * scale, 21.0 * scale), tilt, widen=3.5)
        _kidney(body, side, shape, sinus, volume)


def _kidney(body: Body, side: str, shape, sinus, volume_ml: float) -> None:
    """Parenchyma of the drawn volume around the sinus; pyramids of medulla inside a cortex."""
    box, level, _ = shape
    sinus_level = np.full(body.labels.shape, 9.0, np.float32)
    sinus_level[sinus[0]] = sinus[1]
    sinus_level = sinus_level[box]
    allowed = free(body, box) & (sinus_level > 1.0)
    surface = body.grow(shape, allowed, volume_ml, f"Kidney_{side}_cortex")
    kidney = body.is_in(box, f"Kidney_{side}_cortex")
    pyramids = smooth_field(level.shape, body.space.spacing_mm, 22.0, body.rng) > -0.25
    medulla = kidney & (level < 0.72 * surface) & pyramids
    body.fill(box, medulla, f"Kidney_{side}_medulla")
    body.fill(box, free(body, box) & (sinus_level <= 1.0) & (level < surface), "Renal_sinus")


def _liver(body: Body) -> None:
    rng = body.rng
    inner = body.half_width_mm - body.fat_mm - body.wall_mm
    volume = drawn_volume_ml(body, 1650.0, 230.0, 1200.0, 2300.0)
    right = body.space.ellipsoid((-0.46 * inner, 2.0, -72.0), (82.0, 84.0, 92.0), (0, 12, 0), 2.4, 1.7)
    left = body.space.ellipsoid((6.0, -44.0, -46.0), (78.0, 34.0, 40.0), (0, -14, 8), 2.2, 1.9)
    level = np.full(body.labels.shape, 9.0, np.float32)
    level[right[0]] = right[1]
    level[left[0]] = np.minimum(level[left[0]], left[1] * 1.05)
    # The porta and the bed of the gallbladder keep a notch in the lower face.
    notch = body.space.ellipsoid((-32.0, -22.0, -118.0), (26.0, 40.0, 42.0), (0, 20, 0), 2.0, 1.5)
    level[notch[0]] += 0.8 * np.clip(1.2 - notch[1], 0.0, 1.0)
    body.grow((EVERYWHERE, level, False), free(body, EVERYWHERE), volume, "Liver")
    gallbladder = body.space.ellipsoid((-40.0, -46.0, -122.0), (15.0, 15.0, 30.0), (25, 15, 0))
    allowed = free(body, gallbladder[0])
    body.grow(gallbladder, allowed, float(rng.uniform(20, 50)), "Gallbladder")


def _spleen(body: Body) -> None:
    inner = body.half_width_mm - body.fat_mm - body.wall_mm
    volume = drawn_volume_ml(body, 180.0, 60.0, 90.0, 330.0)
    scale = (volume / 180.0) ** (1 / 3)
    shape = body.space.ellipsoid(
        (inner - 30.0, 36.0, -62.0), (24.0 * scale, 42.0 * scale, 50.0 * scale), (-22, -12, 20)
    )
    body.grow(shape, free(body, shape[0]), volume, "Spleen")


def _stomach_and_pancreas(body: Body) -> None:
    rng = body.rng
    volume = drawn_volume_ml(body, 330.0, 80.0, 200.0, 500.0)
    shape = body.space.ellipsoid((54.0, -24.0, -66.0), (40.0, 34.0, 52.0), (14, 24, -15), 2.2, 1.7)
    box, level, _ = shape
    surface = body.grow(shape, free(body, box), volume, "Stomach_wall")
    inside = body.is_in(box, "Stomach_wall") & (level < 0.86 * surface)
    body.fill(box, inside, "Stomach_content")
    bubble = inside & (body.space.y[box] < -24.0 - rng.uniform(6, 20))
    body.fill(box, bubble, "Gas")
    pancreas = body.space.ellipsoid((14.0, -10.0, -128.0), (62.0, 13.0, 17.0), (0, -18, 10))
    body.grow(pancreas, free(body, pancreas[0]), drawn_volume_ml(body, 110, 20, 70, 160), "Pancreas")


def _psoas(body: Body) -> None:
    """Psoas beside the lumbar spine and the long muscles of the back behind it."""
    space = body.space
    down = np.clip((-space.z - 130.0) / 170.0, 0.0, 1.0)
    center = spine_center_y(body, space.z)
    x0, r = 32.0 + 16.0 * down, 6.0 + 19.0 * down
    psoas = (np.hypot(np.abs(space.x) - x0, (space.y - center) / 1.1) < r) & (down > 0)
    back = np.hypot((np.abs(space.x) - 33.0) / 1.35, space.y - center - 38.0) < 23.0
    soft = body.is_in(EVERYWHERE, "Visceral_fat") & body.cavity
    body.fill(EVERYWHERE, soft & (psoas | back), "Muscle")


def _bladder(body: Body) -> None:
    volume = drawn_volume_ml(body, 150.0, 40.0, 80.0, 260.0)
    scale = (volume / 150.0) ** (1 / 3)
    shape = body.space.ellipsoid((0.0, -18.0, -385.0), (40.0 * scale, 32.0 * scale, 29.0 * scale))
    body.grow(shape, free(body, shape[0]), volume, "Bladder")


def _bowel(body: Body) -> None:
    """Ascending and descending colon as tubes, small bowel as the loops of a random field."""
    space, rng = body.space, body.rng
    inner = body.half_width_mm - body.fat_mm - body.wall_mm
    available = free(body, EVERYWHERE)
    around = (np.abs(space.x) - (inner - 27.0)) / 1.0
    haustra = 20.0 + 3.0 * np.sin(space.z * 2 * np.pi / 30.0)
    colon = np.hypot(around, space.y - 6.0) / haustra
    colon[(space.z > -135.0) | (space.z < -330.0)] = 9.0
    transverse = np.hypot(space.y + 52.0, space.z + 150.0 + 20.0 * np.cos(space.x / 60.0)) / haustra
    transverse[np.abs(space.x) > inner - 35.0] = 9.0
    colon = np.minimum(colon, transverse)
    loops = np.abs(smooth_field(space.shape, space.spacing_mm, 46.0, rng)) / 0.44
    behind = space.y > spine_center_y(body, space.z) - 42.0
    loops[(space.z > -125.0) | behind] = 9.0
    gas = smooth_field(space.shape, space.spacing_mm, 60.0, rng) - 0.010 * space.y
    for tube, threshold in ((loops, 2.3), (colon, 0.9)):
        body.fill(EVERYWHERE, available & (tube < 1.0), "Bowel_wall")
        body.fill(EVERYWHERE, available & (tube < 0.80), "Bowel_content")
        body.fill(EVERYWHERE, available & (tube < 0.75) & (gas > threshold), "Gas")
