"""What a backend gives: a label map, a record per structure, and what must be said about it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from DoseSegmentationLib.arrays import same_grid
from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.structures import structure

if TYPE_CHECKING:
    import SimpleITK as sitk

Progress = Callable[[float, str], bool]


class SegmentationCancelled(SegmentationError):
    """The caller cancelled; nothing was written."""


class BackendUnavailable(SegmentationError):
    """A backend's package or weights are missing; the text says what to install."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a segment came from.

    Attributes
    ----------
    backend, version : str
        For example ``totalsegmentator``, ``2.5.0``.
    created : str
        ISO 8601, UTC.
    edited : bool
        Changed by hand since.
    edited_at : str
        ISO 8601, empty where it was not edited.
    """

    backend: str
    version: str
    created: str
    edited: bool = False
    edited_at: str = ""

    def by_hand(self) -> Origin:
        """Return the origin of the same segment after an edit."""
        return dataclasses.replace(self, edited=True, edited_at=now())


@dataclasses.dataclass(frozen=True)
class StructureRecord:
    """One structure of a label map.

    Attributes
    ----------
    name, kind : str
    code : dict
        DICOM code ``{"scheme", "value", "meaning"}``, empty where none is known.
    label : int
        Its value in the label map; 0 where the structure was not found.
    volume_ml : float
    origin : Origin
    confidence : float or None
        0 to 1: how well the members of the ensemble agree (mean Dice with their consensus); ``None``
        where the backend is no ensemble.
    boundary_shift_percent : tuple of float or None
        Change of the mean of the SPECT in the segment when its border moves one voxel inwards and
        one outwards, %; ``None`` without a SPECT.
    checks : tuple of str
        What is not plausible, one sentence each; empty where all is.
    """

    name: str
    kind: str
    code: dict[str, str]
    label: int
    volume_ml: float
    origin: Origin
    confidence: float | None = None
    boundary_shift_percent: tuple[float, float] | None = None
    checks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The answer of a backend.

    Attributes
    ----------
    label_map : SimpleITK.Image
        uint8 (uint16 beyond 255 labels) on the grid of the CT, or of the SPECT where there is no CT.
    records : tuple of StructureRecord
        In the order of their labels; structures that were asked for and not found have label 0.
    notes : tuple of str
        What was assumed or done on the way (cropped, tiled, retried, unusual input).
    """

    label_map: sitk.Image
    records: tuple[StructureRecord, ...]
    notes: tuple[str, ...] = ()

    def record(self, name: str) -> StructureRecord:
        """Return the record of a structure by its name or a synonym; ``KeyError`` where there is none."""
        for record in self.records:
            if normalized_name(record.name) == normalized_name(name):
                return record
        raise KeyError(name)

    def mask(self, name: str) -> sitk.Image:
        """Return one structure as a uint8 image, 0 or 1."""
        import SimpleITK as sitk

        label = self.record(name).label
        return sitk.Cast(self.label_map == label, sitk.sitkUInt8) * int(label > 0)


def normalized_name(name: str) -> str:
    """Return the key by which two names of the same structure are equal (lesion numbers count)."""
    known = structure(name)
    return known.name.lower() if known and known.kind != "lesion" else name.strip().lower()


def record_of(name: str, label: int, origin: Origin, volume_ml: float = 0.0) -> StructureRecord:
    """Return a record whose kind and code follow from the name."""
    known = structure(name)
    kind = known.kind if known else "other"
    shown = known.name if known and known.kind != "lesion" else name
    return StructureRecord(shown, kind, dict(known.code) if known else {}, label, volume_ml, origin)


def origin_of(backend: str, version: str) -> Origin:
    """Return an origin of this moment."""
    return Origin(backend, version, now())


def now() -> str:
    """Return the time in UTC, ISO 8601 to the second."""
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")


def report(progress: Progress | None, fraction: float, message: str) -> None:
    """Tell the caller how far the work is; ``False`` from the callback raises :class:`SegmentationCancelled`."""
    if progress is not None and progress(float(fraction), message) is False:
        raise SegmentationCancelled("Cancelled by the user.")


def part_of(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """Return a callback that maps its 0 to 1 into ``start`` to ``stop`` of ``progress``."""
    if progress is None:
        return None
    return lambda fraction, message: progress(start + (stop - start) * fraction, message)


def wanted(structures: Sequence[str] | None, offered: Iterable[str], backend: str) -> tuple[str, ...]:
    """Return the structures to make: all that are offered, or those asked for.

    Raises
    ------
    SegmentationError
        If a structure is asked for that the backend does not know; the text lists what it does.
    """
    offered = tuple(offered)
    if not structures:
        return offered
    by_name = {normalized_name(name): name for name in offered}
    missing = [name for name in structures if normalized_name(name) not in by_name]
    if missing:
        raise SegmentationError(
            f"The backend {backend} does not segment {', '.join(missing)}; it offers {', '.join(offered)}."
        )
    return tuple(dict.fromkeys(by_name[normalized_name(name)] for name in structures))


def merged(previous: Segmentation, new: Segmentation, *, replace_edited: bool = False) -> Segmentation:
    """Return ``new`` with the structures of ``previous`` that were edited by hand or are not in ``new``.

    Parameters
    ----------
    previous, new : Segmentation
        On one grid.
    replace_edited : bool
        Let the new segment replace an edited one of the same name.

    Raises
    ------
    SegmentationError
        If the grids differ.
    """
    import numpy as np
    import SimpleITK as sitk

    if not same_grid(previous.label_map, new.label_map):
        raise SegmentationError("The earlier segmentation is on another grid; resample it first.")
    old, fresh = (sitk.GetArrayViewFromImage(s.label_map) for s in (previous, new))
    names = {normalized_name(record.name) for record in new.records if record.label}
    keep = [
        record
        for record in previous.records
        if record.label
        and ((record.origin.edited and not replace_edited) or normalized_name(record.name) not in names)
    ]
    kept_names = {normalized_name(record.name) for record in keep}
    taken = [r for r in new.records if r.label and normalized_name(r.name) not in kept_names]
    out = np.zeros(old.shape, np.uint16 if len(taken) + len(keep) > 255 else np.uint8)
    records = []
    for source, record in [(fresh, r) for r in taken] + [(old, r) for r in keep]:
        records.append(dataclasses.replace(record, label=len(records) + 1))
        # Kept segments are painted last: an edit is what the user saw and drew.
        out[source == record.label] = len(records)
    label_map = sitk.GetImageFromArray(out)
    label_map.CopyInformation(new.label_map)
    return Segmentation(label_map, _with_volumes(label_map, records), new.notes)


def _with_volumes(label_map: sitk.Image, records: Sequence[StructureRecord]) -> tuple[StructureRecord, ...]:
    import numpy as np
    import SimpleITK as sitk

    counts = np.bincount(sitk.GetArrayViewFromImage(label_map).ravel(), minlength=len(records) + 1)
    voxel_ml = float(np.prod(label_map.GetSpacing())) / 1000.0
    return tuple(dataclasses.replace(r, volume_ml=float(counts[r.label] * voxel_ml)) for r in records)
