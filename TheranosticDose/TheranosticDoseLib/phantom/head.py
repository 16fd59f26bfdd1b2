"""Skull, brain, airways and salivary glands, where the field of view reaches them."""

from __future__ import annotations

import numpy as np

from TheranosticDoseLib.phantom.body import SHOULDER_MM, Body

EVERYWHERE = (slice(None),) * 3


def add_head(body: Body) -> None:
    """Add what lies above the shoulders; nothing where the grid ends below them.

    Volumes of the salivary glands after ICRP Publication 89: parotids 25 g, submandibular glands
    12.5 g each.
    """
    space = body.space
    if float(space.z.max()) < SHOULDER_MM + 40.0:
        return
    y = space.y - 12.0
    airway = np.hypot(space.x / 1.2, y + 20.0) < 8.5
    body.fill(EVERYWHERE, airway & (space.z > 60.0) & (space.z < 350.0) & _soft(body), "Gas")
    skull = (space.z > 345.0 - 0.25 * y) & (body.depth_mm > 5.0)
    body.fill(EVERYWHERE, skull, "Skull")
    brain = skull & (body.depth_mm > 12.0) & (space.z > 362.0 - 0.20 * y)
    body.fill(EVERYWHERE, brain, "Brain")
    jaw = np.abs(np.hypot(space.x / 0.80, np.minimum(y + 22.0, 0.0)) - 55.0) < 6.0
    body.fill(EVERYWHERE, jaw & (y < -2.0) & (np.abs(space.z - 322.0) < 12.0) & _soft(body), "Skull")
    for side, sign in (("L", 1.0), ("R", -1.0)):
        scale = float(np.clip(body.rng.normal(1.0, 0.18), 0.6, 1.5))
        shape = space.ellipsoid((sign * 56.0, 12.0, 330.0), (11.0, 19.0, 27.0), (0, 0, sign * 12))
        body.grow(shape, _soft(body)[shape[0]], 24.0 * scale, f"Parotid_{side}")
        shape = space.ellipsoid((sign * 27.0, -14.0, 303.0), (9.0, 16.0, 13.0))
        body.grow(shape, _soft(body)[shape[0]], 12.0 * scale, f"Submandibular_{side}")


def _soft(body: Body) -> np.ndarray:
    return body.is_in(EVERYWHERE, "Muscle", "Subcutaneous_fat", "Visceral_fat") & (body.depth_mm > 2.5)
