"""Write constraints.txt anew: the newest versions that fit, for Python 3.10 to 3.13 (needs ``uv``)."""

import subprocess
import sys
import tempfile
from pathlib import Path

HEADER = """# What a fresh machine installs: one known-good version per package and Python (3.10 to 3.13).
# Made by: make constraints
"""
# Not resolved with the rest: an open range of PyTorch pulls its CUDA packages into the list.
NETWORKS = "monai==1.6.1 ; python_full_version >= '3.11'\nsafetensors==0.8.0\ntorch==2.13.0\n"
EXTRAS = ("test", "slicer-test", "dev")


def main() -> int:
    """Resolve and write."""
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "constraints.txt")
        command = ["uv", "pip", "compile", "--universal", "--python-version", "3.10", "--no-annotate"]
        command += ["--no-header", "-q", "-o", str(out), "pyproject.toml"]
        for extra in EXTRAS:
            command += ["--extra", extra]
        subprocess.run(command, cwd=root, check=True)
        (root / "constraints.txt").write_text(HEADER + out.read_text() + NETWORKS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
