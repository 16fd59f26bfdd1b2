"""Batches, threads, stopping, statistics: from arrays to energy per voxel and decay."""

from __future__ import annotations

import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.dose.mc.emission import PARTICLES, Emission, emission
from TheranosticDoseLib.dose.mc.tables import log_grid, physics_tables
from TheranosticDoseLib.errors import GeometryError, InputError, SettingsError
from TheranosticDoseLib.progress import report

if TYPE_CHECKING:
    from TheranosticDoseLib.nuclides import Nuclide
    from TheranosticDoseLib.progress import Progress

LEAST_BATCHES = 10
BATCHES = 20
ELECTRON_CUT_MEV = 0.010
PHOTON_CUT_MEV = 0.001
STEP_FRACTION = 0.25
"""Length of a condensed step over the residual range: about 14 % of the energy."""
UNRESOLVED_FRACTION = 0.001
"""An electron whose residual range is below this part of the smallest voxel side is absorbed on the spot."""


@dataclass(frozen=True)
class Stop:
    """When to stop before all histories are done.

    Attributes
    ----------
    max_seconds : float or None
        Wall-clock budget.
    relative_uncertainty : float or None
        Wanted standard uncertainty, relative, of the mean energy in each region.
    regions : tuple of numpy.ndarray
        Boolean ``(z, y, x)``; in each, the median of the voxels' relative uncertainty counts.
    """

    max_seconds: float | None = None
    relative_uncertainty: float | None = None
    regions: tuple[np.ndarray, ...] = ()


