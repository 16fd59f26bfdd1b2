"""Recovery curve and resolution from hot spheres on a circle, which are found in the image."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from typing import Any

import numpy as np

from TheranosticDoseLib.calibration.scan import PhantomScan, finite_voxels
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.quantification import RecoveryCurve

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
AROUND_MM = 10.0
"""Around each sphere: what the fit sees.  More would reach the lung insert and the wall."""
CANDIDATES = 12
EXPLAINED = 0.7
"""Smallest part of the variance around the spheres that the fit must explain."""


@dataclasses.dataclass(frozen=True)
class SphereCalibration:
    """What hot spheres say about the camera.

    Attributes
    ----------
    fwhm_mm, u_fwhm_mm : float
        Resolution (isotropic Gaussian) and its standard uncertainty (jackknife over the spheres).
    curve : RecoveryCurve
    spheres : tuple of dict
        ``diameter_mm``, ``volume_ml``, ``center_mm``, ``recovery``, ``u_recovery``, ``curve``.
    background_ratio : float
        Background over sphere concentration, fitted.
    true_concentration : str
        Where the denominator of the recovery came from.
    findings : tuple of Finding
    """

    fwhm_mm: float
    u_fwhm_mm: float
    curve: RecoveryCurve
    spheres: tuple[dict[str, Any], ...]
    background_ratio: float
    true_concentration: str
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return {**dataclasses.asdict(self), "curve": self.curve.to_dict()}


@dataclasses.dataclass(frozen=True)
class _Data:
    """Voxels, where they are (mm) and the phantom."""

    points: np.ndarray
    values: np.ndarray
    voxel_mm: np.ndarray
    diameter_mm: np.ndarray
    layout: np.ndarray


def calibrate_spheres(
    scan: PhantomScan,
    concentration_mbq_ml: float | None = None,
    camera_factor_cps_per_mbq: float | None = None,
    phantom: str = "nema_iec",
    concentration_relative_uncertainty: float = 0.02,
) -> SphereCalibration:
    """Find the spheres, fit the resolution and measure the recovery of each.

    All spheres are fitted at once: the phantom as a rigid body (six numbers), resolution, concentration and
    background; a sphere blurred by a Gaussian has a closed form.  Recovery is
    ``(mean in the true sphere - background) / (true - background)``.

    Parameters
    ----------
    scan : PhantomScan
    concentration_mbq_ml : float, optional
        In the spheres, at the time that ``scan.time_h`` counts from.  Without it the fitted concentration is
        the denominator: the shape of the curve is right then, its plateau is 1 by definition (a finding).
    camera_factor_cps_per_mbq : float, optional
        Needed with a concentration for a scan in counts.
    phantom : str
        Key of ``Resources/Phantoms/spheres.json``.
    concentration_relative_uncertainty : float
        k=1.

    References
    ----------
    Dewaraja et al. 2012, MIRD 23, doi:10.2967/jnumed.111.100123; Gear et al. 2018,
    doi:10.1007/s00259-018-4136-7; NEMA NU 2-2018.
    """
    table = phantom_table(phantom)
    values = finite_voxels(scan) * scan.scale
    layout = _layout(table)
    start = _locate(scan.spect, values, np.array(table["diameter_mm"]), layout)
    data, optimum = _fitted(scan.spect, values, table, layout, start)
    _require_spheres(data, optimum)
    u_fwhm = _jackknife(data, optimum)
    true, origin, findings = _denominator(scan, optimum, concentration_mbq_ml, camera_factor_cps_per_mbq)
    spheres = _recoveries(
        data, optimum, true, float(table["u_diameter_mm"]), concentration_relative_uncertainty
    )
    curve = RecoveryCurve.fit(
        [s["volume_ml"] for s in spheres],
        [s["recovery"] for s in spheres],
        [s["u_recovery"] for s in spheres],
    )
    return SphereCalibration(
        fwhm_mm=float(optimum[6]),
        u_fwhm_mm=u_fwhm,
        curve=curve,
        spheres=tuple({**s, "curve": curve(s["volume_ml"])[0]} for s in spheres),
        background_ratio=float(optimum[8] / (optimum[7] + optimum[8])),
        true_concentration=origin,
        findings=findings,
    )


def phantom_table(name: str) -> dict[str, Any]:
    """Return the geometry of a phantom."""
    tables = _tables()
    if name not in tables:
        raise InputError(f"The sphere phantom {name!r} is not known; known: {', '.join(tables)}.")
    return tables[name]


@functools.cache
def _tables() -> dict[str, Any]:
    from DoseSegmentationLib.resources import resource_path

    return json.loads(resource_path("Phantoms", "spheres.json").read_text(encoding="utf-8"))["phantoms"]


def _layout(table: dict[str, Any]) -> np.ndarray:
    """Centers (n, 3) of the spheres in the phantom's own frame, mm."""
    count = len(table["diameter_mm"])
    angle = 2 * np.pi * np.arange(count) / count
    return table["circle_radius_mm"] * np.stack([np.cos(angle), np.sin(angle), np.zeros(count)], axis=1)


