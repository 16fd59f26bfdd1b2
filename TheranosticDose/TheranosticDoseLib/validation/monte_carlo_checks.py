"""Checks of the embedded Monte Carlo that need no other code's results.

Dose against distance from a photon source: a second, much simpler transport (free-electron
Klein-Nishina, energy-absorption coefficients of NIST, concentric spheres instead of voxels).
Interfaces: Fano's theorem, and the same transport with steps a fifth as long.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from TheranosticDoseLib.validation.figure import Figure, at_least, at_most

LUNG_DENSITY, BONE_DENSITY = 0.26, 1.92
ELECTRONS_PER_GRAM = 6.02214076e23 * 10 / 18.01528
CLASSICAL_RADIUS_CM = 2.8179403e-13
MC2_MEV = 0.51099895
DISTANCES_CM = np.arange(1.5, 20.1, 0.5)


def speed(scale: float) -> list[Figure]:
    """Decays per second of full Lu-177 in a body of 128^3 voxels with lung and bone."""
    from TheranosticDoseLib.benchmark import benchmark_body
    from TheranosticDoseLib.dose.mc import transport
    from TheranosticDoseLib.nuclides import nuclide

    density, tissue, spacing, source = benchmark_body(128)
    lu = nuclide("Lu-177")
    transport(density, tissue, spacing, source, lu, 1000, 1)  # compiled and warm
    _, _, record = transport(density, tissue, spacing, source, lu, int(20e6 * scale), 1)
    rate = record["decays_per_second"] / 1e6
    per_core = record["decays"] / record["cpu_seconds"] / 1e6
    detail = f"{record['threads']} threads; {per_core:.2f} million per second of processor time"
    return [at_least("Speed, 128^3 body, full Lu-177 decays", rate, 1.0, "million/s", detail=detail)]


def fano(scale: float) -> list[Figure]:
    """One medium in layers of three densities, source per mass: the dose is the same everywhere (Fano)."""
    from TheranosticDoseLib.dose.mc import transport
    from TheranosticDoseLib.tissues import SOFT

    beta = _beta()
    density = np.repeat(np.float32([LUNG_DENSITY, 1.0, BONE_DENSITY]), 20).reshape(60, 1, 1)
    tissue = np.full(density.shape, SOFT, np.uint8)
    energy, relative, _ = transport(
        density, tissue, (2000.0, 2000.0, 1.0), density, beta, int(16e6 * max(scale, 0.5)), 3, ("electron",)
    )
    ratio = (energy / density * float(density.sum()) / (1e-3 * beta.electron_energy_kev)).ravel()
    # Beside the outer faces, to vacuum, electrons are missing: up to 7 mm of lung, 1 mm of bone.
    inside = slice(10, 57)
    worst = float(100 * np.max(np.abs(ratio[inside] - 1)))
    spread = 100 * float(np.median(relative.ravel()[inside]))
    detail = f"slabs of 1 mm, mean {ratio[inside].mean():.4f}, statistical {spread:.2f} % per slab"
    name = "Fano: soft tissue of 0.26, 1.00 and 1.92 g/cm3, worst slab"
    return [at_most(name, worst, 2.0, "%", reference="exact: equilibrium dose everywhere", detail=detail)]


def bone_interface(scale: float) -> list[Figure]:
    """Slabs of 2 mm across soft tissue and bone against the same transport with short steps."""
    from TheranosticDoseLib.dose.mc import transport
    from TheranosticDoseLib.dose.mc.run import STEP_FRACTION
    from TheranosticDoseLib.tissues import BONE, SOFT

    beta = _beta()
    density = np.repeat(np.float32([1.0, BONE_DENSITY]), 10).reshape(20, 1, 1)
    tissue = np.repeat(np.uint8([SOFT, BONE]), 10).reshape(20, 1, 1)
    found = []
    for side, own, across in ((SOFT, 1.0, 10), (BONE, BONE_DENSITY, 9)):
        ratios = []
        for fraction in (STEP_FRACTION, STEP_FRACTION / 5):
            energy, relative, _ = transport(
                density, tissue, (2000.0, 2000.0, 2.0), (tissue == side) * 1.0, beta, int(4e6 * scale), 3,
                ("electron",), step_fraction=fraction,
            )  # fmt: skip
            ratios.append((energy / (1e-3 * beta.electron_energy_kev / 10) * own / density).ravel())
        away = 100 * np.max(np.abs(ratios[0] - ratios[1])[2:-2])
        first = 100 * abs(ratios[0][across] / ratios[1][across] - 1)
        label = f"soft | bone, source in {'soft' if side == SOFT else 'bone'}"
        reference = "itself with steps a fifth as long (no other code at hand)"
        detail = f"statistical {100 * np.sqrt(2) * relative.ravel()[across]:.1f} % in the first slab across"
        found += [
            at_most(
                f"{label}: worst 2 mm slab, of the equilibrium dose", away, 2.0, "%", reference=reference
            ),
            at_most(f"{label}: first slab across", first, 8.0, "%", reference=reference, detail=detail),
        ]
    return found


def photon_distance(folder: Path, scale: float) -> list[Figure]:
    """Dose of a photon source in water from 1.5 to 20 cm against a second, simpler transport."""
    table = np.array(
        [
            line.split()
            for line in next(folder.rglob("water.csv")).read_text().splitlines()[1:]
            if line.strip()
        ],
        float,
    )
    found = []
    for mev in (0.113, 0.208):
        mine, spread = _voxel_dose(mev, int(3e6 * scale))
        theirs = sphere_dose(mev, table[:, 0], table[:, 2], DISTANCES_CM, int(4e5 * scale))
        difference = 100 * (mine / theirs - 1)
        at = {f"{DISTANCES_CM[i]:g} cm": difference[i] for i in (0, 7, 17, 36)}
        detail = ", ".join(f"{place}: {value:+.1f} %" for place, value in at.items())
        name = f"{1e3 * mev:.0f} keV photons in water, dose from 1.5 to 20 cm, worst of shells of 5 mm"
        reference = "own transport in spheres: Klein-Nishina, NIST XAAMDI, no binding, no Rayleigh scattering"
        detail += f"; statistical {100 * spread:.1f} % in the last shell"
        found.append(at_most(name, np.max(np.abs(difference)), 3.0, "%", reference=reference, detail=detail))
    return found


def _beta():
    from TheranosticDoseLib.nuclides import nuclide

    return dataclasses.replace(nuclide("Lu-177"), electron_lines=np.zeros((0, 2)))


def _voxel_dose(mev: float, histories: int) -> tuple[np.ndarray, float]:
    """Return MeV per primary and cm of radius in shells of water, from cubic voxels of 5 mm; last relative u."""
    from TheranosticDoseLib.dose.mc import transport
    from TheranosticDoseLib.tissues import WATER

    half, h = 70, 0.5
    shape = (2 * half + 1,) * 3
    source = np.zeros(shape)
    source[half, half, half] = 1.0
    energy, relative, _ = transport(
        np.ones(shape, np.float32), np.full(shape, WATER, np.uint8), (10 * h,) * 3, source, None, histories, 7,
        ("photon",), 1e3 * mev,
    )  # fmt: skip
    index = np.arange(shape[0]) - half
    squared = index[:, None, None] ** 2 + index[:, None] ** 2 + index**2
    shell = np.digitize(h * np.sqrt(squared), DISTANCES_CM).ravel()
    # 4 pi r^2 times the mean energy density; the mean of 1/r^2 over two voxels is larger by 1/(6 r^2).
    weight = 4 * np.pi * h**2 * squared / (1 + 1 / (6 * np.maximum(squared, 1))) / h**3
    size = DISTANCES_CM.size + 1
    count = np.bincount(shell, minlength=size)[1:-1]
    mean = np.bincount(shell, (energy * weight).ravel(), size)[1:-1] / count
    variance = np.bincount(shell, ((energy * relative * weight) ** 2).ravel(), size)[1:-1] / count**2
    return mean, float(np.sqrt(variance[-1]) / mean[-1])


def klein_nishina(mev: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the Compton attenuation and energy-transfer coefficients of free electrons in water, cm2/g."""
    node, weight = np.polynomial.legendre.leggauss(64)
    kappa = np.asarray(mev)[..., None] / MC2_MEV
    ratio = 1 / (1 + kappa * (1 - node))
    differential = np.pi * CLASSICAL_RADIUS_CM**2 * ratio**2 * (ratio + 1 / ratio - (1 - node**2))
    attenuation = ELECTRONS_PER_GRAM * np.sum(weight * differential, axis=-1)
    return attenuation, ELECTRONS_PER_GRAM * np.sum(weight * differential * (1 - ratio), axis=-1)


