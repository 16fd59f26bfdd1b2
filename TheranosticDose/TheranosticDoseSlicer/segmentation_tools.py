"""Segmentation tools on nodes: what they need, the task that runs one, copies for other time points."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import InputError

from TheranosticDoseSlicer import exchange, images, segments
from TheranosticDoseSlicer.jobs import Task

if TYPE_CHECKING:
    from TheranosticDoseSlicer.case import Case


class Tool(enum.Enum):
    """The simple tools; the value goes to the worker."""

    lesion = "percent_of_maximum"
    threshold_spect = "fixed_threshold_spect"
    threshold_ct = "fixed_threshold_ct"
    body_ct = "body_outline"
    body_spect = "body_outline_spect"

    def label(self) -> str:
        """Return what the user reads."""
        return _LABELS[self.value]

    @property
    def image(self) -> str:
        """Which image it works on: ``ct`` or ``spect``."""
        return "ct" if self in (Tool.threshold_ct, Tool.body_ct) else "spect"

    @property
    def outline(self) -> bool:
        """Whether it outlines the body."""
        return self in (Tool.body_ct, Tool.body_spect)


_LABELS = {
    "percent_of_maximum": "SPECT: percent of the maximum",
    "fixed_threshold_spect": "SPECT: fixed threshold",
    "fixed_threshold_ct": "CT: fixed threshold",
    "body_outline": "CT: body outline",
    "body_outline_spect": "SPECT: body outline",
}


def missing(tool: Tool, ct, spect, name: str) -> str:
    """Return what a tool still needs, as a sentence; empty where nothing."""
    if tool.image == "ct" and ct is None:
        return "Choose a CT."
    if tool.image == "spect" and spect is None:
        return "Choose a SPECT."
    if not tool.outline and not name.strip():
        return "Enter a name for the segment."
    return ""


def run(
    tool: Tool,
    volume,
    segmentation,
    name: str,
    *,
    threshold: float = 0.0,
    percent: float = 41.0,
    seed_ras: tuple[float, float, float] | None = None,
    radius_mm: float = 30.0,
) -> Task:
    """Return the task that makes a segment of a volume node."""
    image = images.image_of(volume)
    segments_before = segmentation
    request: dict[str, Any] = {
        "step": "segment",
        "tool": tool.value,
        "name": name.strip() or "Body",
        "threshold": float(threshold),
        "percent": float(percent),
        "radius_mm": float(radius_mm),
        "seed_mm": [-seed_ras[0], -seed_ras[1], seed_ras[2]] if seed_ras is not None else None,
    }

    def prepare(folder: Path) -> Iterator[str]:
        yield exchange.write_image(image, folder, "image")

    def load(folder: Path, result: dict[str, Any]) -> Iterator[str]:
        for entry in result["segments"]:
            mask = exchange.read_image(folder / entry["file"])
            segments.set_segment(
                segments_before,
                entry["name"],
                mask,
                kind=entry["kind"],
                code=entry["code"],
                origin=entry["origin"],
            )
            yield entry["name"]

    return Task(f"Segment {request['name']}", request, prepare, load)


def seed_of(node) -> tuple[float, float, float] | None:
    """Return the last point of a point list in RAS; ``None`` where there is none."""
    if node is None or node.GetNumberOfControlPoints() == 0:
        return None
    point = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(node.GetNumberOfControlPoints() - 1, point)
    return tuple(point)


def propagate(case: Case, segmentation) -> list:
    """Return a segmentation for each time point but the reference, moved by its registration.

    Nodes of an earlier call are replaced.
    """
    import slicer

    from TheranosticDoseSlicer import case as roles
    from TheranosticDoseSlicer import dose_nodes, hierarchy

    record = case.record(dose_nodes.REGISTERED_RECORD)
    if record is None:
        raise InputError("Register the time points first, in the module Theranostic Dose.")
    segments.require_segments(segmentation)
    made = []
    for label in case.labels(roles.TRANSFORM):
        role = f"propagated/{label}"
        case.remove(role)
        node = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLSegmentationNode", f"{segmentation.GetName()} {label}"
        )
        node.CreateDefaultDisplayNodes()
        node.GetSegmentation().DeepCopy(segmentation.GetSegmentation())
        node.ApplyTransform(_to_time_point(case.get(roles.TRANSFORM + label)))
        case.set(role, node)
        hierarchy.put(node, case.folder, "Segmentation")
        made.append(node)
    return made


def _to_time_point(transform_node):
    """Return the ``vtkAbstractTransform`` from the reference to a time point."""
    import vtk

    general = vtk.vtkGeneralTransform()
    transform_node.GetTransformFromWorld(general)
    return general
