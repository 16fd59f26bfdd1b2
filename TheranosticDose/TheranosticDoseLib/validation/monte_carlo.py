"""Embedded Monte Carlo against EGSnrc, published spheres and its own speed.

The numbers of EGSnrc are in the folder ``egsnrc`` of the reference data; figures that
need it are left out where it is absent.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.progress import part_of, report
from TheranosticDoseLib.validation.figure import Figure, at_most, reported
from TheranosticDoseLib.validation.monte_carlo_checks import bone_interface, fano, photon_distance, speed

if TYPE_CHECKING:
    from TheranosticDoseLib.progress import Progress

MEV_TO_MGY_PER_MBQ_S = 0.1602176634  # per gram
EGSNRC = "EGSnrc v2025a, own user code (README of the reference data)"
SOFT, LUNG, WATER = 3, 1, 5
ORGANS = {1: "liver", 2: "spleen", 3: "kidney_L", 4: "kidney_R", 8: "rest_of_body"}


def reference_folder(name: str) -> Path | None:
    """Return a folder of the reference data, or ``None`` where it is absent."""
    default = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("THERANOSTIC_REFERENCE_DATA", default)) / name
    return folder if folder.is_dir() else None


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return the figures of the Monte Carlo.

    Parameters
    ----------
    out : Path
        Folder for plots.
    progress : callable, optional
    quick : bool
        A tenth of the histories.
    """
    scale = 0.1 if quick else 1.0
    folder, spheres = reference_folder("egsnrc"), reference_folder("svalues_tacs")
    nist = reference_folder("nist_xcom")
    parts = [
        lambda: full_decay(scale),
        lambda: speed(scale),
        lambda: fano(scale),
        lambda: bone_interface(scale),
    ]
    if nist is not None:
        parts.append(lambda: photon_distance(nist, scale))
    if folder is not None:
        parts += [
            lambda: electron_voxels(folder, scale),
            lambda: photon_voxels(folder, scale),
            lambda: interface(folder, scale, out),
            lambda: patient(folder, scale),
            lambda: patient_time(folder, scale),
        ]
    if spheres is not None:
        parts += [lambda: sphere_s_values(spheres, scale), lambda: mird_17(spheres, scale)]
    found: list[Figure] = []
    for number, part in enumerate(parts):
        report(part_of(progress, 0.0, 1.0), number / len(parts), "Monte Carlo: figures")
        found += part()
    if folder is None:
        found.append(
            reported("EGSnrc comparisons", 0, "cases", detail="left out: reference data egsnrc is absent")
        )
    return found


