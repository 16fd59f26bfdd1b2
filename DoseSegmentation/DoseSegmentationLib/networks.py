"""The project's own networks: what describes one, its input, and how it is built and stored."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.network_checks import require_description
from DoseSegmentationLib.weights import fill, load_weights, sha256

DESCRIPTION, WEIGHTS, CARD = "network.json", "weights.safetensors", "card.md"
CHANNELS = ("ct_wide", "ct_soft", "spect")
TISSUE_HU = -300.0
"""Above it there is tissue; the mean of the SPECT is taken there."""


@dataclasses.dataclass(frozen=True)
class NetworkDescription:
    """Everything that must be known to use a network's weights.

    Attributes
    ----------
    name, version, task : str
        ``task`` is ``organs`` or ``lesions``.
    channels : tuple of str
        Of :data:`CHANNELS`, in the order of the input.
    labels : dict
        Output channel (as text, JSON has no other keys) to structure; channel 0 is the rest.
    spacing_mm : tuple of float
        ``(x, y, z)`` of its grid.
    patch : tuple of int
        ``(z, y, x)`` of a tile.
    features : tuple of int
        Width of each level of the U-Net; the first level keeps the voxels of the input.
    residual_units : int
        Per level.
    refinement : int
        Width of the layers that draw the outlines once more on the full resolution; 0: none.
    mirrored : bool
        Trained with left-right flips: the ensemble flips, and swaps the names of the sides.
    ct_optional : bool
        Trained with and without CT: air everywhere stands for a CT that is not there.
    log_odds : dict
        Output channel to what is added to its log-probability, so that volumes come out right.
    statistics : dict
        Mean and standard deviation of each number of ``quality.statistics_of`` over the training.
    weights_sha256, licence : str
    training : dict
        Command, seed, steps, number of samples.
    """

    name: str
    version: str
    task: str
    channels: tuple[str, ...]
    labels: dict[str, str]
    spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    features: tuple[int, ...] = (12, 24, 48, 96, 128)
    residual_units: int = 0
    refinement: int = 0
    mirrored: bool = True
    ct_optional: bool = False
    log_odds: dict[str, float] = dataclasses.field(default_factory=dict)
    statistics: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    weights_sha256: str = ""
    licence: str = "Apache-2.0"
    training: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def classes(self) -> int:
        """Number of output channels."""
        return len(self.labels) + 1

    @property
    def factor(self) -> int:
        """A tile's sides are multiples of this."""
        return tile_factor(self.features)

    def swapped(self) -> list[int]:
        """Return for each output channel the one of the other side of the body."""
        names = ["", *(self.labels[str(i)] for i in range(1, self.classes))]
        other = {"left": "right", "right": "left"}
        return [
            names.index(turned)
            if (turned := " ".join(other.get(w, w) for w in name.split(" "))) in names
            else i
            for i, name in enumerate(names)
        ]


def tile_factor(features: Sequence[int]) -> int:
    """Return what a tile's sides must be multiples of: every level below the first halves them."""
    return 2 ** (len(features) - 2)


def build(description: NetworkDescription) -> Any:
    """Return the network, a U-Net of MONAI, with random weights.

    The first level keeps the voxels of the input: a kidney's edge is not to be drawn on half of them.
    """
    from monai.networks.nets import UNet

    coarse = UNet(
        spatial_dims=3,
        in_channels=len(description.channels),
        out_channels=description.classes,
        channels=tuple(description.features),
        strides=(1,) + (2,) * (len(description.features) - 2),
        num_res_units=description.residual_units,
        norm="INSTANCE",
    )
    return _refined(coarse, description) if description.refinement else coarse


