"""A very small patient as NIfTI with a manifest: two time points, organs, lesions; computed in a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SHAPE, SPACING_MM = (28, 36, 36), 7.0
EFFECTIVE_HALF_LIFE_H = 60.0
# name: center (x, y, z) and half-axes, mm; concentration per GBq at injection, Bq/mL.
ORGANS = {
    "Liver": ((-45, -10, 20), (45, 40, 40), 4.0e4),
    "Kidney_L": ((60, 45, -20), (18, 18, 35), 1.2e5),
    "Kidney_R": ((-55, 45, -25), (18, 18, 35), 1.1e5),
    "Lesion_1": ((50, -35, 40), (17, 17, 17), 3.0e5),
}


def tiny_study(
    folder: Path,
    patient_id: str = "tiny",
    injection: str = "2026-03-01T09:00:00",
    activity_mbq: float = 7400.0,
    scale: float = 1.0,
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    renamed: dict[str, str] | None = None,
    without: tuple[str, ...] = (),
) -> Path:
    """Write the study; ``scale`` is of all uptake, ``shift_mm`` of the body in the scanner."""
    folder.mkdir(parents=True, exist_ok=True)
    axes = [(np.arange(n) - (n - 1) / 2) * SPACING_MM for n in SHAPE]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    x, y, z = x - shift_mm[0], y - shift_mm[1], z - shift_mm[2]

    def ellipsoid(center: tuple, half: tuple) -> np.ndarray:
        return sum(((a - c) / h) ** 2 for a, c, h in zip((x, y, z), center, half, strict=True)) < 1

    body = ellipsoid((0, 0, 0), (115, 95, 200))
    hu = np.where(body, 10.0, -1000.0)
    hu[ellipsoid((0, 70, 0), (12, 12, 300)) & body] = 700.0
    hu[ellipsoid((55, -10, 85), (40, 50, 40)) & body] = -750.0
    uptake, labels, names = 3000.0 * body, np.zeros(SHAPE, np.uint8), {}
    for number, (name, (center, half, level)) in enumerate(ORGANS.items(), start=1):
        if name in without:
            continue
        inside = ellipsoid(center, half)
        uptake[inside] = level
        labels[inside] = number
        hu[inside] += 15.0 * number
        names[str(number)] = (renamed or {}).get(name, name)
    write(folder / "ct.nii.gz", hu)
    write(folder / "vois.nii.gz", labels)
    (folder / "vois.json").write_text(json.dumps(names))
    scans = []
    for time_h in (24.0, 120.0):
        factor = scale * activity_mbq / 1000 * 2 ** (-time_h / EFFECTIVE_HALF_LIFE_H)
        write(folder / f"spect_{time_h:g}.nii.gz", uptake * factor)
        scan = {"spect": f"spect_{time_h:g}.nii.gz", "ct": "ct.nii.gz", "time_h": time_h, "duration_s": 1200}
        scans.append({**scan, "vois": "vois.nii.gz"} if time_h == 24.0 else scan)
    values = {
        "patient_id": patient_id,
        "nuclide": "Lu-177",
        "injected_activity_mbq": activity_mbq,
        "injection_datetime": injection,
        "units": "BQML",
        "acquisitions": scans,
    }
    (folder / "manifest.json").write_text(json.dumps(values))
    return folder


def write(path: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array.astype(np.float32 if array.dtype.kind == "f" else array.dtype))
    image.SetSpacing((SPACING_MM,) * 3)
    image.SetOrigin((-120.0, -110.0, 30.0))
    sitk.WriteImage(image, str(path))
