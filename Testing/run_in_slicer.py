"""Run the modules' own tests inside a Slicer application: ``python Testing/run_in_slicer.py /path/to/Slicer``.

Starts Slicer once per module with the modules of this checkout and an empty settings file, prints its output and
ends with status 0 where all tests passed.  Research software, not a medical device.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
MODULES = ("DoseSegmentation", "TheranosticDose")


def command(slicer: str, module: str) -> list[str]:
    """Return the command that runs the tests of a module."""
    folders = [str(CHECKOUT / name) for name in MODULES]
    code = f"import slicer.testing; slicer.testing.runUnitTest({folders!r}, {module!r})"
    return [
        slicer,
        "--testing",
        "--no-splash",
        "--no-main-window",
        "--ignore-slicerrc",
        "--disable-cli-modules",
        "--additional-module-paths",
        *folders,
        "--python-code",
        code,
    ]


def main() -> int:
    """Run the tests of the modules."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slicer", help="the Slicer executable")
    parser.add_argument("--module", action="append", choices=MODULES, help="only this module")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds per module")
    options = parser.parse_args()
    if not Path(options.slicer).is_file():
        sys.stderr.write(f"{options.slicer} is not a file; give the path of the Slicer executable.\n")
        return 2
    failed = []
    for module in options.module or MODULES:
        try:
            status = subprocess.run(
                command(options.slicer, module), timeout=options.timeout, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            status = f"not finished after {options.timeout:g} s"
        sys.stdout.write(f"{module}: {'passed' if status == 0 else f'failed ({status})'}\n")
        if status != 0:
            failed.append(module)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
