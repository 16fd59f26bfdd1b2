"""Which CT belongs to which SPECT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.dicom_io.clock import difference_h
from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.scan import Series, numbers_of
from TheranosticDoseLib.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

NEAR_H = 3.0


def pair_ct(scan: Any, spect: sitk.Image, candidates: list[Series], journal: Journal) -> Series | None:
    """Return the CT of a SPECT: of the same frame of reference, else nearest in time within three hours.

    A pair of different frames of reference is a warning, no CT is a finding; several CTs
    of one frame are told and the one nearest in time, then with most slices in the field
    of view, is taken.
    """
    section, field = f"Acquisition {scan.label}", f"acquisitions.{scan.label}.ct"
    if scan.given.ct is not None:
        return _given(scan, candidates, journal)
    frame = str(scan.series.get("FrameOfReferenceUID", "") or "")
    same = [ct for ct in candidates if frame and str(ct.get("FrameOfReferenceUID", "") or "") == frame]
    near = [ct for ct in same if _gap_h(scan, ct) <= NEAR_H or len(same) == 1]
    pool = near or same or [ct for ct in candidates if _gap_h(scan, ct) <= NEAR_H]
    pool.sort(key=lambda ct: (round(min(_gap_h(scan, ct), 1e6) * 4), -_slices_inside(ct, spect)))
    if not pool:
        text = f"{scan.label}: no CT belongs to this SPECT."
        remedy = "Add the CT of the SPECT/CT, or go on with unit density."
        journal.find("missing", field, text, remedy=remedy, section=section, item="CT")
        return None
    chosen = pool[0]
    journal.row(section, "CT", chosen.title, chosen.first.name)
    if not same:
        gap = _gap_h(scan, chosen)
        text = (
            f"{scan.label}: SPECT and {chosen.title} have different frames of reference; they are taken as aligned "
            f"because they were acquired {60 * gap:.0f} min apart."
        )
        remedy = f"Check the overlay; set ct of {scan.label} to a Series Instance UID, or to none."
        journal.find(
            "warning",
            field,
            text,
            value=chosen.uid,
            source=chosen.tag("FrameOfReferenceUID"),
            remedy=remedy,
            section=section,
            item="CT",
        )
    if len(pool) > 1:
        others = ", ".join(ct.title for ct in pool[1:])
        text = f"{scan.label}: {chosen.title} is taken as its CT; also there: {others}."
        journal.find("info", field, text, value=chosen.uid, remedy=f"Set ct of {scan.label}.")
    return chosen


def _given(scan: Any, candidates: list[Series], journal: Journal) -> Series | None:
    """Return the CT that the user named."""
    field, section = f"acquisitions.{scan.label}.ct", f"Acquisition {scan.label}"
    text = f"{scan.label}: ct = {scan.given.ct} was given."
    journal.find(
        "info", field, text, value=scan.given.ct, source="user", section=section, item="CT", status="set"
    )
    if scan.given.ct.lower() == "none":
        return None
    for ct in candidates:
        if scan.given.ct in (ct.uid, str(ct.get("SeriesDescription", "") or "")):
            return ct
    known = ", ".join(f"{ct.uid} ({ct.title})" for ct in candidates) or "none"
    raise InputError(
        f"acquisitions.{scan.label}.ct = {scan.given.ct!r} is no CT of this folder; there are: {known}."
    )


def _gap_h(scan: Any, ct: Series) -> float:
    """Return how far SPECT and CT lie apart in time, infinite where one has no time."""
    start = ct.start
    if start is None or scan.start is None:
        return float("inf")
    return abs(difference_h(start.value, scan.start.value))


def _slices_inside(ct: Series, spect: sitk.Image) -> int:
    """Return how many slices of a CT lie in the field of view of the SPECT."""
    axes = np.array(spect.GetDirection()).reshape(3, 3)
    length = spect.GetSpacing()[2] * (spect.GetSize()[2] - 1)
    count = 0
    for header in ct.headers:
        position = numbers_of(header.dataset, "ImagePositionPatient", 3)
        if position is not None:
            height = float((np.array(position) - np.array(spect.GetOrigin())) @ axes[:, 2])
            count += -1.0 <= height <= length + 1.0
    return count


def check_overlap(label: str, spect: sitk.Image, ct: sitk.Image, journal: Journal) -> None:
    """Tell where a CT covers little of the SPECT, and where it would cover it if the frames ran the other way.

    Some cameras write Spacing Between Slices with the wrong sign; a volume that is stacked the
    wrong way lies on the other side of its first frame.
    """
    covered = _covered(spect, ct)
    turned = max(_covered(grid, ct) for grid in _turned(spect))
    field, section = f"acquisitions.{label}.ct", f"Acquisition {label}"
    journal.row(section, "SPECT slices within the CT", f"{100 * covered:.0f} %")
    if covered < 0.5 and turned > covered + 0.4:
        text = (
            f"{label}: the CT covers {100 * covered:.0f} % of the SPECT slices, but {100 * turned:.0f} % if the frames "
            "ran the other way; the sign of SpacingBetweenSlices may be wrong."
        )
        journal.find(
            "warning",
            field,
            text,
            value=covered,
            remedy="Compare SPECT and CT; ask the vendor.",
            section=section,
            item="stacking direction",
        )
    elif covered < 0.25:
        text = f"{label}: the CT covers only {100 * covered:.0f} % of the SPECT slices."
        journal.find(
            "warning",
            field,
            text,
            value=covered,
            remedy=f"Check the pair, or set ct of {label}.",
            section=section,
            item="CT",
        )


def _covered(spect: sitk.Image, ct: sitk.Image) -> float:
    """Return the fraction of SPECT slices whose centre lies within the CT."""
    columns, rows, slices = spect.GetSize()
    inside = 0
    for index in range(slices):
        point = spect.TransformContinuousIndexToPhysicalPoint(
            ((columns - 1) / 2, (rows - 1) / 2, float(index))
        )
        place = ct.TransformPhysicalPointToContinuousIndex(point)
        inside += all(-0.5 <= p <= n - 0.5 for p, n in zip(place, ct.GetSize(), strict=True))
    return inside / slices


def _turned(spect: sitk.Image) -> list[sitk.Image]:
    """Return empty grids as if the frames had been stacked to the other side of the first, or last, one."""
    import SimpleITK as sitk

    slices = spect.GetSize()[2]
    grids = []
    for shift in (-(slices - 1.0), slices - 1.0):
        grid = sitk.Image(spect.GetSize(), sitk.sitkUInt8)
        grid.SetSpacing(spect.GetSpacing())
        grid.SetDirection(spect.GetDirection())
        grid.SetOrigin(spect.TransformContinuousIndexToPhysicalPoint((0.0, 0.0, shift)))
        grids.append(grid)
    return grids
