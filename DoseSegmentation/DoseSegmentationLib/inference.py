"""A network over a whole image: tiles, slabs where memory is short, smaller tiles and the CPU where it runs out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.segmentation import Progress, report

SMALLEST_TILE = 32
MARGIN = 16
"""Voxels that neighboring slabs share at each side, so that their seam is not seen."""
LIMIT_BYTES = 3 * 1024**3


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the ensemble and its members found.

    Attributes
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        The most probable class.
    probability : ndarray of float16, shape (class, z, y, x)
        Mean of the members, with the prior; the share of each class in a voxel, where it was trained on shares.
    members : tuple of ndarray of uint8
        Of each member; one member only where there was no ensemble.
    notes : tuple of str
        Slabs, retries.
    """

    labels: np.ndarray
    probability: np.ndarray
    members: tuple[np.ndarray, ...]
    notes: tuple[str, ...] = ()


def device_of(name: str = "auto") -> str:
    """Return the torch device: ``cuda`` where there is one for ``auto``, else what was asked for.

    Raises
    ------
    SegmentationError
        If a CUDA device is asked for and there is none, or the name is another one.
    """
    import torch

    if name != "auto" and name.split(":")[0] not in ("cpu", "cuda"):
        raise SegmentationError(f"There is no device {name!r}; expected is 'auto', 'cpu' or 'cuda'.")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SegmentationError("A CUDA device was asked for and none was found; use the device 'cpu'.")
    return name


