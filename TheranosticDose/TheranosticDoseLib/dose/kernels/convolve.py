"""Linear convolution of an activity with a kernel that is even in each axis."""

from __future__ import annotations

import numpy as np


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
    on the way there, the dose grid on the way back.
    """
    import os

    from scipy import fft

    workers = workers or os.cpu_count() or 1
    box = _bounding_box(source)
    if box is None:
        return np.zeros(source.shape, np.float32)
    lengths = [_length(n, b, m) for n, b, m in zip(source.shape, box, octant.shape, strict=True)]
    half = [length // 2 + 1 for length in lengths]
    padded = np.zeros(half, np.float32)
    common = tuple(slice(0, min(a, b)) for a, b in zip(half, octant.shape, strict=True))
    padded[common] = octant[common]
    spectrum = fft.dctn(padded, type=1, workers=workers, overwrite_x=True)
    block = np.ascontiguousarray(source[box], dtype=np.float32)
    signed = bool(block.min() < 0)
    block = fft.rfft(block, lengths[2], axis=2, workers=workers)
    block = fft.fft(block, lengths[1], axis=1, workers=workers, overwrite_x=True)
    block = fft.fft(block, lengths[0], axis=0, workers=workers, overwrite_x=True)
    _multiply(block, spectrum)
    # Positions count from the corner of the box; roll each axis to the corner of the grid while cropping.
    block = _cropped(fft.ifft(block, axis=0, workers=workers, overwrite_x=True), 0, box, source.shape)
    block = _cropped(fft.ifft(block, axis=1, workers=workers, overwrite_x=True), 1, box, source.shape)
    result = _cropped(fft.irfft(block, lengths[2], axis=2, workers=workers), 2, box, source.shape)
    result = np.ascontiguousarray(result, np.float32)
    # Rounding leaves values of 1e-7 of the largest on either side of zero.
    return result if signed else np.maximum(result, 0.0, out=result)


def _bounding_box(source: np.ndarray) -> tuple[slice, ...] | None:
    filled = source != 0
    box = []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        positions = np.flatnonzero(filled.any(axis=others))
        if positions.size == 0:
            return None
        box.append(slice(int(positions[0]), int(positions[-1]) + 1))
    return tuple(box)


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
