"""The training of a dose network: deterministic, resumable, with a learning curve.

What a step sees depends on the seed and its number only, so an interrupted training that is taken
up again gives, on a CPU, the same weights bit for bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.training_state import TrainingState, deterministic
from DoseSegmentationLib.weights import packages_missing

from TheranosticDoseLib.dose.cnn.inputs import BLUR_CHANNELS, CHANNELS
from TheranosticDoseLib.dose.cnn.network import DoseNetwork, build, correction_of
from TheranosticDoseLib.dose.training.data import Sample, batch
from TheranosticDoseLib.dose.training.samples import NUCLIDE
from TheranosticDoseLib.errors import CancelledError, EngineUnavailableError, InputError
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.settings import Settings

FLOOR = {"cnn": 0.01, "cnn_pvc": 0.1}
"""Relative error that the loss takes for as good as none, beside the noise of the truth."""
OF_CORRECTION = 0.1
OUTLIER = 5.0
"""Deviations beyond this many standard deviations count linearly."""
UNCERTAINTY_WEIGHT = 0.1
MEASURED = ("held_out_error", "held_out_error_of_kernel")
"""Columns of the curve beside the loss."""


@dataclasses.dataclass(frozen=True)
class TrainingSettings(Settings):
    """Settings of a training.

    Attributes
    ----------
    variant : str
        ``cnn`` or ``cnn_pvc``.
    steps, batch : int
    side : int
        Of a patch, voxels.
    learning_rate : float
        At the start; it falls along a cosine to a hundredth.
    features : tuple of int
    seed : int
    save_every : int
        Steps between two points of the curve.
    device : str
    threads : int
        Of the CPU; 0 leaves them as they are.
    version : str
    """

    variant: str = "cnn"
    steps: int = 4000
    batch: int = 4
    side: int = 24
    learning_rate: float = 2e-3
    features: tuple[int, ...] = (8, 16, 32)
    seed: int = 0
    save_every: int = 250
    device: str = "auto"
    threads: int = 0
    version: str = "1"

    def validate(self) -> None:
        """Check the ranges."""
        self.require(self.variant in ("cnn", "cnn_pvc"), "variant", "cnn or cnn_pvc")
        self.require(self.steps >= 1 and self.batch >= 1, "steps", "at least 1, as batch")
        self.require(len(self.features) >= 3 and min(self.features) >= 1, "features", "three or more widths")
        factor = 2 ** (len(self.features) - 2)
        self.require(self.side > 0 and self.side % factor == 0, "side", f"a multiple of {factor}")
        self.require(0 < self.learning_rate < 1, "learning_rate", "0 to 1")
        self.require(self.save_every >= 1 and self.threads >= 0, "save_every", "at least 1")

    @property
    def channels(self) -> tuple[str, ...]:
        """Input of the network."""
        return CHANNELS + (BLUR_CHANNELS if self.variant == "cnn_pvc" else ())

    def same_training(self) -> dict[str, Any]:
        """Return what must not change when a training is taken up again."""
        free = ("device", "threads", "save_every", "version")
        values = {key: value for key, value in self.to_dict().items() if key not in free}
        return {**values, "features": list(self.features)}


def description_of(settings: TrainingSettings) -> DoseNetwork:
    """Return the description of an untrained network."""
    return DoseNetwork(
        name=settings.variant,
        version=settings.version,
        nuclides=(NUCLIDE,),
        spacing_mm=(2.0, 5.0),
        channels=settings.channels,
        features=tuple(settings.features),
    )


def train(
    samples: Sequence[Sample],
    out: Path,
    settings: TrainingSettings,
    held_out: Sequence[Sample] = (),
    progress: Progress | None = None,
) -> tuple[DoseNetwork, Any]:
    """Train, or go on with a training; return description and network.

    Parameters
    ----------
    samples : sequence of Sample
    out : Path
        Gets ``checkpoint.pt`` and ``curve.csv``.
    settings : TrainingSettings
    held_out : sequence of Sample
        Never trained on; their error goes into the curve.
    progress : callable, optional
        ``False`` stops after saving; the same call goes on from there.

    Raises
    ------
    EngineUnavailableError
        If packages are missing.
    InputError
        If the checkpoint is of another training, a sample is in both sets, or the loss is not finite.
    """
    if missing := packages_missing():
        raise EngineUnavailableError(f"Training cannot start: {missing}")
    import torch
    from DoseSegmentationLib.inference import device_of

    if both := {s.name for s in samples} & {s.name for s in held_out}:
        raise InputError(f"{min(both)} is among the samples of the training and the held-out ones.")
    Path(out).mkdir(parents=True, exist_ok=True)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with deterministic(settings.seed):
        description, device = description_of(settings), device_of(settings.device)
        try:
            state = TrainingState(build(description).to(device), settings, Path(out), MEASURED)
        except SegmentationError as error:
            raise InputError(str(error)) from error
        _steps(state, samples, held_out, description, device, progress)
    return description, state.network.cpu().eval()


def _steps(state, samples, held_out, description, device, progress) -> None:
    import torch

    settings, recent = state.settings, []
    while state.step < settings.steps:
        rate = state.set_rate()
        rng = np.random.default_rng([settings.seed, state.step])
        arrays = batch(samples, settings.channels, rng, settings.batch, settings.side)
        channels, *truth = (torch.from_numpy(array).to(device) for array in arrays)
        loss = loss_of(state.network.train()(channels), *truth, description.bound, FLOOR[settings.variant])
        if not bool(torch.isfinite(loss)):
            raise InputError(f"The loss is not finite at step {state.step}; lower the learning rate.")
        state.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
        state.optimizer.step()
        state.step += 1
        recent.append(float(loss.detach()))
        if state.step % settings.save_every == 0 or state.step == settings.steps:
            errors = net_errors(state.network, description, held_out, device)
            state.curve.append((state.step, float(np.mean(recent[-settings.save_every :])), rate, *errors))
            state.save()
        try:
            report(
                progress, state.step / settings.steps, f"Step {state.step}: loss {np.mean(recent[-50:]):.4f}"
            )
        except CancelledError:
            state.save()
            raise


def loss_of(raw: Any, ratio: Any, noise2: Any, counts: Any, bound: float, floor: float) -> Any:
    """Return the loss: deviations relative to the prediction, in units of the noise of the truth.

    The second term teaches the uncertainty: the likelihood of the deviations, whose own gradient
    on the correction is left out.
    """
    import torch

    factor, relative = correction_of(raw, bound)
    fixed = factor.detach().clamp(min=1e-2)
    deviation = (factor - ratio) / fixed
    # A tenth of what is to be corrected is good enough; else activity in gas would be all that is learned.
    variance = noise2 / fixed + (floor + OF_CORRECTION * (ratio - 1).abs().clamp(max=1.0)) ** 2
    weight = counts.float()
    units = deviation / variance.sqrt()
    size = torch.nn.functional.huber_loss(units, torch.zeros_like(units), reduction="none", delta=OUTLIER)
    spread = relative**2 + noise2 / fixed
    likelihood = deviation.detach().clamp(-2, 2) ** 2 / spread + torch.log(spread)
    total = weight.sum().clamp(min=1.0)
    return ((size + UNCERTAINTY_WEIGHT * likelihood) * weight).sum() / total


def net_errors(network, description, held_out: Sequence[Sample], device: str) -> tuple:
    """Return the error of network and kernel over held-out samples, relative, the noise of the truth taken off.

    Weighted by the inverse variance of the truth; empty texts where there are no samples.
    """
    from TheranosticDoseLib.dose.cnn.predict import predict

    if not held_out:
        return ("", "")
    sums = np.zeros(3)
    for sample in held_out:
        factor, _ = predict(network.eval(), description, sample.channels, flips=1, device=device, half=False)
        here = sample.counts
        noise2 = sample.measured2[here] / factor[here] ** 2
        weight = 1 / (sample.noise2[here] + FLOOR[description.name] ** 2)
        for number, guess in enumerate((factor[here], 1.0)):
            error2 = ((sample.ratio[here] - guess) / factor[here]) ** 2 - noise2
            sums[number] += float(np.sum(weight * error2))
        sums[2] += float(np.sum(weight))
    return tuple(float(np.sqrt(max(value, 0.0) / sums[2])) for value in sums[:2])
