"""The checks of the ExtensionsIndex, offline: the entry, the CMake variables, licence, size, imports, pictures."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = "TheranosticDosimetry"
ALLOWED = {
    "$schema",
    "build_dependencies",
    "build_subdirectory",
    "category",
    "dicom_support_rule",
    "enabled",
    "scm_revision",
    "scm_type",
    "scm_url",
    "tier",
}
AT_FILE_SCOPE = set(sys.stdlib_module_names) | {
    "slicer",
    "vtk",
    "qt",
    "ctk",
    "numpy",
    "scipy",
    "SimpleITK",
    "DICOMLib",
}
OWN = {"TheranosticDoseLib", "TheranosticDoseSlicer", "TheranosticDosePanels", "DoseSegmentationLib"}
MODULE_FILES = (
    "TheranosticDose/TheranosticDose.py",
    "TheranosticDose/TheranosticDoseDICOMPlugin.py",
    "DoseSegmentation/DoseSegmentation.py",
)


def cmake() -> str:
    return (CHECKOUT / "CMakeLists.txt").read_text(encoding="utf-8")


def variable(name: str) -> str:
    return re.search(rf'^set\({name} "([^"\n]*)"\)$', cmake(), re.MULTILINE).group(1)


def slicer_side_files() -> list[Path]:
    folders = ("TheranosticDose/TheranosticDoseSlicer", "TheranosticDose/TheranosticDosePanels")
    found = [CHECKOUT / name for name in MODULE_FILES]
    return found + [path for folder in folders for path in sorted((CHECKOUT / folder).rglob("*.py"))]


def test_entry_has_what_is_required_and_nothing_else() -> None:
    raw = (CHECKOUT / f"{NAME}.json").read_bytes()
    assert b"\r" not in raw
    entry = json.loads(raw)
    assert set(entry) <= ALLOWED
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["category"] == variable("EXTENSION_CATEGORY") == "Nuclear Medicine"
    assert entry["scm_url"].startswith("https://")
    assert 1 <= entry["tier"] <= 5
    # Without build dependencies the packaging job of the index builds the extension.
    assert entry["build_dependencies"] == []
    assert variable("EXTENSION_DEPENDS") == "NA"


@pytest.mark.skipif(
    not os.environ.get("THERANOSTIC_SLICER_SOURCE"),
    reason="THERANOSTIC_SLICER_SOURCE names no Slicer source tree, where the schema is",
)
def test_entry_fits_the_schema_of_slicer() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    entry = json.loads((CHECKOUT / f"{NAME}.json").read_text(encoding="utf-8"))
    name = entry["$schema"].rsplit("/", 1)[1].rstrip("#")
    path = Path(os.environ["THERANOSTIC_SLICER_SOURCE"]) / "Schemas" / name
    if not path.is_file():
        pytest.skip(f"the Slicer source tree has no {name}")
    jsonschema.validate(entry, json.loads(path.read_text(encoding="utf-8")))


def test_names_follow_the_rules() -> None:
    assert not NAME.startswith("Slicer")
    repository = json.loads((CHECKOUT / f"{NAME}.json").read_text(encoding="utf-8"))["scm_url"].rsplit(
        "/", 1
    )[1]
    assert repository.startswith("Slicer")


@pytest.mark.parametrize("name", ["EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"])
def test_pictures_are_raw_png_files_of_this_tree(name: str) -> None:
    for url in variable(name).split():
        assert url.startswith("https://raw.githubusercontent.com/")
        assert url.endswith(".png")
        path = CHECKOUT / url.split("/main/", 1)[1]
        assert path.read_bytes().startswith(b"\x89PNG"), path


def test_icons_are_128_pixels_square() -> None:
    icons = [
        CHECKOUT / f"{NAME}.png",
        CHECKOUT / "TheranosticDose" / "Resources" / "Icons" / "TheranosticDose.png",
        CHECKOUT / "DoseSegmentation" / "Resources" / "Icons" / "DoseSegmentation.png",
    ]
    for icon in icons:
        header = icon.read_bytes()[:24]
        assert (int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")) == (128, 128), (
            icon
        )


def test_description_says_what_it_is() -> None:
    text = variable("EXTENSION_DESCRIPTION")
    assert "not a medical device" in text
    assert len(text) > 80


def test_licence_has_a_name_the_index_looks_for() -> None:
    assert "Apache License" in (CHECKOUT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", slicer_side_files(), ids=lambda path: path.stem)
def test_nothing_is_imported_at_file_scope_that_slicer_does_not_bring(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            used |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            used.add(node.module.split(".")[0])
    assert not used - AT_FILE_SCOPE - OWN


@pytest.mark.parametrize("path", slicer_side_files(), ids=lambda path: path.stem)
def test_nothing_runs_at_file_scope(path: Path) -> None:
    """Only definitions, constants and imports: nothing is computed, installed or connected by an import."""
    harmless = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        documented = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        guarded = isinstance(node, ast.If) and ast.unparse(node.test) in (
            "TYPE_CHECKING",
            "__name__ == '__main__'",
        )
        assert isinstance(node, harmless) or documented or guarded, f"line {node.lineno}"


def test_torch_is_never_installed_directly() -> None:
    requirements = (CHECKOUT / "TheranosticDose" / "Resources" / "requirements.txt").read_text(
        encoding="utf-8"
    )
    packages = [line for line in requirements.splitlines() if line.strip() and not line.startswith("#")]
    # Packages that need torch are installed after it: Testing/gui/test_segmentation_backends.py.
    assert not [line for line in packages if line.startswith("torch")]
    assert all(">=" in line and "==" not in line for line in packages)


def test_module_files_stay_short() -> None:
    for name in MODULE_FILES:
        assert len((CHECKOUT / name).read_text(encoding="utf-8").splitlines()) <= 420, name


def test_categories_and_people_are_named() -> None:
    for name in MODULE_FILES[::2]:
        text = (CHECKOUT / name).read_text(encoding="utf-8")
        for field in ("title", "categories", "contributors", "helpText", "acknowledgementText"):
            assert f"self.parent.{field}" in text, (name, field)
        assert "Nuclear Medicine" in text


def test_a_full_clone_is_small_enough() -> None:
    command = ["git", "-C", str(CHECKOUT), "count-objects", "-v"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a git checkout")
    sizes = dict(line.split(": ") for line in found.splitlines())
    history_kib = int(sizes["size"]) + int(sizes["size-pack"])
    listed = subprocess.run(
        ["git", "-C", str(CHECKOUT), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    tree_kib = sum((CHECKOUT / name).stat().st_size for name in listed if (CHECKOUT / name).is_file()) / 1024
    assert history_kib + tree_kib < 100 * 1024
