"""The network: what describes it, how it is built, stored and loaded."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from pathlib import Path
from typing import Any

from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.weights import fill, load_weights, sha256

from TheranosticDoseLib.dose.cnn.domain import WORDS
from TheranosticDoseLib.dose.cnn.inputs import BLUR_CHANNELS, CHANNELS
from TheranosticDoseLib.errors import EngineUnavailableError

DESCRIPTION, WEIGHTS, CARD = "network.json", "weights.safetensors", "card.md"
DETAIL_LAYERS = 3
FALLBACK = "Use the engine 'vsv_density' or 'mc' instead."


@dataclasses.dataclass(frozen=True)
class DoseNetwork:
    """Everything that must be known to use the weights.

    Attributes
    ----------
    name, version : str
        ``name`` is the engine's: ``cnn`` or ``cnn_pvc``.
    nuclides : tuple of str
        That it was trained for.
    spacing_mm : tuple of float
        Smallest and largest voxel side of the training.
    channels : tuple of str
        Of ``inputs.CHANNELS`` and ``inputs.BLUR_CHANNELS``.
    features : tuple of int
        Width at full resolution, then of each level of the U-Net (its first has half the resolution).
    bound : float
        Largest factor on the kernel dose, either way.
    dead_zone : float
        Logarithmic corrections are drawn towards zero by this much: what is smaller than the training
        could resolve is not applied.
    calibration : float
        Factor on the predicted uncertainty, from held-out cases.
    domain : dict
        Range of each number of ``domain.features_of`` over the training.
    weights_sha256, licence : str
    training : dict
        Command, seed, steps, samples, versions.
    held_out : dict
        What was measured on cases that were not trained on.
    """

    name: str
    version: str
    nuclides: tuple[str, ...]
    spacing_mm: tuple[float, float]
    channels: tuple[str, ...]
    features: tuple[int, ...] = (8, 16, 32)
    bound: float = 10.0
    dead_zone: float = 0.01
    calibration: float = 1.0
    domain: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    weights_sha256: str = ""
    licence: str = "Apache-2.0"
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    held_out: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def factor(self) -> int:
        """The sides of a tile are multiples of this."""
        return 2 ** (len(self.features) - 2)


def build(description: DoseNetwork) -> Any:
    """Return the network: raw logarithms of correction and of its uncertainty, two channels.

    A residual U-Net of MONAI on halved resolutions for the surroundings, beside a few layers on
    the full one for the borders; no normalisation (the result at a voxel must not depend on what
    else is in the tile), and a last layer of zeros: untrained, it corrects nothing.
    """
    import torch
    from monai.networks.nets import UNet

    count, width = len(description.channels), description.features[0]

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.surroundings = UNet(
                spatial_dims=3, in_channels=count, out_channels=width, channels=description.features[1:],
                strides=(2,) * (len(description.features) - 2), num_res_units=1, norm=None,
            )  # fmt: skip
            layers = []
            for number in range(DETAIL_LAYERS):
                layers += [torch.nn.Conv3d(width if number else count, width, 3, padding=1), torch.nn.PReLU()]
            self.detail = torch.nn.Sequential(*layers)
            self.mix = torch.nn.Sequential(torch.nn.Conv3d(2 * width, 2 * width, 1), torch.nn.PReLU())
            self.last = torch.nn.Conv3d(2 * width, 2, 1)
            torch.nn.init.zeros_(self.last.weight)
            torch.nn.init.zeros_(self.last.bias)

        def forward(self, channels: Any) -> Any:
            both = torch.cat((self.surroundings(channels), self.detail(channels)), 1)
            return _pointwise(self.last, self.mix[1](_pointwise(self.mix[0], both)))

    return Network()


def _pointwise(layer: Any, values: Any) -> Any:
    """Return a convolution of 1 x 1 x 1 as what it is, a product of matrices: several times as fast on a CPU."""
    import torch

    product = torch.nn.functional.linear(values.movedim(1, -1), layer.weight.flatten(1), layer.bias)
    return product.movedim(-1, 1)


def correction_of(raw: Any, bound: float) -> tuple[Any, Any]:
    """Return the factor on the kernel dose and its relative uncertainty (k=1) from the two raw channels."""
    import math

    import torch

    largest = math.log(bound)
    factor = torch.exp(largest * torch.tanh(raw[:, 0] / largest))
    # Zero raw output means 3 %; between 0.1 % and 100 %.
    relative = torch.exp(torch.clamp(raw[:, 1] + math.log(0.03), math.log(1e-3), 0.0))
    return factor, relative


def read_description(folder: str | Path) -> DoseNetwork:
    """Return the description of a network's folder.

    Raises
    ------
    EngineUnavailableError
        If it is missing or not understood.
    """
    path = Path(folder) / DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no table")
        tuples = ("nuclides", "spacing_mm", "channels", "features")
        found = DoseNetwork(**{k: tuple(v) if k in tuples else v for k, v in content.items()})
        _check(found)
    except OSError as error:
        raise EngineUnavailableError(
            f"{path}: the trained network is missing; install the extension again. {FALLBACK}"
        ) from error
    except (ValueError, TypeError) as error:
        raise EngineUnavailableError(
            f"{path}: the description is not understood ({error}). {FALLBACK}"
        ) from error
    if not found.weights_sha256:
        raise EngineUnavailableError(f"{path}: the checksum of the weights is missing. {FALLBACK}")
    return found


def _check(found: DoseNetwork) -> None:
    """Raise a :class:`ValueError` or :class:`TypeError` where a description cannot be one."""
    low, high = found.spacing_mm
    for name, good in (
        ("nuclides", bool(found.nuclides)),
        ("spacing_mm", 0 < low <= high),
        ("channels", found.channels in (CHANNELS, CHANNELS + BLUR_CHANNELS)),
        ("features", len(found.features) >= 3 and all(isinstance(n, int) and n > 0 for n in found.features)),
        ("bound", found.bound > 1),
        ("dead_zone", found.dead_zone >= 0),
        ("calibration", found.calibration > 0),
        # Without its ranges a network would never doubt.
        ("domain", all(len(found.domain.get(key, ())) == 2 for key in WORDS)
         if isinstance(found.domain, dict) else False),
    ):  # fmt: skip
        if not good:
            raise ValueError(f"{name} is {getattr(found, name)!r}")


def load(folder: str | Path) -> tuple[DoseNetwork, Any]:
    """Return description and network, the checksum of the weights compared; the last two are kept.

    Raises
    ------
    EngineUnavailableError
        If a file is missing, damaged or foreign.
    """
    folder = Path(folder)
    read_description(folder)
    path = folder / WEIGHTS
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    return _load(folder, changed, (folder / DESCRIPTION).stat().st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _load(folder: Path, weights_changed: int, description_changed: int) -> tuple[DoseNetwork, Any]:
    description = read_description(folder)
    try:
        weights = load_weights(folder / WEIGHTS, description.weights_sha256)
        network = build(description)
        fill(network, weights, folder / WEIGHTS)
    except SegmentationError as error:
        raise EngineUnavailableError(f"{error} {FALLBACK}") from error
    return description, network.eval()


def save(folder: str | Path, description: DoseNetwork, network: Any, card: str) -> DoseNetwork:
    """Write a network's folder and return the description with its checksum."""
    from safetensors.torch import save_file

    from TheranosticDoseLib.files import to_json, write_whole

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".part-{WEIGHTS}"
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(state, str(part))
    part.chmod(0o644)  # it comes readable for its owner only
    description = dataclasses.replace(description, weights_sha256=sha256(part))
    # The description goes last: a folder with an old one refuses the new weights instead of trusting them.
    os.replace(part, folder / WEIGHTS)
    write_whole(folder / CARD, card)
    write_whole(folder / DESCRIPTION, to_json(dataclasses.asdict(description)))
    return description
