"""The validation command: pages, JSON, and a front page that lists what is missed."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
from TheranosticDoseLib.errors import SettingsError
from TheranosticDoseLib.validation import run
from TheranosticDoseLib.validation.figure import at_least, at_most, reported


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("TheranosticDoseLib.validation.made_up", "A made-up topic.\n\nMore.")
    module.figures = lambda out, progress=None, quick=False: [
        at_most("too large", 3.0, 2.0, "%", detail="why"),
        at_least("large enough", 3.0, 2.0, reference="a | b"),
        reported("only told", 1.0, "Gy"),
    ]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(run, "topics", lambda: ["made_up"])
    return "made_up"


def test_pages_and_summary(topic: str, tmp_path: Path) -> None:
    assert run.validate(tmp_path) == [[topic, 3, 1, 1, 1]]
    page = (tmp_path / "made_up.md").read_text()
    assert page.startswith("# A made-up topic\n")
    assert "| too large | 3 % | <= 2 % | **no** |" in page
    assert "a \\| b" in page
    assert [f["passed"] for f in json.loads((tmp_path / "made_up.json").read_text())] == [False, True, None]
    front = (tmp_path / "README.md").read_text()
    assert "| [A made-up topic](made_up.md) | 3 | 1 | 1 | 1 |" in front
    assert "too large: 3 % (limit <= 2 %). why" in front


def test_again_replaces(topic: str, tmp_path: Path) -> None:
    run.validate(tmp_path)
    run.validate(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["README.md", "made_up.json", "made_up.md"]


def test_unknown_topic(topic: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="made_up"):
        run.validate(tmp_path, ["other"])


def test_every_topic_has_figures() -> None:
    import importlib
    import inspect

    names = run.topics()
    assert {"virtual_patients", "registration"} <= set(names)
    for name in names:
        function = importlib.import_module(f"TheranosticDoseLib.validation.{name}").figures
        assert list(inspect.signature(function).parameters)[:3] == ["out", "progress", "quick"], name
