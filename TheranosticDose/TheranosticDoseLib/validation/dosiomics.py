"""Dosiomics: features of the IBSI digital phantom against the consensus values."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from TheranosticDoseLib.progress import Progress
from TheranosticDoseLib.validation.dvh import reference_folder
from TheranosticDoseLib.validation.figure import Figure, at_least, reported

OMITTED = ("ombb", "mvee", "ivh_auc")
"""Features without an IBSI consensus definition in mirp (oriented boxes, ellipsoids, area under the curve)."""


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return how many of the 3D features lie within the tolerance of the consensus; none without the data."""
    folder = reference_folder("ibsi")
    if folder is None:
        return []
    import SimpleITK as sitk

    from TheranosticDoseLib.dosiomics import features

    phantom = folder / "ibsi_1_digital_phantom" / "nifti"
    image = sitk.ReadImage(str(phantom / "image" / "phantom.nii.gz"), sitk.sitkFloat32)
    mask = sitk.ReadImage(str(phantom / "mask" / "mask.nii.gz"), sitk.sitkFloat32)
    mask.CopyInformation(image)
    values = features(image, mask, bins=0)
    table = (
        folder / "zrad_reference_values" / "tests" / "data" / "ibsi_1_reference_values_digital_phantom.csv"
    )
    inside, compared, outside, missing = 0, 0, [], []
    with table.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            tag = row["tag"]
            if (
                any(part in tag for part in OMITTED)
                or "_2D" in tag
                or "_2_5D" in tag
                or tag.endswith("3D_avg")
            ):
                continue
            if tag not in values:
                missing.append(tag)
                continue
            compared += 1
            reference, tolerance = float(row["reference value"]), float(row["tolerance"])
            # The consensus is given to three digits: half a unit of the last one counts as equal.
            rounding = 0.5 * 10.0 ** (np.floor(np.log10(abs(reference))) - 2) if reference else 5e-4
            if abs(values[tag] - reference) <= tolerance + rounding:
                inside += 1
            else:
                outside.append(f"{tag} {values[tag]:.4g} ({reference:g})")
    detail = f"{inside} of {compared}; outside: {', '.join(outside) or 'none'}"
    detail += f"; not computed: {', '.join(missing) or 'none'}"
    source = "IBSI 1 consensus values of the digital phantom (doi:10.1148/radiol.2020191145)"
    return [
        at_least("IBSI digital phantom: features within tolerance", 100 * inside / max(compared, 1), 100, "%",
                 reference=source, detail=detail),
        reported("IBSI digital phantom: features compared", compared, reference=source),
    ]  # fmt: skip
