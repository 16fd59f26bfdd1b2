"""Which series a study can use, and why not the others."""

from __future__ import annotations

from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.overrides import Overrides
from TheranosticDoseLib.dicom_io.scan import OBJECTS, Series, number_of

_NM_REASONS = {
    "TOMO": "projections; reconstruct them first",
    "GATED TOMO": "gated projections; reconstruct them first",
    "RECON GATED TOMO": "a gated reconstruction; export the ungated one",
    "STATIC": "a planar image",
    "WHOLE BODY": "a planar whole-body image",
    "DYNAMIC": "a planar dynamic image",
    "GATED": "a planar gated image",
}


def why_not(series: Series) -> str:
    """Return why a series of a known kind cannot be used, "" where it can."""
    image_type = [str(value).upper() for value in series.get("ImageType", [])]
    if series.kind == "CT":
        if "LOCALIZER" in image_type:
            return "a localizer"
        frames = number_of(series.first.dataset, "NumberOfFrames") or 1
        return "a single slice" if len(series.headers) < 2 and frames < 2 else ""
    if series.kind == "NM":
        frames = number_of(series.first.dataset, "NumberOfFrames") or 1
        kind = image_type[2] if len(image_type) > 2 else ""
        if kind in _NM_REASONS:
            return _NM_REASONS[kind]
        return "a single frame" if frames < 2 and len(series.headers) < 2 else ""
    if series.kind == "PT":
        kinds = [str(value).upper() for value in series.get("SeriesType", [])]
        if "GATED" in kinds or "DYNAMIC" in kinds:
            return f"a {kinds[0].lower()} series; export the static one"
        frames = number_of(series.first.dataset, "NumberOfFrames") or 1
        return "a single slice" if len(series.headers) < 2 and frames < 2 else ""
    return ""


def usable(found: list[Series], overrides: Overrides, journal: Journal) -> dict[str, list[Series]]:
    """Return the usable series by role: ``SPECT``, ``CT``, ``RTSTRUCT``, ``SEG``, ``RTDOSE``; list all on the page."""
    roles: dict[str, list[Series]] = {
        role: [] for role in ("SPECT", "CT", "RTSTRUCT", "SEG", "RTDOSE", "REG", "RRDSR")
    }
    for series in found:
        role = "SPECT" if series.kind in ("NM", "PT") else series.kind
        count = f"{len(series.headers)} file{'s' if len(series.headers) > 1 else ''}"
        reason = why_not(series)
        if not overrides.for_acquisition(series.uid).use:
            text = f"{series.title} was left out (use = false, {overrides.source})."
            journal.find("info", "series", text, source=overrides.source, section=OBJECTS, item=series.title)
        elif role not in roles or role == "REG":
            what = f"{storage_class(series)}; not read" if role not in roles else "listed, not applied"
            journal.row(OBJECTS, series.title, f"{count}: {what}", series.first.name, "unusable")
        elif reason:
            journal.row(OBJECTS, series.title, f"{count}: {reason}", series.first.name, "unusable")
            journal.find(
                "info", "series", f"{series.title} was not used: {reason}.", source=series.first.name
            )
        elif role == "RTDOSE":
            journal.row(
                OBJECTS, series.title, f"{count}: a dose; listed, not used as input", series.first.name
            )
            roles[role].append(series)
        else:
            journal.row(OBJECTS, series.title, count, series.first.name)
            roles[role].append(series)
    return roles


def storage_class(series: Series) -> str:
    """Return the name of the storage class of a series."""
    from pydicom.uid import UID

    meta = getattr(series.first.dataset, "file_meta", {})
    uid = str(series.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID", ""))
    return UID(uid).name if uid else "an object without a storage class"
