"""Train a network: ``python -m DoseSegmentationLib.training --task organs --samples DIR --out DIR``.

The same command on the same samples gives the same weights (on a CPU bit for bit), however often it was
interrupted: what a step sees depends on the seed and its number only.  Research software, not a medical
device.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.networks import (
    NetworkDescription,
    build,
    read_description,
    save,
    start_from,
    tile_factor,
)
from DoseSegmentationLib.segmentation import Progress, SegmentationCancelled, report
from DoseSegmentationLib.training_data import Samples, batch, input_statistics, most_of, whole
from DoseSegmentationLib.training_state import TrainingState, deterministic
from DoseSegmentationLib.weights import packages_missing

CHANNELS = {"organs": ("ct_wide", "ct_soft"), "lesions": ("spect", "ct_wide", "ct_soft")}


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training.

    Attributes
    ----------
    task : str
        ``organs`` or ``lesions``.
    steps, batch : int
    learning_rate : float
        At the start; it falls along a cosine to a hundredth.
    patch : tuple of int
        ``(z, y, x)``, multiples of ``networks.tile_factor(features)``.
    features : tuple of int
    residual_units, refinement : int
        As in ``networks.NetworkDescription``.
    seed : int
    validate_every, save_every : int
        Steps.
    device : str
    threads : int
        Of the CPU; 0 leaves them as they are.
    version : str
        Of the network.
    initial : str
        Folder of a trained network of the same shape, with or without refinement, to start from (more
        training, or a site's own data); empty: random weights.
    lesion_log_odds : float
        Added to the log-probability of the class Lesion wherever the network is used: chosen so that
        the median volume of lesions of other patients is right.
    """

    task: str = "organs"
    steps: int = 4000
    batch: int = 2
    learning_rate: float = 2e-3
    patch: tuple[int, int, int] = (48, 48, 48)
    features: tuple[int, ...] = (12, 24, 48, 96, 128)
    residual_units: int = 0
    refinement: int = 12
    seed: int = 0
    validate_every: int = 500
    save_every: int = 100
    device: str = "auto"
    threads: int = 0
    version: str = "1"
    initial: str = ""
    lesion_log_odds: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        factor = tile_factor(self.features)
        problems = {
            f"task is {self.task!r}; expected {' or '.join(CHANNELS)}": self.task not in CHANNELS,
            f"patch is {self.patch}; expected multiples of {factor}": any(
                n % factor or n <= 0 for n in self.patch
            ),
            f"steps is {self.steps}; expected at least 1": self.steps < 1,
            f"batch is {self.batch}; expected at least 1": self.batch < 1,
            f"learning_rate is {self.learning_rate}; expected 0 to 1": not 0 < self.learning_rate < 1,
        }
        for text, wrong in problems.items():
            if wrong:
                raise SegmentationError(f"Training: {text}.")

    def same_training(self) -> dict[str, Any]:
        """Return what must not change when a training is taken up again."""
        free = ("device", "threads", "validate_every", "save_every", "version", "lesion_log_odds", "initial")
        fixed = {k: v for k, v in dataclasses.asdict(self).items() if k not in free}
        if self.initial:
            fixed["initial_weights_sha256"] = read_description(self.initial).weights_sha256
        return json.loads(json.dumps(fixed))


def train(
    samples: str | Path,
    out: str | Path,
    settings: TrainingSettings,
    held_out: str | Path | None = None,
    progress: Progress | None = None,
) -> NetworkDescription:
    """Train, or go on with a training, and write the network's folder.

    Parameters
    ----------
    samples : path
        Folder of training samples.
    out : path
        Gets ``network.json``, ``weights.safetensors``, ``card.md``, and while it runs
        ``checkpoint.pt`` and ``curve.csv``.
    settings : TrainingSettings
    held_out : path, optional
        Folder of samples that are never trained on; every ``validate_every`` steps they give a Dice.
    progress : callable, optional
        ``False`` stops after saving a checkpoint; the same call goes on from there.

    Returns
    -------
    NetworkDescription

    Raises
    ------
    SegmentationError
        If packages or samples are missing, or the checkpoint is of another training.
    SegmentationCancelled
        If ``progress`` returned ``False``.
    """
    missing = packages_missing()
    if missing:
        raise SegmentationError(f"Training cannot start: {missing}")
    import torch

    from DoseSegmentationLib.inference import device_of

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    data = Samples(samples, settings.task)
    test = None if held_out is None else Samples(held_out, settings.task)
    if test is not None and {p.name for p in test.paths} & {p.name for p in data.paths}:
        raise SegmentationError("Samples of the same name are in the training and in the held-out folder.")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = device_of(settings.device)
    description = _description(settings, data)
    with deterministic(settings.seed):
        network = build(description).to(device)
        state = _state_of(network, settings, out)
        _loop(state, data, test, description, device, progress)
        description = dataclasses.replace(
            description,
            statistics=input_statistics(data, description),
            training=_record(settings, data, state),
        )
        from DoseSegmentationLib.card import model_card

        network = network.cpu().eval()
        found = None if test is None else measured(network, description, test)
        return save(out, description, network, model_card(description, found, data.source))


def _state_of(network: Any, settings: TrainingSettings, out: Path) -> TrainingState:
    """Return the training as it stands: of its checkpoint, of the initial network, or new."""
    state = TrainingState(network, settings, out, ("held_out_dice",))
    if settings.initial and not state.resumed:
        start_from(network, settings.initial)
    return state


