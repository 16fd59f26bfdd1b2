"""Point kernels from the embedded Monte Carlo.

The source is one small voxel in the middle of a homogeneous grid; the energy per voxel
becomes energy against distance.  A kernel spans five orders of magnitude in distance, so
grids of several voxel sizes are simulated and each serves the distances at which its
voxels are small against the distance and its edge (vacuum beyond) is far away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib import __version__
from TheranosticDoseLib.dose.kernels.point import PointKernel, Radial, emission_key
from TheranosticDoseLib.progress import Progress, part_of

if TYPE_CHECKING:
    from TheranosticDoseLib.nuclides import Nuclide

HALF_WIDTH = 60
"""Voxels from the source to the faces of each grid."""
NEAREST = 5
"""From this many voxels on, the mean density in a shell is unbiased (0.05 % after correction)."""
FURTHEST = 0.4
"""Of the half width: beyond, scatter from outside the grid would be missed."""
PHOTON_GRIDS_G_CM2 = (0.008, 0.036, 0.165, 0.75)
"""Voxel sizes times density; the last grid reaches 45 g/cm2 (208 keV: less than 1 % gets there)."""
PHOTON_HISTORIES = (40, 20, 10, 5)
"""Photons sent out in each of these grids, in units of ``histories``: few of them interact near the source."""
ABSORPTION_GRID_G_CM2 = 0.5
"""Voxel size times density of the grid that shows how other tissues absorb: beyond the range of electrons."""
ABSORPTION_SHELLS = (1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48)
"""Bounds of its shells in voxels; beyond the last, scatter from outside the grid would be missed."""
ABSORPTION_SHARE = 0.05
"""Part of the voxels that is of each other tissue."""
SEED = 20260107


@dataclass(frozen=True)
class _Level:
    """A grid and the distances that it serves, mm."""

    voxel_mm: float
    low_mm: float
    high_mm: float


def simulate(
    nuclide: Nuclide,
    medium: str,
    histories: int = 400_000,
    seed: int = SEED,
    progress: Progress | None = None,
) -> PointKernel:
    """Return the point kernel of a nuclide in a medium at its nominal density.

    Parameters
    ----------
    nuclide : Nuclide
    medium : str
        Name in the tissue table.
    histories : int
        Decays per grid of the electrons; the photons of a grid are ``PHOTON_HISTORIES`` times as many.
    seed : int
    progress : callable, optional
    """
    from TheranosticDoseLib import tissues

    tissue = next(entry for entry in tissues.tissues() if entry.name.lower() == medium)
    density = tissue.density_g_cm3
    levels = {"photon": _photon_levels(density), "electron": _electron_levels(nuclide, density)}
    total = sum(len(part) for part in levels.values())
    parts, done = {}, 0
    emitted = {"photon": nuclide.photon_energy_kev, "electron": nuclide.electron_energy_kev}
    for particle, grids in levels.items():
        if emitted[particle] == 0:
            parts[particle] = Radial(np.array([0.0, 1.0]), np.zeros(1))
            continue
        shells = []
        for number, level in enumerate(grids):
            step = part_of(progress, done / total, (done + 1) / total)
            per_decay = PHOTON_HISTORIES[number] / _photons(nuclide) if particle == "photon" else 1.0
            energy = _run(nuclide, tissue, level, particle, histories, seed + number, per_decay, step)
            shells.append(_shells(energy, level, first=number == 0))
            done += 1
        parts[particle] = _joined(shells)
    provenance = {
        "engine": "embedded Monte Carlo",
        "version": __version__,
        "histories_per_grid": histories,
        "photons_per_grid": [number * histories for number in PHOTON_HISTORIES],
        "seed": seed,
        "emission": emission_key(nuclide),
        "nuclide_source": nuclide.source,
        "grids_mm": {p: [[round(g.voxel_mm, 5), round(g.high_mm, 3)] for g in levels[p]] for p in levels},
    }
    return PointKernel(
        nuclide.name,
        medium,
        density,
        parts["electron"],
        parts["photon"],
        nuclide.alpha_energy_kev + nuclide.recoil_energy_kev,
        provenance,
        photon_absorption(nuclide, histories, seed) if medium == "water" and emitted["photon"] else {},
    )


def photon_absorption(nuclide: Nuclide, histories: int, seed: int = SEED) -> dict[str, np.ndarray]:
    """Return how much more than water other tissues absorb of the photons around a source in water.

    A few voxels of water are replaced by each tissue at the density of water: too few to change
    the photons, large against the range of the electrons.

    Returns
    -------
    dict
        ``distance_mm`` of shells and, by name of the tissue, the ratio of the energies absorbed per mass.
    """
    from TheranosticDoseLib import tissues

    n = 2 * HALF_WIDTH + 1
    others = [tissue for tissue in tissues.tissues() if tissue.index not in (tissues.AIR, tissues.WATER)]
    drawn = np.random.default_rng(seed).random((n, n, n)) / ABSORPTION_SHARE
    tissue = np.full((n, n, n), tissues.WATER, np.uint8)
    for number, other in enumerate(others):
        tissue[drawn.astype(int) == number] = other.index
    level = _Level(10 * ABSORPTION_GRID_G_CM2, 0.0, 0.0)
    factor = PHOTON_HISTORIES[-1] / _photons(nuclide)
    energy = _transported(nuclide, 1.0, tissue, level, "photon", histories, seed, factor, None)
    axis = np.arange(n) - HALF_WIDTH
    squared = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    shell = np.digitize(np.sqrt(squared), ABSORPTION_SHELLS)
    last = len(ABSORPTION_SHELLS)
    means = {
        index: np.bincount(shell[here], (energy * squared)[here], last + 1)[1:last]
        / np.bincount(shell[here], minlength=last + 1)[1:last]
        for index in (tissues.WATER, *(other.index for other in others))
        for here in (tissue == index,)
    }
    centers = 0.5 * (np.array(ABSORPTION_SHELLS[1:]) + ABSORPTION_SHELLS[:-1])
    water = np.maximum(means[tissues.WATER], 1e-30)
    ratios = {other.name.lower(): means[other.index] / water for other in others}
    return {"distance_mm": level.voxel_mm * centers, **ratios}


def _photons(nuclide: Nuclide) -> float:
    """Return the photons that are transported per decay."""
    from TheranosticDoseLib.dose.mc.emission import emission
    from TheranosticDoseLib.dose.mc.run import PHOTON_CUT_MEV

    return emission("photon", nuclide, None, PHOTON_CUT_MEV).per_decay


def _photon_levels(density: float) -> list[_Level]:
    return _chain([grid * 10 / density for grid in PHOTON_GRIDS_G_CM2], 0.0)


def _electron_levels(nuclide: Nuclide, density: float) -> list[_Level]:
    """Return a grid that just holds the range of the electrons, then those of their bremsstrahlung."""
    # The voxels of the second grid blur its view by a fifth; electrons must not be seen twice.
    reach = 1.3 * electron_range_mm(nuclide, density)
    sizes = [reach / (NEAREST + 0.2)]
    while sizes[-1] * density / 10 < PHOTON_GRIDS_G_CM2[-1]:
        sizes.append(sizes[-1] * 4.5)
    return [_Level(reach / (0.9 * HALF_WIDTH), 0.0, reach), *_chain(sizes, reach)]


def electron_range_mm(nuclide: Nuclide, density: float) -> float:
    """Return the range of the fastest electron, mm (Katz and Penfold 1952, doi:10.1103/RevModPhys.24.28)."""
    energy = 1e-3 * max(
        float(nuclide.beta_edges_kev[-1]), float(nuclide.electron_lines[:, 0].max(initial=0.0)), 50.0
    )
    return 0.412 * energy ** (1.265 - 0.0954 * float(np.log(energy))) * 10 / density


def _chain(sizes: list[float], low: float) -> list[_Level]:
    levels = []
    for number, size in enumerate(sizes):
        last = number == len(sizes) - 1
        high = size * HALF_WIDTH * (1.0 if last else FURTHEST)
        levels.append(_Level(size, low, high))
        low = high
    return levels


def _run(nuclide, tissue, level, particle, histories, seed, photons_per_decay, progress) -> np.ndarray:
    """Return keV per decay and voxel around a point source in one tissue."""
    everywhere = np.full((2 * HALF_WIDTH + 1,) * 3, tissue.index, np.uint8)
    return _transported(
        nuclide,
        tissue.density_g_cm3,
        everywhere,
        level,
        particle,
        histories,
        seed,
        photons_per_decay,
        progress,
    )


def _transported(
    nuclide, density, tissue, level, particle, histories, seed, photons_per_decay, progress
) -> np.ndarray:
    from TheranosticDoseLib.dose.mc import transport

    source = np.zeros(tissue.shape)
    source[HALF_WIDTH, HALF_WIDTH, HALF_WIDTH] = 1.0
    energy, _, _ = transport(
        np.full(tissue.shape, density, np.float32),
        tissue,
        (level.voxel_mm,) * 3,
        source,
        nuclide,
        histories,
        seed,
        particles=(particle,),
        photons_per_decay=photons_per_decay,
        progress=progress,
    )
    return 1e3 * energy


def _shells(energy: np.ndarray, level: _Level, first: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return edges, mm, and energies, keV, of the shells that a grid serves."""
    index = np.arange(energy.shape[0]) - HALF_WIDTH
    squared = index[:, None, None] ** 2 + index[None, :, None] ** 2 + index[None, None, :] ** 2
    inside = squared <= HALF_WIDTH**2
    distance = np.sqrt(squared[inside].astype(np.float64))  # in voxels
    values = energy[inside]
    low, high = level.low_mm / level.voxel_mm, level.high_mm / level.voxel_mm
    if not first and low < NEAREST:
        raise ValueError("the grids do not overlap enough")
    outer = _edges(max(low, NEAREST), high)
    number = np.digitize(distance, outer) - 1
    keep = (number >= 0) & (number < outer.size - 1)
    # Energy per length of radius, 4 pi r^2 k(r), is nearly constant in a shell; the mean of 1/r^2
    # over source and target voxel is larger than 1/r^2 at their centres by 1/(6 r^2) (in voxels).
    slope = 4 * np.pi * values[keep] * distance[keep] ** 2 / (1 + 1 / (6 * distance[keep] ** 2))
    count = np.bincount(number[keep], minlength=outer.size - 1)
    per_length = np.bincount(number[keep], slope, outer.size - 1) / np.maximum(count, 1)
    edges, energies = outer, per_length * np.diff(outer)
    if first:
        inner_edges, inner = _core(energy, level)
        edges, energies = np.concatenate([inner_edges[:-1], edges]), np.concatenate([inner, energies])
        # What the shells hold is what was absorbed: binning must not make or lose energy.
        energies *= values[distance < high].sum() / energies.sum()
    return edges * level.voxel_mm, energies


