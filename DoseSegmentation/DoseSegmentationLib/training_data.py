"""What a network is trained on: samples from files, cut, deformed, and with random contrast.

A folder of samples holds ``samples.json`` (the structures of each task) and ``.npz`` files with arrays
``(z, y, x)``: ``ct`` (HU), ``spect`` (optional), ``regions`` (any labels, for random contrast; optional) on a
grid of ``spacing_mm`` ``(x, y, z)``, and one label array per task on the same grid or one that is finer by a
whole factor.  A network learns the share of each structure in a voxel, so that its outline is finer than
its voxels.
"""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.networks import TISSUE_HU, NetworkDescription, normalized_channels

LABEL_FACTOR = 2
"""How much smaller than those of the CT the voxels of the labels are that the commands of this program write."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One patient in memory; arrays ``(z, y, x)``."""

    ct: np.ndarray
    spect: np.ndarray | None
    regions: np.ndarray | None
    target: np.ndarray
    """Labels, on the grid of the CT or finer by ``factor``."""
    factor: int
    spect_mean: float
    places: tuple[np.ndarray, ...]
    """Flat indices into ``target`` of a few voxels of each class that is there."""


class Samples:
    """The samples of a folder, read when they are needed; the last ones stay in memory."""

    def __init__(self, folder: str | Path, task: str, keep: int = 512) -> None:
        self.folder, self.task, self._keep = Path(folder), task, keep
        try:
            about = json.loads((self.folder / "samples.json").read_text(encoding="utf-8"))
            self.labels: dict[str, str] = about["tasks"][task]
        except (OSError, ValueError, KeyError) as error:
            raise SegmentationError(
                f"{folder}: samples.json is missing or knows no task {task!r}."
            ) from error
        self.source = " ".join(about.get(key, "") for key in ("source", "labelled_cts")).strip()
        self.paths = sorted(self.folder.glob("*.npz"))
        if not self.paths:
            raise SegmentationError(f"{folder}: the folder holds no .npz samples.")
        with np.load(self.paths[0], allow_pickle=False) as first:
            self.spacing_mm = tuple(round(float(s), 4) for s in first["spacing_mm"])
        self._memory: OrderedDict[int, Sample] = OrderedDict()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """Return a sample."""
        if index not in self._memory:
            self._memory[index] = self._read(self.paths[index])
            if len(self._memory) > self._keep:
                self._memory.popitem(last=False)
        return self._memory[index]

    def _read(self, path: Path) -> Sample:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                target = arrays[self.task]
                ct = arrays["ct"].astype(np.float32)
                with_spect = self.task == "lesions" and "spect" in arrays
                spect = arrays["spect"].astype(np.float32) if with_spect else None
                regions = arrays.get("regions")
        except (OSError, ValueError, KeyError) as error:
            raise SegmentationError(f"{path}: the sample cannot be read ({error}).") from error
        factor = target.shape[0] // ct.shape[0]
        if target.shape != tuple(n * factor for n in ct.shape):
            raise SegmentationError(
                f"{path}: the labels have {target.shape} voxels and the CT {ct.shape}; "
                "expected the same or a whole multiple."
            )
        body = ct > TISSUE_HU
        mean = 0.0 if spect is None or not body.any() else float(spect[body].mean())
        flat = target.ravel()
        places = tuple(_some(np.flatnonzero(flat == label)) for label in np.unique(flat))
        return Sample(ct, spect, regions, target, factor, mean, places)


