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
from collections.abc import Mapping, Sequence
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


def labelled(ct: sitk.Image, masks: str | Path, labels: Sequence[str]) -> tuple[sitk.Image, sitk.Image]:
    """Return the structures of a folder of masks as one label map, and all its masks as another.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU; gives the grid, and the structure ``Body``.
    masks : path
        Folder with ``NAME.nii.gz`` per class of TotalSegmentator.
    labels : sequence of str
        Structures, numbered from 1.

    Returns
    -------
    tuple of SimpleITK.Image
        Labels, and regions for random contrast: 1 is the body, and each mask has a number of its own.  A
        muscle, a vessel or the bowel that changes its contrast is what teaches that it is no organ.

    Raises
    ------
    SegmentationError
        If none of the masks is there, or one lies on another grid.
    """
    import SimpleITK as sitk

    groups = json.loads(resource_path("Models", "totalsegmentator_groups.json").read_text(encoding="utf-8"))
    files = {path.name.removesuffix(".nii.gz"): path for path in sorted(Path(masks).glob("*.nii.gz"))}
    structure_of = {key: _structure_of(key, labels, groups["groups"]) for key in files}
    if not any(structure_of.values()):
        raise SegmentationError(f"{masks}: there is no mask named after a class of TotalSegmentator.")
    found, regions = (np.zeros(ct.GetSize()[::-1], np.uint8) for _ in range(2))
    for number, (key, path) in enumerate(files.items()):
        mask = read_image(path)
        if mask.GetSize() != ct.GetSize():
            raise SegmentationError(f"{path}: the mask has another grid than the CT.")
        inside = sitk.GetArrayFromImage(mask) > 0
        regions[inside] = 2 + number % 254
        if structure_of[key]:
            found[inside] = structure_of[key]
    body = sitk.GetArrayFromImage(body_outline(ct)) > 0
    regions[body & (regions == 0)] = 1
    if "Body" in labels:
        found[body & (found == 0)] = 1 + labels.index("Body")
    images = tuple(sitk.GetImageFromArray(array) for array in (found, regions))
    for image in images:
        image.CopyInformation(ct)
    return images


def _structure_of(key: str, labels: Sequence[str], groups: Mapping[str, Sequence[str]]) -> int:
    """Return the number of the structure that a class of TotalSegmentator belongs to, 0 for none."""
    for number, name in enumerate(labels, start=1):
        if key in groups.get(name, []) or (name == "Bone" and key.startswith(BONE)):
            return number
    return 0


def deformed(
    ct: sitk.Image,
    label_map: sitk.Image,
    regions: sitk.Image,
    spacing_mm: Sequence[float],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return CT and regions ``(z, y, x)`` on a grid of ``spacing_mm``, labels on half of it, all deformed.

    Parameters
    ----------
    ct, label_map, regions : SimpleITK.Image
        On one grid; see :func:`labelled`.
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
    kinds = sitk.Resample(regions, grid, both, sitk.sitkNearestNeighbor, 0)
    return tuple(sitk.GetArrayFromImage(image) for image in (moved, kinds, labels))


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
    label_map, regions = labelled(image, masks, names)
    paths = []
    for number in range(count):
        report(progress, number / count, f"Sample {number + 1} of {count}")
        path = out / f"real_{Path(ct).name.split('.')[0]}_{seed + number:04d}.npz"
        paths.append(path)
        if path.is_file():
            continue
        rng = np.random.default_rng([seed + number, 5])
        moved, kinds, labels = deformed(image, label_map, regions, data.spacing_mm, rng)
        part = out / f".part-{path.name}"
        np.savez_compressed(
            part, ct=np.clip(np.rint(moved), -1024, 3071).astype(np.int16), organs=labels, regions=kinds,
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
