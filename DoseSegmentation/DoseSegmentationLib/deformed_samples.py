"""Training samples from labelled CTs: each many times, strongly deformed.

``python -m DoseSegmentationLib.deformed_samples --ct FILE --masks DIR --out DIR --count N`` adds samples of
the task ``organs`` to a folder of samples.  ``DIR`` holds one mask per class, named as TotalSegmentator
names them.  One patient stays one patient, however often bent: such samples teach a network what real
tissue looks like, and virtual patients teach it the variety of shapes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from DoseSegmentationLib.classical import SegmentationError, body_outline
from DoseSegmentationLib.inputs import AIR_HU, checked, finer, read_image, resampled, working_grid
from DoseSegmentationLib.resources import resource_path
from DoseSegmentationLib.segmentation import Progress, report
from DoseSegmentationLib.training_data import LABEL_FACTOR, Samples

if TYPE_CHECKING:
    import SimpleITK as sitk

BONE = (
    "rib_", "vertebrae_", "sacrum", "hip_", "femur_", "sternum", "scapula_", "clavicula_", "humerus_", "skull",
)  # fmt: skip
"""Beginnings of the names of the classes that are bone."""


def labelled(ct: sitk.Image, masks: str | Path, labels: Sequence[str]) -> sitk.Image:
    """Return the structures of a folder of masks as one label map.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU; gives the grid, and the structure ``Body``.
    masks : path
        Folder with ``NAME.nii.gz`` per class of TotalSegmentator.
    labels : sequence of str
        Structures, numbered from 1.

    Raises
    ------
    SegmentationError
        If none of the masks is there, or one lies on another grid.
    """
    import SimpleITK as sitk

    groups = json.loads(resource_path("Models", "totalsegmentator_groups.json").read_text(encoding="utf-8"))
    files = {path.name.removesuffix(".nii.gz"): path for path in sorted(Path(masks).glob("*.nii.gz"))}
    found = np.zeros(ct.GetSize()[::-1], np.uint8)
    if "Body" in labels:
        found[sitk.GetArrayFromImage(body_outline(ct)) > 0] = 1 + labels.index("Body")
    count = 0
    for number, name in enumerate(labels, start=1):
        classes = groups["groups"].get(name, [])
        for key in [k for k in files if k in classes or (name == "Bone" and k.startswith(BONE))]:
            mask = read_image(files[key])
            if mask.GetSize() != ct.GetSize():
                raise SegmentationError(f"{files[key]}: the mask has another grid than the CT.")
            found[sitk.GetArrayFromImage(mask) > 0] = number
            count += 1
    if count == 0:
        raise SegmentationError(f"{masks}: there is no mask named after a class of TotalSegmentator.")
    image = sitk.GetImageFromArray(found)
    image.CopyInformation(ct)
    return image


def deformed(
    ct: sitk.Image, label_map: sitk.Image, spacing_mm: Sequence[float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return CT ``(z, y, x)`` on a grid of ``spacing_mm`` and labels on half of it, bent, stretched and turned.

    Parameters
    ----------
    ct, label_map : SimpleITK.Image
        On one grid.
    spacing_mm : sequence of 3 floats
        ``(x, y, z)``.
    rng : numpy.random.Generator

    Notes
    -----
    Free bending of about 8 mm over 60 mm, stretching by up to 20 % along each axis, turns of a few
    degrees.  The field of view of the result is that of the CT; beyond it there is air.
    """
    import SimpleITK as sitk

    body = label_map > 0
    grid = working_grid(ct, spacing_mm, body)
    center = [
        float(v) for v in grid.TransformContinuousIndexToPhysicalPoint([n / 2.0 for n in grid.GetSize()])
    ]
    affine = sitk.AffineTransform(3)
    affine.SetCenter(center)
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*[float(v) for v in rng.normal(0.0, np.deg2rad(4.0), 3)])
    stretch = np.diag(rng.uniform(0.82, 1.2, 3))
    affine.SetMatrix((np.array(turn.GetMatrix()).reshape(3, 3) @ stretch).ravel().tolist())
    extent = np.array(grid.GetSize()) * np.array(grid.GetSpacing())
    mesh = [int(max(1, round(e / 60.0))) for e in extent]
    bend = sitk.BSplineTransformInitializer(grid, mesh)
    bend.SetParameters(rng.normal(0.0, rng.uniform(2.0, 8.0), len(bend.GetParameters())).tolist())
    both = sitk.CompositeTransform([affine, bend])
    low_passed = resampled(ct, working_grid(ct, ct.GetSpacing()), AIR_HU)
    moved = sitk.Resample(low_passed, grid, both, sitk.sitkLinear, AIR_HU)
    labels = sitk.Resample(label_map, finer(grid, LABEL_FACTOR), both, sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(moved), sitk.GetArrayFromImage(labels)


def write_samples(
    ct: str | Path,
    masks: str | Path,
    out: str | Path,
    count: int,
    source: str,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Path]:
    """Add samples of a labelled CT to a folder of samples; those that are there already are kept.

    Parameters
    ----------
    ct : path
    masks : path
        See :func:`labelled`.
    out : path
        A folder with ``samples.json``: its structures and its spacing are taken.
    count : int
    source : str
        Where the CT and its masks are from, and their licence; goes into the model card.
    seed : int
    progress : callable, optional

    Returns
    -------
    list of Path

    Raises
    ------
    SegmentationError
        As :func:`labelled`, or if the folder holds no samples yet.
    """
    out = Path(out)
    data = Samples(out, "organs")
    names = [data.labels[str(i)] for i in range(1, len(data.labels) + 1)]
    image = checked(read_image(ct), None).ct
    label_map = labelled(image, masks, names)
    paths = []
    for number in range(count):
        report(progress, number / count, f"Sample {number + 1} of {count}")
        path = out / f"real_{Path(ct).name.split('.')[0]}_{seed + number:04d}.npz"
        paths.append(path)
        if path.is_file():
            continue
        moved, labels = deformed(image, label_map, data.spacing_mm, np.random.default_rng([seed + number, 5]))
        part = out / f".part-{path.name}"
        np.savez_compressed(
            part, ct=np.clip(np.rint(moved), -1024, 3071).astype(np.int16), organs=labels,
            regions=labels[::LABEL_FACTOR, ::LABEL_FACTOR, ::LABEL_FACTOR],
            spacing_mm=np.array(data.spacing_mm, np.float32),
        )  # fmt: skip
        os.replace(part, path)
    _note_source(out / "samples.json", f"{count} strongly deformed copies of a labelled CT ({source}).")
    report(progress, 1.0, "Samples written")
    return paths


def _note_source(path: Path, text: str) -> None:
    about = json.loads(path.read_text(encoding="utf-8"))
    about["labelled_cts"] = text
    part = path.with_name(f".part-{path.name}")
    part.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Add samples from the shell; exit status 2 and one line for what cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m DoseSegmentationLib.deformed_samples", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--ct", type=Path, required=True, metavar="FILE")
    parser.add_argument("--masks", type=Path, required=True, metavar="DIR", help="one NAME.nii.gz per class")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder of samples")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--source", required=True, metavar="TEXT", help="origin and licence, for the card")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        paths = write_samples(
            options.ct, options.masks, options.out, options.count, options.source, options.seed
        )
    except SegmentationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stderr.write(f"{options.out}: {len(paths)} samples of {options.ct}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