def sphere_dose(
    mev: float,
    table_mev: np.ndarray,
    table_absorption: np.ndarray,
    radii_cm: np.ndarray,
    histories: int,
    seed: int = 1,
) -> np.ndarray:
    """Return MeV per primary and cm of radius absorbed between spheres around a photon source in water.

    Photons are absorbed by weight; the dose is the collision kerma of their paths.

    Parameters
    ----------
    mev : float
    table_mev, table_absorption : ndarray
        Mass energy-absorption coefficient of water, MeV and cm2/g.
    radii_cm : ndarray
    histories : int
    seed : int
    """
    rng = np.random.default_rng(seed)
    grid = np.geomspace(0.001, 0.5, 400)
    absorption = np.exp(np.interp(np.log(grid), np.log(table_mev), np.log(table_absorption)))
    compton, transfer = klein_nishina(grid)
    total = compton + np.maximum(
        absorption - transfer, 0.0
    )  # what is not transferred by Compton is photoelectric
    energy, weight = np.full(histories, mev), np.ones(histories)
    place, direction = np.zeros((histories, 3)), _turned(np.tile([0.0, 0.0, 1.0], (histories, 1)), rng)
    found = np.zeros(radii_cm.size - 1)
    while energy.size:
        mu, mu_en, scattered = (np.interp(energy, grid, values) for values in (total, absorption, compton))
        path = rng.exponential(size=energy.size) / mu
        found += np.diff(_lengths_within(place, direction, path, radii_cm) @ (weight * energy * mu_en))
        place = place + path[:, None] * direction
        weight = weight * scattered / mu
        energy, cosine = _scattered(energy, rng)
        direction = _turned(direction, rng, cosine)
        keep = (energy * weight > 1e-4 * mev) & (np.sum(place**2, axis=1) < (2 * radii_cm[-1]) ** 2)
        energy, weight, place, direction = energy[keep], weight[keep], place[keep], direction[keep]
    return found / histories / np.diff(radii_cm)


