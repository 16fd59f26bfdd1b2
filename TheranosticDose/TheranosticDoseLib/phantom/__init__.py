"""Virtual patient: anatomy, kinetics, motion and images whose truth is known.

``virtual_patient(seed, settings)`` makes the patient, ``write_patient(patient, out)`` writes it as
DICOM with its truth.  Research software, not a medical device.
"""

from TheranosticDoseLib.phantom.patient import VirtualPatient, virtual_patient
from TheranosticDoseLib.phantom.settings import PhantomSettings
from TheranosticDoseLib.phantom.write import write_patient

__all__ = ["PhantomSettings", "VirtualPatient", "virtual_patient", "write_patient"]
