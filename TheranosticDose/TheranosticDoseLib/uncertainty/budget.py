"""Uncertainty budget of a region from counts to absorbed dose, after the EANM guidance.

In logarithms ``D = C / (Q R m) x fit x engine``: counts ``C`` in the outline, camera factor ``Q``, recovery
``R``, mass ``m``. The outline enters three times - counts, recovery, mass - with one error: its
contribution is ``|phi - rho - 1| u(v)/v`` for the dose and ``|phi - rho| u(v)/v`` for the TIA, with
``phi = dlnC/dlnv`` and ``rho = dlnR/dlnv``; this is the covariance term of Gear et al. 2018
(doi:10.1007/s00259-018-4136-7), eqs. 27-33, in one number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.settings import Settings
from TheranosticDoseLib.study import Correction
from TheranosticDoseLib.uncertainty.sphere import outline_relative_u, sphere_response


@dataclass(frozen=True)
class UncertaintySettings(Settings):
    """Relative uncertainties (k=1) that do not come from the data.

    Attributes
    ----------
    activity_meter : float
        Of the calibration of the activity meter (shared by all that is measured).
    outline_fwhm_mm : float
        Width of an edge of an outline: resolution of the image it was drawn on, or reader variation.
    outline_voxel_mm : float
        Voxel of that image.
    spect_fwhm_mm : float
        Resolution of the SPECT.
    density : float
        Of the tissue density.
    registration_mm : float
        Residual after registration, where the registration gave none.
    neighbor_contrast : float
        Concentration around a region on one side less that on the other, over its own: a shift towards the
        hotter side adds activity.
    scan_to_scan : float
        What else varies from scan to scan (reconstruction, breathing, filling); 1.5 % is the scatter of the large
        organs of virtual patients.
    count_noise_factor : float
        Noise of a region over the Poisson noise of its counts (reconstruction, scatter correction).
    resamples : int
        Draws of a full Monte Carlo resampling of each region beside its budget; 0 does none.
    """

    activity_meter: float = 0.015
    outline_fwhm_mm: float = 2.0
    outline_voxel_mm: float = 1.5
    spect_fwhm_mm: float = 11.0
    density: float = 0.02
    registration_mm: float = 2.5
    neighbor_contrast: float = 0.5
    scan_to_scan: float = 0.015
    count_noise_factor: float = 2.0
    resamples: int = 0

    def validate(self) -> None:
        """Check ranges."""
        for name in ("activity_meter", "density", "neighbor_contrast", "scan_to_scan"):
            self.require(0 <= getattr(self, name) < 1, name, "a fraction from 0 to 1")
        for name in ("outline_fwhm_mm", "outline_voxel_mm", "registration_mm"):
            self.require(0 <= getattr(self, name) < 50, name, "0 to 50 mm")
        self.require(1 <= self.spect_fwhm_mm < 50, "spect_fwhm_mm", "1 to 50 mm")
        self.require(self.count_noise_factor >= 1, "count_noise_factor", "1 or more")
        self.require(
            self.resamples == 0 or 50 <= self.resamples <= 100_000, "resamples", "0, or 50 to 100000 draws"
        )


@dataclass(frozen=True)
class Contribution:
    """One line of the budget.

    Attributes
    ----------
    source : str
    relative_u_tia, relative_u_dose : float
        What it adds (in quadrature) to the TIA and to the mean dose, k=1.
    correlated_group : str
        Lines of the same group are the same error in every region (``calibration``) or every region that
        shares the curve (``recovery``); empty: its own in each region.
    """

    source: str
    relative_u_tia: float
    relative_u_dose: float
    correlated_group: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary; ``relative_u`` is that of the dose."""
        return {
            "source": self.source,
            "relative_u": self.relative_u_dose,
            "relative_u_tia": self.relative_u_tia,
            "correlated_group": self.correlated_group,
        }


