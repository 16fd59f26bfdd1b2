"""Where each segment came from: backend, version, when, edited by hand, and how far it can be trusted.

The record is a tag of the segment (JSON), so it is saved and copied with it.  A fingerprint of the mask tells
whether the segment was edited since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from DoseSegmentationLib.segmentation import normalized_name, now
from TheranosticDoseLib.geometry import array_of

from TheranosticDoseSlicer import segments, tables

RECORD_TAG = "TheranosticDose.Record"
TABLE_ROLE = "TheranosticDose.Origins"
BY_HAND = "drawn by hand"
SAME_LESION = 0.3
"""A new lesion is one of before where so much of it lies on that one."""


def keep(node, segment_id: str, record: dict[str, Any]) -> None:
    """Tie a record (``StructureRecord.to_dict``) to a segment as it is now."""
    segment = segments.read_segment(node, segment_id)
    digest = segment.digest if segment is not None else ""
    _store(node, segment_id, {**record, "digest": digest})


def _store(node, segment_id: str, record: dict[str, Any]) -> None:
    segment = node.GetSegmentation().GetSegment(segment_id)
    # A bar would end the tag in the file of the segmentation.
    segment.SetTag(RECORD_TAG, json.dumps(record).replace("|", "\\u007c"))
    segment.SetTag(segments.ORIGIN_TAG, text_of(record))


def keep_judgement(node, segment_id: str, judged: dict[str, Any]) -> None:
    """Keep volume, checks and edge shift of the segment as it is now; its origin stays."""
    record = record_of(node, segment_id) or {**judged, "origin": {**judged["origin"], "edited": True}}
    fresh = {key: judged[key] for key in ("volume_ml", "checks", "boundary_shift_percent")}
    keep(node, segment_id, {**record, **fresh})


def text_of(record: dict[str, Any]) -> str:
    """Return the origin of a record as one line."""
    origin = record["origin"]
    text = ", ".join(filter(None, (f"{origin['backend']} {origin['version']}".strip(), origin["created"])))
    return text + (f", edited by hand {origin['edited_at']}".rstrip() if origin["edited"] else "")


def record_of(node, segment_id: str) -> dict[str, Any] | None:
    """Return the record of a segment; ``None`` where it was drawn or loaded."""
    segment = node.GetSegmentation().GetSegment(segment_id)
    text = segments.tag_of(segment, RECORD_TAG) if segment is not None else ""
    return json.loads(text) if text else None


def by_hand(node, segment_id: str) -> bool:
    """Whether a person drew or edited the segment (or another program made it)."""
    record = record_of(node, segment_id)
    if record is None or record["origin"]["edited"]:
        return True
    segment = segments.read_segment(node, segment_id)
    return segment is None or segment.digest != record["digest"]


def mark_edits(node) -> Iterator[str]:
    """Note in the records which segments were edited since they were made, one segment each step."""
    for segment_id in segments.segment_ids(node):
        record = record_of(node, segment_id)
        if record is None:
            continue
        segment = segments.read_segment(node, segment_id)
        digest = segment.digest if segment is not None else ""
        if digest != record["digest"]:
            origin = {**record["origin"], "edited": True, "edited_at": now()}
            # What was measured on the former shape is not known of this one.
            unknown = {"confidence": None, "boundary_shift_percent": None, "checks": []}
            _store(node, segment_id, {**record, **unknown, "origin": origin, "digest": digest})
        yield segment_id


def write_table(node):
    """Write the table of a segmentation's segments: origin, trust, what to check; return its node."""
    known = node.GetNodeReference(TABLE_ROLE)
    table = tables.table_from(_columns(node), f"{node.GetName()} origins", known)
    if known is None:
        node.SetNodeReferenceID(TABLE_ROLE, table.GetID())
    return table


def _columns(node) -> list[tables.Column]:
    rows = [_row(node, segment_id) for segment_id in segments.segment_ids(node)]
    names = (
        ("segment", "", ""),
        ("volume", "mL", ""),
        ("check", "", "What is not plausible, and other reasons to look at it."),
        ("confidence", "", "How well the members of the ensemble agree, 0 to 1."),
        ("edge in", "%", "Change of the mean of the SPECT when the border moves one voxel inwards."),
        ("edge out", "%", "Change of the mean of the SPECT when the border moves one voxel outwards."),
        ("made by", "", ""),
        ("version", "", ""),
        ("made", "", "UTC"),
        ("edited by hand", "", "UTC"),
    )
    return [
        tables.Column(name if not unit else f"{name} ({unit})", [row[i] for row in rows], unit, about)
        for i, (name, unit, about) in enumerate(names)
    ]


