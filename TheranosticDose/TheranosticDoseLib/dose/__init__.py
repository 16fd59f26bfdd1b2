"""Absorbed dose: one function, one file or folder per engine.

``absorbed_dose(tia, anatomy, engine)`` takes a map of the time-integrated activity
concentration (MBq h per mL) and an :class:`Anatomy` on the same grid and gives a
:class:`DoseResult` in Gy.  :func:`engines` lists what is installed and, for the rest, why not.
"""

from TheranosticDoseLib.dose.anatomy import Anatomy
from TheranosticDoseLib.dose.engines import absorbed_dose, engines
from TheranosticDoseLib.dose.result import DoseResult

__all__ = ["Anatomy", "DoseResult", "absorbed_dose", "engines"]
