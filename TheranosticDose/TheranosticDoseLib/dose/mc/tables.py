"""The physics tables as the arrays that the transport reads."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass

import numpy as np

from TheranosticDoseLib.tissues import tissues

ELECTRON_COLUMNS = (
    "csda_range",
    "restricted_stopping_power",
    "first_transport",
    "second_transport",
    "hard_moller",
    "hard_bremsstrahlung",
    "photons_until_rest",
)


@dataclass(frozen=True, eq=False)
class PhysicsTables:
    """Cross sections and stopping powers of all tissues.

    Attributes
    ----------
    electrons : numpy.ndarray
        ``(tissue, energy, column)``: CSDA range g/cm2, restricted stopping power MeV cm2/g,
        first and second transport, hard Moller and hard bremsstrahlung cross sections cm2/g,
        photons sent out until rest.
    photons : numpy.ndarray
        ``(tissue, energy, column)``: photoelectric, + incoherent, + coherent, cm2/g, cumulative.
    scattering : numpy.ndarray
        ``(tissue, transfer, column)``: S(x)/Z, cumulative squared form factor in x^2, x^2.
    bremsstrahlung_shape : numpy.ndarray
        ``(electron energy, k/T)``.
    electron_grid, photon_grid, transfer_grid : tuple
        First and last value and number of points, even in the logarithm; MeV, MeV, 1/angstrom.
    hard_mev : float
        Losses above are simulated one by one.
    """

    electrons: np.ndarray
    photons: np.ndarray
    scattering: np.ndarray
    bremsstrahlung_shape: np.ndarray
    electron_grid: tuple
    photon_grid: tuple
    transfer_grid: tuple
    hard_mev: float
    hard_photon_mev: float


@functools.lru_cache(maxsize=1)
def physics_tables() -> PhysicsTables:
    """Return the tables of ``Resources/Physics``."""
    electrons, photons = _read("electrons.json"), _read("photons.json")
    names = [tissue.name for tissue in tissues()]
    transfer = np.geomspace(*photons["transfer_per_angstrom"])
    electron_table = np.array(
        [[electrons["tissues"][name][column] for column in ELECTRON_COLUMNS] for name in names]
    )
    photon_table = np.array(
        [
            np.cumsum([photons["tissues"][name][c] for c in ("photo", "incoherent", "coherent")], axis=0)
            for name in names
        ]
    )
    scattering = np.array([_scattering(photons["tissues"][name], transfer) for name in names])
    return PhysicsTables(
        np.ascontiguousarray(electron_table.transpose(0, 2, 1)),
        np.ascontiguousarray(photon_table.transpose(0, 2, 1)),
        np.ascontiguousarray(scattering.transpose(0, 2, 1)),
        np.array(electrons["bremsstrahlung_shape"]),
        tuple(electrons["energy_mev"]),
        tuple(photons["energy_mev"]),
        tuple(photons["transfer_per_angstrom"]),
        electrons["hard_mev"],
        electrons["hard_photon_mev"],
    )


def _scattering(columns: dict, transfer: np.ndarray) -> np.ndarray:
    form, square = np.array(columns["form_factor_squared"]), transfer**2
    steps = 0.5 * (form[1:] + form[:-1]) * np.diff(square)
    cumulative = np.concatenate([[0.0], np.cumsum(steps)]) + form[0] * square[0]
    return np.array([columns["incoherent_function"], cumulative, square])


def log_grid(grid: tuple) -> tuple[float, float]:
    """Return the logarithm of the first value and the inverse of the step."""
    low, high, count = np.log(grid[0]), np.log(grid[1]), grid[2]
    return float(low), float((count - 1) / (high - low))


def _read(name: str) -> dict:
    from DoseSegmentationLib.resources import resource_path

    return json.loads(resource_path("Physics", name).read_text(encoding="utf-8"))