def predict(
    network: Any,
    channels: np.ndarray,
    tile: Sequence[int],
    *,
    swapped: Sequence[int] | None = None,
    offset: np.ndarray | None = None,
    device: str = "auto",
    limit_bytes: int = LIMIT_BYTES,
    factor: int = 8,
    progress: Progress | None = None,
) -> Prediction:
    """Run a network over an image.

    Parameters
    ----------
    network : torch.nn.Module
        ``(1, channel, z, y, x)`` to logits ``(1, class, z, y, x)``.
    channels : ndarray of float32, shape (channel, z, y, x)
    tile : sequence of 3 ints
        ``(z, y, x)``.
    swapped : sequence of int, optional
        The class of the other side for each class; given, the left-right mirror image is the second
        member of the ensemble.
    offset : ndarray of float32, shape (class, z, y, x), optional
        Added to the logarithm of the mean probability: a prior.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
    limit_bytes : int
        Memory for the probabilities; a larger image goes in slabs.
    factor : int
        Tiles' sides are multiples of this.
    progress : callable, optional

    Raises
    ------
    SegmentationError
        If memory runs out even with the smallest tile on the CPU.
    SegmentationCancelled
        If ``progress`` returned ``False``.
    """
    import torch

    device, tile, notes = device_of(device), _fitting(tile, channels.shape[1:], factor), []
    while True:
        try:
            labels, probability, members, slabs = _run(
                network, channels, tile, swapped, offset, device, limit_bytes, progress
            )
            break
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            tile, device, note = _smaller(tile, device, factor)
            notes.append(note)
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
    if slabs > 1:
        notes.append(f"The image was worked through in {slabs} slabs to bound the memory.")
    return Prediction(labels, probability, members, tuple(notes))


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out (PyTorch has several ways to say so)."""
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in text for word in words)
    )


def _smaller(tile: tuple[int, ...], device: str, factor: int) -> tuple[tuple[int, ...], str, str]:
    """Return the next smaller tile, or the CPU, and a note; raise where there is none left."""
    least = max(SMALLEST_TILE, factor)
    if max(tile) > least:
        tile = tuple(max(min(side, least), side // 2 // factor * factor) for side in tile)
        size = "x".join(map(str, tile))
        return tile, device, f"Memory ran out on {device}: repeated with tiles of {size}."
    if device != "cpu":
        return tile, "cpu", f"Memory ran out on {device} with the smallest tile: repeated on the CPU."
    raise SegmentationError(
        "Memory ran out with the smallest tile on the CPU; close other programs or crop the image."
    )


def _fitting(tile: Sequence[int], shape: Sequence[int], factor: int) -> tuple[int, ...]:
    """Return the tile, no larger than the image needs."""
    return tuple(min(int(t), -(-int(n) // factor) * factor) for t, n in zip(tile, shape, strict=True))


def _run(network, channels, tile, swapped, offset, device, limit_bytes, progress):
    import torch

    shape = channels.shape[1:]
    count = 1 if swapped is None else 2
    labels = np.zeros(shape, np.uint8)
    members = tuple(np.zeros(shape, np.uint8) for _ in range(count)) if count > 1 else (labels,)
    network = network.to(device)
    classes = _classes(network, channels, device)
    mean = np.zeros((classes, *shape), np.float16)
    ranges = list(_slabs(shape, classes, limit_bytes, tile[0]))
    done = _Counter(progress, len(ranges) * count * _tiles(shape, tile, len(ranges)))
    with torch.inference_mode():
        for inner, outer in ranges:
            part = torch.from_numpy(np.ascontiguousarray(channels[:, outer]))[None]
            keep = slice(inner.start - outer.start, inner.stop - outer.start)
            total = None
            for number in range(count):
                probability = _member(network, part, tile, device, None if number == 0 else swapped, done)
                if count > 1:
                    members[number][inner] = probability[:, keep].argmax(0).numpy().astype(np.uint8)
                total = probability if total is None else total.add_(probability)
            total.div_(count)
            if offset is not None:
                total = torch.log(total.clamp_(min=1e-6)).add_(torch.from_numpy(offset[:, outer])).softmax(0)
            labels[inner] = total[:, keep].argmax(0).numpy().astype(np.uint8)
            mean[:, inner] = total[:, keep].numpy()
    return labels, mean, members, len(ranges)


def _member(network, part, tile, device, swapped, done):
    """Return the probabilities ``(class, z, y, x)`` of one member on the CPU."""
    import torch
    from monai.inferers import sliding_window_inference

    def tile_of(patch):
        done.step()
        return network(patch)

    image = part if swapped is None else part.flip(-1)
    logits = sliding_window_inference(
        image, tile, 1, tile_of, overlap=0.25, mode="gaussian", padding_mode="replicate",
        sw_device=device, device="cpu",
    )[0]  # fmt: skip
    probability = torch.softmax(logits.float(), 0)
    return probability if swapped is None else probability.flip(-1)[list(swapped)]


def _classes(network, channels, device) -> int:
    """Return the number of classes, from the last layer that has one."""
    import torch

    probe = torch.zeros((1, channels.shape[0], 32, 32, 32), device=device)
    return int(network(probe).shape[1])


def _slabs(shape, classes: int, limit_bytes: int, tile_z: int) -> Iterator[tuple[slice, slice]]:
    """Yield slabs (what is kept, what is computed) along z whose probabilities fit into the limit."""
    # Logits, probabilities, their sum and the weights of the tiles, each float32.
    per_slice = 4 * (3 * classes + 2) * int(shape[1]) * int(shape[2])
    slices = max(tile_z, int(limit_bytes // max(per_slice, 1)) - 2 * MARGIN)
    number = max(1, -(-shape[0] // slices))
    edges = np.linspace(0, shape[0], number + 1).astype(int)
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        yield (
            slice(int(start), int(stop)),
            slice(max(0, int(start) - MARGIN), min(shape[0], int(stop) + MARGIN)),
        )


def _tiles(shape, tile, slabs: int) -> int:
    """Return about how many tiles a slab has: enough for a bar of progress."""
    shape = (shape[0] / slabs, *shape[1:])
    return int(
        np.prod([max(1, np.ceil((n - 0.25 * t) / (0.75 * t))) for n, t in zip(shape, tile, strict=True)])
    )


class _Counter:
    """Counts tiles and reports them; a cancelled work ends at the next tile."""

    def __init__(self, progress: Progress | None, expected: int) -> None:
        self.progress, self.expected, self.count = progress, max(1, expected), 0

    def step(self) -> None:
        self.count += 1
        report(self.progress, min(0.99, self.count / self.expected), f"Tile {self.count}")