def blurred_sphere(distance_mm: np.ndarray, radius_mm: float, sigma_mm: float) -> np.ndarray:
    """Return a sphere of concentration 1 blurred by a Gaussian, at a distance from its center."""
    from scipy.special import erf

    r, root = np.maximum(distance_mm, 1e-3 * sigma_mm), np.sqrt(2.0) * sigma_mm
    plateau = 0.5 * (erf((radius_mm + r) / root) + erf((radius_mm - r) / root))
    edges = np.exp(-(((r - radius_mm) / root) ** 2)) - np.exp(-(((r + radius_mm) / root) ** 2))
    return plateau - sigma_mm / (r * np.sqrt(2 * np.pi)) * edges


def _locate(image: Any, values: np.ndarray, diameter_mm: np.ndarray, layout: np.ndarray) -> np.ndarray:
    """Return the pose (rotation vector, translation) that puts the three largest spheres on bright spots."""
    from scipy import ndimage
    from scipy.spatial.transform import Rotation

    spacing = np.array(image.GetSpacing()[::-1])
    # Less than its neighborhood is what tells a sphere from a warm background.
    narrow, wide = (ndimage.gaussian_filter(values, mm / spacing, truncate=3) for mm in (6.0, 16.0))
    contrast = narrow - wide
    size = 2 * np.ceil(12.0 / spacing).astype(int) + 1
    peaks = np.argwhere((contrast == ndimage.maximum_filter(contrast, size)) & (contrast > 0))
    order = np.argsort([-contrast[tuple(p)] for p in peaks])[:CANDIDATES]
    places = np.array([image.TransformIndexToPhysicalPoint([int(i) for i in peaks[o][::-1]]) for o in order])
    largest = np.argsort(-diameter_mm)[:3]
    best, pose = -np.inf, None
    for chosen in itertools.permutations(range(len(places)), 3):
        spots = places[list(chosen)]
        gaps = np.linalg.norm(spots - np.roll(spots, 1, axis=0), axis=1)
        wanted = layout[largest] - np.roll(layout[largest], 1, axis=0)
        if np.max(np.abs(gaps - np.linalg.norm(wanted, axis=1))) > 8.0:
            continue
        middle, middle_layout = spots.mean(axis=0), layout[largest].mean(axis=0)
        rotation, _ = Rotation.align_vectors(spots - middle, layout[largest] - middle_layout)
        shift = middle - rotation.apply(middle_layout)
        heights = _at(image, contrast, rotation.apply(layout) + shift)
        # Small spheres are faint; the order of sizes decides between a phantom and its mirror image.
        score = float(np.sum(heights * diameter_mm))
        if score > best:
            best, pose = score, np.concatenate([rotation.as_rotvec(), shift])
    if pose is None:
        msg = (
            "The spheres of the phantom were not found: no three bright spots lie as its three largest spheres do. "
            "Check that the scan is of this phantom and that the spheres are hot."
        )
        raise InputError(msg)
    return pose


