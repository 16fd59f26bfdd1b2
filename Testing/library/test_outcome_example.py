"""The example of ``docs/outcome_model.md`` runs as it stands and shows what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "outcome_model.md"


def test_the_example_shows_the_optimism_of_the_apparent_result(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL).group(1)
    names: dict = {}
    exec(compile(code, PAGE.name, "exec"), names)  # noqa: S102
    said = capsys.readouterr().out
    assert f"nested {names['nested']:.2f}" in said
    # The truth: an AUC of about 0.74 for the BED alone.
    assert names["apparent"] > names["nested"] + 0.05
    assert names["low"] < names["future"] < names["high"] + 0.05
    assert names["deceived"] > 0.7
    assert names["deceived"] > names["nothing"] + 0.15
    assert 0.3 < names["nothing"] < 0.7