@dataclass(frozen=True)
class UncertaintyBudget:
    """The lines of a region and their sums in quadrature."""

    contributions: tuple[Contribution, ...]

    @property
    def relative_u_tia(self) -> float:
        """Of the TIA, k=1."""
        return float(np.sqrt(sum(c.relative_u_tia**2 for c in self.contributions)))

    @property
    def relative_u_dose(self) -> float:
        """Of the mean absorbed dose, k=1."""
        return float(np.sqrt(sum(c.relative_u_dose**2 for c in self.contributions)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> UncertaintyBudget:
        """Build from ``to_dict()``."""
        lines = (
            Contribution(c["source"], c["relative_u_tia"], c["relative_u"], c["correlated_group"])
            for c in values["contributions"]
        )
        return cls(tuple(lines))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary, largest contribution first."""
        lines = sorted(self.contributions, key=lambda c: -c.relative_u_dose)
        return {
            "contributions": [line.to_dict() for line in lines],
            "relative_u_tia": self.relative_u_tia,
            "relative_u_dose": self.relative_u_dose,
        }


def uncertainty_budget(
    *,
    volume_ml: float,
    tia_mbq_h: float,
    u_tia_mbq_h: float,
    corrections: Sequence[Correction] = (),
    recovery: tuple[float, float] = (1.0, 0.0),
    recovery_volume_exponent: float | None = None,
    engine_relative_u: float = 0.0,
    settings: UncertaintySettings | None = None,
) -> UncertaintyBudget:
    """Return the budget of one region.

    Parameters
    ----------
    volume_ml : float
    tia_mbq_h, u_tia_mbq_h : float
        Of the fit; its uncertainty holds what varies from point to point (counts, registration; see
        ``point_relative_u``).
    corrections : sequence of Correction
        Of the acquisitions; the same name is one error at all times (the largest counts).
    recovery : (float, float)
        Factor divided by, and its relative uncertainty; see ``recovery_factors``.
    recovery_volume_exponent : float, optional
        ``dlnR/dlnv`` of the recovery that was applied; default: that of the blurred sphere where a recovery
        was applied (factor other than 1), else 0.
    engine_relative_u : float
        Kernel or Monte Carlo statistics of the mean dose.
    settings : UncertaintySettings, optional
    """
    settings = UncertaintySettings() if settings is None else settings
    if not (volume_ml > 0 and tia_mbq_h > 0 and u_tia_mbq_h >= 0):
        msg = f"A budget needs a positive volume and TIA; got {volume_ml} mL, {tia_mbq_h} MBq h."
        raise InputError(msg)
    fit = float(u_tia_mbq_h / tia_mbq_h)
    lines = [
        Contribution("activity meter", settings.activity_meter, settings.activity_meter, "calibration"),
        Contribution("curve fit (counts, registration)", fit, fit),
    ]
    for name in dict.fromkeys(c.name for c in corrections if c.relative_uncertainty > 0):
        value = max(c.relative_uncertainty for c in corrections if c.name == name)
        lines.append(Contribution(name, value, value, "calibration"))
    if recovery[1] > 0:
        lines.append(Contribution("recovery", recovery[1], recovery[1], "recovery"))
    tia_exponent = volume_exponent(volume_ml, recovery[0], recovery_volume_exponent, settings)
    outline = outline_relative_u(volume_ml, settings.outline_voxel_mm, settings.outline_fwhm_mm)
    # Dose is energy over mass: the same outline error is in the mass, with the opposite sign.
    lines.append(
        Contribution("volume (outline)", abs(tia_exponent) * outline, abs(tia_exponent - 1.0) * outline)
    )
    lines.append(Contribution("density", 0.0, settings.density))
    if engine_relative_u > 0:
        lines.append(Contribution("dose engine", 0.0, engine_relative_u))
    return UncertaintyBudget(tuple(lines))


def volume_exponent(
    volume_ml: float, recovery: float, recovery_exponent: float | None, settings: UncertaintySettings
) -> float:
    """Return ``dlnA/dlnv`` of the corrected activity: that of the counts less that of the recovery."""
    width = settings.spect_fwhm_mm
    phi = sphere_response(round(volume_ml, 3), width).volume_exponent
    if recovery_exponent is None:
        recovery_exponent = 0.0
        if recovery != 1.0:
            small, large = (sphere_response(round(volume_ml * f, 3), width).recovery for f in (0.98, 1.02))
            recovery_exponent = float(np.log(large / small) / np.log(1.02 / 0.98))
    return phi - recovery_exponent


def point_relative_u(
    activity_mbq: float | np.ndarray,
    *,
    volume_ml: float,
    camera_factor_cps_per_mbq: float | None = None,
    duration_s: float | None = None,
    registration_mm: float | None = None,
    volume_change: float = 0.0,
    settings: UncertaintySettings | None = None,
) -> np.ndarray:
    """Return the relative uncertainty (k=1) of each point that varies from scan to scan.

    Counting statistics of the region (where camera factor and duration are known), the registration residual
    (loss, and gain or loss across a gradient of the surroundings), the volume change of the region and
    ``scan_to_scan``; give them to ``fit_curve`` times the activity.

    Parameters
    ----------
    activity_mbq : float or ndarray (T,)
    volume_ml : float
    camera_factor_cps_per_mbq, duration_s : float, optional
    registration_mm : float, optional
        Residual; default that of the settings. 0 for the reference time point.
    volume_change : float
        By which part the registration says the tissue of the region is larger or smaller on that scan: its
        concentration times the volume on the reference misses its activity by as much, unless the registration
        is wrong by as much.
    settings : UncertaintySettings, optional
    """
    settings = UncertaintySettings() if settings is None else settings
    shift = settings.registration_mm if registration_mm is None else registration_mm
    loss = sphere_response(round(volume_ml, 3), settings.spect_fwhm_mm, round(shift, 2)).shift_loss
    activity = np.asarray(activity_mbq, float)
    counting = np.zeros_like(activity)
    if camera_factor_cps_per_mbq and duration_s:
        counts = np.maximum(activity * camera_factor_cps_per_mbq * duration_s, 1.0)
        counting = settings.count_noise_factor / np.sqrt(counts)
    # A component of the shift, over the surface of a sphere, where the blurred edge has half the contrast.
    radius_mm = (3.0 * volume_ml * 1000.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
    gradient = 0.5 * settings.neighbor_contrast * shift / np.sqrt(3.0) * 0.75 / radius_mm
    return np.sqrt(counting**2 + loss**2 + gradient**2 + volume_change**2 + settings.scan_to_scan**2)
