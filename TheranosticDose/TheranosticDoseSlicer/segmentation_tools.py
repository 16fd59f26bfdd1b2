"""Segmentation tools on nodes: what they need, the task that runs one."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from TheranosticDoseLib.errors import InputError

from TheranosticDoseSlicer import codes, exchange, images, origins
from TheranosticDoseSlicer.jobs import Task


class Tool(enum.Enum):
    """The simple tools; the value goes to the worker."""

    lesion = "percent_of_maximum"
    threshold_spect = "fixed_threshold_spect"
    threshold_ct = "fixed_threshold_ct"
    body_ct = "body_outline"
    body_spect = "body_outline_spect"
    adaptive = "adaptive_threshold"
    watershed = "watershed"
    fuzzy = "fuzzy_c_means"
    growing = "region_growing"

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

    @property
    def needs_seed(self) -> bool:
        """Whether it starts from a point in the lesion."""
        return self in (Tool.adaptive, Tool.watershed, Tool.fuzzy, Tool.growing)


_LABELS = {
    "percent_of_maximum": "SPECT: percent of the maximum",
    "fixed_threshold_spect": "SPECT: fixed threshold",
    "fixed_threshold_ct": "CT: fixed threshold",
    "body_outline": "CT: body outline",
    "body_outline_spect": "SPECT: body outline",
    "adaptive_threshold": "SPECT: adaptive threshold",
    "watershed": "SPECT: gradient (watershed)",
    "fuzzy_c_means": "SPECT: fuzzy c-means",
    "region_growing": "SPECT: region growing",
}


def missing(tool: Tool, ct, spect, name: str, seed=None, threshold: float | None = None) -> str:
    """Return what a tool still needs, as a sentence; empty where nothing."""
    if tool.image == "ct" and ct is None:
        return "Choose a CT."
    if tool.image == "spect" and spect is None:
        return "Choose a SPECT."
    if not tool.outline and not name.strip():
        return "Enter a name for the segment."
    if tool.needs_seed and seed_of(seed) is None:
        return "Place the seed: a point in the lesion."
    if tool is Tool.threshold_spect and threshold is not None and threshold <= 0:
        # Nothing in a SPECT is below zero: such a threshold takes the whole image.
        return f"Enter a threshold above 0{unit_of(tool, spect)}."
    return ""


def unit_of(tool: Tool, spect) -> str:
    """Return the unit of a threshold, with a blank before it, as the suffix of its field."""
    if tool.image == "ct":
        return " HU"
    quantity = codes.quantity_of(spect) if spect is not None else None
    if quantity is None:
        return ""
    return " counts" if quantity.name == "spect_counts" else " Bq/mL"


def widgets_of(tool: Tool) -> tuple[str, ...]:
    """Return the widgets of the panel that a tool uses."""
    seeded = ("seedSelector", "seedButton")
    if tool is Tool.lesion:
        return ("percentBox", "radiusBox", *seeded)
    if tool.needs_seed:
        return ("radiusBox", *seeded)
    return () if tool.outline else ("thresholdBox", *seeded)


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
        yield from images.writing(volume, folder, "image")

    def load(folder: Path, result: dict[str, Any]) -> Iterator[str]:
        # Who runs a tool by name wants this segment made now, also where there was one.
        for entry in result["segments"]:
            if not entry.get("file"):
                raise InputError(f"{entry['name']}: {' '.join(entry['checks'])}")
            origins.put(segmentation, entry, exchange.read_image(folder / entry["file"]), request["name"])
            yield entry["name"]
        origins.write_table(segmentation)

    return Task(f"Segment {request['name']}", request, prepare, load)


def seed_of(node) -> tuple[float, float, float] | None:
    """Return the last point of a point list that was placed, in RAS; ``None`` where there is none."""
    number = node.GetNumberOfControlPoints() if node is not None else 0
    # While points are placed, one more moves with the mouse.
    placed = [i for i in range(number) if node.GetNthControlPointPositionStatus(i) == node.PositionDefined]
    if not placed:
        return None
    point = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(placed[-1], point)
    return tuple(point)
