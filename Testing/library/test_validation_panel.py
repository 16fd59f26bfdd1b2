"""The page of the panels: figures from the records of the stand-in, and a sentence where there is none."""

from __future__ import annotations

import math

import pytest
from gui import measure
from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseLib.validation import panel

HELD = {"what": "click on loadButton", "wall_s": 0.1, "cpu_s": 0.05, "longest_cpu_s": 0.06, "passes": 9,
        "over_limit": 0}  # fmt: skip


def records() -> dict:
    edit = {"edit": "moving a point", "wall_s": 1.2, "cpu_s": 0.7}
    way = {"method": "rigid", "engines": ["led"], "held": HELD, "numbers": 300, "difference": 2e-7, "where": "Liver",
           "kept": 90, "lost": ["Cycle 1/dose"], "again": 0.0, "again_where": ""}  # fmt: skip
    return {
        "quick": True,
        "opening": {"TheranosticDose": {"wall_s": 0.3, "cpu_s": 0.2, "heavy": []}},
        "panels": [{"module": "TheranosticDose", "width_px": 460, "contrast": 7.0, "not_reached": []}],
        "way": way,
        "live": {"four balls": [{"configuration": "led", "edits": [edit], "held": HELD}]},
    }


def test_what_is_too_slow_or_lost_is_missed_and_the_rest_is_met(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(panel, "_measured", lambda *_: records())
    found = {figure.name: figure for figure in panel.figures(tmp_path, quick=True)}
    missed = [name for name, figure in found.items() if not figure.passed]
    assert missed == [
        "Saved and opened scene: volumes, tables, segments, links and records lost or changed",
        "Edit at 128^3, four balls, led: moving a point",
    ]
    assert "0.700 s of processor time" in found[missed[1]].detail
    assert (
        "not the Slicer application"
        in found["TheranosticDose: from the module file to the shown panel"].reference
    )


def test_where_nothing_can_be_measured_one_figure_says_why(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(panel, "_measured", lambda *_: {"missing": "PySide6 is not installed"})
    [figure] = panel.figures(tmp_path)
    assert figure.passed is None
    assert figure.detail == "PySide6 is not installed"


def test_a_process_that_breaks_is_one_sentence(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(panel.sys, "executable", "/bin/false")
    with pytest.raises(TheranosticDoseError, match="could not be measured"):
        panel.figures(tmp_path)


def test_differences_and_losses_are_found() -> None:
    assert measure.difference({"a": 1.0, "b": math.nan}, {"a": 1.1, "b": math.nan}) == (
        pytest.approx(0.1 / 1.1),
        "a",
    )
    assert measure.difference({"a": 1.0}, {"a": 1.0, "b": 2.0}) == (math.inf, "b")
    assert measure.difference({"a": 1.0}, {"a": math.nan}) == (math.inf, "a")
    assert measure.lost({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.0, "b": 2.1}) == ["b", "c"]
