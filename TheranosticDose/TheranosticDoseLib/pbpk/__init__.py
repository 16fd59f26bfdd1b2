"""Compartment models: reduced model fitted to the organs of a patient; SBML models where installed."""

from __future__ import annotations

from TheranosticDoseLib.pbpk.reduced import ReducedFit, fit_reduced_model
from TheranosticDoseLib.pbpk.sbml import simulate_sbml

__all__ = ["ReducedFit", "fit_reduced_model", "simulate_sbml"]