def in_water(h_mm: float, particle: str, kev: float | None, histories: int, n: int, margin: int = 0) -> Any:
    """Return energy per primary in the classes of ``n^3`` voxels around a source voxel in water.

    Returns
    -------
    dict
        ``(i, j, k)`` sorted, largest first: (MeV per primary per voxel, standard uncertainty).
    """
    from TheranosticDoseLib.dose.mc import transport
    from TheranosticDoseLib.nuclides import nuclide

    size, centre = n + 2 * margin, n // 2 + margin
    shape = (size,) * 3
    source = np.zeros(shape)
    source[centre, centre, centre] = 1.0
    lu = dataclasses.replace(nuclide("Lu-177"), electron_lines=np.zeros((0, 2))) if kev is None else None
    energy, relative, _ = transport(
        np.ones(shape, np.float32),
        np.full(shape, WATER, np.uint8),
        (h_mm,) * 3,
        source,
        lu,
        histories,
        1,
        (particle,),
        kev,
    )
    return by_class(energy, energy * relative, centre, n // 2)


def by_class(energy: np.ndarray, sigma: np.ndarray, centre: int, reach: int) -> dict:
    """Return the mean and its uncertainty over the symmetric voxels of each class."""
    found = {}
    for key in itertools.combinations_with_replacement(range(reach, -1, -1), 3):
        signs = itertools.product((1, -1), repeat=3)
        places = {
            tuple(centre + s * p for s, p in zip(sign, order, strict=True))
            for sign in signs
            for order in itertools.permutations(key)
        }
        index = tuple(np.array(sorted(places)).T)
        spread = float(np.sqrt(np.sum(sigma[index] ** 2))) / len(places)
        found[key] = (float(np.mean(energy[index])), spread, len(places))
    return found


def egsnrc_classes(folder: Path, h_mm: float, source: str) -> dict:
    """Return EGSnrc's (MeV per primary per voxel, standard uncertainty) by class."""
    with (folder / "voxelS_water_all_classes.csv").open() as file:
        return {
            (int(r["i"]), int(r["j"]), int(r["k"])): (
                float(r["MeV_per_primary_per_voxel"]),
                float(r["MeV_per_primary_per_voxel"]) * float(r["rel_unc_1sigma"]),
            )
            for r in csv.DictReader(file)
            if float(r["voxel_mm"]) == h_mm and r["source"] == source
        }


def difference(found: tuple, expected: tuple) -> tuple[float, str]:
    """Return the difference in percent and its standard uncertainty as a text."""
    percent = 100 * (found[0] / expected[0] - 1)
    sigma = 100 * np.hypot(found[1] / found[0], expected[1] / expected[0])
    return percent, f"{percent:+.2f} %, standard uncertainty of the comparison {sigma:.2f} %"


def full_decay(scale: float) -> list[Figure]:
    """Full Lu-177 decay in a 4.8 mm voxel of water, and the energy balance."""
    from TheranosticDoseLib.dose.mc import transport
    from TheranosticDoseLib.nuclides import nuclide

    n, shape = 41, (41, 41, 41)
    source = np.zeros(shape)
    source[20, 20, 20] = 1.0
    tissue = np.full(shape, WATER, np.uint8)
    count = int(2_000_000 * scale)
    energy, relative, record = transport(
        np.ones(shape, np.float32), tissue, (4.8,) * 3, source, nuclide("Lu-177"), count, 1
    )
    centre = energy[n // 2, n // 2, n // 2]
    s_value = MEV_TO_MGY_PER_MBQ_S * centre / 0.48**3
    percent = abs(100 * (s_value / 0.1992 - 1))
    detail = f"{s_value:.4f} mGy/(MBq s) against 0.1992, statistical {100 * relative[20, 20, 20]:.2f} %"
    return [
        at_most("S000, full Lu-177 decay, 4.8 mm water", percent, 1.0, "%", reference=EGSNRC, detail=detail),
        at_most(
            "Energy balance, deposited + escaped over emitted", 100 * abs(record["energy_balance"]), 0.1, "%"
        ),
    ]


def electron_voxels(folder: Path, scale: float) -> list[Figure]:
    """Self voxel, first and edge neighbour of electrons in water."""
    found = []
    for h_mm, (source, kev) in itertools.product(
        (2.21, 4.8), (("beta", None), ("e103", 103.0), ("e143", 143.0))
    ):
        histories = int(scale * (20e6 if kev is None else 30e6))
        mine = in_water(h_mm, "electron", kev, histories, 3, 5)
        egs = egsnrc_classes(folder, h_mm, source)
        for key, name, limit in (
            ((0, 0, 0), "self voxel", 1.0),
            ((1, 0, 0), "first neighbour", 3.0),
            ((1, 1, 0), "edge neighbour", 8.0),
        ):
            percent, detail = difference(mine[key], egs[key])
            what = f"{source}, {h_mm:g} mm water, {name}"
            found.append(at_most(what, abs(percent), limit, "%", reference=EGSNRC, detail=detail))
    return found


def photon_voxels(folder: Path, scale: float) -> list[Figure]:
    """Shells of voxels around a photon source in water."""
    found = []
    for h_mm, kev in itertools.product((2.21, 4.8), (113.0, 208.0)):
        margin = 40 if h_mm > 3 else 60
        mine = in_water(h_mm, "photon", kev, int(10e6 * scale), 11, margin)
        egs = egsnrc_classes(folder, h_mm, f"p{kev:.0f}")
        worst, texts = 0.0, []
        for shell in range(6):
            keys = [key for key in mine if key[0] == shell]
            sums = []
            for table in (mine, egs):
                total = sum(mine[key][2] * table[key][0] for key in keys)
                sigma = np.sqrt(sum((mine[key][2] * table[key][1]) ** 2 for key in keys))
                sums.append((total, sigma))
            percent, _ = difference(*sums)
            worst = max(worst, abs(percent))
            texts.append(f"{shell}: {percent:+.2f} %")
        detail = "cubic shells, " + ", ".join(texts)
        name = f"{kev:.0f} keV photons, {h_mm:g} mm water, worst shell to five voxels"
        found.append(at_most(name, worst, 2.0, "%", reference=EGSNRC, detail=detail))
    return found


def interface(folder: Path, scale: float, out: Path | None = None) -> list[Figure]:
    """Slabs of 2 mm across a soft tissue and lung interface, beta source on either side."""
    from TheranosticDoseLib.dose.mc import transport
    from TheranosticDoseLib.nuclides import nuclide

    beta = dataclasses.replace(nuclide("Lu-177"), electron_lines=np.zeros((0, 2)))
    with (folder / "interface_slabs.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["slab_mm"] == "2.0" and r["pair"] == "soft|lung"]
    density = np.repeat(np.float32([1.0, 0.26]), 10).reshape(20, 1, 1)
    tissue = np.repeat(np.uint8([SOFT, LUNG]), 10).reshape(20, 1, 1)
    found = []
    for half in ("soft", "lung"):
        source = (tissue == (SOFT if half == "soft" else LUNG)) * 1.0
        histories = int(6e6 * scale)
        # Slabs as wide as 2 m stand for infinite ones.
        energy, relative, _ = transport(
            density, tissue, (2000.0, 2000.0, 2.0), source, beta, histories, 3, ("electron",)
        )
        own = 1.0 if half == "soft" else 0.26
        ratio = (energy / (1e-3 * beta.electron_energy_kev / 10) * own / density).ravel()
        egs = np.zeros(20)
        for row in rows:
            if row["source_half"] == half:
                position = round((float(row["z_lo_mm"]) + 20) / 2)
                egs[position] = float(row["ratio_to_equilibrium_dose_of_source_medium"])
        across = 10 if half == "soft" else 9
        away = 100 * np.max(np.abs(ratio - egs)[2:-2])
        first = 100 * abs(ratio[across] / egs[across] - 1)
        detail = f"statistical {100 * relative.ravel()[across]:.1f} % in the first slab across"
        label = f"soft | lung, source in {half}"
        found += [
            at_most(f"{label}: worst 2 mm slab, of the equilibrium dose", away, 2.0, "%", reference=EGSNRC),
            at_most(f"{label}: first slab across", first, 8.0, "%", reference=EGSNRC, detail=detail),
        ]
        if out is not None:
            _plot_slabs(Path(out) / f"monte_carlo_interface_{half}.png", ratio, egs, label)
    return found


def _plot_slabs(path: Path, ratio: np.ndarray, egs: np.ndarray, label: str) -> None:
    from matplotlib.figure import Figure as Plot

    plot = Plot(figsize=(6, 3.5), layout="tight")
    axes = plot.subplots()
    z = np.arange(-19, 20, 2)
    axes.semilogy(z, egs, "o", mfc="none", label="EGSnrc")
    axes.semilogy(z, np.maximum(ratio, 1e-6), "-", label="this Monte Carlo")
    axes.set(xlabel="z / mm", ylabel="dose / equilibrium dose", title=label, ylim=(1e-5, 2))
    axes.legend()
    plot.savefig(path, dpi=120)


def patient(folder: Path, scale: float) -> list[Figure]:
    """Organ S values of the left kidney in a patient's CT."""
    from TheranosticDoseLib.dose.mc import transport
    from TheranosticDoseLib.nuclides import nuclide

    data = np.load(folder / "patient_geometry.npz")
    density, label = data["rho"], data["label"]
    spacing = (3.9063, 3.9063, 4.4196)
    energy, relative, _ = transport(
        density,
        data["medium"],
        spacing,
        (label == 3) * 1.0,
        nuclide("Lu-177"),
        int(8e6 * scale),
        5,
        photons_per_decay=4.0,
    )
    with (folder / "patient_organ_S.csv").open() as file:
        egs = {r["target"]: r for r in csv.DictReader(file)}
    found = []
    for index, name in ORGANS.items():
        inside = label == index
        mass = float(density[inside].sum()) * np.prod(spacing) * 1e-3
        s_value = MEV_TO_MGY_PER_MBQ_S * float(energy[inside].sum()) / mass
        sigma = float(np.sqrt(np.sum((energy * relative)[inside] ** 2)) / energy[inside].sum())
        expected = float(egs[name]["S_mGy_per_MBq_s"])
        percent, detail = difference(
            (s_value, s_value * sigma), (expected, expected * float(egs[name]["rel_unc_1sigma"]))
        )
        limit = 1.0 if name == "kidney_L" else 4.0
        what = f"Patient CT, S({name} <- kidney_L)"
        found.append(at_most(what, abs(percent), limit, "%", reference=EGSNRC, detail=detail))
    return found


def patient_time(folder: Path, scale: float) -> list[Figure]:
    """Time until the median kidney voxel of a patient has 2 % statistical uncertainty."""
    from TheranosticDoseLib.dose.mc import Stop, transport
    from TheranosticDoseLib.nuclides import nuclide

    data = np.load(folder / "patient_geometry.npz")
    label = data["label"]
    # Concentrations of the EGSnrc case: kidneys 5, spleen 6, liver 2, tumours 20, rest 0.1.
    concentration = np.array([0.0, 2.0, 6.0, 5.0, 5.0, 20.0, 20.0, 20.0, 0.1])[label]
    stop = Stop(relative_uncertainty=0.02, regions=((label == 3) | (label == 4),))
    started = time.perf_counter()
    _, relative, record = transport(
        data["rho"],
        data["medium"],
        (3.9063, 3.9063, 4.4196),
        concentration,
        nuclide("Lu-177"),
        400_000_000,
        1,
        stop=stop,
    )
    seconds = time.perf_counter() - started
    kidneys = (label == 3) | (label == 4)
    detail = f"{record['decays']:,} decays, median {100 * np.median(relative[kidneys]):.2f} %, "
    detail += f"processor time {record['cpu_seconds']:.0f} s on {record['threads']} threads"
    return [at_most("Time to 2 % per kidney voxel of a patient", seconds, 120.0, "s", detail=detail)]


def sphere_s_values(folder: Path, scale: float) -> list[Figure]:
    """Spheres of soft tissue from 0.1 g to 1 kg against Olguin 2020."""
    from TheranosticDoseLib.dose.mc import transport
    from TheranosticDoseLib.nuclides import nuclide

    table = json.loads((folder / "PyTheranostics_spheres.json").read_text())["100%/0%"]
    masses, s_values = np.array(table["tumor_mass"]), 1e9 * np.array(table["total_s_value"])
    found = []
    for wanted in (0.116, 0.932, 14.6, 116.0, 932.0):
        density = 1.04
        diameter = 10 * (6 * wanted / density / np.pi) ** (1 / 3)
        h = diameter / 32
        margin = int(min(np.ceil(60 / h), 24))
        axis = np.arange(32 + 2 * margin) - (31 + 2 * margin) / 2
        inside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 <= 16**2
        tissue = np.full(inside.shape, SOFT, np.uint8)
        energy, _, _ = transport(
            np.full(inside.shape, density, np.float32),
            tissue,
            (h,) * 3,
            inside * 1.0,
            nuclide("Lu-177"),
            int(2e6 * scale),
            1,
        )
        mass = float(inside.sum()) * h**3 * 1e-3 * density
        s_value = MEV_TO_MGY_PER_MBQ_S * float(energy[inside].sum()) / mass
        expected = float(np.exp(np.interp(np.log(mass), np.log(masses), np.log(s_values))))
        percent = 100 * (s_value / expected - 1)
        detail = f"{percent:+.2f} %: {s_value:.4g} against {expected:.4g} mGy/(MBq s), "
        detail += f"S m = {1e3 * s_value * mass / MEV_TO_MGY_PER_MBQ_S:.1f} keV"
        source = "Olguin 2020, via PyTheranostics"
        name = f"Sphere of {wanted:g} g in soft tissue"
        found.append(at_most(name, abs(percent), 2.0, "%", reference=source, detail=detail))
    return found


def mird_17(folder: Path, scale: float) -> list[Figure]:
    """Self voxel of other nuclides in soft tissue against MIRD Pamphlet 17 (two to three digits printed)."""
    from TheranosticDoseLib.dose.mc import transport
    from TheranosticDoseLib.nuclides import nuclide

    with (folder / "MIRD17_Bolch1999_voxelS_quoted.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["nuclide"] in ("Y-90", "I-131") and r["i"] == "0"]
    found, shape, density = [], (25, 25, 25), 1.04
    source = np.zeros(shape)
    source[12, 12, 12] = 1.0
    for row in rows:
        h = float(row["voxel_mm"])
        energy, _, _ = transport(
            np.full(shape, density, np.float32),
            np.full(shape, SOFT, np.uint8),
            (h,) * 3,
            source,
            nuclide(row["nuclide"]),
            int(1e6 * scale),
            1,
        )
        s_value = MEV_TO_MGY_PER_MBQ_S * energy[12, 12, 12] / (density * (0.1 * h) ** 3)
        percent = 100 * (s_value / float(row["S_mGy_per_MBq_s"]) - 1)
        detail = f"{percent:+.2f} %: {s_value:.4g} against {row['S_mGy_per_MBq_s']} mGy/(MBq s)"
        name = f"S000 of {row['nuclide']}, {h:g} mm soft tissue"
        found.append(at_most(name, abs(percent), 3.0, "%", reference="MIRD Pamphlet 17", detail=detail))
    return found
