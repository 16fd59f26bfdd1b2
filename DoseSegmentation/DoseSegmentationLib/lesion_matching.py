"""Lesions of several time points under one name each, and the table that says which is which."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from DoseSegmentationLib.propagation import label_ml, match_lesions, propagate
from DoseSegmentationLib.segmentation import Segmentation

if TYPE_CHECKING:
    import SimpleITK as sitk

NOT_COMPARED = "outside of the reference, or too small to be compared"


@dataclasses.dataclass(frozen=True)
class Matched:
    """Which lesion is which.

    Attributes
    ----------
    names : tuple of dict
        For each time point, the name of each of its lesions to the one that it has at the reference.
    table : list of dict
        ``{"lesion", "label", "volume_ml", "overlap", "note"}`` per lesion and time point: the volume there, and
        the part of the smaller one that overlaps with where the lesion was last seen.
    """

    names: tuple[dict[str, str], ...]
    table: list[dict[str, Any]]


def matched(
    times: Sequence[Segmentation],
    transforms: Sequence[sitk.Transform | None],
    labels: Sequence[str],
    reference: int,
    grid: sitk.Image,
) -> Matched:
    """Find the same lesions at all time points; see ``propagation.match_lesions``.

    Parameters
    ----------
    times : sequence of Segmentation
        In the order of time, each in the space of its time point.
    transforms : sequence of SimpleITK.Transform or None
        Maps points of the reference to points of the time point; ``None`` where they are the same.
    labels : sequence of str
        Of the time points.
    reference : int
        Index of the time point whose names hold; a lesion that it lacks keeps its first one.
    grid : SimpleITK.Image
        In the space of the reference; the lesions are compared on it.
    """
    moved = [
        propagate(dataclasses.replace(one, records=lesions_of(one)), grid, transform)
        for one, transform in zip(times, transforms, strict=True)
    ]
    rows = match_lesions(moved)
    lesions = _one_name_each(rows, reference)
    names: tuple[dict[str, str], ...] = tuple({} for _ in times)
    table = []
    for row, lesion in zip(rows, lesions, strict=True):
        for index, name in enumerate(row["names"]):
            if name is not None:
                names[index][name] = lesion
            volume = None if name is None else _volume(times[index], name)
            note = _with_names(row["events"][index], lesions)
            if name is not None or note:
                table.append(_entry(lesion, labels[index], volume, row["overlap"][index], note))
    for one, known, label in zip(times, names, labels, strict=True):
        table += [
            _entry(record.name, label, _volume(one, record.name), None, NOT_COMPARED)
            for record in lesions_of(one)
            if record.name not in known
        ]
    return Matched(names, table)


def renamed(one: Segmentation, names: Mapping[str, str]) -> Segmentation:
    """Return a segmentation whose lesions have the names of :class:`Matched`."""
    records = tuple(
        dataclasses.replace(record, name=names.get(record.name, record.name))
        if record.kind == "lesion"
        else record
        for record in one.records
    )
    return dataclasses.replace(one, records=records)


def lesions_of(one: Segmentation) -> tuple[Any, ...]:
    """Return the records of the lesions that are there."""
    return tuple(record for record in one.records if record.kind == "lesion" and record.label)


def _one_name_each(rows: Sequence[dict[str, Any]], reference: int) -> list[str]:
    """Return a name per identity: that of the reference, else its first one, made different where it is taken."""
    taken = [row["names"][reference] for row in rows]
    found = []
    for own, row in zip(list(taken), rows, strict=True):
        name = first = own or next(name for name in row["names"] if name)
        number = 2
        while own is None and name in taken:
            name, number = f"{first} ({number})", number + 1
        taken.append(name)
        found.append(name)
    return found


def _with_names(event: str, lesions: Sequence[str]) -> str:
    """Return an event with the other lesion's name in place of its number."""
    words, _, number = event.rpartition(" ")
    return f"{words} {lesions[int(number) - 1]}" if words else event


def _volume(one: Segmentation, name: str) -> float:
    return label_ml(one, next(record.label for record in lesions_of(one) if record.name == name))


def _entry(lesion: str, label: str, volume: float | None, overlap: float | None, note: str) -> dict[str, Any]:
    return {"lesion": lesion, "label": label, "volume_ml": volume, "overlap": overlap, "note": note}
