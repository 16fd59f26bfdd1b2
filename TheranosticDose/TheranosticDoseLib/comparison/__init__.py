"""Any two dose maps against each other: voxel by voxel, VOI by VOI, as data, plots and HTML."""

from TheranosticDoseLib.comparison.compare import Comparison, ComparisonSettings, compare_doses
from TheranosticDoseLib.comparison.gamma import gamma_index

__all__ = ["Comparison", "ComparisonSettings", "compare_doses", "gamma_index"]
