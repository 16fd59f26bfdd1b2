"""Segmentations of the other time points: made by a task, with tables of what changed and which lesion is which."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import InputError

from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import (
    dose_nodes,
    exchange,
    exchange_results,
    hierarchy,
    origins,
    segmentation_backends,
    segments,
    tables,
)
from TheranosticDoseSlicer.jobs import Task

if TYPE_CHECKING:
    from TheranosticDoseSlicer.case import Case

PROPAGATED, CHANGES, MATCHING = "propagated/", "propagationChanges", "lesionMatching"


def propagate(case: Case, segmentation, *, redraw: bool = False) -> Task:
    """Return the task that makes a segmentation for each time point but the reference.

    Parameters
    ----------
    case : Case
        Registered.
    segmentation : vtkMRMLSegmentationNode
        At the reference.
    redraw : bool
        Draw each segment again on the time point's SPECT, near where the registration puts it.
    """
    request = _request(case, segmentation, "propagate")
    request["redraw"] = redraw

    def prepare(folder: Path) -> Iterator[str]:
        yield from _write(case, segmentation, folder, request)
        if not request["times"]:
            raise InputError("There is only one time point; there is nothing to copy to.")

    def load(folder: Path, result: dict[str, Any]) -> Iterator[str]:
        for entry in result["times"]:
            node = _node(case, segmentation, entry["label"])
            yield from origins.take_in(
                node, entry["segments"], lambda file: exchange.read_image(folder / file), keep_edited=False
            )
        _write_changes(case, result["changes"], redraw)
        _write_matching(case, result["matching"])
        yield "changes"

    return Task("Copying to the other time points", request, prepare, load)


def match(case: Case, segmentation) -> Task:
    """Return the task that finds the same lesions in the segmentations of the time points as they are now.

    A lesion of another time point gets the name that it has in ``segmentation``, at the reference.
    """
    request = _request(case, segmentation, "match")
    nodes = {label: case.get(PROPAGATED + label) for label in case.labels(PROPAGATED)}

    def prepare(folder: Path) -> Iterator[str]:
        yield from _write(case, segmentation, folder, request)
        request["times"] = [entry for entry in request["times"] if entry["label"] in nodes]
        for number, entry in enumerate(request["times"]):
            entry["segments"] = []
            node = nodes[entry["label"]]
            yield from segmentation_backends.write_segments(
                node, folder, entry["segments"], f"time{number}segment"
            )
        if not request["times"]:
            raise InputError("Copy the segments to the other time points first.")

    def load(_folder: Path, result: dict[str, Any]) -> Iterator[str]:
        for entry in request["times"]:
            _rename(case.get(PROPAGATED + entry["label"]), entry["segments"], result["names"][entry["label"]])
            yield entry["label"]
        _write_matching(case, result["matching"])

    return Task("Matching the lesions", request, prepare, load)


def _request(case: Case, segmentation, step: str) -> dict[str, Any]:
    if case.record(dose_nodes.REGISTERED_RECORD) is None:
        raise InputError("Register the time points first, in the module Theranostic Dose.")
    segments.require_segments(segmentation)
    return {"step": step, "segments": [], "times": [], "order": [], "reference": ""}


def _write(case: Case, segmentation, folder: Path, request: dict[str, Any]) -> Iterator[str]:
    """Write the segments of the reference, and SPECT and registration of the other time points."""
    times = request["times"]
    registered = yield from dose_nodes.registered_steps(case)
    request["reference"] = registered.reference
    request["order"] = [acquisition.label for acquisition in registered.study.acquisitions]
    yield exchange.write_image(registered.grid, folder, "grid")
    yield from segmentation_backends.write_segments(segmentation, folder, request["segments"])
    for acquisition, transform in zip(registered.study.acquisitions, registered.transforms, strict=True):
        label = acquisition.label
        if label == registered.reference:
            continue
        written = exchange_results.write_transform(transform, folder, f"transform{len(times)}")
        file = exchange.write_image(acquisition.spect, folder, f"time{len(times)}")
        times.append({"label": label, "file": file, "transform": written})
        yield label


def _rename(node, entries: list[dict[str, Any]], names: dict[str, str]) -> None:
    """Give the lesions of a time point their new names; a node that was deleted meanwhile is left out."""
    for entry in entries if node is not None else ():
        segment = node.GetSegmentation().GetSegment(entry["segment_id"])
        new = names.get(entry["name"]) if entry["kind"] == "lesion" else None
        if segment is not None and new:
            segment.SetName(new)


def _node(case: Case, segmentation, label: str):
    case.remove(PROPAGATED + label)
    reference = case.get(roles.QUANTIFIED + label) or case.get(roles.SPECT + label)
    node = segments.new_segmentation(f"{segmentation.GetName()} {label}", reference)
    case.set(PROPAGATED + label, node)
    hierarchy.put(node, case.folder, "Segmentation")
    return node


def _write_changes(case: Case, rows: list[dict[str, Any]], redraw: bool) -> None:
    """Write what changed: against the outline of the reference, or of the registration where redrawn."""
    other = "moved" if redraw else "reference"
    names = (
        ("time point", "label", "", "{}"),
        ("segment", "name", "", "{}"),
        (f"{other} (mL)", "before_ml", "mL", "{:.4g}"),
        ("here (mL)", "after_ml", "mL", "{:.4g}"),
        ("change (%)", "change_percent", "%", "{:+.1f}"),
        (f"overlap with {other} (Dice)", "dice", "", "{:.3f}"),
        ("shift (mm)", "shift_mm", "mm", "{:.1f}"),
        ("note", "note", "", "{}"),
    )
    _write_table(case, CHANGES, "Changes between time points", names, rows)


def _write_matching(case: Case, rows: list[dict[str, Any]]) -> None:
    """Write which lesion is which; without lesions there is no table."""
    if not rows:
        case.remove(MATCHING)
        return
    names = (
        ("lesion", "lesion", "", "{}"),
        ("time point", "label", "", "{}"),
        ("volume (mL)", "volume_ml", "mL", "{:.4g}"),
        ("overlap with the time before", "overlap", "", "{:.2f}"),
        ("note", "note", "", "{}"),
    )
    _write_table(case, MATCHING, "Lesions at the time points", names, rows)


def _write_table(case: Case, role: str, title: str, columns, rows: list[dict[str, Any]]) -> None:
    """Write a table; each column is its title, key of the rows, unit and format."""
    made = [
        tables.Column(name, ["" if row[key] is None else form.format(row[key]) for row in rows], unit)
        for name, key, unit, form in columns
    ]
    table = tables.table_from(made, title, case.get(role))
    case.set(role, table)
    hierarchy.put(table, case.folder, "Segmentation")
