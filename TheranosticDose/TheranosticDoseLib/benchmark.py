"""Speed and memory on this machine: Monte Carlo by particle, grid and threads, GATE where installed."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib import __version__
from TheranosticDoseLib.progress import report

if TYPE_CHECKING:
    from TheranosticDoseLib.progress import Progress


def benchmark(
    out: Path | None = None, quick: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure the embedded Monte Carlo, and GATE in the same run where it is installed.

    Parameters
    ----------
    out : Path, optional
        A JSON file to write.
    quick : bool
        A tenth of the histories, smaller grids.
    progress : callable, optional

    Returns
    -------
    dict
        ``machine``; ``compile_seconds``; ``particles``, ``grids``, ``threads`` (decays per
        second, wall and processor time); ``memory_mib``; ``gate``; ``gpu``.
    """
    from TheranosticDoseLib.dose.mc import gpu_unavailable, transport
    from TheranosticDoseLib.nuclides import nuclide

    lu, scale = nuclide("Lu-177"), 0.1 if quick else 1.0
    report(progress, 0.0, "Benchmark: compiling")
    started = time.perf_counter()
    transport(*benchmark_body(8), lu, 1000, 1)
    compiled = time.perf_counter() - started
    side, cores = (48 if quick else 128), os.cpu_count() or 1
    body = benchmark_body(side)

    def measure(case: tuple, histories: float, **more: Any) -> dict[str, Any]:
        record = transport(*case, lu, int(histories * scale), 1, **more)[2]
        return {
            "decays": record["decays"],
            "threads": record["threads"],
            "decays_per_second": round(record["decays_per_second"]),
            "decays_per_processor_second": round(record["decays"] / record["cpu_seconds"]),
            "energy_balance": record["energy_balance"],
        }

    result: dict[str, Any] = {"version": __version__, "machine": machine(), "compile_seconds": compiled}
    report(progress, 0.1, "Benchmark: particles")
    kinds = {"decay": ("electron", "photon"), "electrons": ("electron",), "photons": ("photon",)}
    result["particles"] = {name: measure(body, 4e6, particles=kind) for name, kind in kinds.items()}
    report(progress, 0.4, "Benchmark: grids")
    sides = (16, 32, 48) if quick else (32, 64, 128, 192)
    result["grids"] = {f"{n}^3": measure(benchmark_body(n), 2e6) for n in sides}
    report(progress, 0.7, "Benchmark: threads")
    counts = sorted({1, 2, cores} & set(range(1, cores + 1)))
    result["threads"] = {str(n): measure(body, 4e6, threads=n) for n in counts}
    result["memory_mib"] = peak_memory_mib()
    reason = gpu_unavailable()
    result["gpu"] = {"available": False, "reason": reason} if reason else measure(body, 4e7, device="cuda")
    report(progress, 0.9, "Benchmark: GATE")
    result["gate"] = _gate(side, scale)
    if out is not None:
        from TheranosticDoseLib.files import to_json, write_whole

        write_whole(Path(out), to_json(result))
    report(progress, 1.0, "Benchmark: done")
    return result


def benchmark_body(n: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float], np.ndarray]:
    """Return density, tissue, spacing (mm) and source of a body of ``n^3`` voxels, 56 cm wide.

    An ellipse of soft tissue with a rim of fat, two lungs, a spine, two kidneys, a
    liver and activity in all of the body: 100 to 1 in kidneys and rest, 40 to 1 in the liver.
    """
    from TheranosticDoseLib.tissues import tissue_from_density

    z, y, x = (np.mgrid[:n, :n, :n] + 0.5) / n - 0.5
    density = np.full((n, n, n), 1.2e-3, np.float32)
    source = np.zeros((n, n, n))
    body = (x / 0.42) ** 2 + (y / 0.30) ** 2 < 1
    density[body] = 0.95
    source[body] = 0.05
    density[(x / 0.40) ** 2 + (y / 0.28) ** 2 < 1] = 1.03
    for side in (-1, 1):
        density[((x - 0.18 * side) / 0.10) ** 2 + (y / 0.15) ** 2 + ((z - 0.3) / 0.3) ** 2 < 1] = 0.26
        kidney = ((x - 0.15 * side) / 0.05) ** 2 + ((y - 0.1) / 0.05) ** 2 + ((z + 0.15) / 0.09) ** 2 < 1
        source[kidney] = 5.0
    density[(x / 0.04) ** 2 + ((y - 0.2) / 0.04) ** 2 < 1] = 1.40
    liver = ((x + 0.20) / 0.15) ** 2 + (y / 0.15) ** 2 + ((z + 0.1) / 0.13) ** 2 < 1
    source[liver] = 2.0
    spacing = 560.0 / n
    return density, tissue_from_density(density), (spacing, spacing, spacing), source


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    import numba

    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "numba": numba.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def peak_memory_mib() -> float | None:
    """Return the peak resident memory of this process, MiB; ``None`` where the system does not say."""
    try:
        # getrusage counts what the parent held when it started this process; this does not.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024.0
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024.0**2 if sys.platform == "darwin" else 1024.0)


def _gate(side: int, scale: float) -> dict[str, Any]:
    """Run GATE on the same body where it is installed."""
    from TheranosticDoseLib.dose import Anatomy, absorbed_dose, engines

    listed = engines().get("gate", {"available": False, "reason": "not part of this installation"})
    if not listed["available"]:
        return {"available": False, "reason": listed["reason"]}
    import SimpleITK as sitk

    from TheranosticDoseLib.geometry import image_like

    density, _, spacing, source = benchmark_body(side)
    grid = sitk.Image([side] * 3, sitk.sitkFloat32)
    grid.SetSpacing(spacing)
    histories = int(2e5 * scale)
    started = time.perf_counter()
    absorbed_dose(
        image_like(source, grid), Anatomy(image_like(density, grid)), "gate", "Lu-177", histories=histories
    )
    seconds = time.perf_counter() - started
    return {"available": True, "decays": histories, "decays_per_second": round(histories / seconds)}
