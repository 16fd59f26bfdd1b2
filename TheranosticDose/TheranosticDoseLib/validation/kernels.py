"""Kernels against EGSnrc and published tables, and the corrected kernel engine against the Monte Carlo."""

from __future__ import annotations

import csv
import dataclasses
import time
from pathlib import Path

import numpy as np

from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.validation.dvh import reference_folder
from TheranosticDoseLib.validation.figure import Figure, at_most, reported

FULL_DECAY_S000 = 0.1992
"""177Lu, 4.8 mm cube of water, all emissions, EGSnrc, mGy/(MBq s)."""
SOURCES = {
    "beta": {"beta": True},
    "e103": {"electron": 103.0},
    "e143": {"electron": 143.0},
    "p113": {"photon": 112.95},
    "p208": {"photon": 208.37},
}
LIMITS = {"000": 1.0, "100": 3.0, "110": 8.0}
"""Percent, electrons: self voxel, first neighbour, edge neighbour."""
PHOTON_LIMIT = 2.0


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return the figures; those against EGSnrc only where the reference data are present."""
    report(progress, 0.0, "Kernels: energy and speed")
    found = [*_shipped(), *_speed()]
    folder = reference_folder("egsnrc")
    if folder is not None:
        table = list(csv.DictReader((folder / "voxelS_water_all_classes.csv").open(encoding="utf-8")))
        for number, name in enumerate(list(SOURCES)[:: 4 if quick else 1]):
            report(progress, 0.05 + 0.08 * number, f"Kernel of {name} against EGSnrc")
            found += _egsnrc(name, table, 100_000 if quick else 400_000)
    report(progress, 0.5, "vsv_density against mc")
    return found + _density_engine(
        progress, patients=1 if quick else 5, histories=200_000 if quick else 2_000_000
    )


def _shipped() -> list[Figure]:
    from TheranosticDoseLib import nuclides
    from TheranosticDoseLib.dose.kernels import point_kernel, voxel_kernel

    lu177 = nuclides.nuclide("Lu-177")
    kernel = point_kernel(lu177, "water")
    s000 = voxel_kernel(kernel, (4.8, 4.8, 4.8), (3, 3, 3)).s_value_mgy_per_mbq_s()[0, 0, 0]
    lost = 100 * abs(kernel.electron.total_kev / lu177.electron_energy_kev - 1)
    found = [
        at_most("177Lu kernel: S000 at 4.8 mm, difference to EGSnrc", 100 * abs(s000 / FULL_DECAY_S000 - 1), 1.0, "%",
                reference=f"{FULL_DECAY_S000} mGy/(MBq s)", detail=f"{s000:.4f} mGy/(MBq s)"),
        at_most("177Lu kernel: electron energy not in the kernel", lost, 0.2, "%",
                reference="ICRP 107, 147.9 keV per decay",
                detail="bremsstrahlung that leaves 45 cm of water, and statistics"),
    ]  # fmt: skip
    for spacing, s000_published in ((2.21, 1.66), (3.0, 0.693), (4.42, 0.226), (4.8, 0.178), (6.0, 0.0925)):
        own = voxel_kernel(kernel, (spacing,) * 3, (2, 2, 2), 1.04).s_value_mgy_per_mbq_s()[0, 0, 0]
        found.append(
            reported(f"177Lu S000 at {spacing:g} mm against Lanconelli 2012", 100 * (own / s000_published - 1), "%",
                     reference="doi:10.1088/0031-9155/57/2/517, soft tissue 1.04 g/cm3",
                     detail="that table holds the beta spectrum alone: conversion and Auger electrons are missing")
        )  # fmt: skip
    return found


def _speed() -> list[Figure]:
    import SimpleITK as sitk

    from TheranosticDoseLib.dose import Anatomy, absorbed_dose

    rng = np.random.default_rng(0)
    tia, density = (
        sitk.GetImageFromArray(values.astype(np.float32))
        for values in (rng.random((128, 128, 128)), rng.choice([0.26, 0.95, 1.05, 1.5], (128, 128, 128)))
    )
    for image in (tia, density):
        image.SetSpacing((4.0, 4.0, 4.0))
    anatomy, found = Anatomy(density), []
    for engine in ("vsv", "vsv_density"):
        absorbed_dose(tia, anatomy, engine=engine)
        times = []
        for _ in range(5):
            start = time.perf_counter(), time.process_time()
            absorbed_dose(tia, anatomy, engine=engine)
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        wall, cpu = np.median(times, axis=0)
        found.append(
            at_most(f"{engine}: 128^3 voxels, kernel at hand", float(wall), 1.0, "s", reference="two cores",
                    detail=f"median of 5; processor time {cpu:.2f} s; all 128^3 voxels active")
        )  # fmt: skip
    return found


def _egsnrc(name: str, table: list[dict[str, str]], histories: int) -> list[Figure]:
    from TheranosticDoseLib.dose.kernels import voxel_kernel
    from TheranosticDoseLib.dose.kernels.simulate import simulate

    kernel = simulate(_emission(name), "water", histories)
    found = []
    for spacing in ("2.21", "4.8"):
        energy = voxel_kernel(kernel, (float(spacing),) * 3, (7, 7, 7)).energy_kev
        rows = [row for row in table if row["voxel_mm"] == spacing and row["source"] == name]
        classes = {tuple(int(row[axis]) for axis in "ijk"): row for row in rows}
        if name[0] == "p":
            found += _shells(name, spacing, energy, classes)
            continue
        for key, limit in LIMITS.items():
            row = classes[tuple(int(digit) for digit in key)]
            reference = 1e3 * float(row["MeV_per_primary_per_voxel"])
            own = energy[tuple(int(digit) for digit in key)]
            u = 100 * float(row["rel_unc_1sigma"])
            found.append(
                at_most(f"{name}, {spacing} mm: S{key}", 100 * abs(own / reference - 1), limit, "%", reference="EGSnrc",
                        detail=f"{own:.5g} against {reference:.5g} keV, their statistics {u:.1f} %")
            )  # fmt: skip
    return found


def _shells(name: str, spacing: str, energy: np.ndarray, classes: dict) -> list[Figure]:
    """Return the differences in cubic shells of voxels; a single class of EGSnrc is uncertain by up to 2 %."""
    found = []
    for shell in range(6):
        keys = [key for key in classes if key[0] == shell]
        many = {key: int(classes[key]["multiplicity"]) for key in keys}
        theirs = {key: 1e3 * float(classes[key]["MeV_per_primary_per_voxel"]) * many[key] for key in keys}
        own, reference = sum(energy[key] * many[key] for key in keys), sum(theirs.values())
        u = (
            np.sqrt(sum((theirs[key] * float(classes[key]["rel_unc_1sigma"])) ** 2 for key in keys))
            / reference
        )
        what = f"{name}, {spacing} mm: " + ("S000" if shell == 0 else f"cubic shell {shell} voxels away")
        found.append(
            at_most(what, 100 * abs(own / reference - 1), PHOTON_LIMIT, "%", reference="EGSnrc",
                    detail=f"{own:.5g} against {reference:.5g} keV, their statistics {100 * u:.1f} %")
        )  # fmt: skip
    return found


def _emission(name: str):
    """Return a nuclide that emits one kind of particle only."""
    from TheranosticDoseLib import nuclides

    base = nuclides.nuclide("Lu-177")
    none = np.zeros((0, 2))
    wanted = SOURCES[name]
    silent = dataclasses.replace(base, name=name, electron_lines=none, photon_lines=none)
    if "beta" in wanted:
        return silent
    silent = dataclasses.replace(silent, beta_edges_kev=np.zeros(1), beta_yield=np.zeros(0))
    kind, energy = next(iter(wanted.items()))
    return dataclasses.replace(silent, **{f"{kind}_lines": np.array([[energy, 1.0]])})


def _density_engine(progress: Progress | None, patients: int, histories: int) -> list[Figure]:
    """Return the differences to the Monte Carlo per tissue, over all voxels of that tissue and all patients."""
    from TheranosticDoseLib import tissues
    from TheranosticDoseLib.dose import Anatomy, absorbed_dose
    from TheranosticDoseLib.geometry import array_of
    from TheranosticDoseLib.phantom import PhantomSettings, virtual_patient

    sums: dict[tuple[str, int], list[float]] = {}
    for seed in range(1, patients + 1):
        report(
            progress,
            0.5 + 0.5 * (seed - 1) / patients,
            f"Virtual patient {seed}: kernels against Monte Carlo",
        )
        patient = virtual_patient(seed, PhantomSettings())
        anatomy = Anatomy(patient.density_g_cm3)
        tissue = anatomy.tissue_array()
        reference = absorbed_dose(patient.tia_mbq_h_ml, anatomy, engine="mc", histories=histories, seed=seed)
        for engine in ("led", "vsv", "vsv_density"):
            result = absorbed_dose(patient.tia_mbq_h_ml, anatomy, engine=engine)
            for index in (tissues.LUNG, tissues.ADIPOSE, tissues.SOFT, tissues.BONE):
                here = tissue == index
                mine, theirs = array_of(result.dose)[here], array_of(reference.dose)[here]
                mean = float(mine.mean(dtype=np.float64) / theirs.mean(dtype=np.float64) - 1)
                sums.setdefault((engine, index), []).append(100 * mean)
    names = {entry.index: entry.name.lower() for entry in tissues.tissues()}
    return [
        reported(f"{engine} against mc, mean dose to {names[index]}", float(np.mean(values)), "%",
                 reference=f"mc, {patients} virtual patients, {histories:.0e} decays each",
                 detail="per patient: " + ", ".join(f"{value:+.1f}" for value in values))
        for (engine, index), values in sums.items()
    ]  # fmt: skip
