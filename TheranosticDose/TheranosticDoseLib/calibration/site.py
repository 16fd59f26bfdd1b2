"""The site file: settings that ``run --settings`` reads, and where they came from."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from TheranosticDoseLib import __version__
from TheranosticDoseLib.calibration.cylinder import CylinderCalibration
from TheranosticDoseLib.calibration.resolution import Resolution
from TheranosticDoseLib.calibration.scan import PhantomScan
from TheranosticDoseLib.calibration.spheres import SphereCalibration
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.files import plain, to_json, write_whole

Calibration = CylinderCalibration | SphereCalibration | Resolution


def update_site(path: str | Path, calibration: Calibration, scan: PhantomScan) -> dict[str, Any]:
    """Put a calibration into a site file; what other phantoms gave to it stays.

    Parameters
    ----------
    path : str or Path
        JSON of :class:`RunSettings`; made where it is missing.
    calibration : CylinderCalibration, SphereCalibration or Resolution
    scan : PhantomScan
        What it came from; its hashes are recorded under ``calibration``.

    Returns
    -------
    dict
        The content of the file.
    """
    from TheranosticDoseLib.workflow import RunSettings

    path = Path(path)
    site: dict[str, Any] = _read(path) if path.exists() else {}
    quantification = {**site.get("quantification", {}), **_settings(calibration)}
    record = {
        "made": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "version": __version__,
        "nuclide": scan.nuclide,
        "time_h": scan.time_h,
        "duration_s": scan.duration_s,
        "unit": scan.unit,
        "inputs": scan.inputs,
        **calibration.to_dict(),
    }
    known = {**site.get("calibration", {}), _name(calibration): record}
    site = plain({**site, "quantification": quantification, "calibration": known})
    RunSettings.from_dict(site)  # what is written can be read
    write_whole(path, to_json(site))
    return site


def camera_factor_of(path: str | Path) -> float | None:
    """Return the camera factor that a site file holds, ``None`` where there is none."""
    path = Path(path)
    return _read(path).get("quantification", {}).get("camera_factor_cps_per_mbq") if path.exists() else None


def _read(path: Path) -> dict[str, Any]:
    from TheranosticDoseLib.workflow import RunSettings

    try:
        site = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"The site file {path} cannot be read: {error}.") from error
    RunSettings.from_dict(site)
    return site


def _name(calibration: Calibration) -> str:
    names = {CylinderCalibration: "cylinder", SphereCalibration: "spheres", Resolution: "resolution"}
    return names[type(calibration)]


def _settings(calibration: Calibration) -> dict[str, Any]:
    """Return what the calibration sets in :class:`QuantificationSettings`."""
    if isinstance(calibration, Resolution):
        return _resolution(calibration.mean_fwhm_mm, calibration.u_fwhm_mm)
    if isinstance(calibration, SphereCalibration):
        resolution = _resolution(calibration.fwhm_mm, calibration.u_fwhm_mm)
        return {**resolution, "recovery": "gtm", "recovery_curve": calibration.curve.to_dict()}
    if calibration.camera_factor_cps_per_mbq is not None:
        return {
            "camera_factor_cps_per_mbq": calibration.camera_factor_cps_per_mbq,
            "camera_factor_relative_uncertainty": calibration.relative_uncertainty,
        }
    # Bq/mL are taken as delivered: a bias that is known and not corrected belongs to the uncertainty.
    bias = abs(calibration.bqml_ratio - 1)
    return {"bqml_relative_uncertainty": float((calibration.relative_uncertainty**2 + bias**2) ** 0.5)}


def _resolution(fwhm_mm: float, u_fwhm_mm: float) -> dict[str, float]:
    return {"fwhm_mm": fwhm_mm, "fwhm_relative_uncertainty": u_fwhm_mm / fwhm_mm}
