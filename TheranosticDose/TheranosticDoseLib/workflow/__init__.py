"""The whole way: from files to results, and each step of it usable alone.

``run`` reads a folder and writes a result folder; ``evaluate`` does the same in memory.
"""

from TheranosticDoseLib.workflow.results import Results, VoiResult
from TheranosticDoseLib.workflow.run import DEFAULT_ENGINES, check_engines, evaluate, run
from TheranosticDoseLib.workflow.settings import RunSettings

__all__ = ["DEFAULT_ENGINES", "Results", "RunSettings", "VoiResult", "check_engines", "evaluate", "run"]
