"""DVH and gamma against the tables of Eclipse, CERR and SlicerRT (public SlicerRT test data, MIT licence).

The structures of that data are planar contours on the slices of the dose grid.  They become
VOIs with partial-voxel weights by sampling each voxel in 5 x 5 points; the histogram is exact
to the dose grid.  A point of a published table agrees where our curve passes within 1 % of the
volume and 1 % of the maximum dose of it (the criterion of SlicerRT's own tests).
"""

from __future__ import annotations

import base64
import csv
import os
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.validation.figure import Figure, at_least, at_most, reported

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dvh import Dvh

CASES = {"EclipseProstate": {"CERR": 97.6, "Eclipse": 97.5}, "EclipseEnt": {"CERR": 95.8, "Eclipse": 95.2}}
"""Agreement in percent that SlicerRT asks of itself in each case."""
OVERSAMPLING = 5
SMALLEST_ML = 5.0
"""Smaller structures hold a few voxels of 2.5 mm; they are reported, not judged."""


def reference_folder(name: str) -> Path | None:
    """Return a folder of the reference data, or ``None`` where it is not beside the checkout."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    folder = Path(os.environ.get("THERANOSTIC_REFERENCE_DATA", beside)) / name
    return folder if folder.is_dir() else None


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return the figures; none where the reference data are absent."""
    folder = reference_folder("slicerrt_dose_dvh_gamma")
    if folder is None:
        return []
    found = []
    cases = list(CASES)[:1] if quick else list(CASES)
    for number, case in enumerate(cases):
        report(progress, number / (len(cases) + 1), f"DVH of {case}")
        found += _case(folder / "Data", case)
    return found + _gamma(folder / "Data")


def _case(data: Path, case: str) -> list[Figure]:
    import SimpleITK as sitk

    dose = sitk.ReadImage(str(data / f"{case}_Dose.nrrd"), sitk.sitkFloat32)
    largest_dose = float(sitk.GetArrayViewFromImage(dose).max())
    dvhs = structures(data / f"{case}_Structures.seg", dose)
    found = []
    for system, limit in CASES[case].items():
        tables = published(data / f"{case}_DvhTable_{system}.csv")
        agreement, volume, mean = {}, {}, {}
        for name, dvh in dvhs.items():
            reference_ml, points = tables[_plain(name)]
            agreement[name] = agreeing_points(dvh, points, largest_dose)
            volume[name] = 100 * abs(dvh.volume_ml / reference_ml - 1)
            mean[name] = abs(dvh.mean_gy - mean_of(points))
        large = [name for name, dvh in dvhs.items() if dvh.volume_ml >= SMALLEST_ML]
        source = f"{system} table of the SlicerRT test data, {case}"
        worst = min(agreement, key=agreement.get)
        detail = (
            f"{len(large)} structures from {SMALLEST_ML:g} mL; worst of all: {worst} {agreement[worst]:.1f} %"
        )
        of_large = float(np.mean([agreement[name] for name in large]))
        found.append(
            at_least(f"{case}: DVH points that agree", of_large, limit, "%", reference=source, detail=detail)
        )
        if system == "CERR":
            worst_volume = max(volume[name] for name in large)
            found.append(
                at_most(f"{case}: volume, largest difference", worst_volume, 1.0, "%", reference=source)
            )
        worst_mean = max(mean[name] for name in large)
        found.append(reported(f"{case}: mean dose, largest difference", worst_mean, "Gy", reference=source))
    return found


def _gamma(data: Path) -> list[Figure]:
    import SimpleITK as sitk

    from TheranosticDoseLib.comparison import gamma_index

    first, second = (sitk.ReadImage(str(data / f"EclipseEnt_Dose{day}.nrrd")) for day in ("", "_Day2"))
    result = gamma_index(first, second, interpolate=False)
    return [
        at_most(
            "Gamma 3 %/3 mm: pass fraction, distance to the baseline",
            100 * abs(result["pass_fraction"] - 0.80895),
            0.01,
            "%",
            reference="SlicerRT baseline 0.8090 of 88129 voxels",
            detail=f"pass fraction {result['pass_fraction']:.5f}, mean gamma {result['mean']:.5f} (baseline 0.57974)",
        )
    ]


def structures(folder: Path, dose: sitk.Image) -> dict[str, Dvh]:
    """Return the DVH of every structure of a folder of contours (VTK polydata, RAS)."""
    import SimpleITK as sitk

    from TheranosticDoseLib.dvh import dose_volume_histogram

    found = {}
    for path in sorted(folder.glob("*.vtp")):
        name, contours = read_contours(path)
        weights = sitk.GetImageFromArray(fill_contours(contours, dose))
        weights.CopyInformation(dose)
        found[name] = dose_volume_histogram(dose, weights)
    return found


