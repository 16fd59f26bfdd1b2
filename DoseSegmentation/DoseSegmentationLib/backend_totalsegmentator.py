"""The backend of TotalSegmentator, where it is installed: the recommended one for organs.

Wasserthal et al., Radiol Artif Intell 2023;5:e230024, doi:10.1148/ryai.230024.  Its weights are
downloaded and read by TotalSegmentator itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DoseSegmentationLib.backend_classical import painted
from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.inputs import AIR_HU, Inputs, body_of, resampled, working_grid
from DoseSegmentationLib.resources import resource_path
from DoseSegmentationLib.segmentation import Progress, Segmentation, report, wanted
from DoseSegmentationLib.weights import packages_missing

NAME = "totalsegmentator"
DESCRIPTION = (
    "TotalSegmentator (Apache-2.0): the recommended backend for organs on CT. It downloads its weights on first use "
    "and sends anonymous usage statistics unless it is configured not to."
)
LARGE_VOXELS = 300 * 300 * 400


def _groups() -> dict[str, list[str]]:
    """Return structure to the classes of TotalSegmentator that make it up."""
    table = json.loads(resource_path("Models", "totalsegmentator_groups.json").read_text(encoding="utf-8"))
    return table["groups"]


STRUCTURES = (
    "Liver", "Spleen", "Kidney left", "Kidney right", "Pancreas", "Stomach", "Bowel", "Bladder", "Lung left",
    "Lung right", "Heart", "Aorta", "Spine", "Ribs", "Pelvis",
)  # fmt: skip


def available() -> tuple[bool, str]:
    """Return whether the backend can run, and why not."""
    if packages_missing(("torch", "totalsegmentator")):
        return False, "the package TotalSegmentator is not installed: pip install TotalSegmentator."
    return True, ""


def segment(
    inputs: Inputs,
    structures: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    fast: bool = False,
    device: str = "auto",
    crop: bool = True,
) -> Segmentation:
    """Segment with TotalSegmentator's task ``total``.

    Parameters
    ----------
    inputs : Inputs
        With a CT.
    structures, progress
        As ``backends.segment``.
    fast : bool
        3 mm voxels; always on the CPU with a large CT, and said so.
    device : str
        ``auto``, ``cpu``, ``gpu``.
    crop : bool
        Crop to the body first.

    Raises
    ------
    SegmentationError
        Without a CT, or if TotalSegmentator fails.
    """
    import SimpleITK as sitk

    from DoseSegmentationLib.inference import out_of_memory

    if inputs.ct is None:
        raise SegmentationError("TotalSegmentator needs a CT; none was given.")
    names, notes = wanted(structures, STRUCTURES, NAME), []
    report(progress, 0.02, "Cropping to the body")
    grid = inputs.ct
    if crop:
        body, note = body_of(inputs)
        notes += [note] if note else []
        turned = sitk.DICOMOrient(inputs.ct, "LPS")
        grid = working_grid(inputs.ct, turned.GetSpacing(), body)
    ct = resampled(inputs.ct, grid, AIR_HU) if crop else inputs.ct
    device, fast, more = _device(device, fast, ct)
    report(progress, 0.05, "TotalSegmentator (reports no progress of its own)")
    try:
        labels, values = _run(ct, names, fast, device)
    except SegmentationError as error:
        if device == "cpu" or not out_of_memory(error.__cause__):
            raise
        note = f"Memory ran out on {device}: repeated on the CPU."
        report(progress, 0.4, note)
        device, fast, slower = _device("cpu", fast, ct)
        more += [note, *slower]
        labels, values = _run(ct, names, fast, device)
    report(progress, 0.9, "Structures")
    back = sitk.Resample(
        labels, inputs.ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0, labels.GetPixelID()
    )
    array = sitk.GetArrayViewFromImage(back)
    found = [(name, np.isin(array, values[name])) for name in names]
    return painted(found, inputs.ct, NAME, _version(), notes=tuple(notes + more))


def _device(device: str, fast: bool, ct: Any) -> tuple[str, bool, list[str]]:
    """Return TotalSegmentator's name of the device, and whether ``fast`` is needed for memory's sake."""
    import torch

    chosen = (
        ("gpu" if torch.cuda.is_available() else "cpu") if device == "auto" else device.replace("cuda", "gpu")
    )
    voxels = int(np.prod(ct.GetSize()))
    if chosen == "cpu" and not fast and voxels > LARGE_VOXELS:
        return (
            chosen,
            True,
            [f"The CT has {voxels / 1e6:.0f} million voxels and there is no GPU: 3 mm mode was used."],
        )
    return chosen, fast, []


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("TotalSegmentator")
    except PackageNotFoundError:
        return "unknown"


def _run(ct: Any, names: Sequence[str], fast: bool, device: str) -> tuple[Any, dict[str, list[int]]]:
    """Return its label map on the grid of ``ct`` and the label values of each structure."""
    import SimpleITK as sitk
    from totalsegmentator.map_to_binary import class_map
    from totalsegmentator.python_api import totalsegmentator

    numbers = {name: value for value, name in class_map["total"].items()}
    groups = _groups()
    values = {name: [numbers[part] for part in groups[name] if part in numbers] for name in names}
    classes = [part for name in names for part in groups[name] if part in numbers]
    whole = len(names) == len(STRUCTURES)
    with tempfile.TemporaryDirectory(prefix="totalsegmentator-") as folder:
        source, target = Path(folder) / "ct.nii.gz", Path(folder) / "labels.nii.gz"
        sitk.WriteImage(sitk.Cast(ct, sitk.sitkFloat32), str(source))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                totalsegmentator(
                    source, target, ml=True, fast=fast, device=device, quiet=True,
                    roi_subset=None if whole else classes,
                )  # fmt: skip
            labels = sitk.ReadImage(str(target))
        # The package ends the process for a missing licence and raises whatever its parts raise.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise SegmentationError(f"TotalSegmentator failed: {reason[:300]}") from error
    same = sitk.Resample(labels, ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0, labels.GetPixelID())
    return sitk.Cast(same, sitk.sitkUInt16), values
