"""How well label maps agree with a reference, per structure, with intervals.

``python -m DoseSegmentationLib.evaluation --found FILE ... --reference FILE ...`` prints a table.

Surfaces are the voxels of a mask with a face to the outside; distances are Euclidean in mm.  Surface Dice:
Nikolov et al., J Med Internet Res 2021;23:e26151; the choice of metrics follows Metrics Reloaded, Nat
Methods 2024;21:195.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from DoseSegmentationLib.classical import SegmentationError

if TYPE_CHECKING:
    import SimpleITK as sitk

METRICS = ("dice", "surface_dice", "hd95_mm", "volume_error_percent", "tia_error_percent")
TOLERANCE_MM = 3.0


@dataclasses.dataclass(frozen=True)
class Agreement:
    """One structure of one case.

    Attributes
    ----------
    dice : float
        0 to 1; NaN where the structure is in neither.
    surface_dice : float
        Share of both surfaces within the tolerance of the other one.
    hd95_mm : float
        The larger of both directed 95th percentiles of the surface distance, mm; infinite where it is in one only.
    volume_error_percent : float
        Found against reference.
    tia_error_percent : float
        Time-integrated activity (or activity) inside, found against reference; NaN without an image.
    """

    dice: float
    surface_dice: float
    hd95_mm: float
    volume_error_percent: float
    tia_error_percent: float = float("nan")


def agreement(
    found: np.ndarray,
    reference: np.ndarray,
    spacing_mm: Sequence[float],
    tia: np.ndarray | None = None,
    tolerance_mm: float = TOLERANCE_MM,
) -> Agreement:
    """Compare two masks.

    Parameters
    ----------
    found, reference : ndarray of bool, shape (z, y, x)
    spacing_mm : sequence of 3 floats
        ``(z, y, x)``.
    tia : ndarray, shape (z, y, x), optional
        Activity or TIA per volume.
    tolerance_mm : float
        Of the surface Dice.

    Returns
    -------
    Agreement
    """
    found, reference = np.asarray(found, bool), np.asarray(reference, bool)
    if found.shape != reference.shape:
        raise SegmentationError(
            f"The masks have the shapes {found.shape} and {reference.shape}; they must be equal."
        )
    a, b = int(found.sum()), int(reference.sum())
    nan = float("nan")
    if a == 0 and b == 0:
        return Agreement(nan, nan, nan, nan)
    dice = 2.0 * int((found & reference).sum()) / (a + b)
    volume = 100.0 * (a - b) / b if b else float("inf")
    tia_error = nan
    if tia is not None and b:
        inside = float(tia[reference].sum())
        tia_error = 100.0 * (float(tia[found].sum()) - inside) / inside if inside else nan
    if a == 0 or b == 0:
        return Agreement(dice, 0.0, float("inf"), volume, tia_error)
    to_reference, to_found = surface_distances(found, reference, spacing_mm)
    near = int((to_reference <= tolerance_mm).sum()) + int((to_found <= tolerance_mm).sum())
    hd95 = max(float(np.percentile(to_reference, 95)), float(np.percentile(to_found, 95)))
    return Agreement(dice, near / (to_reference.size + to_found.size), hd95, volume, tia_error)


def surface_distances(
    a: np.ndarray, b: np.ndarray, spacing_mm: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances of a's surface voxels to b's surface, and of b's to a's, mm."""
    from scipy import ndimage

    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    a, b = (np.pad(mask[box], 1) for mask in (a, b))
    surface_a, surface_b = (mask & ~ndimage.binary_erosion(mask) for mask in (a, b))
    to_a, to_b = (
        ndimage.distance_transform_edt(~s, sampling=tuple(spacing_mm)) for s in (surface_a, surface_b)
    )
    return to_b[surface_a], to_a[surface_b]


