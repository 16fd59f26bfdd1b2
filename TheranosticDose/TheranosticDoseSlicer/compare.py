"""Comparisons in the views: time points by blink and checkerboard, engines by their difference, isodoses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of, image_like

from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import display, engine_table, images

if TYPE_CHECKING:
    from TheranosticDoseSlicer.case import Case

BLINK, CHECKERBOARD, DIFFERENCE = "blink", "checkerboard", "difference"


def _labels(case: Case) -> list[str]:
    return [entry["label"] for entry in case.record("registered")["study"]["acquisitions"]]


def pair_of(case: Case) -> tuple[str, str]:
    """Return the labels of the reference and of the browsed time point; the first other one at the reference."""
    case.require(roles.SERIES, "Run the registration first.")
    labels, browser = _labels(case), case.get(roles.BROWSER)
    reference = labels.index(case.record("registered")["reference"])
    selected = browser.GetSelectedItemNumber() if browser is not None else 0
    if selected == reference or not 0 <= selected < len(labels):
        selected = next((i for i in range(len(labels)) if i != reference), reference)
    return labels[reference], labels[selected]


def pair_nodes(case: Case) -> tuple:
    """Return the volumes of the time points of :func:`pair_of`, on the dose grid."""
    series = case.require(roles.SERIES, "Run the registration first.")
    labels = _labels(case)
    nodes = []
    for number, index in enumerate(labels.index(label) for label in pair_of(case)):
        image = images.image_of(series.GetNthDataNode(index))
        role = f"{BLINK}/{number}"
        node = images.volume_from(image, f"Compare {labels[index]}", "spect_bq_ml", case.get(role))
        case.set(role, node)
        nodes.append(node)
    return tuple(nodes)


def checkerboard_node(case: Case, pair: tuple):
    """Return a volume of the two volumes of :func:`pair_nodes` in alternating blocks."""
    first, second = (images.image_of(node) for node in pair)
    board = display.checkerboard(array_of(first), array_of(second))
    node = images.volume_from(image_like(board, first), "Checkerboard", None, case.get(CHECKERBOARD))
    case.set(CHECKERBOARD, node)
    return node


def isodoses(case: Case, engine: str, levels_gy: list[float]) -> str:
    """Draw the isodose lines of an engine's dose; those of other levels go.

    Returns
    -------
    str
        The levels with their colours, as rich text; a level above the highest dose says so.
    """
    dose = case.require(roles.DOSE + engine, f"The dose of {engine!r} was deleted; compute it again.")
    known = {key: case.get(roles.ISODOSE + key) for key in case.labels(roles.ISODOSE)}
    found = display.isodose_models(dose, levels_gy, known)
    for key in known:
        if key not in found:
            case.remove(roles.ISODOSE + key)
    for key, node in found.items():
        case.set(roles.ISODOSE + key, node)
    return " &nbsp; ".join(_isodose_text(key, node) for key, node in found.items())


def _isodose_text(key: str, node) -> str:
    red, green, blue = (round(255 * part) for part in node.GetDisplayNode().GetColor())
    text = f'<span style="color:#{red:02x}{green:02x}{blue:02x}">\u25a0</span> {key}\u00a0Gy'
    return text if node.GetPolyData().GetNumberOfPoints() else f"{text} (above the highest dose)"


def difference(case: Case, first: str, second: str, live) -> tuple:
    """Return the difference of two engines as volume node, and a sentence about the VOI means."""
    nodes = [
        case.require(roles.DOSE + engine, f"The dose of {engine!r} was deleted; compute it again.")
        for engine in (first, second)
    ]
    pair = [images.image_of(node) for node in nodes]
    array = array_of(pair[0]) - array_of(pair[1])
    node = images.volume_from(
        image_like(array, pair[0]), f"{first} minus {second}", "dose_difference_gy", case.get(DIFFERENCE)
    )
    case.set(DIFFERENCE, node)
    limit = float(np.percentile(np.abs(array[::2, ::2, ::2]), 99.9)) or 1.0
    shown = node.GetDisplayNode()
    shown.SetAutoWindowLevel(False)
    shown.SetWindowLevelMinMax(-limit, limit)
    return node, _sentence(first, second, live)


def _sentence(first: str, second: str, live) -> str:
    parts = []
    for result in live.results if live is not None else ():
        if first in result.dvh and second in result.dvh and result.dvh[second].mean_gy > 0:
            relative = result.dvh[first].mean_gy / result.dvh[second].mean_gy - 1.0
            parts.append((abs(relative), f"{result.name}\u00a0{100 * relative:+.1f}\u00a0%"))
    if not parts:
        raise InputError("There is no VOI with both doses to compare.")
    parts.sort(reverse=True)
    names = [engine_table.short_title(engine) for engine in (first, second)]
    return f"{names[0]} against {names[1]}, mean dose: " + ", ".join(text for _, text in parts[:6])
