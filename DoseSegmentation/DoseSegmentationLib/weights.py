"""Weights of networks: read without running code, checked, described.

Only safetensors, or PyTorch files through ``weights_only=True``.  TorchScript and free pickles are
refused: both can run code of a stranger.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from DoseSegmentationLib.classical import SegmentationError

PACKAGES = ("torch", "monai", "safetensors")
INSTALL = "install the extra 'networks' (torch, monai, safetensors)"


def packages_missing(names: tuple[str, ...] = PACKAGES) -> str:
    """Return a sentence on the packages that are not installed; empty where all are."""
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    return f"the package {', '.join(missing)} is not installed; {INSTALL}." if missing else ""


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def load_weights(path: str | Path, expected_sha256: str = "") -> dict[str, Any]:
    """Return the tensors of a weights file by name.

    Parameters
    ----------
    path : path
        ``.safetensors``, or ``.pt``/``.pth`` with tensors, numbers and text only.
    expected_sha256 : str
        Checked first where it is given.

    Raises
    ------
    SegmentationError
        If the file is missing, has another checksum, is damaged, or holds more than weights.
    """
    path = Path(path)
    if not path.is_file():
        raise SegmentationError(f"{path}: the weights are missing.")
    if expected_sha256 and sha256(path) != expected_sha256:
        raise SegmentationError(
            f"{path}: the checksum is not the one of its card; the file is damaged or foreign."
        )
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix not in (".pt", ".pth"):
        raise SegmentationError(f"{path}: weights are read from .safetensors, .pt or .pth only.")
    return _tensors_in(load_checkpoint(path), path)


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path), device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise SegmentationError(f"{path}: this is no safetensors file, or it is damaged.") from error


def load_checkpoint(path: Path) -> Any:
    """Return what a PyTorch file holds, read with ``weights_only=True``; numpy scalars are let in.

    Raises
    ------
    SegmentationError
        If the file holds anything else than tensors, numbers, text, lists and dictionaries.
    """
    import pickle

    import numpy as np
    import torch

    # Before 2.6 a crafted file could run code in spite of weights_only (CVE-2025-32434).
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < (2, 6):
        raise SegmentationError(
            f"{path}: PyTorch {torch.__version__} cannot read such a file safely; install 2.6 or newer."
        )
    scalar = np.float64(0).__reduce__()[0]
    numbers = [np.dtype, scalar, *{type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")}]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    try:
        with torch.serialization.safe_globals([*numbers, *names]):
            return torch.load(str(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SegmentationError(
            f"{path}: the file holds more than weights (or is TorchScript); it was not loaded, because it "
            "could run code. Ask its maker for safetensors."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise SegmentationError(f"{path}: this is no PyTorch weights file, or it is damaged.") from error


def _tensors_in(content: Any, path: Path) -> dict[str, Any]:
    """Return the state dictionary, alone or under one of its usual names."""
    import torch

    for key in (None, "state_dict", "model", "network_weights", "net", "model_state_dict"):
        found = content if key is None else content.get(key) if isinstance(content, dict) else None
        if isinstance(found, dict) and found and all(torch.is_tensor(value) for value in found.values()):
            return found
    raise SegmentationError(f"{path}: no table of weights was found in the file.")


def fill(network: Any, weights: dict[str, Any], path: str | Path) -> None:
    """Put weights into a network.

    Raises
    ------
    SegmentationError
        If they do not belong to it; the first difference is named.
    """
    own = network.state_dict()
    weights = {key.removeprefix("module."): value for key, value in weights.items()}
    missing, foreign = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    if missing or foreign:
        first = f"{missing[0]} is missing" if missing else f"{foreign[0]} is unknown"
        raise SegmentationError(f"{path}: the weights belong to another network ({first}).")
    for key, value in weights.items():
        if tuple(value.shape) != tuple(own[key].shape):
            raise SegmentationError(
                f"{path}: the weights belong to another network ({key} has the shape {tuple(value.shape)}, "
                f"expected {tuple(own[key].shape)})."
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise SegmentationError(f"{path}: the weights hold values that are not finite ({key}).")
    network.load_state_dict(weights)
