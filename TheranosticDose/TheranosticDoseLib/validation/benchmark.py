"""Speed and memory of the embedded Monte Carlo, and of GATE where it is installed.

The same numbers as ``theranostic-dose benchmark``, measured in a process of its own so that the
memory is that of the Monte Carlo alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.validation.figure import Figure, at_most, reported

LARGEST_MIB = 2048.0


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return decays per second by particle, grid and threads, and the memory."""
    report(progress, 0.0, "Benchmark in a process of its own")
    return _figures(_measured(quick))


def _measured(quick: bool) -> dict[str, Any]:
    """Return what ``theranostic-dose benchmark`` writes."""
    folders = [str(Path(__file__).resolve().parents[2]), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in folders if p)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "benchmark.json"
        command = [sys.executable, "-m", "TheranosticDoseLib", "benchmark", "--out", str(file)]
        done = subprocess.run(
            command + ["--quick"] * quick, capture_output=True, text=True, env=environment, check=False
        )
        if done.returncode != 0:
            raise TheranosticDoseError(f"The benchmark ended with an error: {done.stderr.strip()[-300:]}")
        return json.loads(file.read_text(encoding="utf-8"))


def _figures(result: dict[str, Any]) -> list[Figure]:
    machine = result["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, numba {machine['numba']}"
    cases = [
        *((f"{name}, all threads", case) for name, case in result["particles"].items()),
        *((f"Full decays, body of {name} voxels", case) for name, case in result["grids"].items()),
        *((f"Full decays, {name} thread(s)", case) for name, case in result["threads"].items()),
    ]
    found = []
    for name, case in cases:
        per_second = case["decays_per_processor_second"] / 1e6
        detail = f"{per_second:.2f} million per second of processor time, {case['decays']:,} decays"
        what = f"{name[0].upper()}{name[1:]}"
        found.append(
            reported(what, case["decays_per_second"] / 1e6, "million/s", reference=where, detail=detail)
        )
    found.append(
        reported("First use: compiling", result["compile_seconds"], "s", detail="once per installation")
    )
    if result["memory_mib"] is not None:
        found.append(at_most("Peak memory of the process", result["memory_mib"], LARGEST_MIB, "MiB"))
    for name, label in (("gpu", "CUDA device"), ("gate", "GATE 10, same body")):
        case = result[name]
        if "decays_per_second" in case:
            found.append(reported(f"Full decays, {label}", case["decays_per_second"] / 1e6, "million/s"))
        else:
            found.append(reported(f"{label}: not measured", 0, "cases", detail=case["reason"]))
    return found
