"""Uncertainty of TIA and dose: analytic budget and Monte Carlo resampling."""

from __future__ import annotations

from TheranosticDoseLib.uncertainty.budget import (
    Contribution,
    UncertaintyBudget,
    UncertaintySettings,
    point_relative_u,
    uncertainty_budget,
)
from TheranosticDoseLib.uncertainty.resampling import Resampled, resample
from TheranosticDoseLib.uncertainty.sphere import outline_relative_u, sphere_response

__all__ = [
    "Contribution",
    "Resampled",
    "UncertaintyBudget",
    "UncertaintySettings",
    "outline_relative_u",
    "point_relative_u",
    "resample",
    "sphere_response",
    "uncertainty_budget",
]
