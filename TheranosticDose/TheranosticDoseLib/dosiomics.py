"""Dosiomics: IBSI features of dose, SPECT and CT per VOI, and how robust each one is.

Features are computed by mirp (Zwanenburg et al., doi:10.21105/joss.06413) to the definitions of
the Image Biomarker Standardisation Initiative (doi:10.1148/radiol.2020191145) in three
dimensions.  Robustness repeats them with the VOI grown, shrunk and shifted and with the
dose varied within its statistical uncertainty.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import importlib.util
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from DoseSegmentationLib.arrays import bounding_box

from TheranosticDoseLib.errors import EngineUnavailableError, InputError
from TheranosticDoseLib.geometry import array_of, image_like, require_same_grid
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.settings import Settings

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.study import Voi

FAMILIES = {
    "morph": "morphology of the VOI",
    "loc": "local intensity",
    "stat": "intensity statistics, in the unit of the image",
    "ih": "intensity histogram, after discretisation",
    "ivh": "intensity-volume histogram",
    "cm": "grey level co-occurrence matrix, 3D merged",
    "rlm": "grey level run length matrix, 3D merged",
    "szm": "grey level size zone matrix, 3D",
    "dzm": "grey level distance zone matrix, 3D",
    "ngt": "neighbourhood grey tone difference matrix, 3D",
    "ngl": "neighbouring grey level dependence matrix, 3D",
}
COLUMNS = ("case", "voi", "image", "unit", "feature", "family", "value", "cv_voi", "cv_uncertainty")
SMALLEST_VOXELS = 10


@dataclasses.dataclass(frozen=True)
class DosiomicsSettings(Settings):
    """Settings of the features.

    Attributes
    ----------
    bins : int
        Grey levels of a fixed-bin-number discretisation; 0 takes the values as they are (integers).
    robustness : bool
        Whether to repeat the features with perturbed VOI and dose.
    noise_repeats : int
        Repeats with the dose varied within its uncertainty.
    seed : int
    """

    bins: int = 32
    robustness: bool = False
    noise_repeats: int = 3
    seed: int = 0

    def validate(self) -> None:
        """Check the ranges."""
        self.require(self.bins == 0 or 2 <= self.bins <= 1024, "bins", "0, or 2 to 1024")
        self.require(self.noise_repeats >= 2, "noise_repeats", "2 or more")


def features(image: sitk.Image, weights: sitk.Image, bins: int = 32) -> dict[str, float]:
    """Return the IBSI features of an image in a VOI.

    Parameters
    ----------
    image, weights : SimpleITK.Image
        On one grid; voxels with a weight of one half and more belong to the VOI.
    bins : int
        As in :class:`DosiomicsSettings`.

    Raises
    ------
    EngineUnavailableError
        Where mirp is not installed.
    InputError
        For a VOI of fewer than ten voxels.
    """
    require_same_grid(image, weights, "The image and the VOI")
    mask = np.asarray(array_of(weights)) >= 0.5
    if np.count_nonzero(mask) < SMALLEST_VOXELS:
        raise InputError(f"The VOI holds {np.count_nonzero(mask)} voxels; features need {SMALLEST_VOXELS}.")
    discretisation = (
        {"base_discretisation_method": "none", "ivh_discretisation_method": "none"}
        if bins == 0
        else {
            "base_discretisation_method": "fixed_bin_number",
            "base_discretisation_n_bins": bins,
            "ivh_discretisation_method": "fixed_bin_number",
        }
    )
    box = bounding_box(mask, margin=2)
    part = tuple(reversed(box))
    row = _extract(image[part], image_like(mask.astype(np.float32), image)[part], discretisation)
    wanted = tuple(f"{family}_" for family in FAMILIES)
    found = {ibsi_name(name): float(value) for name, value in row.items() if name.startswith(wanted)}
    return {
        **found,
        **volume_fraction_intensities(np.asarray(array_of(image))[mask], whole_numbers=bins == 0),
    }


def require_mirp() -> None:
    """Raise :class:`EngineUnavailableError` where mirp is not installed."""
    if importlib.util.find_spec("mirp") is None:
        raise EngineUnavailableError("Dosiomics needs mirp: pip install mirp.")


def volume_fraction_intensities(values: np.ndarray, whole_numbers: bool = False) -> dict[str, float]:
    """Return the intensities at volume fractions (IBSI 3.5.2): the least that at most x percent exceed or equal.

    Taken from the voxel values, in the unit of the image (for a dose: Gy), because mirp 2.7
    gives bin numbers, and a number far outside the range where no intensity qualifies in its table.
    """
    low, high = float(values.min()), float(values.max())
    levels = np.arange(low, high + 1) if whole_numbers else np.unique(values)
    ordered = np.sort(values)
    fraction = 1 - np.searchsorted(ordered, levels, side="left") / ordered.size
    result = {}
    for percent in (10, 25, 50, 75, 90):
        enough = np.flatnonzero(fraction <= percent / 100 + 1e-12)
        result[f"ivh_i{percent}"] = float(levels[enough[0]] if enough.size else high)
    result["ivh_diff_i10_i90"] = result["ivh_i10"] - result["ivh_i90"]
    result["ivh_diff_i25_i75"] = result["ivh_i25"] - result["ivh_i75"]
    return result


def ibsi_name(name: str) -> str:
    """Return a feature's tag as the IBSI writes it (mirp adds distance, coarseness and its own merge names)."""
    for old, new in (
        ("_d1", ""), ("_a0.0", ""), ("_a0", ""), ("_3d_v_mrg", "_3D_comb"), ("_3d_avg", "_3D_avg"), ("_3d", "_3D"),
        ("_2d_s_mrg", "_2D_comb"), ("_2d_avg", "_2D_avg"), ("_2.5d_d_mrg", "_2_5D_avg"),
        ("_2.5d_v_mrg", "_2_5D_comb"), ("_2.5d", "_2_5D"), ("_2d", "_2D"),
    ):  # fmt: skip
        name = name.replace(old, new)
    for end in ("_fbn_n", "_fbs_w"):  # the discretisation is in the settings, not in the name
        name = name.split(end)[0]
    return name


