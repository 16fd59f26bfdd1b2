"""A dose engine against the Monte Carlo on given cases: voxels, VOIs, gamma, time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.dose.engines import AIR_LIMIT_G_CM3
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.progress import Progress, part_of
from TheranosticDoseLib.study import Voi

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.comparison import Comparison
    from TheranosticDoseLib.dose import Anatomy, DoseResult

REFERENCE = "mc"
BESIDE = ("led", "vsv", "vsv_density")
HIGH = 0.1
"""Voxels of at least this share of the largest dose count."""
BORDER = 0.01
"""The same for tissue borders, where doses of neighbours are looked at."""
NOISY = 0.1
"""Voxels whose reference has a larger relative uncertainty are left out at the borders."""


@dataclasses.dataclass(frozen=True)
class Case:
    """What a dose is computed of.

    Attributes
    ----------
    name : str
    tia : SimpleITK.Image
        MBq h per mL.
    anatomy : Anatomy
        On the same grid.
    vois : tuple of Voi
    nuclide : str
    """

    name: str
    tia: sitk.Image
    anatomy: Anatomy
    vois: tuple[Voi, ...] = ()
    nuclide: str = "Lu-177"


@dataclasses.dataclass(frozen=True)
class Measured:
    """A case computed by several engines.

    Attributes
    ----------
    case : Case
    results : dict of str to DoseResult
        Doses without those of gas.
    comparison : Comparison
        Against the Monte Carlo, gamma 2 %/2 mm.
    voxels : dict
        Engine to region to :func:`errors_in`.
    """

    case: Case
    results: dict[str, DoseResult]
    comparison: Comparison
    voxels: dict[str, dict[str, dict[str, float]]]

    def seconds(self, engine: str) -> float:
        """Return the wall time of an engine."""
        return float(self.results[engine].record["seconds"])


def measure(
    case: Case,
    engines: Sequence[str],
    noise: float = 0.01,
    histories: int = 400_000_000,
    seed: int = 1,
    gamma_points: int = 1000,
    progress: Progress | None = None,
    exact: DoseResult | None = None,
) -> Measured:
    """Compute a case with engines and the Monte Carlo, and compare.

    Parameters
    ----------
    case : Case
    engines : sequence of str
    noise : float
        Wanted relative uncertainty of the median voxel of high dose of the Monte Carlo.
    histories, seed : int
        Of the Monte Carlo.
    gamma_points : int
    progress : callable, optional
    exact : DoseResult, optional
        Of the Monte Carlo, where it was computed before.
    """
    from TheranosticDoseLib.comparison import ComparisonSettings, compare_doses
    from TheranosticDoseLib.dose import absorbed_dose

    local = array_of(absorbed_dose(case.tia, case.anatomy, "led", case.nuclide).dose)
    region = image_like(local >= HIGH * local.max(), case.tia)
    results = {}
    for number, name in enumerate(2 * tuple(engines)):
        # Twice: the first run reads kernels and networks, which is not the time of a dose.
        part = part_of(progress, 0.1 * number / len(engines), 0.1 * (number + 1) / len(engines))
        results[name] = absorbed_dose(case.tia, case.anatomy, name, case.nuclide, part)
    results[REFERENCE] = exact or absorbed_dose(
        case.tia, case.anatomy, REFERENCE, case.nuclide, part_of(progress, 0.2, 0.9),
        histories=histories, seed=seed, target_relative_uncertainty=noise, regions=(region,),
    )  # fmt: skip
    solid = array_of(case.anatomy.density) >= AIR_LIMIT_G_CM3
    results = {name: in_tissue(result, solid) for name, result in results.items()}
    settings = ComparisonSettings(
        reference=REFERENCE, gamma_dose_percent=2.0, gamma_distance_mm=2.0, gamma_points=gamma_points
    )
    comparison = compare_doses(results, case.vois, settings, part_of(progress, 0.9, 1.0))
    reference = results[REFERENCE]
    voxels = {
        name: voxel_errors(array_of(results[name].dose), reference, case.anatomy.tissue_array())
        for name in engines
    }
    return Measured(case, results, comparison, voxels)


def in_tissue(result: DoseResult, solid: np.ndarray) -> DoseResult:
    """Return a dose without that of gas, where next to no mass makes any energy a large and useless number."""
    dose = image_like(np.where(solid, array_of(result.dose), 0), result.dose)
    if result.uncertainty is None:
        return dataclasses.replace(result, dose=dose)
    spread = image_like(np.where(solid, array_of(result.uncertainty), 0), result.dose)
    return dataclasses.replace(result, dose=dose, uncertainty=spread)


def voxel_errors(dose: np.ndarray, exact: DoseResult, tissue: np.ndarray) -> dict[str, dict[str, float]]:
    """Return the errors of a dose ``(z, y, x)`` where it is high, and at tissue borders."""
    from scipy import ndimage

    truth = np.asarray(array_of(exact.dose), np.float64)
    noise = np.asarray(array_of(exact.uncertainty), np.float64)
    border = ndimage.maximum_filter(tissue, 3) != ndimage.minimum_filter(tissue, 3)
    high = truth >= HIGH * truth.max()
    lower = (truth >= BORDER * truth.max()) & (noise < NOISY * truth)
    regions = {"high": high, "border": high & border, "border_low": lower & border}
    return {name: errors_in(dose, truth, noise, where) for name, where in regions.items()}


def errors_in(dose: np.ndarray, truth: np.ndarray, noise: np.ndarray, where: np.ndarray) -> dict[str, float]:
    """Return relative errors over some voxels.

    Returns
    -------
    dict
        ``voxels``, ``mean_absolute``, ``bias``, ``noise`` (root mean square of the reference's) and
        ``net``: the root mean square of the error with the noise of the reference taken off.
    """
    count = int(where.sum())
    if count == 0:
        return {"voxels": 0, "mean_absolute": 0.0, "bias": 0.0, "noise": 0.0, "net": 0.0}
    error = (dose[where] - truth[where]) / truth[where]
    noise2 = float(np.mean((noise[where] / truth[where]) ** 2))
    return {
        "voxels": count,
        "mean_absolute": float(np.abs(error).mean()),
        "bias": float(error.mean()),
        "noise": float(np.sqrt(noise2)),
        "net": float(np.sqrt(max(np.mean(error**2) - noise2, 0.0))),
    }


def read_cases(folder: Path) -> list[Case]:
    """Return the cases of a folder: it or each folder in it is a result folder of ``run``, or holds images.

    Images are ``tia``, ``density`` (g/cm3) or ``ct`` (HU), and where there are VOIs a label map ``vois``
    with ``vois.json`` (``{"labels": {name: number}}``), in any format that SimpleITK reads.

    Raises
    ------
    InputError
        Where there is no case, or one cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder.")
    places = [folder, *sorted(p for p in folder.iterdir() if p.is_dir())]
    cases = [_read(place) for place in places if _images(place) is not None]
    if not cases:
        raise InputError(
            f"{folder} holds no case: neither result folders of 'run' nor folders with tia and density (or ct)."
        )
    return cases


def _images(place: Path) -> Path | None:
    """Return the folder with the images of a case, or ``None``."""
    return next((p for p in (place / "images", place) if _image_file(p, "tia") is not None), None)


def _image_file(folder: Path, name: str) -> Path | None:
    endings = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
    return next((folder / f"{name}{e}" for e in endings if (folder / f"{name}{e}").is_file()), None)


def _read(place: Path) -> Case:
    import SimpleITK as sitk

    from TheranosticDoseLib.dicom_io.labelmap import read_image
    from TheranosticDoseLib.dose import Anatomy

    folder = _images(place)
    tia = sitk.Cast(read_image(_image_file(folder, "tia")), sitk.sitkFloat32)
    density, ct = _image_file(folder, "density"), _image_file(folder, "ct")
    if density is not None:
        anatomy = Anatomy(sitk.Cast(read_image(density), sitk.sitkFloat32)).on_grid(tia)
    elif ct is not None:
        anatomy = Anatomy.from_ct(read_image(ct)).on_grid(tia)
    else:
        raise InputError(f"{folder}: beside tia there is neither density nor ct.")
    return Case(place.name, tia, anatomy, _vois(folder, tia), _nuclide(place))


def _nuclide(place: Path) -> str:
    try:
        results = json.loads((place / "results.json").read_text(encoding="utf-8"))
        return str(results["administration"]["nuclide"])
    except (OSError, ValueError, KeyError, TypeError):
        return "Lu-177"


def _vois(folder: Path, tia: sitk.Image) -> tuple[Voi, ...]:
    from TheranosticDoseLib.dicom_io.labelmap import read_image
    from TheranosticDoseLib.geometry import resample

    path = _image_file(folder, "vois")
    if path is None:
        return ()
    try:
        labels = json.loads((folder / "vois.json").read_text(encoding="utf-8"))["labels"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder / 'vois.json'} must hold {{'labels': {{name: number}}}} ({error})."
        ) from error
    array = array_of(resample(read_image(path), tia, order="nearest"))
    return tuple(
        Voi(name, image_like(array == number, tia), origin=path.name)
        for name, number in labels.items()
        if (array == number).any()
    )