def _some(indices: np.ndarray, most: int = 4000) -> np.ndarray:
    """Return at most so many of the indices, evenly: a patch's center needs no more."""
    return indices[:: -(-len(indices) // most)].astype(np.int32)


def batch(
    samples: Samples,
    description: NetworkDescription,
    rng: np.random.Generator,
    size: int,
    *,
    deform: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch.

    Returns
    -------
    tuple of ndarray
        Input float32 ``(size, channel, z, y, x)`` and the share of each class in each voxel, float32
        ``(size, class, z, y, x)``.
    """
    pairs = [_patch(samples[int(rng.integers(len(samples)))], description, rng, deform) for _ in range(size)]
    return np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])


def shares_of(sample: Sample, points: np.ndarray, classes: int) -> np.ndarray:
    """Return the share of each class in the voxels around some points.

    Parameters
    ----------
    sample : Sample
    points : ndarray, shape (3, z, y, x)
        Centers, in voxels of the sample.
    classes : int

    Returns
    -------
    ndarray of float32, shape (class, z, y, x)
        Of eight points in each voxel, a quarter of it from its center; outside the sample is class 0.
    """
    shares = np.zeros((classes, points[0].size), np.float32)
    each = np.arange(points[0].size)
    for corner in np.ndindex(2, 2, 2):
        shift = (0.5 * np.array(corner, points.dtype) - 0.25).reshape(3, 1, 1, 1)
        labels = _nearest(sample.target, (points + shift + 0.5) * sample.factor - 0.5).ravel()
        shares[labels, each] += np.float32(0.125)
    return shares.reshape(classes, *points.shape[1:])


def _nearest(array: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the values of the nearest voxels, 0 outside of the array."""
    places = np.rint(points).astype(np.intp)
    inside = np.ones(places.shape[1:], bool)
    for axis, length in enumerate(array.shape):
        inside &= (places[axis] >= 0) & (places[axis] < length)
    return np.where(inside, array[tuple(np.where(inside, places, 0))], array.dtype.type(0))


def most_of(sample: Sample, classes: int) -> np.ndarray:
    """Return the class with the largest share of each voxel of a sample, uint8 ``(z, y, x)``."""
    points = np.indices(sample.ct.shape).astype(np.float32)
    return shares_of(sample, points, classes).argmax(0).astype(np.uint8)


def _patch(
    sample: Sample, description: NetworkDescription, rng, deform: bool
) -> tuple[np.ndarray, np.ndarray]:
    from scipy import ndimage

    points = _points(sample, description.patch, rng, deform)

    def at(array: np.ndarray, outside: float) -> np.ndarray:
        return ndimage.map_coordinates(array, points, order=1, mode="constant", cval=outside, prefilter=False)

    shares = shares_of(sample, points, description.classes)
    regions = None if sample.regions is None else _nearest(sample.regions, points)
    ct = _ct_contrast(at(sample.ct, -1000.0), regions, rng)
    if "spect" not in description.channels and rng.random() < 0.4:
        _cut(ct, shares, points[0] * description.spacing_mm[2], rng)
    spect, mean, without_ct = None, sample.spect_mean, description.ct_optional and rng.random() < 0.15
    if without_ct:
        ct = np.full_like(ct, -1000.0)
    if sample.spect is not None and "spect" in description.channels:
        spect = _spect_contrast(at(sample.spect, 0.0), regions, rng)
        # Where the body ends is known less well on a SPECT than on a CT, and its mean with it.
        mean *= float(np.exp(rng.normal(0.0, 0.3 if without_ct else 0.1)))
    channels = normalized_channels(description.channels, ct, spect, spect_mean=mean)
    if description.mirrored and rng.random() < 0.5:
        channels, shares = channels[..., ::-1].copy(), shares[description.swapped()][..., ::-1].copy()
    return channels, shares


def _points(sample: Sample, patch: Sequence[int], rng, deform: bool) -> np.ndarray:
    """Return where each voxel of the patch is taken from, ``(3, z, y, x)`` in voxels of the sample."""
    from scipy import ndimage

    shape = sample.ct.shape
    if rng.random() < 0.7:
        # Each class is met as often as any other, however small it is.
        voxels = sample.places[int(rng.integers(len(sample.places)))]
        centre = np.array(np.unravel_index(int(rng.choice(voxels)), sample.target.shape), float)
        centre = (centre + 0.5) / sample.factor - 0.5
        centre += rng.uniform(-0.25, 0.25, 3) * patch
    else:
        centre = rng.uniform(0, 1, 3) * shape
    half = np.array(patch) / 2.0
    low, high = (
        np.minimum(half, np.array(shape) / 2.0),
        np.maximum(np.array(shape) - half, np.array(shape) / 2.0),
    )
    centre = np.clip(centre, low, high)
    offsets = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2.0 for n in patch], indexing="ij"))
    if not deform:
        return (offsets + centre.reshape(3, 1, 1, 1)).astype(np.float32)
    matrix = _rotation(rng.normal(0.0, np.deg2rad([6.0, 4.0, 4.0]))) @ np.diag(rng.uniform(0.85, 1.18, 3))
    points = np.tensordot(matrix, offsets, 1) + centre.reshape(3, 1, 1, 1)
    bend = rng.normal(0.0, 1.0, (3, 5, 5, 5)) * rng.uniform(0.0, 1.5)
    zoom = [n / 5.0 for n in patch]
    points += np.stack([ndimage.zoom(field, zoom, order=1, grid_mode=False) for field in bend])
    return points.astype(np.float32)


