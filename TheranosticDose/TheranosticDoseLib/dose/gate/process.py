"""One GATE run: files in, a child process, files out, always cleaned up."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.dose.anatomy import Anatomy
from TheranosticDoseLib.dose.gate.configuration import configuration
from TheranosticDoseLib.dose.result import DoseResult
from TheranosticDoseLib.errors import EngineUnavailableError
from TheranosticDoseLib.geometry import array_of, image_like, voxel_volume_ml
from TheranosticDoseLib.progress import Progress, report

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dose.gate import EngineSettings
    from TheranosticDoseLib.nuclides import Nuclide

POLL_S = 0.5
JOULE_PER_MEV = 1.602176634e-13


def simulate(
    tia: sitk.Image, anatomy: Anatomy, nuclide: Nuclide, settings: EngineSettings, progress: Progress | None
) -> DoseResult:
    """Return the dose and its statistical uncertainty on the grid of ``tia``."""
    from TheranosticDoseLib.dose.engines import decays_per_voxel

    with tempfile.TemporaryDirectory(prefix="theranostic-gate-") as name:
        folder = Path(name)
        wanted = write_input(folder, tia, anatomy, nuclide, settings)
        report(progress, 0.05, "GATE 10 is running")
        run_child(folder, progress)
        energy_mev, relative = read_output(folder, array_of(tia).shape)
    decays = decays_per_voxel(tia)
    # All sources stand for the same number of decays up to rounding; the electrons decide.
    simulated = wanted["sources"][0]["decays"]
    recoil_kev = nuclide.recoil_energy_kev
    joule = energy_mev * (decays.sum() / simulated) * JOULE_PER_MEV
    local = decays * recoil_kev * 1e-3 * JOULE_PER_MEV
    mass_kg = np.asarray(array_of(anatomy.density), np.float64) * voxel_volume_ml(tia) * 1e-3
    dose = np.divide(joule + local, mass_kg, out=np.zeros_like(mass_kg), where=mass_kg > 0)
    spread = np.divide(joule * relative, mass_kg, out=np.zeros_like(mass_kg), where=mass_kg > 0)
    record: dict[str, Any] = {
        "histories": simulated,
        "device": f"cpu, {settings.threads} threads",
        "physics": settings.physics,
        "materials": len(wanted["materials"]),
        "energy_deposited_mev_per_decay": float(energy_mev.sum() / simulated) + 1e-3 * recoil_kev,
    }
    return DoseResult(image_like(dose, tia), image_like(spread, tia), record)


def write_input(
    folder: Path, tia: sitk.Image, anatomy: Anatomy, nuclide: Nuclide, settings: EngineSettings
) -> dict[str, Any]:
    """Write ``simulation.json`` and the images; return the configuration."""
    import SimpleITK as sitk

    density = np.asarray(array_of(anatomy.density))
    wanted, labels = configuration(density, anatomy.tissue_array(), tia.GetSpacing(), nuclide, settings)
    (folder / "simulation.json").write_text(json.dumps(wanted), encoding="utf-8")
    for name, array in (("labels", labels), ("activity", np.array(array_of(tia), np.float32))):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(tia.GetSpacing())
        sitk.WriteImage(image, str(folder / f"{name}.mhd"))
    return wanted


def run_child(folder: Path, progress: Progress | None) -> None:
    """Run the child to its end; cancelling kills it.

    Raises
    ------
    EngineUnavailableError
        Where it fails, with its last words.
    CancelledError
    """
    child = Path(__file__).with_name("child.py")
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            [sys.executable, str(child), str(folder)], stdout=stream, stderr=subprocess.STDOUT, cwd=folder
        )
        try:
            started = time.monotonic()
            while process.poll() is None:
                time.sleep(POLL_S)
                report(progress, 0.5, f"GATE 10 is running, {time.monotonic() - started:.0f} s")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise EngineUnavailableError(f"GATE 10 stopped with an error: {lines[-1] if lines else 'no message'}")


def read_output(folder: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the deposited energy, MeV, and its relative uncertainty, ``(z, y, x)``."""
    import SimpleITK as sitk

    found = []
    for kind in ("edep", "edep_uncertainty"):
        names = sorted(folder.glob(f"*{kind}.mhd"))
        if not names:
            raise EngineUnavailableError(
                f"GATE 10 ended without its {kind} image; its version is not known to this."
            )
        array = np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(names[0]))), np.float64)
        if array.shape != shape:
            raise EngineUnavailableError(f"GATE 10 gave an image of shape {array.shape}, expected {shape}.")
        found.append(array)
    energy, relative = found
    return energy, np.where(energy > 0, np.nan_to_num(relative), 0.0)
