"""Dose engines in phantoms with a known answer: spheres, a uniform medium, a point, energy balance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.commission.check import Check
from TheranosticDoseLib.geometry import array_of
from TheranosticDoseLib.progress import Progress, report

if TYPE_CHECKING:
    import SimpleITK as sitk

J_PER_KEV = 1.602176634e-16


def checks(quick: bool = False, progress: Progress | None = None) -> list[Check]:
    """Return the checks of all engines that need no further installation."""
    parts = (_uniform, _point, _balance, _spheres)
    found: list[Check] = []
    for number, part in enumerate(parts):
        report(progress, number / len(parts), f"Dose engines: {part.__name__.strip('_')}")
        found += part(quick)
    return found


def _image(array: np.ndarray, spacing_mm: float) -> sitk.Image:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array.astype(np.float32))
    image.SetSpacing((spacing_mm,) * 3)
    return image


def _dose(tia: np.ndarray, spacing_mm: float, density: float, engine: str, **settings: Any) -> Any:
    from TheranosticDoseLib.dose import Anatomy, absorbed_dose

    anatomy = Anatomy(_image(np.full(tia.shape, density), spacing_mm))
    return absorbed_dose(_image(tia, spacing_mm), anatomy, engine, "Lu-177", None, **settings)


def _equilibrium_gy(concentration_mbq_h_ml: float, density: float, kev: float) -> float:
    """Dose of an infinite uniform medium: what is emitted per gram is absorbed per gram."""
    return concentration_mbq_h_ml * 3.6e9 * kev * J_PER_KEV / (density * 1e-3)


def _uniform(quick: bool) -> list[Check]:
    """Local deposition and the kernel in a uniform medium: equilibrium of the electrons, and of nearly all."""
    from TheranosticDoseLib.nuclides import nuclide

    lu = nuclide("Lu-177")
    electrons = lu.electron_energy_kev
    source = "equilibrium dose: energy emitted per mass (ICRP 107)"
    group = "Uniform medium"
    led = _dose(np.ones((9, 9, 9)), 4.0, 1.04, "led")
    middle = float(array_of(led.dose)[4, 4, 4])
    exact = _equilibrium_gy(1.0, 1.04, electrons)
    found = [Check(group, "led, electrons", middle, exact, "Gy", 0.001, 0.0, source=source)]
    n = 25 if quick else 41
    vsv = _dose(np.ones((n, n, n)), 8.0, 1.0, "vsv")
    middle = float(array_of(vsv.dose)[n // 2, n // 2, n // 2])
    low, high = (_equilibrium_gy(1.0, 1.0, kev) for kev in (electrons, electrons + lu.photon_energy_kev))
    # A cube of 20 to 33 cm holds the electrons wholly and a part of the photons.
    name = f"vsv, center of a cube of {n * 8 / 10:.0f} cm: part of the photon energy absorbed"
    share = (middle - low) / (high - low)
    found.append(Check(group, name, share, 1.0, "", None, source="1 in an infinite medium"))
    return found


def _point(quick: bool) -> list[Check]:
    """One voxel of activity: the kernel's electrons deposit what they carry."""
    from TheranosticDoseLib.nuclides import nuclide

    lu = nuclide("Lu-177")
    found = []
    for spacing in (4.0, 4.8):
        tia = np.zeros((21, 21, 21))
        tia[10, 10, 10] = 1000.0 / spacing**3  # 1 MBq h
        dose = np.asarray(array_of(_dose(tia, spacing, 1.0, "vsv").dose), np.float64)
        kev = dose.sum() * spacing**3 * 1e-6 / 3.6e9 / J_PER_KEV
        expected = lu.electron_energy_kev
        photons = (kev - expected) / lu.photon_energy_kev
        name = f"voxel of {spacing:g} mm: part of the photon energy within {10 * spacing:.0f} mm"
        found.append(Check("Point source", name, photons, 1.0, "", None, source="1 in an infinite medium"))
        share = float(dose[9:12, 9:12, 9:12].sum() * spacing**3 * 1e-6 / 3.6e9 / J_PER_KEV / expected)
        name = f"voxel of {spacing:g} mm: energy in it and its neighbors over that of the electrons"
        found.append(
            Check("Point source", name, share, 1.0, "", 0.02, source="electrons of 177Lu stop within 2 mm")
        )
    return found


def _balance(quick: bool) -> list[Check]:
    """The Monte Carlo: emitted energy is deposited or escapes, and its electrons are those of ICRP 107."""
    from TheranosticDoseLib.nuclides import nuclide

    lu = nuclide("Lu-177")
    result = _dose(np.ones((16, 16, 16)), 5.0, 1.04, "mc", histories=20_000 if quick else 500_000)
    record = result.record["monte_carlo"]
    total = record["deposited_mev_per_decay"] + record["escaped_mev_per_decay"]
    emitted = (lu.electron_energy_kev + lu.photon_energy_kev) / 1000
    u = emitted / np.sqrt(20_000 if quick else 500_000)
    return [
        Check(
            "Energy", "mc, deposited and escaped over emitted", 1 + record["energy_balance"], 1.0, "", 0.001
        ),
        Check("Energy", "mc, energy per decay", total, emitted, "MeV", 0.02, u, source="ICRP 107"),
    ]


def _spheres(quick: bool) -> list[Check]:
    """S values of spheres by the kernel and the Monte Carlo."""
    from DoseSegmentationLib.resources import resource_path

    path = resource_path("Commissioning", "references.json")
    table = json.loads(path.read_text(encoding="utf-8"))["spheres"]
    masses, s_values = np.array(table["values"]).T
    density = table["density_g_cm3"]
    histories = 40_000 if quick else 400_000
    found = []
    for wanted_g in masses:
        if quick and wanted_g not in (14.6, 116.0):
            continue
        inside, spacing = _sphere(wanted_g, density)
        mass_g = inside.sum() * spacing**3 / 1000 * density
        # The voxels of a sphere are not exactly its mass; S times mass hardly changes with it.
        expected = float(np.interp(np.log(mass_g), np.log(masses), s_values * masses)) / mass_g
        tia = inside / (inside.sum() * spacing**3 / 1000)
        for engine, settings in {"vsv_density": {}, "mc": {"histories": histories}}.items():
            result = _dose(tia, spacing, density, engine, **settings)
            measured = float(array_of(result.dose)[inside].mean()) * 1000 / 3600
            statistical = measured / np.sqrt(histories) if engine == "mc" else 0.0
            u = float(np.hypot(table["relative_u"] * expected, statistical))
            name = f"{engine}, {mass_g:.3g} g"
            found.append(
                Check("Spheres", name, measured, expected, table["unit"], 0.03, u, source=table["source"])
            )
    return found


def _sphere(mass_g: float, density: float, across: int = 28, margin: int = 6) -> tuple[np.ndarray, float]:
    """Return the voxels whose centers are in a sphere, and the voxel in mm."""
    diameter = 10 * (6 * mass_g / density / np.pi) ** (1 / 3)
    n = across + 2 * margin
    axis = np.arange(n) - (n - 1) / 2
    inside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 <= (across / 2) ** 2
    return inside, diameter / across
