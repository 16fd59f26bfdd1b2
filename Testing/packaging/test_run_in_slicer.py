"""The script that runs the tests in an installed Slicer: command lines, exit status, bad input."""

from __future__ import annotations

import importlib.util
import stat
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "run_in_slicer.py"

# Stands for Slicer: takes the same options, runs the code with a small ``slicer`` module.
FAKE = """#!{python}
import sys, types
arguments = sys.argv[1:]
open({log!r}, "a").write(repr(arguments) + chr(10))
module = types.ModuleType("slicer"); module.util = types.SimpleNamespace(exit=sys.exit)
module.testing = types.ModuleType("slicer.testing")
def runUnitTest(path, name):
    if name in {failing!r}:
        raise Exception("")
module.testing.runUnitTest = runUnitTest
sys.modules.update({{"slicer": module, "slicer.testing": module.testing}})
generic = types.ModuleType("generic"); generic.check_module = lambda name: None
sys.modules["generic"] = generic
exec(arguments[arguments.index("--python-code") + 1])
"""


@pytest.fixture
def script():
    specification = importlib.util.spec_from_file_location("run_in_slicer", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def fake_slicer(tmp_path, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")

    def make(failing=()):
        path = tmp_path / "Slicer"
        path.write_text(FAKE.format(python=sys.executable, log=str(tmp_path / "log"), failing=tuple(failing)))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def test_both_modules_pass(script, fake_slicer, tmp_path):
    assert script.main([str(fake_slicer())]) == 0
    runs = (tmp_path / "log").read_text().splitlines()
    assert len(runs) == 4
    assert all("--additional-module-paths" in line and "--testing" in line for line in runs)


def test_a_failure_is_the_exit_status(script, fake_slicer, capfd):
    assert script.main([str(fake_slicer(["DoseSegmentation"]))]) == 1
    assert "DoseSegmentation: its own test: failed (status 1)" in capfd.readouterr().out


def test_one_module(script, fake_slicer, tmp_path):
    assert script.main([str(fake_slicer(["DoseSegmentation"])), "--module", "TheranosticDose"]) == 0
    assert len((tmp_path / "log").read_text().splitlines()) == 2


def test_wrong_path_is_one_sentence(script, capsys):
    assert script.main(["/no/such/Slicer"]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0
