"""Counts to Bq/mL, and partial-volume recovery of regions."""

from __future__ import annotations

from TheranosticDoseLib.quantification.camera import dead_time_factor, decay_during_scan, quantify
from TheranosticDoseLib.quantification.gtm import recovery_gtm
from TheranosticDoseLib.quantification.recovery import (
    RecoveryCurve,
    recovery_factors,
    recovery_of_scans,
)
from TheranosticDoseLib.quantification.settings import QuantificationSettings

__all__ = [
    "QuantificationSettings",
    "RecoveryCurve",
    "dead_time_factor",
    "decay_during_scan",
    "quantify",
    "recovery_factors",
    "recovery_gtm",
    "recovery_of_scans",
]
