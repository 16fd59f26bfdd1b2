"""Lesions in liver, lymph nodes and bone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from TheranosticDoseLib.phantom.body import Body, regions
from TheranosticDoseLib.phantom.settings import PhantomSettings
from TheranosticDoseLib.phantom.shapes import level_of_volume

FIRST_LESION_LABEL = 64


@dataclass(frozen=True)
class Site:
    """Where a kind of lesion grows.

    Attributes
    ----------
    kind : str
    hosts : tuple of str
        Regions that it may take.
    seeds : tuple of str
        Regions in which its centre lies.
    largest_ml : float
    """

    kind: str
    hosts: tuple[str, ...]
    seeds: tuple[str, ...]
    largest_ml: float


SITES = (
    Site("Liver", ("Liver",), ("Liver",), 300.0),
    Site(
        "Node",
        ("Visceral_fat", "Bowel_wall", "Bowel_content", "Muscle", "Pancreas"),
        ("Visceral_fat",),
        30.0,
    ),
    Site("Bone", ("Spine_marrow", "Spine_cortical", "Pelvis_marrow", "Pelvis_cortical"), (), 25.0),
)


def add_lesions(body: Body, settings: PhantomSettings, field_mm: tuple[float, float]) -> dict[str, str]:
    """Add lesions whose centres lie within ``field_mm`` (lowest and highest z); return name to kind."""
    ranges = (settings.liver_lesions, settings.node_lesions, settings.bone_lesions)
    kinds: dict[str, str] = {}
    for site, (fewest, most) in zip(SITES, ranges, strict=True):
        count = int(body.rng.integers(fewest, most + 1))
        low, high = settings.lesion_volume_ml
        volumes = np.exp(body.rng.uniform(np.log(low), np.log(max(min(high, site.largest_ml), low)), count))
        for volume in sorted(volumes, reverse=True):
            name = f"Lesion_{site.kind}_{sum(k == site.kind for k in kinds.values()) + 1}"
            label = FIRST_LESION_LABEL + len(kinds)
            if _grow(body, site, float(volume), label, field_mm):
                body.names[label] = name
                kinds[name] = site.kind
    return kinds


def _grow(body: Body, site: Site, volume_ml: float, label: int, field_mm) -> bool:
    """Give one lesion its voxels; False where no place was left for it."""
    space = body.space
    radius = (volume_ml * 1000.0 * 3 / (4 * np.pi)) ** (1 / 3)
    center = _center(body, site, radius, field_mm)
    if center is None:
        return False
    ratios = body.rng.uniform(0.8, 1.25, 3)
    ratios /= np.prod(ratios) ** (1 / 3)
    position = [space.x[center], space.y[center], space.z[center]]
    tilt = body.rng.uniform(-40, 40, 3)
    box, level, _ = space.ellipsoid(position, radius * ratios, tilt, 2.0, 2.5)
    hosts = body.is_in(box, *site.hosts)
    voxels = round(volume_ml / space.voxel_ml)
    surface = min(level_of_volume(level, hosts, voxels), 1.9)
    inside = _connected(hosts & (level <= surface))
    if inside.sum() < max(1, 0.5 * voxels):
        return False
    body.labels[box][inside] = label
    return True


def _connected(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected piece of a mask."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    return mask if count < 2 else pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])


def _distance_mm(mask: np.ndarray, around: np.ndarray, spacing_mm: float, reach_mm: float) -> np.ndarray:
    """Return the distance to the nearest voxel outside a mask, infinite further than the reach from a region."""
    from DoseSegmentationLib.arrays import bounding_box
    from scipy import ndimage

    distance = np.full(mask.shape, np.inf)
    if around.any():
        box = bounding_box(around, margin=int(np.ceil(reach_mm / spacing_mm)) + 1)
        distance[box] = ndimage.distance_transform_edt(mask[box]) * spacing_mm
    return distance


def _center(body: Body, site: Site, radius_mm: float, field_mm):
    """Return the index of a random centre that is far enough from the edge of its host."""
    space = body.space
    in_field = (space.z > field_mm[0] + radius_mm + 10) & (space.z < field_mm[1] - radius_mm - 10)
    if site.kind == "Bone":
        candidates = body.is_in((slice(None),) * 3, "Spine_marrow", "Pelvis_marrow") & in_field
    else:
        host = body.is_in((slice(None),) * 3, *site.seeds) & in_field
        if site.kind == "Node":
            # Para-aortic and mesenteric nodes lie near the great vessels.
            blood = body.labels == regions()["Blood"].label
            near = _distance_mm(~blood, blood, space.spacing_mm, 45.0)
            host &= (near < 45.0) & (space.z < -95.0)
            candidates = host
        else:
            depth = np.where(host, _distance_mm(host, host, space.spacing_mm, 0.0), 0.0)
            candidates = depth > min(0.9 * radius_mm, 0.6 * float(depth.max()))
    flat = np.flatnonzero(candidates)
    if flat.size == 0:
        return None
    return np.unravel_index(int(flat[body.rng.integers(flat.size)]), space.shape)
