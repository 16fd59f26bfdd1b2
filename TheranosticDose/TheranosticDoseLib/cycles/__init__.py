"""Several cycles of one patient: what was accumulated, what is left to each limit, what the next may be."""

from TheranosticDoseLib.cycles.account import CycleSettings, account
from TheranosticDoseLib.cycles.ct_dose import ct_doses
from TheranosticDoseLib.cycles.forecast import activity_within, forecast
from TheranosticDoseLib.cycles.read import Cycle, read_cycles

__all__ = ["Cycle", "CycleSettings", "account", "activity_within", "ct_doses", "forecast", "read_cycles"]
