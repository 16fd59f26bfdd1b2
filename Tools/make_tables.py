"""Make the tables of ``Resources/Nuclides`` and ``Resources/Physics`` from published packages.

    pip install "theranostic-dosimetry[tables]"
    python Tools/make_tables.py

Sources: ICRP Publication 107 (package ``icrp107-database``), decay chains of
``radioactivedecay`` (same publication), X-ray cross sections of ``xraydb``
(Elam 2002, Chantler 2000, Waasmaier and Kirfel 1995), compositions of ICRU
Report 44 (1989) and the conversion of Schneider, Bortfeld and Schlegel (2000).
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import electron_tables
import numpy as np
import photon_tables

RESOURCES = Path(__file__).resolve().parent.parent / "Resources"
NUCLIDES = ("Lu-177", "Y-90", "I-131", "Tb-161", "Ga-68", "F-18", "Ho-166", "Cu-67", "Ac-225")
CHAINS = {"Ac-225": ("Ac-225", "Fr-221", "At-217", "Bi-213", "Po-213", "Tl-209", "Pb-209")}
BETA_BINS = 1000
HOURS = {"s": 1 / 3600, "m": 1 / 60, "h": 1.0, "d": 24.0, "y": 24 * 365.2425}

ICRU44 = "ICRU Report 44 (1989)"
ICRU37 = "ICRU Report 37 (1984)"
# name, density g/cm3, mean excitation energy eV, lowest voxel density g/cm3, source, mass fractions by Z
TISSUES = (
    ("AIR", 1.20479e-3, 85.7, 0.0, ICRU37, {6: 0.000124, 7: 0.755267, 8: 0.231781, 18: 0.012827}),
    (
        "LUNG",
        0.26,
        75.2,
        0.10,
        ICRU44,
        {1: 0.103, 6: 0.105, 7: 0.031, 8: 0.749, 11: 0.002, 15: 0.002, 16: 0.003, 17: 0.003, 19: 0.002},
    ),
    (
        "ADIPOSE",
        0.95,
        64.8,
        0.60,
        ICRU44,
        {1: 0.114, 6: 0.598, 7: 0.007, 8: 0.278, 11: 0.001, 16: 0.001, 17: 0.001},
    ),
    ("SOFT", 1.00, 74.9, 0.98, ICRU44, {1: 0.101172, 6: 0.111, 7: 0.026, 8: 0.761828}),
    (
        "BONE",
        1.92,
        112.0,
        1.12,
        ICRU44,
        {1: 0.034, 6: 0.155, 7: 0.042, 8: 0.435, 11: 0.001, 12: 0.002, 15: 0.103, 16: 0.003, 20: 0.225},
    ),
    ("WATER", 1.00, 75.0, None, ICRU37, {1: 0.111894, 8: 0.888106}),
)
# first, last, number of points, evenly spaced in the logarithm
ELECTRON_GRID_MEV = (0.001, 4.0, 256)
PHOTON_GRID_MEV = (0.001, 3.0, 512)
TRANSFER_GRID = (0.005, 250.0, 256)
SCHNEIDER = {
    "name": "Schneider 2000",
    "source": "Schneider W, Bortfeld T, Schlegel W, Phys Med Biol 45 (2000) 459-478, doi:10.1088/0031-9155/45/2/314",
    "units": "HU, g/cm3; linear between the nodes",
    "hu": [-1000, -98, -97, 14, 23, 100, 101, 1600, 3000],
    "density_g_cm3": [1.21e-3, 0.93, 0.930486, 1.03, 1.031, 1.1199, 1.0762, 1.9642, 2.8],
}


def main() -> None:
    """Write all tables and their checksums."""
    write_json(RESOURCES / "Physics" / "hu_to_density.json", SCHNEIDER)
    write_json(RESOURCES / "Physics" / "tissues.json", tissue_table())
    write_json(RESOURCES / "Physics" / "electrons.json", electron_table())
    write_json(RESOURCES / "Physics" / "photons.json", photon_table())
    write_checksums(RESOURCES / "Physics")
    for name in NUCLIDES:
        write_json(RESOURCES / "Nuclides" / f"{name}.json", nuclide_table(name))
    write_checksums(RESOURCES / "Nuclides")


def tissue_table() -> dict:
    """Return the tissues in the order of their indices."""
    keys = ("name", "density_g_cm3", "mean_excitation_energy_ev", "lowest_density_g_cm3", "source")
    entries = [
        dict(zip(keys, tissue[:5], strict=True), mass_fraction={str(z): f for z, f in tissue[5].items()})
        for tissue in TISSUES
    ]
    return {
        "units": "density in g/cm3, mean excitation energy in eV, mass fractions by atomic number",
        "tissues": entries,
    }


def icrp107(name: str) -> dict:
    """Return the record of one nuclide of ICRP 107."""
    import icrp107_database

    file = Path(icrp107_database.__file__).parent / "icrp107" / f"{name}.json"
    return json.loads(json.loads(file.read_text()))


def chain_weights(name: str) -> dict[str, float]:
    """Return decays of each member per decay of the parent, all in secular equilibrium."""
    import radioactivedecay

    weights = dict.fromkeys(CHAINS.get(name, (name,)), 0.0)
    weights[name] = 1.0
    for member in weights:
        if len(weights) == 1:
            break
        nuclide = radioactivedecay.Nuclide(member)
        for daughter, fraction in zip(nuclide.progeny(), nuclide.branching_fractions(), strict=True):
            if daughter in weights:
                weights[daughter] += weights[member] * fraction
    return weights


def beta_bins(records: list[tuple[float, dict]]) -> tuple[np.ndarray, np.ndarray]:
    """Return uniform bin edges (keV) and emissions per parent decay in each bin.

    ICRP 107 prints *point values* of the density; a cubic spline through them has
    the mean of the branch list within 0.1 %, a step function is 5 % too hard.
    """
    from scipy.interpolate import CubicSpline

    spectra = [
        (w, r, np.array(r["emissions"]["b-spectra"])) for w, r in records if r["emissions"]["b-spectra"]
    ]
    if not spectra:
        return np.zeros(1), np.zeros(0)
    edges = np.linspace(0.0, max(points[-1, 0] for _, _, points in spectra), BETA_BINS + 1)
    total = np.zeros(BETA_BINS)
    for weight, record, points in spectra:
        spline = CubicSpline(points[:, 0], points[:, 1])
        fine = np.linspace(0.0, edges[-1], 20 * BETA_BINS + 1)
        fine = 0.5 * (fine[1:] + fine[:-1])
        density = np.where(
            fine <= points[-1, 0], np.maximum(spline(np.minimum(fine, points[-1, 0])), 0.0), 0.0
        )
        binned = density.reshape(BETA_BINS, 20).sum(axis=1)
        branches = record["emissions"]["beta-"] + record["emissions"]["beta+"]
        total += weight * binned / binned.sum() * sum(fraction for _, fraction in branches)
    return 1000.0 * edges, total


def lines(records: list[tuple[float, dict]], kinds: tuple[str, ...]) -> list[list[float]]:
    """Return ``[energy in keV, emissions per parent decay]``, sorted by energy."""
    found = [
        [1000.0 * energy, weight * fraction]
        for weight, record in records
        for kind in kinds
        for energy, fraction in record["emissions"][kind]
        if fraction > 0
    ]
    return [[float(f"{e:.7g}"), float(f"{y:.7g}")] for e, y in sorted(found)]


def nuclide_table(name: str) -> dict:
    """Return the table of one nuclide, daughters included."""
    weights = chain_weights(name)
    records = [(weight, icrp107(member)) for member, weight in weights.items()]
    edges, spectrum = beta_bins(records)
    parent = records[0][1]
    positron = any(record["emissions"]["beta+"] for _, record in records)
    if positron and any(record["emissions"]["beta-"] for _, record in records):
        raise ValueError(f"{name} emits electrons and positrons; the tables hold one kind of beta spectrum")
    branches = sum(
        1000 * w * e * y for w, r in records for k in ("beta-", "beta+") for e, y in r["emissions"][k]
    )
    return {
        "name": name,
        "half_life_h": parent["half_life"] * HOURS[parent["time_unit"]],
        "source": f"ICRP Publication 107 (2008), package icrp107-database {version('icrp107-database')}"
        + (f", chain of radioactivedecay {version('radioactivedecay')}" if len(records) > 1 else ""),
        "units": "energies in keV, yields in emissions per decay of the parent",
        "daughters": [
            {
                "name": member,
                "half_life_h": record["half_life"] * HOURS[record["time_unit"]],
                "decays_per_parent_decay": weight,
            }
            for (member, weight), (_, record) in zip(weights.items(), records, strict=True)
            if member != name
        ],
        "positron": positron,
        "tabulated_beta_energy_kev": float(f"{branches:.7g}"),
        "beta_edge_max_kev": float(edges[-1]),
        "beta_yield_per_bin": [float(f"{value:.6g}") for value in spectrum],
        "electron_lines": lines(records, ("IE", "auger")),
        "photon_lines": lines(records, ("gamma", "X")),
        "alpha_lines": lines(records, ("alpha",)),
        "recoil_lines": lines(records, ("alpha recoil",)),
    }


def electron_table() -> dict:
    """Return stopping powers and scattering of electrons for all tissues."""
    energy = np.geomspace(*ELECTRON_GRID_MEV)
    fractions = np.linspace(0.0, 1.0, 21)
    tissues = tissue_table()["tissues"]
    return {
        "source": "Bethe, ICRU Report 37; Moliere screening with McKinley-Feshbach; Moller; Koch-Motz 3BN",
        "units": "MeV, MeV cm2/g, g/cm2 (range), cm2/g (transport and hard cross sections)",
        "hard_mev": electron_tables.HARD_MEV,
        "hard_photon_mev": electron_tables.HARD_PHOTON_MEV,
        "energy_mev": list(ELECTRON_GRID_MEV),
        "tissues": {t["name"]: rounded(electron_tables.electron_table(t, energy)) for t in tissues},
        "bremsstrahlung_shape": [
            [float(f"{v:.4g}") for v in row]
            for row in electron_tables.bremsstrahlung_shape(energy, fractions)
        ],
    }


def photon_table() -> dict:
    """Return photon cross sections and scattering functions for all tissues."""
    energy = np.geomspace(*PHOTON_GRID_MEV)
    x = np.geomspace(*TRANSFER_GRID)
    tissues = tissue_table()["tissues"]
    return {
        "source": f"Elam, Ravel and Sieber 2002 and Waasmaier and Kirfel 1995 in xraydb {version('xraydb')}; "
        f"incoherent scattering functions of xraylib {version('xraylib')} (Hubbell 1975)",
        "units": "MeV, cm2/g; x = sin(angle/2) E / hc in 1/angstrom",
        "energy_mev": list(PHOTON_GRID_MEV),
        "transfer_per_angstrom": list(TRANSFER_GRID),
        "tissues": {t["name"]: rounded(photon_tables.photon_table(t, energy, x)) for t in tissues},
    }


def rounded(columns: dict) -> dict:
    """Return columns as lists with six digits."""
    return {name: [float(f"{value:.6g}") for value in column] for name, column in columns.items()}


def write_json(path: Path, table: dict) -> None:
    """Write one table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table, indent=None, separators=(",", ":")) + "\n")


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of the files of a folder."""
    files = sorted(file for file in folder.iterdir() if file.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(sums))


if __name__ == "__main__":
    main()
