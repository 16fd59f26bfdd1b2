"""The commands of the training."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from TheranosticDoseLib import DISCLAIMER
from TheranosticDoseLib.dose.training.loop import TrainingSettings
from TheranosticDoseLib.dose.training.samples import KINDS, NOISE
from TheranosticDoseLib.errors import TheranosticDoseError

SOURCE = (
    "Virtual patients and random fields of this program; deformed real CTs where 'ct' samples are listed "
    "(their licence is that of the CT, of which nothing is in the weights but what was learned)."
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the commands."""
    top = argparse.ArgumentParser(
        prog="python -m TheranosticDoseLib.dose.training",
        description="Train a dose network.",
        epilog=DISCLAIMER,
    )
    commands = top.add_subparsers(dest="command", required=True)
    samples = commands.add_parser("samples", help="write samples; those that are there are kept")
    samples.add_argument("--out", type=Path, required=True, metavar="DIR")
    samples.add_argument("--kind", choices=KINDS, default="fields")
    samples.add_argument("--count", type=int, default=20)
    samples.add_argument("--seed", type=int, default=0, help="of the first sample")
    samples.add_argument("--ct", type=Path, metavar="FILE", help="CT in Hounsfield units for --kind ct")
    samples.add_argument("--histories", type=int, default=30_000_000, help="most decays of a sample")
    samples.add_argument(
        "--noise", type=float, default=NOISE, help="wanted, relative, where the dose is high"
    )
    samples.add_argument("--threads", type=int)
    train = commands.add_parser("train", help="train, or go on with a training")
    train.add_argument("--samples", type=Path, required=True, metavar="DIR")
    train.add_argument("--held-out", type=Path, metavar="DIR", help="samples that are never trained on")
    train.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a checkpoint there is gone on with"
    )
    for field in dataclasses.fields(TrainingSettings):
        many = isinstance(field.default, tuple)
        train.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default[0] if many else field.default),
            default=field.default, nargs="+" if many else None, help=f"default: {field.default}",
        )  # fmt: skip
    return top


def train_network(
    samples: Path, out: Path, settings: TrainingSettings, held_out: Path | None = None, progress: Any = None
) -> Any:
    """Train on a folder of samples and write the network's folder; returns its description."""
    import monai
    import torch

    from TheranosticDoseLib import tissues
    from TheranosticDoseLib.dose.cnn.domain import ranges_of
    from TheranosticDoseLib.dose.cnn.network import save
    from TheranosticDoseLib.dose.training import card, data, loop

    deblur = settings.variant == "cnn_pvc"
    learned = data.read_samples(samples, deblur)
    test = data.read_samples(held_out, deblur) if held_out else []
    description, network = loop.train(learned, out, settings, test, progress)
    record = {
        **settings.same_training(),
        "sample_names": [sample.name for sample in learned],
        "torch": torch.__version__,
        "monai": monai.__version__,
    }
    domain = ranges_of([sample.features for sample in learned])
    # Up to the densest bone nothing is foreign, beyond it is metal, whatever the samples happened to hold.
    bone = tissues.tissues()[tissues.BONE].density_g_cm3
    domain["density_max"] = (domain["density_max"][0], 1.1 * bone)
    if deblur:  # one camera's voxels, not a range of them
        low, high = domain["spacing_min"][0] * 0.95, domain["spacing_max"][1] * 1.05
        description = dataclasses.replace(description, spacing_mm=(low, high))
    domain |= {"spacing_min": description.spacing_mm, "spacing_max": description.spacing_mm}
    description = card.finished(dataclasses.replace(description, domain=domain), network, test, record)
    kinds = collections.Counter(sample.name.rsplit("_", 1)[0] for sample in learned)
    return save(out, description, network, card.model_card(description, kinds, SOURCE))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; exit status 2 and one line for what cannot be done."""
    options = vars(parser().parse_args(arguments))
    command = options.pop("command")

    def show(fraction: float, message: str) -> bool:
        sys.stderr.write(f"\r{100 * fraction:5.1f} %  {message}   ")
        sys.stderr.flush()
        return True

    try:
        if command == "samples":
            from TheranosticDoseLib.dose.training.samples import write_samples

            write_samples(**options, progress=show)
        else:
            places = {key: options.pop(key) for key in ("samples", "out", "held_out")}
            values = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
            train_network(**places, settings=TrainingSettings(**values), progress=show)
    except TheranosticDoseError as error:
        sys.stderr.write(f"\n{error}\n")
        return 2
    sys.stderr.write("\n")
    return 0


if __name__ == "__main__":
    # Deterministic matrix products on CUDA need this before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    raise SystemExit(main())
