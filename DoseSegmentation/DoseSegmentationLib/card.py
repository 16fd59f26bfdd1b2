"""The card of a network: data, intended use, performance with intervals, limits (items of CLAIM 2024).

Tejani et al., Radiol Artif Intell 2024;6:e240300, doi:10.1148/ryai.240300
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from DoseSegmentationLib.evaluation import bootstrap
from DoseSegmentationLib.networks import NetworkDescription

USE = {
    "organs": "A first contour of organs on low-dose CT for dosimetry, to be corrected by an expert.",
    "lesions": "A first contour of lesions on 177Lu SPECT/CT for dosimetry, to be corrected by an expert.",
}


def model_card(
    description: NetworkDescription,
    held_out: Sequence[Mapping[str, Any]] | None,
    source: str,
    measured: Sequence[str] = (),
) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    description : NetworkDescription
    held_out : sequence of mapping or None
        Of ``training.measured``: per case the Dice of each structure.
    source : str
        Where the training samples came from.
    measured : sequence of str
        Lines on the performance beyond the Dice: in the whole pipeline, and on real images.
    """
    refined = f", refined by layers of {description.refinement} features" if description.refinement else ""
    spacing = " x ".join(f"{s:g}" for s in description.spacing_mm)
    lines = [
        f"# {description.name} {description.version}",
        "",
        "Research software, not a medical device.",
        "",
        f"- Intended use: {USE[description.task]} Not for diagnosis, nor without correction.",
        f"- Input: {', '.join(description.channels)} on {spacing} mm, tiles of {description.patch} voxels (z, y, x).",
        f"- Output: {', '.join(description.labels.values())}.",
        f"- Architecture: 3D U-Net of MONAI, features {description.features}{refined}.",
        f"- Licence: {description.licence}",
        "",
        "## Training",
        "",
        f"- Samples: {description.training.get('samples', '?')}. {source}",
        *(f"- {key}: {value}" for key, value in description.training.items() if key != "samples"),
        "- Reference standard: the truth of the samples, not the contour of a reader.",
        "",
        "## Performance on samples that were not trained on",
        "",
        *(measured or _performance(held_out)),
        "",
        "## Limits",
        "",
        "- Virtual patients are simpler than patients"
        + ("." if measured else "; real images were not part of this measurement."),
        "- One drug family, one range of resolution and noise; unusual input is reported, not corrected.",
        "- Sex, age and body shape vary only as far as the virtual patients do.",
        "",
    ]
    return "\n".join(lines)


def _performance(held_out: Sequence[Mapping[str, Any]] | None) -> list[str]:
    if not held_out:
        return ["Not measured: no held-out samples were given. Do not use these weights."]
    lines = [f"{len(held_out)} cases; mean Dice with the 95 % interval of a bootstrap over cases.", ""]
    lines += ["| structure | Dice | interval | cases |", "| --- | --- | --- | --- |"]
    for name in held_out[0]["dice"]:
        values = [row["dice"][name] for row in held_out]
        mean, low, high = bootstrap(values)
        lines.append(f"| {name} | {mean:.3f} | {low:.3f} to {high:.3f} | {int(np.isfinite(values).sum())} |")
    return lines
