"""Segmentations of the other time points: made by a task, with a table of what changed."""

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

PROPAGATED, CHANGES = "propagated/", "propagationChanges"


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
    if case.record(dose_nodes.REGISTERED_RECORD) is None:
        raise InputError("Register the time points first, in the module Theranostic Dose.")
    segments.require_segments(segmentation)
    entries: list[dict[str, Any]] = []
    times: list[dict[str, Any]] = []
    request = {"step": "propagate", "segments": entries, "times": times, "redraw": redraw}

    def prepare(folder: Path) -> Iterator[str]:
        registered = yield from dose_nodes.registered_steps(case)
        yield exchange.write_image(registered.grid, folder, "grid")
        yield from segmentation_backends.write_segments(segmentation, folder, entries)
        for acquisition, transform in zip(registered.study.acquisitions, registered.transforms, strict=True):
            label = acquisition.label
            if label == registered.reference:
                continue
            written = exchange_results.write_transform(transform, folder, f"transform{len(times)}")
            file = exchange.write_image(acquisition.spect, folder, f"time{len(times)}")
            times.append({"label": label, "file": file, "transform": written})
            yield label
        if not times:
            raise InputError("There is only one time point; there is nothing to copy to.")

    def load(folder: Path, result: dict[str, Any]) -> Iterator[str]:
        for entry in result["times"]:
            node = _node(case, segmentation, entry["label"])
            yield from origins.take_in(
                node, entry["segments"], lambda file: exchange.read_image(folder / file), keep_edited=False
            )
        _write_changes(case, result["changes"], redraw)
        yield "changes"

    return Task("Copying to the other time points", request, prepare, load)


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
    columns = [
        tables.Column(title, ["" if row[key] is None else form.format(row[key]) for row in rows], unit)
        for title, key, unit, form in names
    ]
    table = tables.table_from(columns, "Changes between time points", case.get(CHANGES))
    case.set(CHANGES, table)
    hierarchy.put(table, case.folder, "Segmentation")
