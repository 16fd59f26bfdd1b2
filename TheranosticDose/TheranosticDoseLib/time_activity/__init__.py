"""Activity over time, per region and per voxel: fits, their integral, and its uncertainty."""

from __future__ import annotations

from TheranosticDoseLib.time_activity.curve import CurveFit, fit_curve, fit_curves
from TheranosticDoseLib.time_activity.population import Population, population, populations
from TheranosticDoseLib.time_activity.priors import fit_priors
from TheranosticDoseLib.time_activity.schedules import ScheduleResult, compare_schedules
from TheranosticDoseLib.time_activity.settings import MODELS, TRAPEZOIDS, FitSettings
from TheranosticDoseLib.time_activity.voxels import VoxelFit, fit_voxels

__all__ = [
    "MODELS",
    "TRAPEZOIDS",
    "CurveFit",
    "FitSettings",
    "Population",
    "ScheduleResult",
    "VoxelFit",
    "compare_schedules",
    "fit_curve",
    "fit_curves",
    "fit_priors",
    "fit_voxels",
    "population",
    "populations",
]