@dataclass
class _Statistics:
    """Sums over batches of the energy per decay."""

    total: np.ndarray
    squares: np.ndarray
    batches: int = 0
    totals: np.ndarray = field(default_factory=lambda: np.zeros(8))

    def add(self, tally: np.ndarray, totals: np.ndarray) -> None:
        self.total += tally
        np.multiply(tally, tally, out=tally)
        self.squares += tally
        self.totals += totals
        self.batches += 1

    def relative_uncertainty(self, shape: tuple) -> np.ndarray:
        n = self.batches
        variance = np.maximum(self.squares - self.total**2 / n, 0.0) * n / (n - 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(self.total > 0, np.sqrt(variance) / self.total, 0.0)
        return relative.reshape(shape)


def transport(
    density: np.ndarray,
    tissue: np.ndarray,
    spacing_mm: tuple[float, float, float],
    source_probability: np.ndarray,
    nuclide: Nuclide | None,
    histories: int,
    seed: int,
    particles: tuple[str, ...] = PARTICLES,
    mono_energy_kev: float | None = None,
    threads: int | None = None,
    *,
    stop: Stop | None = None,
    photons_per_decay: float = 1.0,
    device: str = "cpu",
    step_fraction: float = STEP_FRACTION,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Transport the emissions of decays in a voxel grid.

    Parameters
    ----------
    density : numpy.ndarray
        ``(z, y, x)``, g/cm3.
    tissue : numpy.ndarray
        ``(z, y, x)`` integers, indices of :func:`TheranosticDoseLib.tissues.tissues`.
    spacing_mm : tuple of float
        ``(x, y, z)``, mm.
    source_probability : numpy.ndarray
        ``(z, y, x)``, relative number of decays in each voxel; need not be normalised.
    nuclide : Nuclide or None
        ``None`` with ``mono_energy_kev``.
    histories : int
        Decays to simulate (mono-energetic: particles).
    seed : int
        The result depends on it and not on ``threads``.
    particles : tuple of str
        Of ``electron``, ``photon``, ``alpha`` (with the recoil nuclei).
    mono_energy_kev : float, optional
        One electron or photon of this energy instead of the nuclide's emissions.
    threads : int, optional
        Default: all processors.
    stop : Stop, optional
        Time budget or wanted uncertainty; ``histories`` is then an upper bound.
    photons_per_decay : float
        Factor on the number of photon histories (their weight is its inverse).
    device : {"cpu", "cuda"}
    step_fraction : float
        Length of a condensed step over the residual range.
    progress : callable, optional

    Returns
    -------
    energy_mev_per_decay : numpy.ndarray
        ``(z, y, x)`` float64, absorbed energy.
    relative_uncertainty : numpy.ndarray
        ``(z, y, x)`` float64, one standard deviation of the mean, from batches.
    record : dict
        Histories, energy balance, seconds, cut-offs.

    Raises
    ------
    InputError, GeometryError, SettingsError, CancelledError
    """
    density, tissue, source = _checked(density, tissue, spacing_mm, source_probability, histories)
    stop = Stop() if stop is None else stop
    started, cpu = time.perf_counter(), time.process_time()
    emissions = _emissions(particles, nuclide, mono_energy_kev)
    world = _world(density, tissue, spacing_mm, step_fraction)
    runner = _runner(device, world, source, emissions, seed, photons_per_decay)
    threads = max(1, os.cpu_count() or 1) if threads is None else max(1, int(threads))
    if device == "cuda":
        threads = 1
    size = _batch_size(histories, stop, runner)
    statistics = _loop(runner, size, histories, threads, stop, density.shape, started, progress)
    decays = size * statistics.batches
    relative = statistics.relative_uncertainty(density.shape)
    energy = statistics.total.reshape(density.shape) / decays
    local = sum(e.local_mev for e in emissions)
    if local > 0:
        spread = energy * relative
        energy += local * source / source.sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(energy > 0, spread / energy, 0.0)
    seconds = time.perf_counter() - started
    record = {
        "decays": decays,
        "batches": statistics.batches,
        "particles_per_decay": {e.particle: e.per_decay for e in emissions},
        "target_reached": stop.relative_uncertainty is not None and _enough(statistics, stop, density.shape),
        "seed": seed,
        "threads": threads,
        "device": device,
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu,
        "decays_per_second": decays / seconds,
        **_balance(statistics, decays, local, energy),
        "electron_cut_kev": 1e3 * ELECTRON_CUT_MEV,
        "photon_cut_kev": 1e3 * PHOTON_CUT_MEV,
        "hard_loss_kev": 1e3 * physics_tables().hard_mev,
        "step_fraction": step_fraction,
    }
    return energy, relative, record


def _emissions(
    particles: tuple[str, ...], nuclide: Nuclide | None, mono_energy_kev: float | None
) -> list[Emission]:
    cuts = {"electron": ELECTRON_CUT_MEV, "photon": PHOTON_CUT_MEV, "alpha": 0.0}
    if mono_energy_kev is not None:
        particles = tuple(p for p in particles if p != "alpha")
        if len(particles) != 1:
            raise InputError(
                "A single energy needs a single particle: particles=('electron',) or ('photon',)."
            )
    return [emission(p, nuclide, mono_energy_kev, cuts.get(p, 0.0)) for p in particles]


def _balance(statistics: _Statistics, decays: int, local: float, energy: np.ndarray) -> dict[str, float]:
    from TheranosticDoseLib.dose.mc.physics import EMITTED, ESCAPED, STACK_LOST

    emitted = float(statistics.totals[EMITTED]) / decays + local
    escaped = float(statistics.totals[ESCAPED]) / decays
    deposited = float(energy.sum())
    return {
        "emitted_mev_per_decay": emitted,
        "deposited_mev_per_decay": deposited,
        "escaped_mev_per_decay": escaped,
        "energy_balance": (deposited + escaped) / emitted - 1.0,
        "stack_overflow_mev_per_decay": float(statistics.totals[STACK_LOST]) / decays,
    }


def _checked(density, tissue, spacing_mm, source_probability, histories):
    """Return contiguous arrays, or say in one sentence what cannot be used."""
    density = np.ascontiguousarray(density, dtype=np.float32)
    tissue = np.ascontiguousarray(tissue, dtype=np.uint8)
    source = np.asarray(source_probability, dtype=np.float64)
    if density.ndim != 3 or tissue.shape != density.shape or source.shape != density.shape:
        msg = f"Density {density.shape}, tissue {tissue.shape} and source {source.shape} must be volumes of one shape."
        raise GeometryError(msg)
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise GeometryError(f"The voxel spacing {tuple(spacing_mm)} mm must be three positive numbers.")
    if not np.isfinite(density).all() or density.min() < 0:
        raise InputError("The density holds negative or not finite values; give g/cm3 everywhere.")
    if tissue.max() >= physics_tables().electrons.shape[0]:
        raise InputError(f"There is no tissue with index {int(tissue.max())}.")
    if not np.isfinite(source).all() or source.min() < 0 or source.max() <= 0:
        raise InputError("The source holds negative or not finite values, or nothing at all.")
    if np.any((density <= 0) & (source > 0)):
        msg = "There is activity in voxels of zero density; give them the density of air (0.0012 g/cm3) or tissue."
        raise InputError(msg)
    if int(histories) < BATCHES:
        raise SettingsError(f"histories is {histories}; at least {BATCHES} are needed (one per batch).")
    return density, tissue, source


def _world(density: np.ndarray, tissue: np.ndarray, spacing_mm: tuple, step_fraction: float) -> Any:
    """Return the grid and the tables as the transport reads them."""
    from TheranosticDoseLib.dose.mc.physics import DENSITY_UNIT, World

    tables = physics_tables()
    numbers = np.array(
        [
            *log_grid(tables.electron_grid),
            *log_grid(tables.photon_grid),
            *log_grid(tables.transfer_grid),
            tables.hard_mev,
            tables.hard_photon_mev,
            ELECTRON_CUT_MEV,
            PHOTON_CUT_MEV,
            step_fraction,
            *(0.1 * s for s in spacing_mm),
            1.0,
            UNRESOLVED_FRACTION * 0.1 * min(spacing_mm),
        ]
    )
    densest = np.array([np.max(density, where=tissue == i, initial=0) for i in range(len(tables.photons))])
    largest = np.max(densest[:, None] * tables.photons[:, :, -1], axis=0) * (1 + 1e-6)
    cells = (np.rint(density / DENSITY_UNIT).astype(np.int32) << 3) | tissue
    shape, largest = tables.bremsstrahlung_shape, np.maximum(largest, 1e-12)
    bounds = _bounds(density, tissue, largest)
    return World(cells, bounds, tables.electrons, shape, tables.photons, tables.scattering, largest, numbers)


def _bounds(density: np.ndarray, tissue: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Return by block of cells the highest ratio of its cross section to the largest one, any energy."""
    from TheranosticDoseLib.dose.mc.physics import BLOCK_BITS

    per_density = np.max(physics_tables().photons[:, :, -1] / largest, axis=1) * (1 + 1e-5)
    ratio = density * per_density.astype(np.float32)[tissue]
    for axis in range(3):
        ratio = np.maximum.reduceat(ratio, np.arange(0, ratio.shape[axis], 1 << BLOCK_BITS), axis=axis)
    return np.ascontiguousarray(ratio)


def _source(part: Emission, activity: np.ndarray) -> Any:
    """Return where and what to emit as the transport reads it."""
    from TheranosticDoseLib.dose.mc.physics import GUIDE, Source

    voxels = np.flatnonzero(activity)
    guide = np.searchsorted(part.cumulative, np.arange(GUIDE) / GUIDE, side="right")
    guide = np.minimum(guide, len(part.cumulative) - 1)
    cumulative = np.cumsum(activity.ravel()[voxels])
    return Source(cumulative, voxels, part.cumulative, part.low_mev, part.width_mev, part.kinds, guide)


def _runner(
    device: str,
    world: Any,
    source: np.ndarray,
    emissions: list[Emission],
    seed: int,
    photons_per_decay: float,
) -> Any:
    """Return ``run(batch, decays, tally, totals)``."""
    from TheranosticDoseLib.dose.mc.physics import WEIGHT

    if device == "cuda":
        from TheranosticDoseLib.dose.mc.gpu import run_batch
    elif device == "cpu":
        run_batch = _on_processor
    else:
        raise SettingsError(f"There is no device {device!r}; known: cpu, cuda.")
    transported = [e for e in emissions if e.per_decay > 0]
    sources = {part.particle: _source(part, source) for part in transported}

    def run(batch: int, decays: int, tally: np.ndarray, totals: np.ndarray) -> None:
        """Fill ``tally`` (flat) with the energy of one batch."""
        tally[:] = 0.0
        totals[:] = 0.0
        for part in transported:
            kind = PARTICLES.index(part.particle)
            sequence = np.random.default_rng(np.random.SeedSequence([seed, kind, batch]))
            key, offsets = sequence.integers(0, 2**64, dtype=np.uint64), sequence.random(2)
            wanted = decays * part.per_decay * (photons_per_decay if part.particle == "photon" else 1.0)
            count = max(1, round(wanted))
            numbers = world.numbers.copy()
            numbers[WEIGHT] = decays * part.per_decay / count
            run_batch(
                key, count, offsets, sources[part.particle], world._replace(numbers=numbers), tally, totals
            )

    run.voxels = world.cells.size
    return run


def _on_processor(key, count, offsets, source, world, tally, totals) -> None:
    """Run one batch on this thread."""
    from TheranosticDoseLib.dose.mc.physics import STACK_ROWS, run_batch

    random, stack = np.empty(2, np.uint64), np.empty((STACK_ROWS, 8))
    run_batch(key, count, offsets, source, world, tally, totals, random, stack)


def _batch_size(histories: int, stop: Stop, run: Any) -> int:
    """Return the decays of a batch.  A time budget is cut by the speed of a short pilot run."""
    size = -(-int(histories) // BATCHES)
    if stop.relative_uncertainty is not None:
        size = min(size, max(200_000, run.voxels // 4))
    if stop.max_seconds is not None:
        tally, totals = np.empty(run.voxels), np.empty(8)
        run(0, 2000, tally, totals)  # compiles
        started = time.perf_counter()
        run(0, min(size, 20_000), tally, totals)
        speed = min(size, 20_000) / max(time.perf_counter() - started, 1e-6)
        size = min(size, max(1, int(speed * stop.max_seconds / BATCHES)))
    return size


def _loop(run, size, histories, threads, stop, shape, started, progress) -> _Statistics:
    """Run batches side by side and add them in their order, so that threads change nothing."""
    most = max(BATCHES, -(-int(histories) // size))
    voxels = int(np.prod(shape))
    statistics = _Statistics(np.zeros(voxels), np.zeros(voxels))
    threads = min(threads, most)
    # One tally more than threads: while a batch is added, no thread waits.
    free = [(np.empty(voxels), np.empty(8)) for _ in range(threads + (threads > 1))]
    pending: deque = deque()
    begun = 0
    report(progress, 0.0, "Monte Carlo: starting")
    with ThreadPoolExecutor(threads) as pool:
        try:
            while statistics.batches < most:
                while free and begun < most:
                    pending.append((pool.submit(run, begun, size, *free[-1]), free.pop()))
                    begun += 1
                future, slot = pending.popleft()
                future.result()
                statistics.add(*slot)
                free.append(slot)
                done = statistics.batches
                report(progress, done / most, f"Monte Carlo: {done * size:,} decays")
                # Whether to stop is asked every LEAST_BATCHES batches, whatever the number of threads.
                if done % LEAST_BATCHES == 0 and _enough(statistics, stop, shape):
                    break
                elapsed = time.perf_counter() - started
                if stop.max_seconds is not None and done >= LEAST_BATCHES and elapsed > stop.max_seconds:
                    break
        finally:
            for future, _ in pending:
                future.cancel()
    return statistics


def _enough(statistics: _Statistics, stop: Stop, shape: tuple) -> bool:
    if stop.relative_uncertainty is None:
        return False
    relative = statistics.relative_uncertainty(shape)
    regions = stop.regions or (statistics.total.reshape(shape) > 0.5 * statistics.total.max(),)
    return all(float(np.median(relative[r])) <= stop.relative_uncertainty for r in regions if np.any(r))
