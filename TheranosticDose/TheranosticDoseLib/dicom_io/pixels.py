"""Pixels of DICOM files, read once, straight from the bytes that are hashed.

Compressed transfer syntaxes go through the decoders of pydicom (pylibjpeg).
"""

from __future__ import annotations

import hashlib
from io import BytesIO

import numpy as np

from TheranosticDoseLib.dicom_io.scan import Header, number_of
from TheranosticDoseLib.dicom_io.volume import Stack, shape_of
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.progress import Progress, report

_PIXELS = 0x7FE00010
_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}
MAX_VOXELS = 2_000_000_000


def read_stack(
    stack: Stack, rescale, hashes: dict[str, str], progress: Progress | None = None, what: str = "images"
) -> np.ndarray:
    """Return the voxel values ``(z, y, x)``, float32, after the rescale of each slice.

    Parameters
    ----------
    stack : Stack
    rescale : callable
        ``rescale(header, frame) -> (slope, intercept)``.
    hashes : dict
        File name to SHA-256; filled for every file that is read.
    progress, what
        As everywhere; ``what`` is named in the message.
    """
    columns, rows, slices = stack.size
    if columns * rows * slices > MAX_VOXELS:
        raise InputError(
            f"{stack.frames[0][0].name}: {columns} x {rows} x {slices} voxels are too many to load."
        )
    array = np.empty((slices, rows, columns), np.float32)
    cache: tuple[str, np.ndarray] = ("", np.empty(0))
    for index, (header, frame) in enumerate(stack.frames):
        if index % 20 == 0:
            report(progress, index / slices, f"Reading {what} ({index} of {slices})")
        if cache[0] != header.name:
            cache = (header.name, stored_pixels(header, hashes))
        pixels = cache[1]
        if frame >= pixels.shape[0] or pixels.shape[1:] != (rows, columns):
            raise InputError(
                f"{header.name}: the pixel data have shape {pixels.shape}, not what the header says."
            )
        slope, intercept = rescale(header, frame)
        if slope == 1 and intercept == 0:
            array[index] = pixels[frame]
        else:
            array[index] = pixels[frame] * np.float64(slope) + np.float64(intercept)
    return array


def stored_pixels(header: Header, hashes: dict[str, str]) -> np.ndarray:
    """Return the stored values of a file, ``(frames, rows, columns)``, and note its hash."""
    data = header.path.read_bytes()
    hashes[header.name] = hashlib.sha256(data).hexdigest()
    native = _native_pixels(header, data)
    return native if native is not None else _decoded_pixels(header, data)


def _native_pixels(header: Header, data: bytes) -> np.ndarray | None:
    """Return uncompressed pixels as a view of the bytes, ``None`` where a decoder is needed."""
    dataset = header.dataset
    syntax = str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", "1.2.840.10008.1.2"))
    allocated = number_of(dataset, "BitsAllocated")
    stored = number_of(dataset, "BitsStored") or allocated
    samples = number_of(dataset, "SamplesPerPixel") or 1
    if syntax not in _NATIVE or allocated not in (8, 16, 32) or stored != allocated or samples != 1:
        return None
    if _PIXELS not in dataset:
        return None
    element = dataset.get_item(_PIXELS, keep_deferred=True)
    offset = getattr(element, "value_tell", None)
    if offset is None or element.length in (None, 0xFFFFFFFF):
        return None
    signed = number_of(dataset, "PixelRepresentation") == 1
    kind = np.dtype(f"<{'i' if signed else 'u'}{int(allocated) // 8}")
    rows, columns = shape_of(header)
    frames = int(number_of(dataset, "NumberOfFrames") or 1)
    count = rows * columns * frames
    if (
        len(data) < offset + min(element.length, count * kind.itemsize)
        or element.length < count * kind.itemsize
    ):
        have = max(0, min(len(data) - offset, element.length))
        raise InputError(
            f"{header.name}: the pixel data are truncated ({have} of {count * kind.itemsize} bytes); copy it again."
        )
    return np.frombuffer(data, kind, count, offset).reshape(frames, rows, columns)


def _decoded_pixels(header: Header, data: bytes) -> np.ndarray:
    """Return pixels through the decoders of pydicom."""
    import pydicom

    try:
        pixels = pydicom.dcmread(BytesIO(data), force=True).pixel_array
    except Exception as error:  # noqa: BLE001 - decoders raise many kinds; the file and the reason are named
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise InputError(
            f"{header.name}: the pixel data cannot be decoded ({reason}); copy it again."
        ) from None
    rows, columns = shape_of(header)
    if pixels.ndim not in (2, 3) or pixels.shape[-2:] != (rows, columns):
        raise InputError(
            f"{header.name}: the pixel data have shape {pixels.shape}; grey values are expected."
        )
    return pixels.reshape(-1, rows, columns)
