"""CMake configures and installs the extension: with a strict stand-in, and with Slicer's macros where they are."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).resolve().parent / "slicer_cmake"
MODULES = ("TheranosticDose", "DoseSegmentation")
SOURCE = os.environ.get("THERANOSTIC_SLICER_SOURCE", "")


def cmake() -> str:
    """Return CMake's program, of the system or of its wheel; skip where there is none, or no compiler."""
    wheel = importlib.util.find_spec("cmake")
    beside = Path(sys.executable).parent / "cmake"
    found = shutil.which("cmake") or (str(beside) if wheel is not None and beside.is_file() else None)
    if found is None:
        pytest.skip("CMake is not installed (pip install cmake)")
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang", "cl")):
        pytest.skip("there is no C compiler, which CMake wants of every project")
    return found


def call(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([cmake(), *arguments], capture_output=True, text=True, check=False, timeout=300)


def configured(source: Path, build: Path, macros: str) -> subprocess.CompletedProcess:
    return call("-S", str(source), "-B", str(build), f"-DSlicer_DIR={STAND_IN}", f"-DSLICER_SOURCE={macros}")


def macros() -> list:
    """The stand-in's own macros, and Slicer's where the environment names its source."""
    there = (Path(SOURCE) / "CMake" / "SlicerMacroBuildScriptedModule.cmake").is_file() if SOURCE else False
    missing = pytest.mark.skipif(not there, reason="THERANOSTIC_SLICER_SOURCE names no Slicer source tree")
    return [pytest.param("", id="stand-in"), pytest.param(SOURCE, id="Slicer", marks=missing)]


def files_below(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in found}


@pytest.fixture(scope="module", params=macros())
def installed(request, tmp_path_factory) -> Path:
    """The folder of the scripted modules of an installed extension."""
    folder = tmp_path_factory.mktemp("extension")
    result = configured(CHECKOUT, folder / "build", request.param)
    assert result.returncode == 0, result.stderr[-2000:]
    result = call("--install", str(folder / "build"), "--prefix", str(folder / "installed"))
    assert result.returncode == 0, result.stderr[-2000:]
    tests = subprocess.run(
        [str(Path(cmake()).with_name("ctest")), "-N"],
        cwd=folder / "build",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for module in MODULES:
        assert f"py_{module}" in tests
        assert f"py_nomainwindow_qSlicer{module}ModuleGenericTest" in tests
    assert "DESCRIPTION Absorbed dose" in (folder / "build" / "TheranosticDosimetry.metadata").read_text()
    return next((folder / "installed" / "lib").glob("Slicer-*")) / "qt-scripted-modules"


def test_what_is_installed_is_what_the_modules_have(installed: Path) -> None:
    expected = {f"Resources/TheranosticDosimetry/{name}" for name in files_below(CHECKOUT / "Resources")}
    for module in MODULES:
        expected |= files_below(CHECKOUT / module) - {"CMakeLists.txt"}
    assert files_below(installed) == expected


def test_the_installed_libraries_find_their_data(installed: Path) -> None:
    code = (
        "from DoseSegmentationLib.resources import resource_path;"
        "from TheranosticDoseLib.nuclides import nuclide;"
        "from TheranosticDoseSlicer import worker, install;"
        "assert install.requirements_of('vsv');"
        "print(resource_path('Nuclides'), nuclide('Lu-177').half_life_h)"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=installed,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(installed / "Resources" / "TheranosticDosimetry"))


@pytest.mark.parametrize("macros_of", macros())
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("NAME Wrong SCRIPTS Wrong.py UNKNOWN 1", "Unknown keywords|nonexistent|no file"),
        ("NAME Wrong SCRIPTS Missing.py", "nonexistent|no file"),
        ("SCRIPTS Wrong.py", "NAME is mandatory"),
    ],
)
def test_a_mistake_ends_the_configuration(
    tmp_path: Path, macros_of: str, arguments: str, message: str
) -> None:
    import re

    (tmp_path / "Wrong.py").write_text("")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16.3...3.28)\nproject(Wrong C)\nfind_package(Slicer REQUIRED)\n"
        f"include(${{Slicer_USE_FILE}})\nslicerMacroBuildScriptedModule({arguments})\n"
    )
    result = configured(tmp_path, tmp_path / "build", macros_of)
    assert result.returncode != 0
    assert re.search(message, result.stderr), result.stderr
