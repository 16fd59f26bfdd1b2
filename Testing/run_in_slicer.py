"""Run the tests of the modules inside an installed 3D Slicer.

    python Testing/run_in_slicer.py SLICER_EXECUTABLE [--module NAME ...] [--timeout SECONDS]

Each module's own unit test and what Slicer asks of any module run in a fresh application with the
modules of this checkout. The exit status is 0 when everything passed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
MODULES = ("TheranosticDose", "DoseSegmentation")

# The end of a test in Slicer: the status is set after the event loop has started, so that it counts.
UNIT_TEST = "import slicer.testing; slicer.testing.runUnitTest([{folder!r}], {module!r})"
GENERIC = "import sys; sys.path.insert(0, {gui!r}); import generic; generic.check_module({module!r})"


def module_paths() -> list[str]:
    """Return the options that make Slicer load the modules of this checkout."""
    return ["--additional-module-paths", *(str(CHECKOUT / module) for module in MODULES)]


def command(executable: str, code: str) -> list[str]:
    """Return the command line that runs Python code in a fresh Slicer and ends it."""
    options = ["--no-splash", "--no-main-window", "--testing", "--ignore-slicerrc", *module_paths()]
    line = [executable, *options, "--python-code", code]
    headless = sys.platform == "linux" and not os.environ.get("DISPLAY")
    if headless and shutil.which("xvfb-run"):
        line = ["xvfb-run", "--auto-servernum", *line]
    return line


def guarded(code: str) -> str:
    """Return code that ends Slicer with status 1 when something raises."""
    return (
        "import slicer, traceback\n"
        "status = 0\n"
        "try:\n"
        f"    {code}\n"
        "except BaseException:\n"
        "    traceback.print_exc()\n"
        "    status = 1\n"
        "slicer.util.exit(status)\n"
    )


def run(executable: str, title: str, code: str, timeout_s: float) -> bool:
    """Run one test and say how it went."""
    print(f"--- {title}", flush=True)
    try:
        done = subprocess.run(command(executable, guarded(code)), timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        print(f"{title}: no end after {timeout_s:g} s")
        return False
    print(
        f"{title}: {'passed' if done.returncode == 0 else f'failed (status {done.returncode})'}", flush=True
    )
    return done.returncode == 0


def main(arguments: list[str] | None = None) -> int:
    """Run everything; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("executable", help="path of the Slicer launcher")
    parser.add_argument(
        "--module", action="append", choices=MODULES, help="only this module (may be repeated)"
    )
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds per test (default 1800)")
    options = parser.parse_args(arguments)
    executable = shutil.which(options.executable)
    if executable is None:
        print(f"{options.executable} can not be run: give the path of the Slicer launcher.", file=sys.stderr)
        return 2
    passed = True
    for module in options.module or MODULES:
        unit_test = UNIT_TEST.format(folder=str(CHECKOUT / module), module=module)
        generic = GENERIC.format(gui=str(CHECKOUT / "Testing" / "gui"), module=module)
        passed &= run(executable, f"{module}: as any module", generic, options.timeout)
        passed &= run(executable, f"{module}: its own test", unit_test, options.timeout)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