def _edges(low: float, high: float) -> np.ndarray:
    """Shells at least one voxel wide, then six percent of the distance."""
    edges = [low]
    while edges[-1] < high * (1 - 1e-9):
        edges.append(edges[-1] + max(1.0, 0.06 * edges[-1]))
    edges = np.array(edges)
    edges[-1] = high
    if edges.size > 2 and edges[-1] - edges[-2] < 0.5 * (edges[-2] - edges[-3]):
        edges = np.delete(edges, -2)
    return edges


def _core(energy: np.ndarray, level: _Level) -> tuple[np.ndarray, np.ndarray]:
    """Return half-voxel shells within ``NEAREST`` voxels, from the voxels cut into small cubes."""
    cuts = 9
    offset = (np.arange(cuts) + 0.5) / cuts - 0.5
    reach = NEAREST + 1
    centre = slice(HALF_WIDTH - reach, HALF_WIDTH + reach + 1)
    block = energy[centre, centre, centre]
    axis = (np.arange(-reach, reach + 1)[:, None] + offset).ravel()
    squared = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    fine = np.repeat(np.repeat(np.repeat(block, cuts, 0), cuts, 1), cuts, 2) / cuts**3
    edges = np.linspace(0.0, NEAREST, 2 * NEAREST + 1)
    number = np.digitize(np.sqrt(squared).ravel(), edges) - 1
    keep = number < edges.size - 1
    return edges, np.bincount(number[keep], fine.ravel()[keep], edges.size - 1)


def _joined(shells: list[tuple[np.ndarray, np.ndarray]]) -> Radial:
    edges = np.concatenate([shells[0][0][:1]] + [part[0][1:] for part in shells])
    return Radial(edges, np.maximum(np.concatenate([part[1] for part in shells]), 0.0))
