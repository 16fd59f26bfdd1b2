"""Make the point kernels of ``Resources/Kernels`` with the embedded Monte Carlo.

Usage: ``python Tools/make_kernels.py [--histories N] [NUCLIDE/MEDIUM ...]``; without names,
all that are shipped.  Run again after every change of the transport or its tables.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "TheranosticDose"), str(ROOT / "DoseSegmentation")]

SHIPPED = [
    *(f"Lu-177/{medium}" for medium in ("water", "soft", "lung", "adipose", "bone")),
    *(
        f"{name}/{medium}"
        for name in ("Y-90", "I-131", "Tb-161", "Ho-166", "Cu-67", "Ga-68", "F-18", "Ac-225")
        for medium in ("water", "bone")
    ),
]


def main() -> int:
    """Simulate and write."""
    from TheranosticDoseLib import nuclides
    from TheranosticDoseLib.dose.kernels.simulate import simulate
    from TheranosticDoseLib.files import write_whole

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=SHIPPED, help="NUCLIDE/MEDIUM, for example Lu-177/water")
    parser.add_argument("--histories", type=int, default=400_000, help="decays per grid")
    arguments = parser.parse_args()
    for name in arguments.names or SHIPPED:
        nuclide, medium = name.split("/")
        started = time.perf_counter()
        kernel = simulate(nuclides.nuclide(nuclide), medium, arguments.histories)
        path = ROOT / "Resources" / "Kernels" / f"{nuclide}_{medium}.json"
        write_whole(path, kernel.to_json() + "\n")
        print(f"{name}: {time.perf_counter() - started:.0f} s, {path.stat().st_size} bytes", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
