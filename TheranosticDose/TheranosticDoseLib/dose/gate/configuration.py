"""The simulation as plain data, made from the same activity and anatomy; tested without Geant4.

Four things that go wrong easily with GATE 10 are settled here:

1. its own spectrum of a beta emitter is a step function at the left edges (177Lu: 5 % too much
   energy), so every emission is given as lines: beta bins at their centres;
2. the default production cut and step smear the dose, so both are set;
3. ``number_of_threads`` multiplies the primaries, so they are divided by it first;
4. images carry origin and direction that GATE places in its own way, so they are written without,
   all on one grid, and the dose comes back as an array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.errors import InputError

if TYPE_CHECKING:
    from TheranosticDoseLib.dose.gate import EngineSettings
    from TheranosticDoseLib.nuclides import Nuclide

SYMBOLS = {
    1: "Hydrogen", 6: "Carbon", 7: "Nitrogen", 8: "Oxygen", 9: "Fluor", 11: "Sodium", 12: "Magnesium",
    14: "Silicon", 15: "Phosphor", 16: "Sulfur", 17: "Chlorine", 18: "Argon", 19: "Potassium",
    20: "Calcium", 26: "Iron", 53: "Iodine",
}  # fmt: skip
"""Names of the elements in the material database of GATE."""
THINNEST_G_CM3 = 1e-5


def configuration(
    density: np.ndarray, tissue: np.ndarray, spacing_mm: tuple, nuclide: Nuclide, settings: EngineSettings
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the simulation as a JSON-serialisable dictionary, and the material index of each voxel."""
    materials, labels = _materials(density, tissue, settings.density_step)
    size = [int(n) for n in density.shape[::-1]]
    sources = _sources(nuclide, settings.histories, settings.threads)
    # Whole primaries per thread: what was really asked of GATE decides what the result is divided by.
    return {
        "size": size,
        "spacing_mm": [float(s) for s in spacing_mm],
        "threads": settings.threads,
        "seed": settings.seed,
        "physics": settings.physics,
        "cut_mm": settings.cut_mm,
        "max_step_mm": settings.max_step_mm,
        "hit_type": "random",
        "materials": materials,
        "sources": sources,
    }, labels


def _sources(nuclide: Nuclide, histories: int, threads: int) -> list[dict[str, Any]]:
    """Return one source per particle: lines, primaries per thread, particles per decay."""
    centres = 0.5 * (nuclide.beta_edges_kev[1:] + nuclide.beta_edges_kev[:-1])
    beta = np.column_stack([centres, nuclide.beta_yield]) if centres.size else np.zeros((0, 2))
    electrons, positrons = nuclide.electron_lines, np.zeros((0, 2))
    if nuclide.positron:
        positrons = beta
    else:
        electrons = np.concatenate([beta, electrons])
    sources = []
    for particle, lines in (
        ("e-", electrons),
        ("e+", positrons),
        ("gamma", nuclide.photon_lines),
        ("alpha", nuclide.alpha_lines),
    ):
        lines = lines[(lines[:, 1] > 0) & (lines[:, 0] > 0)]
        per_decay = float(lines[:, 1].sum())
        if per_decay == 0:
            continue
        per_thread = max(1, round(histories * per_decay / threads))
        sources.append(
            {
                "particle": particle,
                "energies_kev": [float(e) for e in lines[:, 0]],
                "weights": [float(w / per_decay) for w in lines[:, 1]],
                "per_decay": per_decay,
                "primaries_per_thread": per_thread,
                "decays": per_thread * threads / per_decay,
            }
        )
    return sources


def _materials(
    density: np.ndarray, tissue: np.ndarray, step: float
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return the materials and each voxel's index: tissue, and density in steps of a fraction."""
    from TheranosticDoseLib import tissues

    table = tissues.tissues()
    level = np.round(np.log(np.maximum(density, THINNEST_G_CM3)) / np.log1p(step)).astype(np.int64)
    key = tissue.astype(np.int64) * 100_000 + (level + 50_000)
    unique, labels = np.unique(key, return_inverse=True)
    materials = []
    for number, value in enumerate(unique):
        medium = table[int(value // 100_000)]
        unknown = [z for z in medium.mass_fraction if z not in SYMBOLS]
        if unknown:
            raise InputError(
                f"The tissue {medium.name} holds elements (Z = {unknown}) that GATE is not told about."
            )
        rho = float(np.exp((value % 100_000 - 50_000) * np.log1p(step)))
        materials.append(
            {
                "name": f"tissue_{number}",
                "tissue": medium.name,
                "density_g_cm3": rho,
                "elements": [SYMBOLS[z] for z in medium.mass_fraction],
                "weights": [float(w) for w in medium.mass_fraction.values()],
            }
        )
    return materials, labels.reshape(density.shape).astype(np.int16)