def evaluate(
    found: sitk.Image, found_names: Mapping[int, str], reference: sitk.Image, reference_names: Mapping[int, str],
    tia: sitk.Image | None = None,
) -> dict[str, Agreement]:  # fmt: skip
    """Compare two label maps by the names of their structures, on the grid of the reference.

    Parameters
    ----------
    found, reference : SimpleITK.Image
    found_names, reference_names : mapping
        Label to structure; synonyms count as equal.
    tia : SimpleITK.Image, optional

    Returns
    -------
    dict
        Structure (as the reference names it) to :class:`Agreement`; what the reference does not have is left out.
    """
    import SimpleITK as sitk

    from DoseSegmentationLib.segmentation import normalized_name

    same = sitk.Resample(found, reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0, found.GetPixelID())
    labels, truth = sitk.GetArrayViewFromImage(same), sitk.GetArrayViewFromImage(reference)
    activity = None
    if tia is not None:
        on_grid = sitk.Resample(tia, reference, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        activity = sitk.GetArrayViewFromImage(on_grid)
    numbers = {normalized_name(name): label for label, name in found_names.items()}
    spacing = reference.GetSpacing()[::-1]
    return {
        name: agreement(labels == numbers.get(normalized_name(name), -1), truth == label, spacing, activity)
        for label, name in reference_names.items()
    }


def lesion_detection(
    found: np.ndarray, reference: np.ndarray, voxel_ml: float, smallest_ml: float = 5.0
) -> dict[str, Any]:
    """Count lesions that were found, and segments that are no lesion.

    A lesion counts as found where the segments that touch it cover a tenth of it or more.  Its Dice is that of
    the segments that overlap it more than any other lesion; where none does (two lesions in one segment), of
    all that touch it.

    Parameters
    ----------
    found, reference : ndarray of int, shape (z, y, x)
        Each lesion its number, 0 elsewhere.
    voxel_ml : float
    smallest_ml : float
        Smaller lesions of the reference are neither missed nor found.

    Returns
    -------
    dict
        ``lesions``, ``found``, ``false_positives``, ``dice`` of the found ones.
    """
    scores, count, owner = [], 0, _owners(found, reference)
    for number in np.unique(reference[reference > 0]):
        lesion = reference == number
        if lesion.sum() * voxel_ml < smallest_ml:
            continue
        count += 1
        touching = np.unique(found[lesion])
        touching = touching[touching > 0]
        if np.isin(found[lesion], touching).sum() >= 0.1 * lesion.sum():
            own = [segment for segment in touching if owner[int(segment)] == number]
            segments = np.isin(found, own or touching)
            scores.append(float(2.0 * (segments & lesion).sum() / (segments.sum() + lesion.sum())))
    segments = [n for n in np.unique(found[found > 0]) if not (reference[found == n] > 0).any()]
    return {"lesions": count, "found": len(scores), "false_positives": len(segments), "dice": scores}


def _owners(found: np.ndarray, reference: np.ndarray) -> dict[int, int]:
    """Return for each segment the lesion that it overlaps most, 0 where none."""
    owners = {}
    for segment in np.unique(found[found > 0]):
        numbers = reference[found == segment]
        counts = np.bincount(numbers[numbers > 0], minlength=1)
        owners[int(segment)] = int(counts.argmax()) if counts.any() else 0
    return owners


def bootstrap(values: Sequence[float], draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Return mean and 95 % interval over cases (percentile bootstrap); NaN is left out.

    Parameters
    ----------
    values : sequence of float
        One per case.
    """
    values = np.asarray([v for v in values if np.isfinite(v)], float)
    if values.size == 0:
        return (float("nan"),) * 3
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, values.size, (draws, values.size))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def summary(cases: Sequence[Mapping[str, Agreement]]) -> list[dict[str, Any]]:
    """Return per structure and metric the mean over the cases with its interval.

    Returns
    -------
    list of dict
        ``{"structure", "metric", "mean", "low", "high", "cases", "missed"}``; ``missed`` counts the cases
        in which the structure is in the reference and was not found at all.
    """
    rows = []
    for name in dict.fromkeys(name for case in cases for name in case):
        entries = [case[name] for case in cases if name in case]
        missed = sum(entry.dice == 0.0 for entry in entries)
        for metric in METRICS:
            values = [getattr(entry, metric) for entry in entries]
            mean, low, high = bootstrap(values)
            number = int(np.isfinite(values).sum())
            if number:
                rows.append(
                    {"structure": name, "metric": metric, "mean": mean, "low": low, "high": high,
                     "cases": number, "missed": missed}
                )  # fmt: skip
    return rows


def read_labels(path: str | Path) -> tuple[sitk.Image, dict[int, str]]:
    """Return a label map and its names from the JSON beside it, or from the fields of a ``.seg.nrrd``.

    Raises
    ------
    SegmentationError
        If there are no names.
    """
    from DoseSegmentationLib.backends import names_path
    from DoseSegmentationLib.inputs import read_image

    image, beside = read_image(path), names_path(path)
    if beside.is_file():
        content = json.loads(beside.read_text(encoding="utf-8"))
        if "records" in content:
            return image, {r["label"]: r["name"] for r in content["records"] if r["label"]}
        return image, {int(label): name for label, name in content["labels"].items()}
    names = {
        int(image.GetMetaData(key.replace("_Name", "_LabelValue"))): image.GetMetaData(key)
        for key in image.GetMetaDataKeys()
        if key.startswith("Segment") and key.endswith("_Name")
    }
    if not names:
        raise SegmentationError(f"{path}: there is no {beside.name} beside it that names its labels.")
    return image, names


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate from the shell."""
    from DoseSegmentationLib.inputs import read_image

    parser = argparse.ArgumentParser(
        prog="python -m DoseSegmentationLib.evaluation", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--found", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument(
        "--reference", type=Path, nargs="+", required=True, metavar="FILE", help="in the same order"
    )
    parser.add_argument(
        "--tia", type=Path, nargs="+", metavar="FILE", help="activity or TIA images, in the same order"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="as JSON")
    options = parser.parse_args(arguments)
    try:
        lists = [options.found, options.reference] + ([options.tia] if options.tia else [])
        if len({len(one) for one in lists}) > 1:
            raise SegmentationError("The lists of files differ in length.")
        cases = []
        for index in range(len(options.found)):
            tia = read_image(options.tia[index]) if options.tia else None
            cases.append(evaluate(*read_labels(lists[0][index]), *read_labels(lists[1][index]), tia))
    except SegmentationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    rows = summary(cases)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        interval = f"{row['mean']:10.3f}  [{row['low']:.3f}, {row['high']:.3f}]"
        sys.stdout.write(f"{row['structure']:24s}{row['metric']:24s}{interval}  n={row['cases']}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