def _refined(coarse: Any, description: NetworkDescription) -> Any:
    """Return a network with three more layers that see its logits beside the image.

    The U-Net ends in one layer on the full resolution, which draws smooth outlines; these follow the edges
    of the image.  Their last layer starts at zero: untrained, they change nothing.
    """
    import torch
    from monai.networks.blocks import Convolution

    inputs, width = description.classes + len(description.channels), description.refinement

    class Refined(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.coarse = coarse
            self.refine = torch.nn.Sequential(
                Convolution(3, inputs, width, norm="INSTANCE"),
                Convolution(3, width, width, norm="INSTANCE"),
                torch.nn.Conv3d(width, description.classes, 3, padding=1),
            )
            torch.nn.init.zeros_(self.refine[-1].weight)
            torch.nn.init.zeros_(self.refine[-1].bias)

        def forward(self, channels: Any) -> Any:
            logits = self.coarse(channels)
            return logits + self.refine(torch.cat((logits, channels), 1))

    return Refined()


def start_from(network: Any, folder: str | Path) -> None:
    """Give a new network the weights of a trained one, which may lack the refinement.

    Raises
    ------
    SegmentationError
        As ``weights.load_weights`` and ``weights.fill``.
    """
    path, trained = Path(folder) / WEIGHTS, read_description(folder)
    without = not trained.refinement and hasattr(network, "coarse")
    fill(network.coarse if without else network, load_weights(path, trained.weights_sha256), path)


def normalized_channels(
    names: tuple[str, ...],
    ct: np.ndarray | None,
    spect: np.ndarray | None,
    inside: np.ndarray | None = None,
    spect_mean: float | None = None,
) -> np.ndarray:
    """Return the input of a network.

    Parameters
    ----------
    names : tuple of str
        Of :data:`CHANNELS`.
    ct : ndarray, HU, shape (z, y, x), optional
    spect : ndarray, any unit, same shape, optional
        Divided by its mean over the body, then compressed: the network sees ratios.
    inside : ndarray of bool, optional
        The body; without it the voxels above -300 HU, or all.
    spect_mean : float, optional
        Mean of the SPECT over the body, where it is known (a patch of a larger image).

    Returns
    -------
    ndarray of float32, shape (channel, z, y, x)

    Raises
    ------
    SegmentationError
        If a channel's image is missing or the SPECT is empty in the body.
    """
    channels = []
    for name in names:
        source = spect if name == "spect" else ct
        if source is None:
            raise SegmentationError(
                f"The network needs a {'SPECT' if name == 'spect' else 'CT'}; none was given."
            )
        if name == "ct_wide":
            channels.append(np.clip(source, -1000.0, 1000.0) / 1000.0)
        elif name == "ct_soft":
            channels.append(np.clip((source - 40.0) / 200.0, -1.0, 1.0))
        elif name == "spect":
            body = (
                inside if inside is not None else (ct > TISSUE_HU if ct is not None else np.isfinite(source))
            )
            mean = spect_mean or (float(source[body].mean()) if body.any() else 0.0)
            if mean <= 0:
                raise SegmentationError("The SPECT holds no activity in the body.")
            channels.append(np.log1p(np.clip(source / mean, 0.0, None)) / 2.0)
        else:
            raise SegmentationError(f"The network asks for the unknown input {name!r}.")
    return np.stack(channels).astype(np.float32)


def read_description(folder: str | Path) -> NetworkDescription:
    """Return the description of a network's folder.

    Raises
    ------
    SegmentationError
        If the folder holds none, or one that is not understood.
    """
    path = Path(folder) / DESCRIPTION
    if not path.is_file():
        raise SegmentationError(f"{folder}: there is no {DESCRIPTION}; this is no network of this program.")
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise SegmentationError(f"{path}: the description is not understood ({error}).") from error


def from_dict(content: Mapping[str, Any]) -> NetworkDescription:
    """Return a description from JSON.

    Raises
    ------
    ValueError
        Where it is no table, an entry is missing or unknown, or ``network_checks`` finds it wrong.
    """
    if not isinstance(content, Mapping):
        raise ValueError("it must be a table")
    fields = {field.name: field for field in dataclasses.fields(NetworkDescription)}
    unset = dataclasses.MISSING
    missing = [
        name
        for name, field in fields.items()
        if name not in content and field.default is unset and field.default_factory is unset
    ]
    wrong = [f"{name} is missing" for name in missing]
    wrong += [f"{name} is no entry that is known" for name in content if name not in fields]
    if wrong:
        raise ValueError("; ".join(wrong))
    found = NetworkDescription(**content)
    require_description({name: getattr(found, name) for name in fields}, CHANNELS)
    tuples = ("channels", "spacing_mm", "patch", "features")
    return dataclasses.replace(found, **{name: tuple(getattr(found, name)) for name in tuples})


def load(folder: str | Path) -> tuple[NetworkDescription, Any]:
    """Return a network's description and the network with its weights, checksum compared.

    Raises
    ------
    SegmentationError
        As :func:`read_description`, ``weights.load_weights`` and ``weights.fill``.
    """
    folder = Path(folder)
    description = read_description(folder)
    if not description.weights_sha256:
        raise SegmentationError(f"{folder / DESCRIPTION}: the checksum of the weights is missing.")
    weights = load_weights(folder / WEIGHTS, description.weights_sha256)
    network = build(description)
    fill(network, weights, folder / WEIGHTS)
    return description, network.eval()


def save(folder: str | Path, description: NetworkDescription, network: Any, card: str) -> NetworkDescription:
    """Write a network's folder and return the description with its checksum."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".part-{WEIGHTS}"
    save_file(
        {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}, str(part)
    )
    description = dataclasses.replace(description, weights_sha256=sha256(part))
    # The description goes last: a folder with an old one refuses the new weights instead of trusting them.
    os.replace(part, folder / WEIGHTS)
    for name, text in (
        (CARD, card),
        (DESCRIPTION, json.dumps(dataclasses.asdict(description), indent=1) + "\n"),
    ):
        part = folder / f".part-{name}"
        part.write_text(text, encoding="utf-8")
        os.replace(part, folder / name)
    return description
