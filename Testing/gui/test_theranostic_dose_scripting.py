"""The lines of ``docs/scripting.md`` run as they stand, and each logic method alone."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small(monkeypatch):
    """Make every virtual patient a small one."""
    from TheranosticDoseSlicer import in_slicer_test, tasks

    made = tasks.virtual_patient
    monkeypatch.setattr(
        tasks, "virtual_patient", lambda out, seed=1, phantom=None: made(out, seed, in_slicer_test.SMALL)
    )


def code() -> str:
    text = (CHECKOUT / "docs" / "scripting.md").read_text(encoding="utf-8")
    return re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)


def test_the_whole_way_is_twenty_lines() -> None:
    assert len([line for line in code().splitlines() if line.strip()]) <= 20


@pytest.mark.slow
def test_the_lines_of_the_scripting_page_run(slicer_app, small, capsys) -> None:
    names: dict = {}
    importlib.import_module("TheranosticDose")
    exec(compile(code(), "scripting.md", "exec"), names)  # noqa: S102
    results = json.loads((Path(names["folder"]) / "results" / "results.json").read_text(encoding="utf-8"))
    by_name = {voi["name"]: voi for voi in results["vois"]}
    for result in names["live"].results:
        found = by_name[result.name]["dose"]["vsv_density"]["mean_gy"]
        assert found == pytest.approx(result.dvh["vsv_density"].mean_gy, rel=1e-5)


@pytest.mark.slow
def test_the_test_inside_slicer_passes_here(slicer_app, small) -> None:
    from TheranosticDoseSlicer import in_slicer_test

    from TheranosticDose import TheranosticDoseLogic

    def check(condition) -> None:
        assert condition

    in_slicer_test.whole_way(TheranosticDoseLogic(), check)


def test_volumes_of_the_scene_make_a_study(slicer_app) -> None:
    import SimpleITK as sitk
    from TheranosticDoseLib.errors import InputError
    from TheranosticDoseSlicer import images, study_nodes, tables

    from TheranosticDose import TheranosticDoseLogic

    logic = TheranosticDoseLogic()
    case = logic.newCase()
    image = sitk.Image((8, 8, 8), sitk.sitkFloat32) + 1000.0
    volumes = [(images.volume_from(image, f"SPECT {t:g}h"), None, t) for t in (24.0, 4.0)]
    logic.useVolumes(case, volumes, activityMbq=7400.0)
    assert study_nodes.study_of(case).time_h == (4.0, 24.0)
    findings = [row["finding"] for row in tables.rows_of(case.get("findings"))]
    assert sum("does not say its unit" in text for text in findings) == 2
    with pytest.raises(InputError, match="same time"):
        logic.useVolumes(case, [volumes[0], volumes[0]])
    with pytest.raises(InputError, match="No SPECT volume"):
        logic.useVolumes(case, [])


def test_a_cancelled_and_a_failed_step_raise(slicer_app, tmp_path) -> None:
    from TheranosticDoseLib.errors import InputError, TheranosticDoseError

    from TheranosticDose import TheranosticDoseLogic

    logic = TheranosticDoseLogic()
    case = logic.newCase()
    with pytest.raises(InputError, match="does not exist"):
        logic.loadStudy(case, tmp_path / "nowhere")
    with pytest.raises(InputError, match="No study is loaded"):
        logic.register(case)
    with pytest.raises(InputError, match="not registered"):
        logic.curves(case)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TheranosticDoseError):
        logic.loadStudy(case, tmp_path / "empty")
