"""Settings of the way from counts to activity."""

from __future__ import annotations

from dataclasses import dataclass

from TheranosticDoseLib.settings import Settings


@dataclass(frozen=True)
class QuantificationSettings(Settings):
    """How counts become Bq/mL and how a region is corrected for partial volume.

    Attributes
    ----------
    camera_factor_cps_per_mbq : float or None
        Counts per second in the reconstructed volume per MBq, all heads together; needed for counts.
    camera_factor_relative_uncertainty : float
        k=1.
    dead_time_s : float
        Paralysable dead time of the camera; 0 takes none.
    dead_time_relative_uncertainty : float
        Of ``dead_time_s``, k=1.
    observed_count_rate_cps : tuple of float
        Total observed count rate of the camera per acquisition, for the dead time; empty: the counts of
        the volume over its duration.
    bqml_relative_uncertainty : float
        Assumed for volumes that arrive in Bq/mL (calibration of the site), k=1.
    recovery : str
        ``none``, ``curve`` (``recovery_curve`` of the volume) or ``gtm`` (geometric transfer matrix,
        spill-out and spill-in between regions).
    recovery_curve : dict or None
        ``RecoveryCurve.to_dict()``.
    fwhm_mm : float or None
        Resolution of the reconstructed SPECT, from a sphere phantom; needed for ``gtm``.
    fwhm_relative_uncertainty : float
        k=1.
    """

    camera_factor_cps_per_mbq: float | None = None
    camera_factor_relative_uncertainty: float = 0.03
    dead_time_s: float = 0.0
    dead_time_relative_uncertainty: float = 0.1
    observed_count_rate_cps: tuple[float, ...] = ()
    bqml_relative_uncertainty: float = 0.05
    recovery: str = "none"
    recovery_curve: dict | None = None
    fwhm_mm: float | None = None
    fwhm_relative_uncertainty: float = 0.05

    def validate(self) -> None:
        """Check ranges and that the chosen recovery has what it needs."""
        factor = self.camera_factor_cps_per_mbq is None or self.camera_factor_cps_per_mbq > 0
        self.require(factor, "camera_factor_cps_per_mbq", "a positive number of cps/MBq or none")
        for name in (
            "camera_factor_relative_uncertainty",
            "dead_time_relative_uncertainty",
            "bqml_relative_uncertainty",
            "fwhm_relative_uncertainty",
        ):
            self.require(0 <= getattr(self, name) < 1, name, "a fraction from 0 to 1")
        self.require(0 <= self.dead_time_s < 1e-3, "dead_time_s", "0 to 0.001 s (microseconds are usual)")
        rates = all(rate > 0 for rate in self.observed_count_rate_cps)
        self.require(rates, "observed_count_rate_cps", "positive rates, one per acquisition")
        self.require(self.recovery in ("none", "curve", "gtm"), "recovery", "none, curve or gtm")
        curve = self.recovery != "curve" or self.recovery_curve is not None
        self.require(curve, "recovery_curve", "a fitted recovery curve for recovery 'curve'")
        size = self.fwhm_mm is None or 0 < self.fwhm_mm < 50
        self.require(size, "fwhm_mm", "a resolution in mm, below 50")
        gtm = self.recovery != "gtm" or self.fwhm_mm is not None
        self.require(gtm, "fwhm_mm", "the SPECT resolution in mm for recovery 'gtm'")
