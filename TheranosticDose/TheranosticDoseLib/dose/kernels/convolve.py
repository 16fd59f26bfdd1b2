"""Linear convolution of an activity with a kernel that is even in each axis."""

from __future__ import annotations

import numpy as np
from DoseSegmentationLib.arrays import bounding_box


def convolve(source: np.ndarray, octant: np.ndarray, workers: int | None = None) -> np.ndarray:
    """Return the convolution on the grid of ``source``, float32 ``(z, y, x)``.

    Parameters
    ----------
    source : ndarray (z, y, x)
        Activity; of a change of activity it may be negative in places.
    octant : ndarray (z, y, x)
        Kernel at offsets from zero up; offsets beyond its size count as zero.
    workers : int, optional
        Threads of the transforms; default all processors.

    Notes
    -----
    The transform of an even kernel is real and is the cosine transform (DCT-I) of its
    octant.  Only lines that hold something are transformed: the box around the activity
    on the way there, what the kernel reaches on the way back.
    """
    result = np.zeros(source.shape, np.float32)
    filled = source != 0
    if filled.any():
        box = bounding_box(filled)
        reached, values = convolve_box(source[box], box, source.shape, octant, workers)
        result[reached] = values
    return result


def convolve_box(
    block: np.ndarray,
    box: tuple[slice, ...],
    shape: tuple[int, ...],
    octant: np.ndarray,
    workers: int | None = None,
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return the box that the kernel reaches, and the convolution in it; see :func:`convolve`.

    Parameters
    ----------
    block : ndarray (z, y, x)
        The activity inside ``box``; there is none elsewhere.
    box : tuple of slice
        Of a grid of ``shape``.
    shape : tuple of int
    octant : ndarray (z, y, x)
    workers : int, optional
    """
    import os

    reached = _reached(box, octant.shape, shape)
    within = tuple(slice(b.start - r.start, b.stop - r.start) for b, r in zip(box, reached, strict=True))
    size = tuple(r.stop - r.start for r in reached)
    return reached, _convolved(block, octant, within, size, workers or os.cpu_count() or 1)


def _convolved(
    block: np.ndarray, octant: np.ndarray, box: tuple[slice, ...], shape: tuple[int, ...], workers: int
) -> np.ndarray:
    """Return the convolution on a grid of ``shape`` that holds ``block`` in ``box`` and nothing else."""
    from scipy import fft

    lengths = [_length(n, b, m) for n, b, m in zip(shape, box, octant.shape, strict=True)]
    half = [length // 2 + 1 for length in lengths]
    padded = np.zeros(half, np.float32)
    common = tuple(slice(0, min(a, b)) for a, b in zip(half, octant.shape, strict=True))
    padded[common] = octant[common]
    spectrum = fft.dctn(padded, type=1, workers=workers, overwrite_x=True)
    block = np.ascontiguousarray(block, dtype=np.float32)
    signed = bool(block.min() < 0)
    block = fft.rfft(block, lengths[2], axis=2, workers=workers)
    block = fft.fft(block, lengths[1], axis=1, workers=workers, overwrite_x=True)
    block = fft.fft(block, lengths[0], axis=0, workers=workers, overwrite_x=True)
    _multiply(block, spectrum)
    # Positions count from the corner of the box; roll each axis to the corner of the grid while cropping.
    block = _cropped(fft.ifft(block, axis=0, workers=workers, overwrite_x=True), 0, box, shape)
    block = _cropped(fft.ifft(block, axis=1, workers=workers, overwrite_x=True), 1, box, shape)
    result = _cropped(fft.irfft(block, lengths[2], axis=2, workers=workers), 2, box, shape)
    # Rounding leaves values of 1e-7 of the largest on either side of zero.
    return result if signed else np.maximum(result, 0.0, out=result)


def _reached(
    box: tuple[slice, ...], octant_shape: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[slice, ...]:
    """Return the box that a kernel reaches from a box, within a grid."""
    return tuple(
        slice(max(0, b.start - reach + 1), min(size, b.stop + reach - 1))
        for b, reach, size in zip(box, octant_shape, shape, strict=True)
    )


def _length(size: int, box: slice, reach: int) -> int:
    """Return an even transform length that keeps all offsets between box and grid apart."""
    from scipy import fft

    offset = min(max(box.stop - 1, size - 1 - box.start), reach)
    # What the kernel throws beyond the grid may wrap around, but not onto the grid.
    length = max(offset + max(size, box.stop - box.start), 2)
    length = max(length, 2 * min(offset, reach - 1))
    length += length % 2
    while fft.next_fast_len(length, real=True) != length:
        length += 2
    return length


def _multiply(block: np.ndarray, spectrum: np.ndarray) -> None:
    """Multiply by the real spectrum, which is given for frequencies up to one half in each axis."""
    (z, y, _), (hz, hy, _) = block.shape, spectrum.shape
    lower, upper = slice(0, hz), slice(hz, z)
    block[lower, :hy] *= spectrum
    block[lower, hy:] *= spectrum[:, y - hy : 0 : -1]
    block[upper, :hy] *= spectrum[z - hz : 0 : -1]
    block[upper, hy:] *= spectrum[z - hz : 0 : -1, y - hy : 0 : -1]


def _cropped(block: np.ndarray, axis: int, box: tuple[slice, ...], shape: tuple[int, ...]) -> np.ndarray:
    places = (np.arange(shape[axis]) - box[axis].start) % block.shape[axis]
    return np.take(block, places, axis=axis)
