"""The small virtual patient as DICOM, written once per test session process."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from small_patient import SMALL
from TheranosticDoseLib.demo import write_virtual_patient


@functools.lru_cache(maxsize=2)
def small_study_folder(seed: int = 3) -> Path:
    """Return a folder with ``dicom`` and ``truth`` of the small patient.  Do not change it."""
    folder = Path(tempfile.mkdtemp(prefix="theranostic-small-"))
    write_virtual_patient(folder, seed, settings=SMALL)
    return folder
