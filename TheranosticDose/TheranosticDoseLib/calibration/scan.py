"""A scan of a phantom: DICOM read as that of a patient whose injection is the filling, or an image."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.files import sha256
from TheranosticDoseLib.geometry import array_of, voxel_volume_ml

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclasses.dataclass(frozen=True)
class PhantomScan:
    """One SPECT of a phantom.

    Attributes
    ----------
    spect : SimpleITK.Image
    unit : str
        ``CNTS`` or ``BQML`` (at the start of the acquisition).
    duration_s : float or None
        Needed for counts.
    time_h : float
        Start of the acquisition after the time for which the activities are given.
    nuclide : str
    inputs : dict
        File name to SHA-256.
    """

    spect: sitk.Image
    unit: str
    duration_s: float | None
    time_h: float = 0.0
    nuclide: str = "Lu-177"
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.unit not in ("CNTS", "BQML"):
            raise InputError(
                f"The phantom scan is in {self.unit!r}; counts (CNTS) or Bq/mL (BQML) are needed."
            )
        if self.unit == "CNTS" and not (self.duration_s and self.duration_s > 0):
            raise InputError(
                "The phantom scan holds counts and its duration is not known; give --duration in s."
            )
        if not math.isfinite(self.time_h):
            raise InputError("The time between filling and scan is not a finite number of hours.")

    @property
    def decay(self) -> float:
        """Activity of the scan over that of the given time: at its start for Bq/mL, its mean for counts."""
        from TheranosticDoseLib.nuclides import nuclide
        from TheranosticDoseLib.quantification import decay_during_scan

        half_life_h = nuclide(self.nuclide).half_life_h
        start = 2.0 ** (-self.time_h / half_life_h)
        return start if self.unit == "BQML" else start / decay_during_scan(self.duration_s, half_life_h)

    @property
    def scale(self) -> float:
        """What turns a voxel into counts per second and mL, or into MBq/mL."""
        if self.unit == "BQML":
            return 1e-6
        return 1.0 / self.duration_s / voxel_volume_ml(self.spect)


def load_phantom_scan(
    path: str | Path,
    activity_at: str | None = None,
    nuclide: str = "Lu-177",
    duration_s: float | None = None,
    time_h: float | None = None,
    unit: str | None = None,
) -> PhantomScan:
    """Read the scan of a phantom.

    Parameters
    ----------
    path : str or Path
        Folder of DICOM (NM or PT-class slices, one acquisition), or an image that SimpleITK reads.
    activity_at : str, optional
        Time for which the activities are given (ISO 8601, the clock of the scanner); needed for DICOM.
    nuclide : str
    duration_s : float, optional
        Real time of the acquisition; for an image of counts, or to replace what DICOM says.
    time_h : float, optional
        For an image: start of the scan after ``activity_at``, h.
    unit : str, optional
        ``CNTS`` or ``BQML``; an image is taken as counts where nothing is said.
    """
    path = Path(path)
    if path.is_dir():
        return _from_dicom(path, activity_at, nuclide, duration_s, unit)
    if not path.is_file():
        raise InputError(f"There is no phantom scan {path}.")
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    except RuntimeError as error:
        raise InputError(
            f"{path} is no image that can be read: {str(error).strip().splitlines()[-1]}"
        ) from None
    if image.GetDimension() != 3:
        raise InputError(f"{path} has {image.GetDimension()} dimensions; a volume is needed.")
    if time_h is None:
        raise InputError(
            f"{path} says no time; give --delay, the hours from the activity measurement to the scan."
        )
    return PhantomScan(image, unit or "CNTS", duration_s, time_h, nuclide, {path.name: sha256(path)})


def _from_dicom(
    path: Path, activity_at: str | None, nuclide: str, duration_s: float | None, unit: str | None
) -> PhantomScan:
    from TheranosticDoseLib.dicom_io import Overrides, load_study

    if activity_at is None:
        raise InputError("Give the time of the activity measurement (--activity-at, ISO 8601).")
    given: dict[str, Any] = {
        "injection_datetime": activity_at,
        "nuclide": nuclide,
        "injected_activity_mbq": 1.0,
    }
    if unit is not None:
        given["units"] = unit
    study = load_study(path, Overrides.from_dict(given))
    if len(study.acquisitions) != 1:
        labels = ", ".join(acquisition.label for acquisition in study.acquisitions)
        raise InputError(f"{path} holds {len(study.acquisitions)} acquisitions ({labels}); one is needed.")
    one = study.acquisitions[0]
    duration = duration_s or one.duration_s
    return PhantomScan(one.spect, one.unit, duration, one.time_h, nuclide, dict(study.inputs))


def finite_voxels(scan: PhantomScan):
    """Return the voxels as float64; :class:`InputError` where they are not finite or hold no activity."""
    import numpy as np

    values = np.asarray(array_of(scan.spect), np.float64)
    if not np.isfinite(values).all():
        raise InputError("The phantom scan holds NaN or infinite voxels.")
    if values.max() <= 0:
        raise InputError("The phantom scan holds no activity.")
    return values
