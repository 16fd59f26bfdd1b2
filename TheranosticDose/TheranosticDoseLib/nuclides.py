"""Nuclides as data: half-lives, mean energies and spectra of ICRP Publication 107."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass

import numpy as np

from TheranosticDoseLib.errors import InputError

ELECTRON_REST_ENERGY_KEV = 510.99895


@dataclass(frozen=True)
class Daughter:
    """A radioactive daughter that decays where its parent did, in secular equilibrium."""

    name: str
    half_life_h: float
    decays_per_parent_decay: float


@dataclass(frozen=True, eq=False)
class Nuclide:
    """Emissions of a nuclide and its short-lived daughters, per decay of the parent.

    Attributes
    ----------
    name : str
        For example ``Lu-177``.
    half_life_h : float
        Physical half-life of the parent, h.
    beta_edges_kev : numpy.ndarray
        Shape ``(bins + 1,)``, uniform edges of the beta spectrum, keV; ``(1,)`` where there is none.
    beta_yield : numpy.ndarray
        Shape ``(bins,)``, emissions per decay in each bin; uniform within a bin.
    positron : bool
        Whether the beta spectrum is of positrons; each ends in two annihilation photons.
    electron_lines, photon_lines, alpha_lines, recoil_lines : numpy.ndarray
        Shape ``(lines, 2)``: energy in keV and emissions per decay.  Electrons are
        conversion and Auger electrons, photons gamma and X rays without annihilation.
    tabulated_beta_energy_kev : float
        Mean beta energy per decay in the branch list of the source, keV.
    daughters : tuple of Daughter
        Included in all of the above.
    source : str
        Publication and package version.
    """

    name: str
    half_life_h: float
    beta_edges_kev: np.ndarray
    beta_yield: np.ndarray
    positron: bool
    electron_lines: np.ndarray
    photon_lines: np.ndarray
    alpha_lines: np.ndarray
    recoil_lines: np.ndarray
    tabulated_beta_energy_kev: float
    daughters: tuple[Daughter, ...]
    source: str

    @property
    def decay_constant_per_h(self) -> float:
        """Physical decay constant, 1/h."""
        return float(np.log(2.0) / self.half_life_h)

    @property
    def beta_energy_kev(self) -> float:
        """Mean energy of the beta spectrum per decay, keV, as it is sampled."""
        centres = 0.5 * (self.beta_edges_kev[1:] + self.beta_edges_kev[:-1])
        return float(np.sum(centres * self.beta_yield))

    @property
    def electron_energy_kev(self) -> float:
        """Mean kinetic energy per decay of all electrons and positrons, keV."""
        return self.beta_energy_kev + _line_energy(self.electron_lines)

    @property
    def annihilation_yield(self) -> float:
        """Photons of 511 keV per decay."""
        return 2.0 * float(np.sum(self.beta_yield)) if self.positron else 0.0

    @property
    def photon_energy_kev(self) -> float:
        """Mean energy per decay of all photons, keV, annihilation included."""
        return _line_energy(self.photon_lines) + self.annihilation_yield * ELECTRON_REST_ENERGY_KEV

    @property
    def alpha_energy_kev(self) -> float:
        """Mean energy per decay of alpha particles, keV, without the recoil nuclei."""
        return _line_energy(self.alpha_lines)

    @property
    def recoil_energy_kev(self) -> float:
        """Mean energy per decay of the recoil nuclei of alpha decays, keV."""
        return _line_energy(self.recoil_lines)


def nuclides() -> tuple[str, ...]:
    """Return the names of the nuclides that have a table."""
    from DoseSegmentationLib.resources import resource_path

    return tuple(sorted(file.stem for file in resource_path("Nuclides").glob("*.json")))


def nuclide(name: str) -> Nuclide:
    """Return the data of a nuclide.

    Parameters
    ----------
    name : str
        ``Lu-177``, ``177Lu``, ``Lu177``, ``lu-177`` or ``^177^Lu``.

    Raises
    ------
    InputError
        If there is no table; the text lists the known nuclides.

    References
    ----------
    ICRP Publication 107, Ann. ICRP 38 (3), 2008.
    """
    return _load(_standard_name(name))


def _standard_name(name: str) -> str:
    text = re.sub(r"[\s^_\-]", "", str(name))
    match = re.fullmatch(r"([A-Za-z]{1,2})(\d{1,3})", text) or re.fullmatch(r"(\d{1,3})([A-Za-z]{1,2})", text)
    if match:
        element, mass = sorted(match.groups(), key=str.isdigit)
        standard = f"{element.capitalize()}-{mass}"
        if standard in nuclides():
            return standard
    msg = f"There is no decay data for the nuclide {name!r}. Known: {', '.join(nuclides())}."
    raise InputError(msg)


@functools.cache
def _load(name: str) -> Nuclide:
    from DoseSegmentationLib.resources import resource_path

    table = json.loads(resource_path("Nuclides", f"{name}.json").read_text(encoding="utf-8"))
    yields = _frozen(table["beta_yield_per_bin"])
    return Nuclide(
        name=table["name"],
        half_life_h=table["half_life_h"],
        beta_edges_kev=_frozen(np.linspace(0.0, table["beta_edge_max_kev"], len(yields) + 1)),
        beta_yield=yields,
        positron=table["positron"],
        electron_lines=_frozen(table["electron_lines"]).reshape(-1, 2),
        photon_lines=_frozen(table["photon_lines"]).reshape(-1, 2),
        alpha_lines=_frozen(table["alpha_lines"]).reshape(-1, 2),
        recoil_lines=_frozen(table["recoil_lines"]).reshape(-1, 2),
        tabulated_beta_energy_kev=table["tabulated_beta_energy_kev"],
        daughters=tuple(Daughter(**daughter) for daughter in table["daughters"]),
        source=table["source"],
    )


def _frozen(values: list | np.ndarray) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def _line_energy(lines: np.ndarray) -> float:
    return float(np.sum(lines[:, 0] * lines[:, 1]))
