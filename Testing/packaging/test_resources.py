"""The shared resources are found in all three lives of the code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = "from DoseSegmentationLib.resources import resource_path as r; print(r('RESOURCES.md'))"


def found_from(folder: Path) -> Path:
    """Where the resources are found when only ``folder`` is on the path (no source tree, no installation)."""
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {PROGRAM}"]
    return Path(
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout.strip()
    )


def test_source_tree() -> None:
    assert found_from(CHECKOUT / "DoseSegmentation") == CHECKOUT / "Resources" / "RESOURCES.md"


@pytest.mark.parametrize("below", ["Resources/TheranosticDosimetry", "TheranosticDosimetryResources"])
def test_installed_extension_and_wheel(tmp_path: Path, below: str) -> None:
    shutil.copytree(CHECKOUT / "DoseSegmentation/DoseSegmentationLib", tmp_path / "DoseSegmentationLib")
    target = tmp_path / below
    target.mkdir(parents=True)
    shutil.copy(CHECKOUT / "Resources/RESOURCES.md", target)
    assert found_from(tmp_path) == target / "RESOURCES.md"


def test_a_missing_entry_is_named() -> None:
    from DoseSegmentationLib.resources import resource_path

    with pytest.raises(FileNotFoundError, match="Nuclides/Xx-1.json"):
        resource_path("Nuclides", "Xx-1.json")