def _lengths_within(place, direction, path, radii) -> np.ndarray:
    """Return the length of each straight path within each sphere, (radius, path)."""
    along = np.sum(place * direction, axis=1)
    miss = np.sum(place**2, axis=1) - along**2
    half = np.sqrt(np.maximum(radii[:, None] ** 2 - miss, 0.0))
    return np.clip(half - along, 0.0, path) - np.clip(-half - along, 0.0, path)


def _scattered(energy, rng) -> tuple[np.ndarray, np.ndarray]:
    """Return energy and cosine after a Compton scattering off a free electron at rest, by rejection."""
    cosine, todo = np.empty(energy.size), np.arange(energy.size)
    while todo.size:
        guess = rng.uniform(-1.0, 1.0, todo.size)
        ratio = 1 / (1 + energy[todo] / MC2_MEV * (1 - guess))
        taken = 2 * rng.random(todo.size) < ratio**2 * (ratio + 1 / ratio - (1 - guess**2))
        cosine[todo[taken]] = guess[taken]
        todo = todo[~taken]
    return energy / (1 + energy / MC2_MEV * (1 - cosine)), cosine


def _turned(direction, rng, cosine=None) -> np.ndarray:
    """Return directions turned by a polar angle (any, where none is given) and a random azimuth."""
    cosine = rng.uniform(-1.0, 1.0, len(direction)) if cosine is None else cosine
    other = rng.normal(size=direction.shape)
    other -= np.sum(other * direction, axis=1)[:, None] * direction
    other /= np.linalg.norm(other, axis=1)[:, None]
    turned = cosine[:, None] * direction + np.sqrt(1 - np.minimum(cosine**2, 1.0))[:, None] * other
    return turned / np.linalg.norm(turned, axis=1)[:, None]
