"""Dosimetry of radiopharmaceutical therapy: from SPECT/CT to absorbed dose.

The rooms of this package and the one direction between them are described in
``docs/developer/architecture.md``.  Nothing here imports Slicer, VTK or Qt, and
nothing heavy is imported before it is used.

Research software, not a medical device.
"""

__version__ = "0.1.0"

DISCLAIMER = (
    "Research software, not a medical device. Not cleared for clinical use; "
    "every number must be checked by a qualified medical physicist."
)
