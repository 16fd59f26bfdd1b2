"""Camera factor from a uniform cylinder of known activity."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from TheranosticDoseLib.calibration.scan import PhantomScan, finite_voxels
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import voxel_volume_ml

MARGINS_MM = (10.0, 20.0, 30.0)
"""Around the cylinder: the counts that blur and residual scatter put outside; their spread is an uncertainty."""
INSIDE_MM = 20.0
"""From the edge inwards: where blur does not reach."""
UNIFORMITY_LIMIT = 0.05


@dataclasses.dataclass(frozen=True)
class CylinderCalibration:
    """What a uniform cylinder says about the camera.

    Attributes
    ----------
    camera_factor_cps_per_mbq : float or None
        For a scan in counts.
    bqml_ratio : float or None
        Measured over true activity, for a scan in Bq/mL.
    relative_uncertainty : float
        Of either, k=1.
    contributions : dict
        Source to relative uncertainty.
    volume_ml : float
        Of the cylinder as found, at half of its plateau.
    concentration_ratio : float or None
        Factor of the inner part with the given volume over that of the whole.
    center_to_edge : float
        Mean of the inner half over that of the outer half of what is inside; 1 is uniform.
    findings : tuple of Finding
    """

    camera_factor_cps_per_mbq: float | None
    bqml_ratio: float | None
    relative_uncertainty: float
    contributions: dict[str, float]
    volume_ml: float
    concentration_ratio: float | None
    center_to_edge: float
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return dataclasses.asdict(self)


def calibrate_cylinder(
    scan: PhantomScan,
    activity_mbq: float,
    activity_relative_uncertainty: float = 0.015,
    volume_ml: float | None = None,
) -> CylinderCalibration:
    """Return the camera factor (or the ratio to truth of a scan in Bq/mL).

    The cylinder is found at half of its plateau; its counts are those within 20 mm around it, so that
    blur loses none.  With its volume the concentration well inside gives a second factor as a check.

    Parameters
    ----------
    scan : PhantomScan
    activity_mbq : float
        In the cylinder at the time that ``scan.time_h`` counts from.
    activity_relative_uncertainty : float
        Of the activity meter, k=1.
    volume_ml : float, optional
        Filled volume.

    References
    ----------
    Ljungberg et al. 2016, MIRD 26, doi:10.2967/jnumed.115.159012; Tran-Gia and Lassmann 2019,
    doi:10.2967/jnumed.118.215251.
    """
    _check(activity_mbq, activity_relative_uncertainty, volume_ml)
    values = finite_voxels(scan)
    spacing = np.array(scan.spect.GetSpacing()[::-1])
    inside, distance = _cylinder(values, spacing)
    voxel_ml = voxel_volume_ml(scan.spect)
    true = activity_mbq * scan.decay
    per_margin = [
        float(values[distance > -margin].sum()) * scan.scale * voxel_ml / true for margin in MARGINS_MM
    ]
    factor = per_margin[1]
    core = distance > INSIDE_MM
    if core.sum() < 100:
        raise InputError("The cylinder is too small: no part is 20 mm or more from its edge.")
    center_to_edge = _center_to_edge(values, distance, core)
    ratio = None
    if volume_ml is not None:
        ratio = float(values[core].mean()) * scan.scale / (true / volume_ml) / factor
    counts = float(values[distance > -MARGINS_MM[1]].sum())
    contributions = {
        "activity meter": activity_relative_uncertainty,
        "extent of the volume": (max(per_margin) - min(per_margin)) / factor / np.sqrt(12.0),
        "counting": 1 / np.sqrt(counts) if scan.unit == "CNTS" else 0.0,
        "uniformity": abs(center_to_edge - 1) / np.sqrt(12.0),
    }
    contributions = {name: float(value) for name, value in contributions.items()}
    found_ml = float(inside.sum()) * voxel_ml
    return CylinderCalibration(
        camera_factor_cps_per_mbq=factor if scan.unit == "CNTS" else None,
        bqml_ratio=factor if scan.unit == "BQML" else None,
        relative_uncertainty=float(np.sqrt(sum(value**2 for value in contributions.values()))),
        contributions=contributions,
        volume_ml=found_ml,
        concentration_ratio=ratio,
        center_to_edge=center_to_edge,
        findings=_findings(center_to_edge, ratio, found_ml, volume_ml),
    )


def _check(activity_mbq: float, relative: float, volume_ml: float | None) -> None:
    if not (np.isfinite(activity_mbq) and activity_mbq > 0):
        raise InputError(f"The activity of the cylinder is {activity_mbq} MBq; a number above 0 is needed.")
    if not 0 <= relative < 1:
        raise InputError(f"The uncertainty of the activity is {relative}; a fraction from 0 to 1 is needed.")
    if volume_ml is not None and not (np.isfinite(volume_ml) and volume_ml > 0):
        raise InputError(f"The volume of the cylinder is {volume_ml} mL; a number above 0 is needed.")


def _cylinder(values: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest connected part above half of the plateau, and the distance to its edge (inside > 0), mm."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(values, 4.0 / spacing)
    plateau = np.median(smooth[smooth > 0.5 * np.percentile(smooth, 99.5)])
    labels, count = ndimage.label(smooth > 0.5 * plateau)
    if count == 0:
        raise InputError("No cylinder was found in the phantom scan.")
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    inside = ndimage.binary_fill_holes(labels == largest)
    touches = any(inside.take(end, axis).any() for axis in range(3) for end in (0, -1))
    if touches or inside.all():
        # Cut along its axis too it would hold less than its activity: a factor that is wrong without a word.
        raise InputError("The cylinder reaches the edge of the SPECT; the whole of it must be seen.")
    distance = ndimage.distance_transform_edt(inside, sampling=spacing)
    distance -= ndimage.distance_transform_edt(~inside, sampling=spacing)
    return inside, distance


def _center_to_edge(values: np.ndarray, distance: np.ndarray, core: np.ndarray) -> float:
    middle = np.median(distance[core])
    return float(values[core & (distance >= middle)].mean() / values[core & (distance < middle)].mean())


def _findings(
    center_to_edge: float, ratio: float | None, found_ml: float, volume_ml: float | None
) -> tuple[Finding, ...]:
    found = []
    if abs(center_to_edge - 1) > UNIFORMITY_LIMIT:
        found.append(
            Finding(
                "warning",
                "calibration.uniformity",
                f"The center of the cylinder is {100 * (center_to_edge - 1):+.1f} % against its edge; attenuation or "
                "scatter is not corrected well.",
                center_to_edge,
                "uniform cylinder",
                "Check the attenuation map and the scatter windows.",
            )
        )
    if ratio is not None and abs(ratio - 1) > UNIFORMITY_LIMIT:
        found.append(
            Finding(
                "warning",
                "calibration.concentration",
                f"The concentration inside gives a factor {100 * (ratio - 1):+.1f} % from that of the whole cylinder.",
                ratio,
                "uniform cylinder",
                "Check activity, volume and residual scatter.",
            )
        )
    if volume_ml is not None and abs(found_ml / volume_ml - 1) > 0.1:
        message = f"The cylinder was found with {found_ml:.0f} mL; it was said to hold {volume_ml:.0f} mL."
        found.append(Finding("warning", "calibration.volume", message, found_ml, "half of the plateau"))
    return tuple(found)