def _row(node, segment_id: str) -> tuple:
    name = _name(node, segment_id)
    volume = float(f"{volume_ml(node, segment_id):.4g}")
    record = record_of(node, segment_id)
    if record is None:
        source = segments.tag_of(node.GetSegmentation().GetSegment(segment_id), segments.ORIGIN_TAG)
        return (name, volume, "", "", "", "", source or BY_HAND, "", "", "")
    origin, shift = record["origin"], record["boundary_shift_percent"] or (None, None)
    return (
        name,
        volume,
        " ".join(record["checks"]),
        _text(record["confidence"], "{:.2f}"),
        *(_text(value, "{:+.0f}") for value in shift),
        origin["backend"],
        origin["version"],
        origin["created"],
        (origin["edited_at"] or "yes") if origin["edited"] else "",
    )


def _text(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def volume_ml(node, segment_id: str) -> float:
    """Return the volume of a segment, mL."""
    segment = segments.read_segment(node, segment_id)
    if segment is None:
        return 0.0
    voxel_ml = float(np.prod(segment.mask.GetSpacing())) / 1000.0
    return float(np.count_nonzero(array_of(segment.mask))) * voxel_ml


def take_in(node, entries: list[dict[str, Any]], masks, *, keep_edited: bool = True) -> Iterator[str]:
    """Put a backend's structures into a segmentation; yield the names of those that were kept as they are.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode
    entries : list of dict
        ``StructureRecord.to_dict()`` with ``file`` where the structure was found.
    masks : callable
        ``masks(file)`` reads one.
    keep_edited : bool
        A segment of the same name that a person drew or edited stays.  Lesions have no lasting
        names: one that was drawn or edited stays where a new one lies on it.

    Yields
    ------
    str
        Name of a kept segment, or an empty text for a step without one.
    """
    found = [entry for entry in entries if entry.get("file")]
    _remove_former_lesions(node, found, keep_edited)
    yield ""
    made: list[str] = []
    for entry in found:
        mask = masks(entry["file"])
        lesion = entry["kind"] == "lesion"
        same = _lesion_below(node, mask, made) if lesion else _same(node, entry["name"])
        if same and keep_edited and by_hand(node, same):
            yield _name(node, same)
            continue
        name = _name(node, same) if same else _free_name(node, entry["name"])
        made.append(put(node, entry, mask, name))
        yield ""


def put(node, entry: dict[str, Any], mask, name: str = "") -> str:
    """Make (or replace) the segment of an entry, with its record; return its id."""
    name = name or entry["name"]
    segment_id = segments.set_segment(node, name, mask, kind=entry["kind"], code=entry["code"] or None)
    record = {key: value for key, value in entry.items() if key != "file"}
    keep(node, segment_id, {**record, "name": name})
    return segment_id


def _name(node, segment_id: str) -> str:
    return node.GetSegmentation().GetSegment(segment_id).GetName()


def _same(node, name: str) -> str:
    for segment_id in segments.segment_ids(node):
        if normalized_name(_name(node, segment_id)) == normalized_name(name):
            return segment_id
    return ""


def _remove_former_lesions(node, entries: list[dict[str, Any]], keep_edited: bool) -> None:
    """Remove the lesions of an earlier run of the same backend: the new run may count them otherwise."""
    backends = {entry["origin"]["backend"] for entry in entries if entry["kind"] == "lesion"}
    for segment_id in segments.segment_ids(node):
        record = record_of(node, segment_id)
        if record is None or record["kind"] != "lesion" or record["origin"]["backend"] not in backends:
            continue
        if not keep_edited or not by_hand(node, segment_id):
            node.GetSegmentation().RemoveSegment(segment_id)


def _lesion_below(node, mask, made: list[str]) -> str:
    """Return the lesion of before on which a new one lies; empty where there is none."""
    import SimpleITK as sitk

    total = float(np.count_nonzero(array_of(mask)))
    for segment_id in segments.segment_ids(node):
        segment = None if segment_id in made else segments.read_segment(node, segment_id)
        if segment is None or segment.kind != "lesion":
            continue
        there = sitk.Resample(segment.mask, mask, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        if np.count_nonzero(array_of(there) * array_of(mask)) > SAME_LESION * total:
            return segment_id
    return ""


def _free_name(node, name: str) -> str:
    taken = {_name(node, segment_id) for segment_id in segments.segment_ids(node)}
    if name not in taken:
        return name
    stem = name.rstrip("0123456789").rstrip() or name
    number = 1
    while f"{stem} {number}" in taken:
        number += 1
    return f"{stem} {number}"
