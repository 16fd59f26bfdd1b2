"""Embedded Monte Carlo: coupled photon and electron transport in the patient's voxels.

Research software, not a medical device.
"""

from __future__ import annotations

from TheranosticDoseLib.dose.mc.engine import EngineSettings, compute, gpu_unavailable, unavailable
from TheranosticDoseLib.dose.mc.run import Stop, transport

__all__ = ["EngineSettings", "Stop", "compute", "gpu_unavailable", "transport", "unavailable"]
