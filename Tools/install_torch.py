"""Install PyTorch and MONAI for the tests where a build without CUDA is at hand.

On Linux the open registry gives a build with several gigabytes of CUDA packages.
This asks the resolver first and leaves PyTorch out in that case; the tests that
need it then skip with a reason.  Point pip at a CPU build (``PIP_FIND_LINKS`` or
``PIP_EXTRA_INDEX_URL``) or set ``TORCH=cuda`` to take what there is.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def planned(requirement: str, constraints: str) -> list[str]:
    """Return the names of the packages that installing ``requirement`` would bring."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), "-c", constraints, requirement]
        if subprocess.run(command, check=False).returncode != 0:
            return ["unavailable"]
        return [item["metadata"]["name"].lower() for item in json.loads(report.read_text())["install"]]


def main() -> int:
    """Install, or say why not; a missing PyTorch is no failure."""
    constraints = sys.argv[1]
    if os.environ.get("TORCH") == "none":
        sys.stdout.write("PyTorch left out (TORCH=none).\n")
        return 0
    names = planned("torch", constraints)
    has_cuda = any(name.startswith(("nvidia-", "cuda-", "triton")) for name in names)
    if names == ["unavailable"] or (has_cuda and os.environ.get("TORCH") != "cuda"):
        reason = (
            "not to be had" if names == ["unavailable"] else "only with CUDA packages of several gigabytes"
        )
        sys.stdout.write(f"PyTorch is {reason} here: the network tests will skip. See CONTRIBUTING.md.\n")
        return 0
    command = [sys.executable, "-m", "pip", "install", "-q", "-c", constraints]
    return subprocess.run([*command, "torch", "monai", "safetensors"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