def _cut(ct: np.ndarray, shares: np.ndarray, height_mm: np.ndarray, rng) -> None:
    """Leave a slab of a patch, as a scan of a part of the body does; there is air above and below."""
    middle = rng.uniform(height_mm.min(), height_mm.max())
    outside = np.abs(height_mm - middle) > rng.uniform(30.0, 90.0)
    ct[outside] = -1000.0
    shares[:, outside] = 0.0
    shares[0, outside] = 1.0


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Return a rotation matrix about z, y, x in ``(z, y, x)`` order."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def _ct_contrast(ct: np.ndarray, regions: np.ndarray | None, rng) -> np.ndarray:
    """Return the CT with another contrast: each region shifted, sharpness and noise changed."""
    from scipy import ndimage

    if regions is not None:
        # Mostly as a CT without contrast agent varies, where the liver is a little brighter than its
        # neighbors and little else tells them apart; sometimes as with contrast agent.
        spread = rng.uniform(2.0, 12.0) if rng.random() < 0.75 else rng.uniform(12.0, 35.0)
        shift = rng.normal(0.0, spread, 256).astype(np.float32) + np.float32(rng.normal(0.0, 5.0))
        shift[0] = 0.0
        # As sharp as the image: the edge of an organ is not sharper than the scanner draws it.
        ct = ct + ndimage.gaussian_filter(shift[regions], 0.6)
    if rng.random() < 0.3:
        ct = ndimage.gaussian_filter(ct, rng.uniform(0.3, 0.8))
    noise = rng.normal(0.0, rng.uniform(0.0, 12.0), ct.shape)
    if rng.random() < 0.5:
        # Tissue is not uniform: vessels, septa and fat make patches of a few voxels.
        patches = ndimage.gaussian_filter(rng.normal(0.0, 1.0, ct.shape), rng.uniform(0.8, 2.0))
        noise += patches * (rng.uniform(0.0, 12.0) / patches.std()) * (ct > TISSUE_HU)
    return (ct + noise).astype(np.float32)


def _spect_contrast(spect: np.ndarray, regions: np.ndarray | None, rng) -> np.ndarray:
    """Return the SPECT with other uptakes of its regions and another noise."""
    from scipy import ndimage

    if regions is not None:
        factor = np.exp(rng.normal(0.0, rng.uniform(0.0, 0.6), 256)).astype(np.float32)
        spect = spect * ndimage.gaussian_filter(factor[regions], 1.5)
    noise = ndimage.gaussian_filter(rng.normal(0.0, 1.0, spect.shape), 0.7)
    level = rng.uniform(0.0, 0.15) * np.sqrt(np.clip(spect, 0.0, None) * max(float(spect.mean()), 1e-6))
    return np.clip(spect + level * noise / max(float(noise.std()), 1e-6), 0.0, None).astype(np.float32)


def whole(sample: Sample, description: NetworkDescription) -> np.ndarray:
    """Return the input of a whole sample, as it is."""
    return normalized_channels(description.channels, sample.ct, sample.spect, spect_mean=sample.spect_mean)


def input_statistics(samples: Samples, description: NetworkDescription, most: int = 40) -> dict[str, Any]:
    """Return mean and standard deviation of ``quality.statistics_of`` over the samples."""
    from DoseSegmentationLib.quality import statistics_of

    rows = []
    for index in np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int):
        sample = samples[int(index)]
        rows.append(statistics_of(whole(sample, description), sample.ct > TISSUE_HU))
    return {
        key: (float(np.mean([r[key] for r in rows])), float(np.std([r[key] for r in rows])))
        for key in rows[0]
    }
