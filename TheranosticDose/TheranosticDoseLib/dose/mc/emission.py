"""What a decay sends out, as tables to sample from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.nuclides import ELECTRON_REST_ENERGY_KEV

if TYPE_CHECKING:
    from TheranosticDoseLib.nuclides import Nuclide

PARTICLES = ("electron", "photon", "alpha")
ELECTRON, PHOTON, POSITRON_PROBE = 0, 1, 2  # as in physics.py
LARGEST_MEV = {"electron": 4.0, "photon": 3.0}  # ends of the tables


@dataclass(frozen=True, eq=False)
class Emission:
    """Particles of one kind per decay.

    Attributes
    ----------
    particle : str
    per_decay : float
        Transported particles per decay.
    cumulative, low_mev, width_mev, kinds : numpy.ndarray
        Cumulative probability, lower energy, width and kind of each line or bin.
    local_mev : float
        Energy per decay that is absorbed where it is emitted: below the cut-off, alphas, recoils.
    """

    particle: str
    per_decay: float
    cumulative: np.ndarray
    low_mev: np.ndarray
    width_mev: np.ndarray
    kinds: np.ndarray
    local_mev: float

    @property
    def mean_mev(self) -> float:
        """Mean sampled energy per particle, MeV (of a positron probe: of its photon)."""
        share = np.diff(self.cumulative, prepend=0.0)
        energy = self.low_mev + 0.5 * self.width_mev
        energy = np.where(self.kinds == POSITRON_PROBE, 1e-3 * ELECTRON_REST_ENERGY_KEV, energy)
        return float(np.sum(share * energy))


def emission(
    particle: str, nuclide: Nuclide | None, mono_energy_kev: float | None, cut_mev: float
) -> Emission:
    """Return the emission of one kind of particle.

    Parameters
    ----------
    particle : {"electron", "photon", "alpha"}
    nuclide : Nuclide or None
        ``None`` with ``mono_energy_kev``.
    mono_energy_kev : float or None
        One particle of this energy per decay instead of the nuclide.
    cut_mev : float
        What is emitted below is absorbed on the spot.

    Raises
    ------
    InputError
        For an unknown particle or an energy outside the tables.
    """
    if particle not in PARTICLES:
        raise InputError(f"There is no transport of {particle!r}; known: {', '.join(PARTICLES)}.")
    if mono_energy_kev is not None:
        parts = [(1e-3 * mono_energy_kev, 0.0, 1.0, PHOTON if particle == "photon" else ELECTRON)]
    elif nuclide is None:
        raise InputError("Give a nuclide or a single energy to transport.")
    elif particle == "alpha":
        local = 1e-3 * (nuclide.alpha_energy_kev + nuclide.recoil_energy_kev)
        return Emission(particle, 0.0, *(np.zeros(0) for _ in range(4)), local)
    else:
        parts = _electrons(nuclide) if particle == "electron" else _photons(nuclide)
    return _table(particle, np.array(parts, dtype=np.float64).reshape(-1, 4), cut_mev)


def _electrons(nuclide: Nuclide) -> list[tuple]:
    return [(e, 0.0, y, ELECTRON) for e, y in nuclide.electron_lines * (1e-3, 1)] + _beta(
        nuclide, ELECTRON, 1.0
    )


def _photons(nuclide: Nuclide) -> list[tuple]:
    parts = [(e, 0.0, y, PHOTON) for e, y in nuclide.photon_lines * (1e-3, 1)]
    # Each positron is followed to its end (unscored) twice, once for each of its photons.
    return parts + (_beta(nuclide, POSITRON_PROBE, 2.0) if nuclide.positron else [])


def _beta(nuclide: Nuclide, kind: int, factor: float) -> list[tuple]:
    edges = 1e-3 * nuclide.beta_edges_kev
    return [
        (low, high - low, factor * y, kind)
        for low, high, y in zip(edges[:-1], edges[1:], nuclide.beta_yield, strict=True)
        if y > 0
    ]


def _table(particle: str, parts: np.ndarray, cut_mev: float) -> Emission:
    low, width, yields, kinds = parts.T
    top = low + width
    if len(parts) and top.max() > LARGEST_MEV[particle]:
        msg = f"{particle} energies up to {top.max():.4g} MeV are beyond the tables ({LARGEST_MEV[particle]:g} MeV)."
        raise InputError(msg)
    below = (top <= cut_mev) & (kinds != POSITRON_PROBE)
    local = float(np.sum((low + 0.5 * width)[below] * yields[below]))
    keep = ~below & (yields > 0)
    total = float(yields[keep].sum())
    cumulative = np.cumsum(yields[keep]) / total if total > 0 else np.zeros(0)
    if total > 0:
        cumulative[-1] = 1.0
    return Emission(particle, total, cumulative, low[keep], width[keep], kinds[keep].astype(np.int64), local)