def _loop(
    state: TrainingState, data: Samples, test: Samples | None, description, device: str, progress
) -> None:
    import torch
    from monai.losses import DiceLoss

    settings = state.settings
    # Both are least where the probability equals the share of the structure in the voxel.
    dice = DiceLoss(softmax=True, include_background=False, batch=True, soft_label=True)
    entropy = torch.nn.CrossEntropyLoss()
    recent: list[float] = []
    while state.step < settings.steps:
        state.set_rate()
        images, shares = batch(
            data, description, np.random.default_rng([settings.seed, state.step]), settings.batch
        )
        state.network.train()
        logits, wanted = (
            state.network(torch.from_numpy(images).to(device)),
            torch.from_numpy(shares).to(device),
        )
        loss = dice(logits, wanted) + entropy(logits, wanted)
        if not bool(torch.isfinite(loss)):
            raise SegmentationError(f"The loss is not finite at step {state.step}; lower the learning rate.")
        state.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
        state.optimizer.step()
        state.step += 1
        recent.append(float(loss.detach()))
        _note(state, recent, test, description)
        try:
            report(
                progress, state.step / settings.steps, f"Step {state.step}: loss {np.mean(recent[-20:]):.3f}"
            )
        except SegmentationCancelled:
            state.save()
            raise
    state.save()


def _note(
    state: TrainingState, recent: list[float], test: Samples | None, description: NetworkDescription
) -> None:
    """Add a point to the curve and save, where it is time."""
    settings = state.settings
    validate = test is not None and state.step % settings.validate_every == 0
    if validate or state.step % settings.save_every == 0 or state.step == settings.steps:
        dice: float | str = ""
        if validate:
            tables = measured(state.network.eval(), description, test, most=8)
            values = [v for row in tables for v in row["dice"].values() if np.isfinite(v)]
            dice = float(np.mean(values)) if values else ""
        rate = state.optimizer.param_groups[0]["lr"]
        state.curve.append((state.step, float(np.mean(recent[-settings.save_every :])), float(rate), dice))
        state.save()


def measured(
    network: Any, description: NetworkDescription, test: Samples, most: int | None = None
) -> list[dict]:
    """Return for each held-out sample its Dice per structure.

    Returns
    -------
    list of dict
        ``{"case", "dice": {structure: value}}``; NaN where a structure is neither there nor found.
    """
    from DoseSegmentationLib.inference import predict

    rows = []
    device = str(next(network.parameters()).device)
    for index in range(len(test) if most is None else min(most, len(test))):
        sample = test[index]
        swapped = description.swapped() if description.mirrored else None
        found = predict(
            network, whole(sample, description), description.patch, swapped=swapped, device=device,
            factor=description.factor,
        ).labels  # fmt: skip
        truth, scores = most_of(sample, description.classes), {}
        for channel, name in description.labels.items():
            a, b = found == int(channel), truth == int(channel)
            total = int(a.sum() + b.sum())
            scores[name] = 2.0 * int((a & b).sum()) / total if total else float("nan")
        rows.append({"case": test.paths[index].stem, "dice": scores})
    return rows


def _description(settings: TrainingSettings, data: Samples) -> NetworkDescription:
    return NetworkDescription(
        name={"organs": "organs_ct", "lesions": "lesions_spect_ct"}[settings.task],
        version=settings.version,
        task=settings.task,
        channels=CHANNELS[settings.task],
        labels=dict(data.labels),
        spacing_mm=data.spacing_mm,
        patch=tuple(settings.patch),
        features=tuple(settings.features),
        residual_units=settings.residual_units,
        refinement=settings.refinement,
        ct_optional=settings.task == "lesions",
        log_odds=_log_odds(settings, data),
    )


def _log_odds(settings: TrainingSettings, data: Samples) -> dict[str, float]:
    if not settings.lesion_log_odds:
        return {}
    return {channel: settings.lesion_log_odds for channel, name in data.labels.items() if name == "Lesion"}


def _record(settings: TrainingSettings, data: Samples, state: TrainingState) -> dict[str, Any]:
    import monai
    import torch

    return {
        **settings.same_training(),
        "samples": len(data),
        "source": data.source,
        "sample_names": [data.paths[0].stem, data.paths[-1].stem],
        "last_loss": state.curve[-1][1] if state.curve else None,
        "torch": torch.__version__,
        "monai": monai.__version__,
    }


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = argparse.ArgumentParser(
        prog="python -m DoseSegmentationLib.training", description=__doc__.splitlines()[0]
    )
    made.add_argument("--samples", type=Path, required=True, metavar="DIR")
    made.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a folder with a checkpoint is gone on with"
    )
    made.add_argument("--held-out", type=Path, metavar="DIR", help="samples that are never trained on")
    for field in dataclasses.fields(TrainingSettings):
        many = isinstance(field.default, tuple)
        kind = type(field.default[0] if many else field.default)
        choices = list(CHANNELS) if field.name == "task" else None
        made.add_argument(
            f"--{field.name.replace('_', '-')}", type=kind, default=field.default, nargs="+" if many else None,
            choices=choices, help=f"default: {field.default}",
        )  # fmt: skip
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Train from the shell; exit status 2 and one line for what cannot be done."""
    options = vars(parser().parse_args(arguments))
    places = {key: options.pop(key) for key in ("samples", "out", "held_out")}

    def show(fraction: float, message: str) -> bool:
        sys.stderr.write(f"\r{100 * fraction:5.1f} %  {message}   ")
        sys.stderr.flush()
        return True

    try:
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        description = train(
            places["samples"], places["out"], TrainingSettings(**values), places["held_out"], show
        )
    except SegmentationError as error:
        sys.stderr.write(f"\n{error}\n")
        return 2
    sys.stderr.write(f"\n{places['out']}: {description.name} {description.version}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
