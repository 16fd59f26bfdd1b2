"""The rooms know only the rooms below them, and importing the library is quick."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SLICER_WORLD = {"slicer", "vtk", "qt", "ctk", "mrml", "PySide6"}
PACKAGES = {
    "DoseSegmentation/DoseSegmentationLib": {"TheranosticDoseLib", "TheranosticDoseSlicer"} | SLICER_WORLD,
    "TheranosticDose/TheranosticDoseLib": {"TheranosticDoseSlicer"} | SLICER_WORLD,
    "TheranosticDose/TheranosticDoseSlicer": {"qt", "ctk", "PySide6"},
}
# What a library file may import at its top: the rest is imported in the function that needs it.
LIGHT = set(sys.stdlib_module_names) | {"numpy", "TheranosticDoseLib", "DoseSegmentationLib"}
# Files that hold compiled kernels or network definitions are themselves imported lazily.
HEAVY_ALLOWED = {"numba", "torch", "monai", "typer", "rich"}


def imports(tree: ast.AST, *, top_only: bool) -> set[str]:
    """The first names of all modules a file imports; ``if TYPE_CHECKING`` blocks do not count."""
    found: set[str] = set()

    def visit(node: ast.AST, depth: int) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                found.update(name.name.split(".")[0] for name in child.names)
            elif isinstance(child, ast.ImportFrom) and child.level == 0 and child.module:
                found.add(child.module.split(".")[0])
            elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and top_only:
                continue
            visit(child, depth + 1)

    visit(tree, 0)
    return found


def library_files() -> list[tuple[str, Path]]:
    return [(folder, path) for folder in PACKAGES for path in sorted((CHECKOUT / folder).rglob("*.py"))]


@pytest.mark.parametrize(
    ("folder", "path"), library_files(), ids=lambda value: getattr(value, "stem", str(value)[:4])
)
def test_no_import_against_the_direction(folder: str, path: Path) -> None:
    used = imports(ast.parse(path.read_text(encoding="utf-8")), top_only=False)
    assert not used & PACKAGES[folder], f"{path.relative_to(CHECKOUT)} imports {used & PACKAGES[folder]}"


@pytest.mark.parametrize(
    ("folder", "path"),
    [item for item in library_files() if not item[0].endswith("Slicer")],
    ids=lambda value: getattr(value, "stem", str(value)[:4]),
)
def test_nothing_heavy_at_the_top_of_a_file(folder: str, path: Path) -> None:
    used = imports(ast.parse(path.read_text(encoding="utf-8")), top_only=True)
    assert not used - LIGHT - HEAVY_ALLOWED, f"{path.relative_to(CHECKOUT)} imports {used - LIGHT}"


def test_importing_the_library_takes_less_than_half_a_second() -> None:
    # Measured from inside by the processor's time, best of three, so that a busy machine does not fail it.
    program = (
        "import time; t = time.process_time(); import TheranosticDoseLib; print(time.process_time() - t)"
    )
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT / "TheranosticDose")}
    runs = [
        float(
            subprocess.run(
                [sys.executable, "-c", program], env=environment, capture_output=True, check=True
            ).stdout
        )
        for _ in range(3)
    ]
    assert min(runs) < 0.5


@pytest.mark.parametrize(
    "module",
    [
        "TheranosticDoseLib.workflow",
        "TheranosticDoseLib.dose",
        "TheranosticDoseLib.dicom_io",
        "DoseSegmentationLib",
    ],
)
def test_rooms_import_without_heavy_packages(module: str) -> None:
    heavy = ["torch", "monai", "numba", "matplotlib", "plotly", "pydicom", "SimpleITK", "scipy", "pandas"]
    program = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    paths = os.pathsep.join(str(CHECKOUT / name) for name in ("TheranosticDose", "DoseSegmentation"))
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[]"


def test_no_stray_folder_that_slicer_would_merge() -> None:
    # The slicer-core wheel merges any folder called ``slicer`` on sys.path into itself.
    for folder in ("TheranosticDose", "DoseSegmentation", "Testing"):
        assert not (CHECKOUT / folder / "slicer").exists()
