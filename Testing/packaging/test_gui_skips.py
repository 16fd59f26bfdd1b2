"""Where Qt's system libraries are missing, the panel tests skip and say which packages to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

# Makes one import fail the way the dynamic linker makes it fail.
BROKEN = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise {error}
sys.meta_path.insert(0, Broken())
"""


@pytest.mark.parametrize(
    ("module", "error", "said"),
    [
        (
            "PySide6.QtWidgets",
            "ImportError('libEGL.so.1: cannot open shared object file')",
            "apt-get install libegl1",
        ),
        ("PySide6", "ModuleNotFoundError('PySide6')", "PySide6 is not installed"),
        ("slicer", "ModuleNotFoundError('slicer')", "slicer-core wheel is not installed"),
    ],
)
def test_missing_pieces_skip_with_the_remedy(tmp_path, module, error, said):
    (tmp_path / "sitecustomize.py").write_text(BROKEN.format(module=module, error=error))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "Testing/gui/test_sample_module.py",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    run = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert " skipped in " in run.stdout
    assert "passed" not in run.stdout
    assert said in run.stdout