def feature_table(
    case: str,
    images: Mapping[str, tuple[sitk.Image, str]],
    vois: Sequence[Voi],
    settings: DosiomicsSettings | None = None,
    uncertainties: Mapping[str, sitk.Image] | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Return one row per VOI, image and feature (tidy), with its robustness.

    Parameters
    ----------
    case : str
        Pseudonym of the patient or the cycle.
    images : mapping of str to (image, unit)
        For example ``{"dose": (dose, "Gy"), "spect": (spect, "Bq/mL"), "ct": (ct, "HU")}``, on one grid.
    vois : sequence of Voi
    settings : DosiomicsSettings, optional
    uncertainties : mapping of str to SimpleITK.Image, optional
        Standard uncertainty of some of the images; needed for ``cv_uncertainty``.
    progress : callable, optional
    """
    settings = DosiomicsSettings() if settings is None else settings
    uncertainties = {} if uncertainties is None else uncertainties
    rows = []
    for number, voi in enumerate(vois):
        for name, (image, unit) in images.items():
            report(progress, number / len(vois), f"Features of {name} in {voi.name}")
            values = features(image, voi.weights, settings.bins)
            spread: dict[str, dict[str, float]] = {"voi": {}, "uncertainty": {}}
            if settings.robustness:
                spread = _robustness(image, voi.weights, uncertainties.get(name), settings)
            for feature, value in values.items():
                rows.append(
                    {
                        "case": case,
                        "voi": voi.name,
                        "image": name,
                        "unit": unit,
                        "feature": feature,
                        "family": feature.split("_")[0],
                        "value": value,
                        "cv_voi": spread["voi"].get(feature),
                        "cv_uncertainty": spread["uncertainty"].get(feature),
                    }
                )
    return rows


def _robustness(image, weights, uncertainty, settings: DosiomicsSettings) -> dict[str, dict[str, float]]:
    """Return the coefficient of variation of each feature under both kinds of perturbation."""
    varied = [features(image, changed, settings.bins) for changed in perturbed_vois(weights)]
    result = {"voi": _variation(varied), "uncertainty": {}}
    if uncertainty is not None:
        rng = np.random.default_rng(settings.seed)
        noisy = []
        for _ in range(settings.noise_repeats):
            noise = rng.standard_normal(array_of(image).shape) * array_of(uncertainty)
            noisy.append(features(image_like(array_of(image) + noise, image), weights, settings.bins))
        result["uncertainty"] = _variation(noisy)
    return result


def perturbed_vois(weights: sitk.Image) -> Iterator[sitk.Image]:
    """Give the VOI as it is, one voxel larger, one smaller (where one is left), and shifted by half a voxel."""
    import SimpleITK as sitk

    mask = sitk.BinaryThreshold(weights, 0.5, 2.0, 1, 0)
    yield sitk.Cast(mask, sitk.sitkFloat32)
    yield sitk.Cast(sitk.BinaryDilate(mask, [1, 1, 1], sitk.sitkCross), sitk.sitkFloat32)
    smaller = sitk.BinaryErode(mask, [1, 1, 1], sitk.sitkCross)
    if int(np.count_nonzero(sitk.GetArrayFromImage(smaller))) >= SMALLEST_VOXELS:
        yield sitk.Cast(smaller, sitk.sitkFloat32)
    for sign in (-0.5, 0.5):
        shift = sitk.TranslationTransform(3, [sign * s for s in weights.GetSpacing()])
        moved = sitk.Resample(weights, weights, shift, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        if float(np.max(sitk.GetArrayViewFromImage(moved))) >= 0.5:
            yield moved


def _variation(tables: list[dict[str, float]]) -> dict[str, float]:
    result = {}
    for name in tables[0]:
        values = np.array([table.get(name, np.nan) for table in tables], float)
        values = values[np.isfinite(values)]
        if values.size > 1 and values.mean() != 0:
            result[name] = float(values.std(ddof=1) / abs(values.mean()))
    return result


def table_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV text, one feature per line."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(row.get(key)) for key in COLUMNS})
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """Return what is written of a value: nothing for none, and for a feature that is not defined."""
    return "" if value is None or (isinstance(value, float) and not np.isfinite(value)) else value


def dictionary_csv() -> str:
    """Return :func:`data_dictionary` as CSV text."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ("kind", "name", "meaning"), lineterminator="\n")
    writer.writeheader()
    writer.writerows(data_dictionary())
    return buffer.getvalue()


def data_dictionary() -> list[dict[str, str]]:
    """Return what each column and each family of features means."""
    columns = {
        "case": "pseudonym of the patient or cycle",
        "voi": "name of the volume of interest",
        "image": "dose, spect or ct",
        "unit": "unit of the voxel values",
        "feature": "IBSI tag (doi:10.1148/radiol.2020191145)",
        "family": "first part of the tag",
        "value": "the feature",
        "cv_voi": "coefficient of variation with the VOI grown, shrunk and shifted by half a voxel",
        "cv_uncertainty": "coefficient of variation with the image varied within its standard uncertainty",
    }
    entries = [{"kind": "column", "name": name, "meaning": meaning} for name, meaning in columns.items()]
    return entries + [{"kind": "family", "name": n, "meaning": m} for n, m in FAMILIES.items()]


def _extract(image: sitk.Image, mask: sitk.Image, settings: dict[str, Any]) -> dict[str, Any]:
    """Run mirp on files (it takes the voxel size from them)."""
    import SimpleITK as sitk

    require_mirp()
    from mirp import extract_features

    merged = "3d_volume_merge"
    with tempfile.TemporaryDirectory(prefix="theranostic-dosiomics-") as folder, _quiet():
        paths = {}
        for name, item in (("image", image), ("mask", sitk.Cast(mask, sitk.sitkUInt8))):
            paths[name] = str(Path(folder) / f"{name}.nii.gz")
            sitk.WriteImage(item, paths[name])
        tables = extract_features(
            image=paths["image"],
            mask=paths["mask"],
            by_slice=False,
            no_approximation=True,
            base_feature_families="all",
            **{
                "glcm_spatial_method": merged,
                "glrlm_spatial_method": merged,
                "glszm_spatial_method": "3d",
                "gldzm_spatial_method": "3d",
                "ngtdm_spatial_method": "3d",
                "ngldm_spatial_method": "3d",
                **settings,
            },
        )
    return tables[0].iloc[0].to_dict()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Mirp writes its progress to the log of the whole process."""
    previous = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(previous)
