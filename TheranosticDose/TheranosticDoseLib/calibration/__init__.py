"""The site's own numbers from phantom scans: camera factor, recovery curve, resolution, each with uncertainty."""

from TheranosticDoseLib.calibration.cylinder import CylinderCalibration, calibrate_cylinder
from TheranosticDoseLib.calibration.resolution import Resolution, measure_resolution
from TheranosticDoseLib.calibration.scan import PhantomScan, load_phantom_scan
from TheranosticDoseLib.calibration.site import camera_factor_of, update_site
from TheranosticDoseLib.calibration.spheres import SphereCalibration, calibrate_spheres

__all__ = [
    "CylinderCalibration",
    "PhantomScan",
    "Resolution",
    "SphereCalibration",
    "calibrate_cylinder",
    "calibrate_spheres",
    "camera_factor_of",
    "load_phantom_scan",
    "measure_resolution",
    "update_site",
]
