"""What a training step sees: patches of samples, turned and mirrored, with the noise of their truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from TheranosticDoseLib.dose.training.samples import NUCLIDE, image_of
from TheranosticDoseLib.errors import InputError

EDGE = 2
"""Voxels at the faces of a sample that are not learned: what lies beyond scatters in neither dose alike."""

FAINT = 0.01
"""Share of the largest dose below which the de-blurring network is not taught."""
AT_PLACES = 0.8
"""Share of the patches around a voxel where there is something to learn."""


@dataclass(frozen=True)
class Sample:
    """One case in memory; arrays ``(z, y, x)``.

    Attributes
    ----------
    name : str
    channels : ndarray of float32, shape (channel, z, y, x)
    ratio : ndarray of float32
        True dose over kernel dose.
    noise2 : ndarray of float32
        Expected relative variance of the true dose where the kernel is right: the weights of the loss.
    measured2 : ndarray of float32
        Measured variance of ``ratio``, right in the mean over many voxels.
    counts : ndarray of bool
        Voxels that are learned.
    share : ndarray of float32
        Kernel dose over its maximum.
    border : ndarray of bool
        Voxels with another tissue among their 26 neighbours.
    places : ndarray of int
        Flat indices of the voxels where the kernel is wrong beyond the noise, or tissues meet.
    features : dict
        Of ``domain.features_of``.
    """

    name: str
    channels: np.ndarray
    ratio: np.ndarray
    noise2: np.ndarray
    measured2: np.ndarray
    counts: np.ndarray
    share: np.ndarray
    border: np.ndarray
    places: np.ndarray
    features: dict[str, float]


def read_sample(path: Path, deblur: bool = False) -> Sample:
    """Return a sample with the input of the network computed.

    Raises
    ------
    InputError
        If the file cannot be read or lacks an array.
    """
    from TheranosticDoseLib.dose import Anatomy
    from TheranosticDoseLib.dose.cnn.domain import features_of
    from TheranosticDoseLib.dose.cnn.inputs import inputs_of
    from TheranosticDoseLib.nuclides import nuclide

    try:
        with np.load(path, allow_pickle=False) as arrays:
            tia, density = arrays["blurred" if deblur else "tia"], arrays["density"]
            dose, noise = arrays["dose"].astype(np.float64), arrays["noise"].astype(np.float64)
            spacing = tuple(float(s) for s in arrays["spacing_mm"])
            resolution = tuple(float(r) for r in arrays["resolution_mm"]) if deblur else None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: the sample cannot be read ({error}).") from error
    anatomy = Anatomy(image_of(density, spacing))
    inputs = inputs_of(image_of(tia, spacing), anatomy, nuclide(NUCLIDE), resolution)
    kernel = np.where(inputs.corrected, inputs.kernel_gy, np.float32(1.0))
    inner = np.zeros(kernel.shape, bool)
    inner[(slice(EDGE, -EDGE),) * 3] = True
    counts, border = inputs.corrected & inner, border_of(anatomy.tissue_array())
    ratio = np.where(inputs.corrected, dose / kernel, 1.0).astype(np.float32)
    noise2 = expected_noise2(kernel, dose, noise, density)
    share = inputs.kernel_gy / inputs.kernel_gy.max()
    if deblur:  # what the blur leaves of the faint is noise
        counts &= share > FAINT
    wrong = (np.abs(ratio - 1) > np.maximum(0.1, 4 * np.sqrt(noise2))) | (border & (noise2 < 0.05**2))
    return Sample(
        Path(path).stem,
        inputs.channels,
        ratio,
        noise2.astype(np.float32),
        np.where(inputs.corrected, noise / kernel, 1.0).astype(np.float32) ** 2,
        counts,
        share,
        border,
        np.flatnonzero(counts & (share > 5 * FAINT if deblur else wrong)),
        features_of(tia, density, spacing),
    )


def border_of(tissue: np.ndarray) -> np.ndarray:
    """Return the voxels with another tissue among their 26 neighbours."""
    from scipy import ndimage

    return ndimage.maximum_filter(tissue, 3) != ndimage.minimum_filter(tissue, 3)


def expected_noise2(
    kernel: np.ndarray, dose: np.ndarray, noise: np.ndarray, density: np.ndarray
) -> np.ndarray:
    """Return the relative variance that the Monte Carlo has where the dose is that of the kernel.

    The variance of the energy in a voxel is proportional to the energy; one factor per case, from the sums.
    The measured variance of a single voxel goes with its dose: weights from it would bias the mean.
    """
    per_energy = np.sum((noise * density) ** 2) / max(float(np.sum(dose * density)), 1e-30)
    return per_energy / np.maximum(kernel * density, 1e-30)


def read_samples(folder: Path, deblur: bool = False) -> list[Sample]:
    """Return all samples of a folder, in the order of their names."""
    paths = sorted(p for p in Path(folder).glob("*.npz") if not p.name.startswith("."))
    if not paths:
        raise InputError(f"{folder}: the folder holds no .npz samples.")
    return [read_sample(path, deblur) for path in paths]


def batch(
    samples: Sequence[Sample], names: Sequence[str], rng: np.random.Generator, size: int, side: int
) -> tuple[np.ndarray, ...]:
    """Return channels, ratio, noise2 and counts of ``size`` patches, each stacked."""
    patches = [_patch(samples[int(rng.integers(len(samples)))], names, rng, side) for _ in range(size)]
    return tuple(np.stack(part) for part in zip(*patches, strict=True))


def _patch(sample: Sample, names: Sequence[str], rng, side: int) -> tuple[np.ndarray, ...]:
    shape = sample.ratio.shape
    low = [int(rng.integers(0, max(n - side, 0) + 1)) for n in shape]
    if sample.places.size and rng.random() < AT_PLACES:
        place = np.unravel_index(int(rng.choice(sample.places)), shape)
        shift = rng.integers(side // 4, 3 * side // 4, 3)
        low = [int(np.clip(p - s, 0, max(n - side, 0))) for p, s, n in zip(place, shift, shape, strict=True)]
    box = tuple(slice(a, min(a + side, n)) for a, n in zip(low, shape, strict=True))
    order, flips = rng.permutation(3), rng.integers(0, 2, 3)
    channels = turned(sample.channels[(slice(None), *box)], names, order, flips)
    rest = [_turn(part[box], order, flips) for part in (sample.ratio, sample.noise2, sample.counts)]
    return tuple(_filled(part, side) for part in (channels, *rest))


def turned(
    channels: np.ndarray, names: Sequence[str], order: Sequence[int], flips: Sequence[int]
) -> np.ndarray:
    """Return the channels with axes in another order and mirrored; those of an axis go with it."""
    moved = np.stack([_turn(channel, order, flips) for channel in channels])
    result = moved.copy()
    for position, axis in enumerate(order):
        for kind in ("depth", "blur"):
            if f"{kind}_z" in names:
                source = names.index(f"{kind}_{'zyx'[axis]}")
                result[names.index(f"{kind}_{'zyx'[position]}")] = moved[source]
    return result


def _turn(array: np.ndarray, order: Sequence[int], flips: Sequence[int]) -> np.ndarray:
    array = array.transpose(*order)
    return array[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]


def _filled(array: np.ndarray, side: int) -> np.ndarray:
    """Return an array whose last three axes have the side of a patch; what is added does not count."""
    pads = [(0, side - n) for n in array.shape[-3:]]
    if not any(after for _, after in pads):
        return np.ascontiguousarray(array)
    return np.pad(array, [(0, 0)] * (array.ndim - 3) + pads)
