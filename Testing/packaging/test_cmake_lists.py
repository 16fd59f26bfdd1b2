"""What CMake installs is what is in the folders; what the extension manager shows is there."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MODULES = ("TheranosticDose", "DoseSegmentation")


def tool():
    """The script that writes the lists."""
    path = CHECKOUT / "Tools" / "update_cmake_lists.py"
    spec = importlib.util.spec_from_file_location("update_cmake_lists", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def listed(module: str, name: str) -> list[str]:
    text = (CHECKOUT / module / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(rf"set\({name}\n(.*?)\n  \)", text, re.DOTALL).group(1).split()


@pytest.mark.parametrize("module", MODULES)
def test_every_python_file_is_listed(module: str) -> None:
    folder = CHECKOUT / module
    there = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if "__pycache__" not in path.parts
    }
    missing = sorted(there - set(listed(module, "MODULE_PYTHON_SCRIPTS")))
    assert not missing, f"run python Tools/update_cmake_lists.py; not listed: {', '.join(missing)}"


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", ["MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"])
def test_every_listed_file_exists(module: str, name: str) -> None:
    gone = [entry for entry in listed(module, name) if not (CHECKOUT / module / entry).is_file()]
    assert not gone, f"CMake would stop at: {', '.join(gone)}"


@pytest.mark.parametrize("module", MODULES)
def test_every_resource_is_listed(module: str) -> None:
    folder = CHECKOUT / module / "Resources"
    there = {path.relative_to(CHECKOUT / module).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert not there - set(listed(module, "MODULE_PYTHON_RESOURCES"))


def test_the_script_replaces_a_list_and_nothing_else() -> None:
    script = tool()
    begin, end = (mark.format(name="A") for mark in (script.BEGIN, script.END))
    text = f"before\n{begin}\nset(A\n  old.py\n  )\n{end}\nafter\n"
    new = script.updated(text, "A", ["a.py", "b/c.py"])
    assert new == f"before\n{begin}\nset(A\n  a.py\n  b/c.py\n  )\n{end}\nafter\n"
    assert script.updated(new, "A", ["a.py", "b/c.py"]) == new


def test_shared_data_are_installed_where_the_library_looks() -> None:
    text = (CHECKOUT / "CMakeLists.txt").read_text(encoding="utf-8")
    library = (CHECKOUT / "DoseSegmentation" / "DoseSegmentationLib" / "resources.py").read_text(
        encoding="utf-8"
    )
    assert '"Resources" / "TheranosticDosimetry"' in library
    assert "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/Resources/TheranosticDosimetry" in text
    assert "${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/Resources/TheranosticDosimetry" in text


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_imported_by_name_that_is_not_installed(module: str) -> None:
    """The requirements that are offered to the user lie with the module."""
    assert "Resources/requirements.txt" in listed("TheranosticDose", "MODULE_PYTHON_RESOURCES")
    assert f"{module}.py" in listed(module, "MODULE_PYTHON_SCRIPTS")


def test_names_agree() -> None:
    text = (CHECKOUT / "CMakeLists.txt").read_text(encoding="utf-8")
    [name] = re.findall(r"^project\((\w+)\)", text, re.MULTILINE)
    assert (CHECKOUT / f"{name}.json").is_file()
    entry = json.loads((CHECKOUT / f"{name}.json").read_text(encoding="utf-8"))
    assert entry["scm_url"].removesuffix(".git").endswith(f"/Slicer{name}")