def _at(image: Any, values: np.ndarray, points: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    index = np.array([image.TransformPhysicalPointToContinuousIndex(p.tolist())[::-1] for p in points])
    return ndimage.map_coordinates(values, index.T, order=1, mode="nearest")


def _fitted(
    image: Any, values: np.ndarray, table: dict[str, Any], layout: np.ndarray, pose: np.ndarray
) -> tuple[_Data, np.ndarray]:
    """Fit pose, resolution, concentration above background, and background; twice, for the voxels it sees."""
    from scipy.optimize import least_squares

    diameter = np.array(table["diameter_mm"], float)
    top = float(np.percentile(values, 99.9))
    parameters = np.concatenate([pose, [11.0, top, 0.0]])
    for _ in range(2):
        data = _data(image, values, diameter, layout, parameters[:6])
        scale = [0.05] * 3 + [2.0] * 3 + [2.0, top, top]
        low = [-np.inf] * 6 + [2.0, 0.0, -np.inf]
        high = [np.inf] * 6 + [40.0, np.inf, np.inf]
        fit = least_squares(
            lambda p, d=data: _model(p, d) - d.values, parameters, x_scale=scale, bounds=(low, high)
        )
        parameters = fit.x
    return data, parameters


def _data(
    image: Any, values: np.ndarray, diameter: np.ndarray, layout: np.ndarray, pose: np.ndarray
) -> _Data:
    from scipy.spatial import cKDTree

    direction = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    centers = _centers(pose, layout)
    index = np.argwhere(np.ones(values.shape, bool))
    points = index[:, ::-1] @ direction.T + np.array(image.GetOrigin())
    gap, nearest = cKDTree(centers).query(points)
    near = gap < diameter[nearest] / 2 + AROUND_MM
    if near.sum() < 200:
        raise InputError("The spheres lie outside the SPECT.")
    seen = tuple(index[near].T)
    return _Data(points[near], values[seen], np.array(image.GetSpacing()), diameter, layout)


def _centers(pose: np.ndarray, layout: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(pose[:3]).apply(layout) + pose[3:6]


def _model(parameters: np.ndarray, data: _Data, skip: int | None = None) -> np.ndarray:
    """Concentration at the points; ``skip`` leaves a sphere out."""
    # A voxel is a mean over its edge: that adds to the variance of the blur.
    sigma = np.sqrt((parameters[6] / FWHM_PER_SIGMA) ** 2 + np.mean(data.voxel_mm**2) / 12.0)
    total = np.zeros(len(data.points))
    for number, (center, diameter) in enumerate(
        zip(_centers(parameters[:6], data.layout), data.diameter_mm, strict=True)
    ):
        if number != skip:
            total += blurred_sphere(np.linalg.norm(data.points - center, axis=1), diameter / 2, sigma)
    return parameters[7] * total + parameters[8]


def _jackknife(data: _Data, optimum: np.ndarray) -> float:
    """Return the standard uncertainty of the resolution: each sphere left out in turn, place and background kept."""
    from scipy.optimize import least_squares
    from scipy.spatial import cKDTree

    nearest = cKDTree(_centers(optimum[:6], data.layout)).query(data.points)[1]
    found = []
    for left_out in range(len(data.diameter_mm)):
        keep = nearest != left_out
        part = dataclasses.replace(data, points=data.points[keep], values=data.values[keep])

        def residual(p: np.ndarray, part: _Data = part) -> np.ndarray:
            return _model(np.concatenate([optimum[:6], p]), part) - part.values

        scale = np.maximum(np.abs(optimum[6:9]), 1e-6 * abs(optimum[7]))
        found.append(least_squares(residual, optimum[6:9], x_scale=scale).x[0])
    n = len(found)
    return float(np.sqrt((n - 1) / n * np.sum((np.array(found) - np.mean(found)) ** 2)))


def _denominator(
    scan: PhantomScan, optimum: np.ndarray, concentration: float | None, factor: float | None
) -> tuple[float, str, tuple[Finding, ...]]:
    """Return the true concentration in the units of the fit, and where it came from."""
    if concentration is None:
        finding = Finding(
            "assumption",
            "calibration.concentration",
            "The activity concentration of the spheres was not given; the one fitted to the scan stands for it.",
            float(optimum[7] + optimum[8]),
            "fit of all spheres",
            "Give the concentration that was filled in.",
        )
        return float(optimum[7] + optimum[8]), "fitted", (finding,)
    if not (np.isfinite(concentration) and concentration > 0):
        raise InputError(f"The concentration of the spheres is {concentration} MBq/mL; it must be above 0.")
    if scan.unit == "BQML":
        return concentration * scan.decay, "given", ()
    if factor is None or not factor > 0:
        raise InputError(
            "A scan in counts needs the camera factor (calibrate the cylinder first, or --camera-factor)."
        )
    return concentration * scan.decay * factor, "given, with the camera factor", ()


def _recoveries(
    data: _Data, optimum: np.ndarray, true: float, u_diameter_mm: float, u_concentration: float
) -> list[dict[str, Any]]:
    """Measure each sphere: mean of the voxels in its true volume, by the part of each that is inside."""
    background = float(optimum[8])
    if true <= background:
        raise InputError("The spheres are said to be no hotter than the background that was measured.")
    noise = _noise_of_mean(data, optimum)
    spheres = []
    for center, diameter in zip(_centers(optimum[:6], data.layout), data.diameter_mm, strict=True):
        mean = _mean_inside(data, center, diameter)
        wider = _mean_inside(data, center, diameter + u_diameter_mm)
        recovery = (mean - background) / (true - background)
        terms = [
            noise(center, diameter) / (true - background),
            (wider - mean) / (true - background),
            recovery * u_concentration,
        ]
        spheres.append(
            {
                "diameter_mm": float(diameter),
                "volume_ml": float(np.pi / 6 * diameter**3 / 1000),
                "center_mm": center.tolist(),
                "recovery": float(recovery),
                "u_recovery": float(np.sqrt(np.sum(np.square(terms)))),
            }
        )
    return spheres


def _mean_inside(data: _Data, center: np.ndarray, diameter_mm: float) -> float:
    # The part of a voxel inside is that of its equal-volume sphere's diameter across the surface.
    width = float(np.prod(data.voxel_mm) ** (1 / 3))
    gap = np.linalg.norm(data.points - center, axis=1)
    weight = np.clip(0.5 + (diameter_mm / 2 - gap) / width, 0.0, 1.0)
    return float(np.average(data.values, weights=weight))


def _noise_of_mean(data: _Data, optimum: np.ndarray) -> Any:
    """Return a function: standard deviation of the mean in a sphere, from what the fit leaves.

    Reconstructed noise is correlated over about the resolution, so the independent samples are the
    blobs of that size, not the voxels.
    """
    residual = data.values - _model(optimum, data)
    blob_mm3 = (optimum[6] / FWHM_PER_SIGMA * 2 * np.sqrt(np.pi)) ** 3

    def of(center: np.ndarray, diameter_mm: float) -> float:
        near = np.linalg.norm(data.points - center, axis=1) < diameter_mm / 2 + AROUND_MM / 2
        spread = float(np.sqrt(np.mean(residual[near] ** 2)))
        return spread / np.sqrt(max(np.pi / 6 * diameter_mm**3 / blob_mm3, 1.0))

    return of


def _require_spheres(data: _Data, optimum: np.ndarray) -> None:
    """Raise where six blurred spheres do not explain what the scan shows: it is of something else."""
    residual = data.values - _model(optimum, data)
    explained = 1 - float(np.var(residual) / np.var(data.values))
    if explained < EXPLAINED or optimum[7] <= 0 or not 3.0 < optimum[6] < 30.0:
        msg = (
            f"The spheres of the phantom were not found: the best place for them explains {100 * explained:.0f} % of "
            f"what is seen there, with a resolution of {optimum[6]:.1f} mm. Check that the scan is of this phantom "
            "and that the spheres are hot."
        )
        raise InputError(msg)
