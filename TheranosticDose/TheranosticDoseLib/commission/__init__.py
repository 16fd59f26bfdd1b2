"""Acceptance of the software at a site: analytic phantoms and virtual patients against what is known."""

from TheranosticDoseLib.commission.check import Check
from TheranosticDoseLib.commission.run import Acceptance, commission

__all__ = ["Acceptance", "Check", "commission"]
