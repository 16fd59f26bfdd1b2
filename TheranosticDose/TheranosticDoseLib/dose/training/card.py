"""What was measured on held-out samples, the calibration of the uncertainty, and the card (CLAIM 2024).

Tejani et al., Radiol Artif Intell 2024;6:e240300, doi:10.1148/ryai.240300
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from TheranosticDoseLib import DISCLAIMER
from TheranosticDoseLib.dose.cnn.network import DoseNetwork
from TheranosticDoseLib.dose.cnn.predict import predict
from TheranosticDoseLib.dose.training.data import Sample

REGIONS = {
    "above 10 % of the maximum": (0.1, False),
    "tissue borders above 10 %": (0.1, True),
    "tissue borders above 1 %": (0.01, True),
}
"""Least share of the largest kernel dose, and whether only borders count."""
NOISY = 0.1
"""Voxels whose truth has more noise than this are left out of the table."""


def measured(
    network: Any, description: DoseNetwork, samples: Sequence[Sample], flips: int = 1
) -> dict[str, Any]:
    """Return the errors of network and kernel over held-out samples, and the calibration.

    Returns
    -------
    dict
        ``cases``, ``calibration`` (the factor on the predicted uncertainty), ``regions`` {name: {voxels,
        noise, kernel: {mean_absolute, net_rms, bias}, network: {...}}}, all relative to the kernel times its
        correction; ``net_rms`` has the noise of the truth taken off.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in REGIONS}
    for sample in samples:
        factor, relative = predict(network, description, sample.channels, flips=flips, half=False)
        noise2 = sample.measured2 / np.maximum(factor, 1e-2) ** 2
        for name, (share, border) in REGIONS.items():
            here = sample.counts & (sample.share >= share) & (noise2 < NOISY**2)
            here &= sample.border if border else True
            found = [(v[here] - sample.ratio[here]) / factor[here] for v in (factor, np.ones_like(factor))]
            parts[name].append(np.stack([*found, noise2[here], relative[here]]))
    tables = {name: np.concatenate(rows, axis=1) for name, rows in parts.items()}
    every = tables["tissue borders above 1 %"]
    inner = tables["above 10 % of the maximum"]
    calibration = calibrated(*np.concatenate([every, inner], axis=1)[[0, 2, 3]])
    return {
        "cases": [sample.name for sample in samples],
        "calibration": calibration,
        "regions": {name: _row(table) for name, table in tables.items()},
    }


def _row(table: np.ndarray) -> dict[str, Any]:
    network, kernel, noise2, _ = table.astype(np.float64)
    found: dict[str, Any] = {"voxels": int(noise2.size)}
    if not noise2.size:
        return found
    found["noise"] = float(np.sqrt(noise2.mean()))
    for name, error in (("kernel", kernel), ("network", network)):
        found[name] = {
            "mean_absolute": float(np.abs(error).mean()),
            "net_rms": float(np.sqrt(max(np.mean(error**2) - noise2.mean(), 0.0))),
            "bias": float(error.mean()),
        }
    return found


def calibrated(error: np.ndarray, noise2: np.ndarray, relative: np.ndarray) -> float:
    """Return the factor on the predicted uncertainty that makes the errors as large as predicted.

    Found where the mean of the squared error over predicted variance plus noise, each at most 25, is 1.
    """
    if not error.size:
        return 1.0
    factors = np.geomspace(0.1, 20.0, 200)
    chi2 = [np.minimum(error**2 / ((f * relative) ** 2 + noise2), 25.0).mean() for f in factors]
    return float(factors[int(np.argmin(np.abs(np.array(chi2) - 1.0)))])


def model_card(description: DoseNetwork, samples: Mapping[str, int], source: str) -> str:
    """Return the card as Markdown; performance comes from ``description.held_out``."""
    low, high = description.spacing_mm
    training = {k: v for k, v in description.training.items() if k not in ("samples",)}
    use = (
        "The absorbed dose of a blurred SPECT with the partial-volume effect undone, beside the plain dose."
        if description.name == "cnn_pvc"
        else "A fast absorbed dose close to that of the embedded Monte Carlo, to be compared with it."
    )
    lines = [
        f"# dose_{description.name} {description.version}",
        "",
        DISCLAIMER,
        "",
        f"- Intended use: {use} Not for clinical decisions.",
        f"- Input: {', '.join(description.channels)} on voxels of {low:g} to {high:g} mm; "
        f"nuclides: {', '.join(description.nuclides)}.",
        f"- Output: factor on the dose of `vsv_density` (at most {description.bound:g} either way) and its "
        "relative uncertainty (k=1).",
        f"- Architecture: residual 3D U-Net of MONAI beside layers at full resolution, features "
        f"{tuple(description.features)}, no normalisation, last layer started at zero.",
        f"- Licence: {description.licence}",
        "",
        "## Training",
        "",
        "- Samples: " + ", ".join(f"{n} {kind}" for kind, n in samples.items()) + f". {source}",
        *(f"- {key}: {value}" for key, value in training.items()),
        "- Reference standard: "
        + (
            "dose of the true activity."
            if description.name == "cnn_pvc"
            else "the embedded Monte Carlo of this program, with its statistical noise."
        ),
        "",
        "## Performance on samples that were not trained on",
        "",
        *_performance(description.held_out),
        "",
        "## Limits",
        "",
        "- Virtual patients and random fields are simpler than patients.",
        "- Outside of the ranges below the engine says so; it does not know what it cannot see.",
        *(f"- {key}: {pair[0]:.3g} to {pair[1]:.3g}" for key, pair in description.domain.items()),
        "",
    ]
    return "\n".join(lines)


def _performance(held_out: Mapping[str, Any]) -> list[str]:
    if not held_out:
        return ["Not measured: no held-out samples were given. Do not use these weights."]
    lines = [
        f"{len(held_out['cases'])} cases: {', '.join(held_out['cases'])}. Relative errors, %; the net error is the "
        "root mean square with the noise of the truth taken off.",
        "",
        "| voxels | number | noise of the truth | kernel: mean absolute | network: mean absolute "
        "| kernel: net | network: net | network: bias |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in held_out["regions"].items():
        if not row["voxels"]:
            continue
        kernel, network = row["kernel"], row["network"]
        values = [
            row["noise"], kernel["mean_absolute"], network["mean_absolute"], kernel["net_rms"],
            network["net_rms"], network["bias"],
        ]  # fmt: skip
        lines.append(f"| {name} | {row['voxels']} | " + " | ".join(f"{100 * v:.2f}" for v in values) + " |")
    lines += ["", f"The predicted uncertainty is multiplied by {held_out['calibration']:.2f}."]
    return lines


def finished(
    description: DoseNetwork, network: Any, held_out: Sequence[Sample], record: Mapping[str, Any]
) -> DoseNetwork:
    """Return the description with what was measured, the calibration and the training record."""
    found = measured(network, description, held_out) if held_out else {}
    return dataclasses.replace(
        description,
        calibration=found.get("calibration", 1.0),
        held_out=found,
        training=dict(record),
    )