def read_contours(path: Path) -> tuple[str, list[np.ndarray]]:
    """Return the name and the closed contours, mm in LPS, of a VTK XML polydata file."""
    root = ET.parse(path).getroot()
    piece = root.find("PolyData/Piece")
    names = {field.get("Name"): field for field in root.iter("Array")}
    name = bytes(_binary(names["Segment_Name"], np.uint8)).split(b"\0")[0].decode()
    points = _binary(piece.find("Points/DataArray"), np.float32).reshape(-1, 3).astype(float) * (-1, -1, 1)
    lines = {array.get("Name"): array for array in piece.find("Lines")}
    index = _binary(lines["connectivity"], None)
    ends = _binary(lines["offsets"], None)
    return name, [points[part] for part in np.split(index, ends[:-1])]


def _binary(element: ET.Element, kind: type | None) -> np.ndarray:
    """Decode inline zlib blocks: a header of block count, sizes and compressed sizes, then the blocks."""
    kind = {"Int64": np.int64, "Int32": np.int32, "Float32": np.float32, "String": np.uint8}.get(
        element.get("type"), kind
    )
    text = "".join(element.text.split())
    blocks = int(np.frombuffer(base64.b64decode(text[:8])[:4], np.uint32)[0])
    header_characters = -(-(3 + blocks) * 4 // 3) * 4
    header = np.frombuffer(base64.b64decode(text[:header_characters]), np.uint32)
    payload = base64.b64decode(text[header_characters:])
    ends = np.cumsum(header[3 : 3 + blocks])
    parts = [zlib.decompress(payload[end - size : end]) for end, size in zip(ends, header[3:], strict=False)]
    return np.frombuffer(b"".join(parts), kind)


def fill_contours(contours: list[np.ndarray], grid: sitk.Image) -> np.ndarray:
    """Return the fraction of each voxel inside planar contours (even-odd rule), ``(z, y, x)`` float32."""
    nx, ny, nz = grid.GetSize()
    fine = np.zeros((nz, ny * OVERSAMPLING, nx * OVERSAMPLING), bool)
    offset = (OVERSAMPLING - 1) / 2
    for contour in contours:
        index = (
            contour - grid.GetOrigin()
        ) / grid.GetSpacing()  # the axes of this data are those of the patient
        slice_number = round(float(index[0, 2]))
        if 0 <= slice_number < nz:
            fine[slice_number] ^= _inside(index[:, :2] * OVERSAMPLING + offset, fine.shape[1:])
    shape = (nz, ny, OVERSAMPLING, nx, OVERSAMPLING)
    return fine.reshape(shape).mean(axis=(2, 4)).astype(np.float32)


def _inside(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which sample points lie inside a polygon (x, y): parity of the edges to their left."""
    following = np.roll(polygon, -1, axis=0)
    low = np.ceil(np.minimum(polygon[:, 1], following[:, 1])).astype(int)
    high = np.ceil(np.maximum(polygon[:, 1], following[:, 1])).astype(
        int
    )  # half open, as for a horizontal edge
    count = np.maximum(np.minimum(high, shape[0]) - np.maximum(low, 0), 0)
    edge = np.repeat(np.arange(len(polygon)), count)
    first = np.repeat(np.cumsum(count) - count, count)
    row = np.maximum(low, 0)[edge] + np.arange(edge.size) - first
    (x0, y0), (x1, y1) = polygon[edge].T, following[edge].T
    crossing = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
    column = np.clip(np.ceil(crossing).astype(int), 0, shape[1])
    parity = np.zeros((shape[0], shape[1] + 1), np.int32)
    np.add.at(parity, (row, column), 1)
    return (np.cumsum(parity[:, :-1], axis=1) % 2).astype(bool)


def published(path: Path) -> dict[str, tuple[float, np.ndarray]]:
    """Return name to (volume in mL, points of dose in Gy and volume in percent) of a DVH table."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    found = {}
    for column in range(0, len(rows[0]) - 1, 2):
        if not rows[0][column]:
            continue
        volume = float(rows[0][column + 1].split("% of ")[1].split()[0])
        pairs = [row[column : column + 2] for row in rows[1:] if len(row) > column + 1]
        points = np.array([pair for pair in pairs if all(pair)], float)
        found[_plain(rows[0][column].split("_Dvh")[0])] = (volume, points)
    return found


def agreeing_points(dvh: Dvh, points: np.ndarray, largest_dose_gy: float) -> float:
    """Return the percentage of points that lie within 1 % volume and 1 % dose of the curve."""
    from scipy.spatial import cKDTree

    between = points[(points[:, 1] > 0) & (points[:, 1] < 100)]
    percent = np.linspace(0.02, 100, 2500)
    curve_dose, curve_volume = dvh.curve(4000)
    dose = np.concatenate([curve_dose, [dvh.d(p) for p in percent]])
    volume = np.concatenate([curve_volume, percent])
    tree = cKDTree(np.column_stack([dose / (0.01 * largest_dose_gy), volume]))
    distance, _ = tree.query(np.column_stack([between[:, 0] / (0.01 * largest_dose_gy), between[:, 1]]))
    return 100.0 * float(np.mean(distance <= 1.0))


def mean_of(points: np.ndarray) -> float:
    """Return the mean dose, Gy: the area under the cumulative curve."""
    widths, heights = np.diff(points[:, 0]), 0.5 * (points[1:, 1] + points[:-1, 1])
    return float(np.sum(widths * heights)) / 100.0


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
