"""The acceptance test: it passes on sound software and fails on software that is not."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
from TheranosticDoseLib.cli import main
from TheranosticDoseLib.commission import Check, commission, kinetics, physics, site
from TheranosticDoseLib.errors import CancelledError, InputError, SettingsError
from tiny_study import EFFECTIVE_HALF_LIFE_H, tiny_study


def test_a_check_knows_its_limit() -> None:
    check = Check("g", "n", 1.02, 1.0, "Gy", 0.03, 0.01)
    assert check.passed
    assert check.z == pytest.approx(2.0)
    assert not dataclasses.replace(check, limit=0.01).passed
    assert dataclasses.replace(check, limit=None).passed is None
    assert not dataclasses.replace(check, measured=math.nan).passed
    assert dataclasses.replace(check, measured=3.0, absolute=True).deviation == pytest.approx(2.0)
    assert dataclasses.replace(check, u=0.0).z is None


def test_physics_and_kinetics_pass(tmp_path: Path) -> None:
    result = commission(tmp_path, quick=True, parts=("kinetics", "physics"))
    assert result.passed, [c for c in result.checks if c.passed is False]
    document = json.loads((tmp_path / "acceptance.json").read_text(encoding="utf-8"))
    assert document["passed"]
    assert {c["group"] for c in document["checks"]} == {
        "Kinetics", "Uniform medium", "Point source", "Energy", "Spheres",
    }  # fmt: skip
    spheres = [c for c in document["checks"] if c["group"] == "Spheres"]
    assert all(abs(c["z"]) < 3 for c in spheres)
    assert (tmp_path / "acceptance.pdf").read_bytes().startswith(b"%PDF")
    page = (tmp_path / "acceptance.html").read_text(encoding="utf-8")
    assert "not a medical device" in page
    assert "quick test" in page


def test_a_wrong_engine_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Five percent, as a beta spectrum read at the left edges of its bins would give.
    original = physics._dose

    def wrong(*arguments, **settings):
        result = original(*arguments, **settings)
        return dataclasses.replace(result, dose=result.dose * 1.05)

    monkeypatch.setattr(physics, "_dose", wrong)
    checks = physics._uniform(True) + physics._point(True) + physics._spheres(True)
    failed = {check.group for check in checks if check.passed is False}
    assert failed == {"Uniform medium", "Point source", "Spheres"}


def test_a_wrong_fit_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = kinetics._fitted
    monkeypatch.setattr(
        kinetics, "_fitted", lambda terms, seed: tuple(1.05 * v for v in original(terms, seed))
    )
    assert sum(check.passed is False for check in kinetics.checks(True)) >= 4


def test_a_part_that_cannot_run_is_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_):
        raise InputError("the table is gone")

    monkeypatch.setattr(physics, "checks", broken)
    monkeypatch.setattr(kinetics, "checks", lambda *_: [Check("Kinetics", "x", 1.0, 1.0, "", 0.1)])
    result = commission(tmp_path, True, ("kinetics", "physics"))
    assert not result.passed
    assert "the table is gone" in (tmp_path / "acceptance.html").read_text(encoding="utf-8")


def test_data_of_the_site_are_held_against_its_numbers(tmp_path: Path) -> None:
    case = tmp_path / "challenge"
    tiny_study(case / "data")
    volume_ml = 4 / 3 * math.pi * 45 * 40 * 40 / 1000
    tia = 4.0e4 * 7.4 * volume_ml / 1e6 * EFFECTIVE_HALF_LIFE_H / math.log(2)
    liver = {"name": "Liver", "volume_ml": volume_ml, "tia_mbq_h": tia, "limit": 0.05, "relative_u": 0.01}
    table = {"data": "data/manifest.json", "engine": "led", "source": "geometry", "vois": [liver],
             "settings": {"registration": {"method": "none"}}}  # fmt: skip
    (case / "reference.json").write_text(json.dumps(table))
    found = site.checks(case)
    assert [check.name for check in found] == ["Liver, volume", "Liver, TIA"]
    assert all(check.passed and check.group == "Case challenge" for check in found), found
    for change, sentence in (
        ({"vois": []}, "list 'vois'"),
        ({"vois": [{"name": "Liver", "dose": 1.0}]}, "unknown entry 'dose'"),
        ({"vois": [{"name": "Liver", "dose_gy": -1.0}]}, "above 0"),
        ({"vois": [{"name": "Heart", "dose_gy": 1.0}]}, "names 'Heart'"),
    ):
        (case / "reference.json").write_text(json.dumps({**table, **change}))
        with pytest.raises(InputError, match=sentence):
            site.checks(case)
    with pytest.raises(InputError, match="nowhere"):
        commission(tmp_path / "out", True, ("kinetics",), [tmp_path / "nowhere"])
    assert not (tmp_path / "out").exists()


def test_bad_input_and_cancel(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="magic"):
        commission(tmp_path, parts=("magic",))
    with pytest.raises(CancelledError):
        commission(tmp_path / "x", True, ("kinetics",), progress=lambda f, m: False)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_shell_with_a_virtual_patient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as status:
        main(["commission", "--quick", "--part", "patients", "--out", str(tmp_path), "--progress", "none"])
    assert status.value.code == 0, capsys.readouterr().out
    document = json.loads((tmp_path / "acceptance.json").read_text(encoding="utf-8"))
    assert any(check["z"] is not None for check in document["checks"])


def test_its_duration_and_outcome_are_figures() -> None:
    from TheranosticDoseLib.commission import Acceptance
    from TheranosticDoseLib.validation.commission import figures_of

    good = Check("g", "n", 1.02, 1.0, "Gy", 0.03, 0.01)
    bad = dataclasses.replace(good, measured=2.0, name="far off")
    done = Acceptance((good,), (), 320.0, 300.0, {"physics": 300.0})
    assert [figure.passed for figure in figures_of(done, False)] == [True, True, None]
    late = Acceptance((good, bad), ("patients: no room",), 901.0, 900.0)
    duration, outcome, largest = figures_of(late, False)
    assert (duration.passed, outcome.passed, outcome.measured) == (False, False, 50.0)
    assert "g: far off, patients: no room" in outcome.detail
    assert largest.measured == pytest.approx(100.0)
    assert figures_of(late, True)[0].passed is None
