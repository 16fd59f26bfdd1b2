"""What every training of a network here shares: repeatable, taken up where it stopped, with a curve."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.weights import load_checkpoint


@contextlib.contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """PyTorch deterministic and seeded inside, as it was outside."""
    import torch

    before, random = torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    # cuBLAS is deterministic only with this; it must be set before the first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.set_rng_state(random)


class TrainingState:
    """Weights, optimizer, step and curve of a training, on disk and in memory.

    Parameters
    ----------
    network : torch.nn.Module
    settings : object
        With ``learning_rate``, ``steps`` and ``same_training()``: what must not change when a training
        is taken up again.
    out : Path
        Holds ``checkpoint.pt`` and ``curve.csv``; a checkpoint that is there is taken up.
    measured : sequence of str
        Columns of the curve after step, loss and learning rate.

    Raises
    ------
    SegmentationError
        If the checkpoint cannot be read or is of another training.
    """

    def __init__(self, network: Any, settings: Any, out: Path, measured: Sequence[str]) -> None:
        import torch

        self.network, self.settings, self.out, self._measured = network, settings, out, tuple(measured)
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=1e-4)
        self.step, self.curve = 0, []
        path = out / "checkpoint.pt"
        self.resumed = path.is_file()
        if self.resumed:
            self._read(load_checkpoint(path), path)

    def _read(self, content: dict[str, Any], path: Path) -> None:
        if not isinstance(content, dict) or content.get("settings") != self.settings.same_training():
            raise SegmentationError(
                f"{path}: the checkpoint is of a training with other settings; choose another folder or delete it."
            )
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step, self.curve = int(content["step"]), [tuple(row) for row in content["curve"]]

    def set_rate(self) -> float:
        """Set and return the learning rate of this step: along a cosine to a hundredth of the first."""
        share = self.step / self.settings.steps
        rate = self.settings.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + np.cos(np.pi * share)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def save(self) -> None:
        """Write the checkpoint and the learning curve."""
        import torch

        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "curve": [list(row) for row in self.curve],
            "settings": self.settings.same_training(),
        }
        part = self.out / ".part-checkpoint.pt"
        torch.save(content, part)
        os.replace(part, self.out / "checkpoint.pt")
        part = self.out / ".part-curve.csv"
        with part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["step", "loss", "learning_rate", *self._measured])
            writer.writerows(self.curve)
        os.replace(part, self.out / "curve.csv")
