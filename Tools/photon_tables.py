"""Photon tables: cross sections of xraydb, form factors, incoherent scattering functions of xraylib."""

from __future__ import annotations

import warnings

import numpy as np
from electron_tables import AVOGADRO, MC2, RE, atoms

LAST_TABULATED_MEV = 0.7  # Elam's tables end at 0.8 MeV


def klein_nishina(energy):
    """Return the Klein-Nishina cross section per electron, cm2."""
    k = energy / MC2
    log = np.log(1 + 2 * k)
    first = (1 + k) / k**2 * (2 * (1 + k) / (1 + 2 * k) - log / k)
    return 2 * np.pi * RE**2 * (first + log / (2 * k) - (1 + 3 * k) / (1 + 2 * k) ** 2)


def element_cross_sections(z: int, energy) -> dict:
    """Return photoelectric, incoherent and coherent cross sections of an element, cm2/g.

    Above the table, incoherent follows Klein-Nishina and the others their power law.
    """
    import xraydb

    inside = energy <= LAST_TABULATED_MEV
    result = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, name in (("photo", "photo"), ("incoh", "incoherent"), ("coh", "coherent")):
            values = xraydb.mu_elam(z, 1e6 * np.minimum(energy, LAST_TABULATED_MEV), kind=kind)
            if name == "incoherent":
                values *= klein_nishina(energy) / klein_nishina(np.minimum(energy, LAST_TABULATED_MEV))
            else:
                a, b = xraydb.mu_elam(z, 1e6 * LAST_TABULATED_MEV * np.array([0.8, 1.0]), kind=kind)
                slope = np.log(b / a) / np.log(1 / 0.8)
                values = np.where(inside, values, b * (energy / LAST_TABULATED_MEV) ** slope)
            result[name] = values
    return result


def photon_table(tissue: dict, energy, transfer) -> dict:
    """Return cross sections on ``energy`` (MeV), S(x)/Z and the squared form factor on ``transfer``.

    The squared form factor is per gram in units of 1/mol; only its shape is used.
    """
    import xraydb
    import xraylib

    total = sum(tissue["mass_fraction"].values())
    columns = {name: np.zeros_like(energy) for name in ("photo", "incoherent", "coherent")}
    for z, fraction in tissue["mass_fraction"].items():
        for name, values in element_cross_sections(int(z), energy).items():
            columns[name] += fraction / total * values
    incoherent, form, electrons = np.zeros_like(transfer), np.zeros_like(transfer), 0.0
    for z, number in atoms(tissue):
        moles = number / AVOGADRO
        incoherent += moles * np.array([min(xraylib.SF_Compt(z, min(x, 120.0)), z) for x in transfer])
        factor = xraydb.f0(xraydb.atomic_symbol(z), np.minimum(transfer, 6.0))
        # Beyond the fit the form factor falls as x^-4 or faster.
        form += moles * np.where(transfer <= 6.0, factor, factor * (6.0 / transfer) ** 4) ** 2
        electrons += moles * z
    columns["incoherent_function"] = np.minimum(incoherent / electrons, 1.0)
    columns["form_factor_squared"] = form
    return columns
