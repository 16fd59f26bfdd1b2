"""Registration of the scans of a study to one of them: rigid, then deformable.

CT to CT with the SPECT following (they share a frame of reference), or SPECT to SPECT where there
is no CT.  A transform maps points of the reference to points of the moving scan.
"""

from TheranosticDoseLib.registration.fields import inverse_transform
from TheranosticDoseLib.registration.pictures import checkerboard, difference, quality_pictures
from TheranosticDoseLib.registration.result import RegisteredStudy
from TheranosticDoseLib.registration.run import register, transform_between
from TheranosticDoseLib.registration.settings import RegistrationSettings

__all__ = [
    "RegisteredStudy",
    "RegistrationSettings",
    "checkerboard",
    "difference",
    "inverse_transform",
    "quality_pictures",
    "register",
    "transform_between",
]
