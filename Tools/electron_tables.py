"""Electron tables from formulas: collision stopping power, elastic scattering, Moller, bremsstrahlung.

References
----------
ICRU Report 37 (1984), collision stopping power of electrons.
Sternheimer and Peierls, Phys Rev B 3 (1971) 3681, density effect.
McKinley and Feshbach, Phys Rev 74 (1948) 1759; Moliere, Z Naturforsch 3a (1948) 78, elastic scattering.
Koch and Motz, Rev Mod Phys 31 (1959) 920, formula 3BN with the Elwert factor, bremsstrahlung.
"""

from __future__ import annotations

import numpy as np

MC2 = 0.51099895  # MeV
RE = 2.8179403e-13  # cm
AVOGADRO = 6.02214076e23
ALPHA = 1 / 137.035999
HARD_MEV = 0.010  # losses above are single Moller collisions ...
HARD_PHOTON_MEV = 0.002  # ... and photons above leave the electron one by one
# Standard atomic weights of the elements in the tissues.
ATOMIC_WEIGHT = {
    1: 1.008,
    6: 12.011,
    7: 14.007,
    8: 15.999,
    11: 22.990,
    12: 24.305,
    15: 30.974,
    16: 32.06,
    17: 35.45,
    18: 39.948,
    19: 39.098,
    20: 40.078,
}
AIR_DENSITY_EFFECT = (10.5961, 1.7418, 4.2759)  # C, x0, x1 of dry air, ICRU 37


def beta_squared(energy):
    """Return (v/c)^2 of electrons of kinetic energy in MeV."""
    return energy * (energy + 2 * MC2) / (energy + MC2) ** 2


def atoms(tissue: dict) -> list[tuple[int, float]]:
    """Return ``(Z, atoms per gram)``."""
    total = sum(tissue["mass_fraction"].values())
    return [
        (int(z), AVOGADRO * f / total / ATOMIC_WEIGHT[int(z)]) for z, f in tissue["mass_fraction"].items()
    ]


def electrons_per_gram(tissue: dict) -> float:
    """Return the number of electrons per gram."""
    return sum(z * n for z, n in atoms(tissue))


def density_effect(energy, tissue: dict):
    """Return delta of Sternheimer and Peierls."""
    x = 0.5 * np.log10(energy * (energy + 2 * MC2) / MC2**2)
    if tissue["name"] == "AIR":
        c, x0, x1 = AIR_DENSITY_EFFECT
    else:
        plasma_ev = 28.816 * np.sqrt(tissue["density_g_cm3"] * electrons_per_gram(tissue) / AVOGADRO)
        c = 1 + 2 * np.log(tissue["mean_excitation_energy_ev"] / plasma_ev)
        low = tissue["mean_excitation_energy_ev"] < 100
        x1, limit, shift = (2.0, 3.681, 1.0) if low else (3.0, 5.215, 1.5)
        x0 = 0.2 if c < limit else 0.326 * c - shift
    a = (c - 2 * np.log(10) * x0) / (x1 - x0) ** 3
    delta = 2 * np.log(10) * x - c + a * np.clip(x1 - x, 0, None) ** 3
    return np.where(x < x0, 0.0, np.maximum(delta, 0.0))


def collision_stopping_power(energy, tissue: dict):
    """Return the mass collision stopping power, MeV cm2/g (ICRU 37, equation 2.2)."""
    b2 = beta_squared(energy)
    tau = energy / MC2
    excitation = tissue["mean_excitation_energy_ev"] * 1e-6
    f_minus = 1 - b2 + (tau**2 / 8 - (2 * tau + 1) * np.log(2)) / (tau + 1) ** 2
    bracket = np.log(tau**2 * (tau + 2) / (2 * (excitation / MC2) ** 2)) + f_minus
    bracket = bracket - density_effect(energy, tissue)
    return 2 * np.pi * RE**2 * MC2 * electrons_per_gram(tissue) / b2 * bracket


def moller(energy, tissue: dict, order: int):
    """Return the hard Moller cross section (order 0, cm2/g) or energy loss (order 1, MeV cm2/g)."""
    result = np.zeros_like(energy)
    for index, e in enumerate(energy):
        if e <= 2 * HARD_MEV:
            continue
        w = np.exp(np.linspace(np.log(HARD_MEV), np.log(e / 2), 400))
        gamma = 1 + e / MC2
        dcs = 1 / w**2 + 1 / (e - w) ** 2 + ((gamma - 1) / gamma / e) ** 2
        dcs -= (2 * gamma - 1) / gamma**2 / (w * (e - w))
        constant = 2 * np.pi * RE**2 * MC2 / beta_squared(e) * electrons_per_gram(tissue)
        result[index] = constant * np.trapezoid(dcs * w ** (order + 1), np.log(w))
    return result


def scattering_moments(energy, tissue: dict):
    """Return first and second transport cross sections (cm2/g) of elastic and soft electron scattering.

    The electron part ends at the angle of the hard Moller collisions, which
    deflect on their own, so that nothing is counted twice.
    """
    b2 = beta_squared(energy)
    momentum = np.sqrt(energy * (energy + 2 * MC2)) / MC2
    first, second = np.zeros_like(energy), np.zeros_like(energy)
    hard = np.clip(HARD_MEV / energy, None, 0.5)
    cos_hard = np.sqrt((1 - hard) * (energy + 2 * MC2) / (energy * (1 - hard) + 2 * MC2))
    mu_hard = np.where(hard < 0.5, (1 - cos_hard) / 2, 0.5)
    for z, number in atoms(tissue):
        radius = 0.885341 * z ** (-1 / 3) / ALPHA  # Thomas-Fermi radius, reduced Compton wavelengths
        chi = 1 / (momentum * radius)
        eta = chi**2 * (1.13 + 3.76 * (ALPHA * z) ** 2 / b2) / 4
        for index in range(len(energy)):
            for charge, mu_end in ((z * z, 1.0), (z, mu_hard[index])):
                mu = np.exp(np.linspace(np.log(eta[index] * 1e-3), np.log(mu_end), 500))
                ratio = 1.0
                if charge == z * z:
                    s = np.sqrt(mu)
                    ratio = 1 - b2[index] * mu + np.pi * ALPHA * z * np.sqrt(b2[index]) * s * (1 - s)
                # per unit mu: 4 pi dmu, (1 - cos) = 2 mu
                dcs = (
                    4
                    * np.pi
                    * charge
                    * (RE / (momentum[index] ** 2 / np.sqrt(1 + momentum[index] ** 2))) ** 2
                )
                dcs = dcs * ratio / (2 * mu + 2 * eta[index]) ** 2
                first[index] += number * np.trapezoid(dcs * 2 * mu * mu, np.log(mu))
                second[index] += number * np.trapezoid(dcs * 6 * mu * (1 - mu) * mu, np.log(mu))
    return first, second


def bremsstrahlung_3bn(energy: float, photon):
    """Return k dsigma/dk / Z^2, cm2, of the Born approximation with the Elwert factor of oxygen."""
    e0, e = 1 + energy / MC2, 1 + (energy - photon) / MC2
    k = photon / MC2
    p0, p = np.sqrt(e0**2 - 1), np.sqrt(np.maximum(e**2 - 1, 1e-12))
    l0, l1 = 2 * np.log(e0 + p0), 2 * np.log(e + p)
    ll = 2 * np.log((e0 * e + p0 * p - 1) / k)
    inner = 8 / 3 * e0 * e / (p0 * p) + k**2 * (e0**2 * e**2 + p0**2 * p**2) / (p0 * p) ** 3
    inner += (
        k
        / (2 * p0 * p)
        * ((e0 * e + p0**2) / p0**3 * l0 - (e0 * e + p**2) / p**3 * l1 + 2 * k * e0 * e / (p * p0) ** 2)
    )
    bracket = 4 / 3 - 2 * e0 * e * (p**2 + p0**2) / (p * p0) ** 2
    bracket += l0 * e / p0**3 + l1 * e0 / p**3 - l0 * l1 / (p0 * p) + ll * inner
    b0, b = p0 / e0, p / e
    elwert = b0 * (1 - np.exp(-2 * np.pi * 8 * ALPHA / b0)) / (b * (1 - np.exp(-2 * np.pi * 8 * ALPHA / b)))
    return ALPHA * RE**2 * p / p0 * bracket * elwert


def bremsstrahlung(energy, tissue: dict):
    """Return hard cross section (cm2/g), soft and total radiative stopping power (MeV cm2/g).

    The Born cross section without screening is about as much too high as the
    electron-electron part is worth, which is left out: within 6 % of ESTAR from 0.1 to 3 MeV.
    """
    strength = sum(n * z * z for z, n in atoms(tissue))
    hard, soft, total = (np.zeros_like(energy) for _ in range(3))
    for index, e in enumerate(energy):
        k = e * (np.arange(400) + 0.5) / 400
        chi = bremsstrahlung_3bn(e, k) * strength
        total[index] = np.mean(chi) * e
        soft[index] = np.sum(chi[k < HARD_PHOTON_MEV]) * e / 400
        if e > HARD_PHOTON_MEV:
            k = np.exp(np.linspace(np.log(HARD_PHOTON_MEV), np.log(e * 0.9999), 300))
            hard[index] = np.trapezoid(bremsstrahlung_3bn(e, k) * strength, np.log(k))
    return hard, soft, total


def electron_table(tissue: dict, energy) -> dict:
    """Return the columns of one tissue on an energy grid in MeV."""
    collision = collision_stopping_power(energy, tissue)
    hard, soft, radiative = bremsstrahlung(energy, tissue)
    total = collision + radiative
    # Below the grid the range is that of a stopping power constant at its start.
    step = 0.5 * (energy[1:] / total[1:] + energy[:-1] / total[:-1]) * np.diff(np.log(energy))
    csda = energy[0] / total[0] / 1.75 + np.concatenate([[0.0], np.cumsum(step)])
    first, second = scattering_moments(energy, tissue)
    photons = (
        0.5 * (hard[1:] * (energy / total)[1:] + hard[:-1] * (energy / total)[:-1]) * np.diff(np.log(energy))
    )
    return {
        "collision_stopping_power": collision,
        "radiative_stopping_power": radiative,
        "csda_range": csda,
        "restricted_stopping_power": collision - moller(energy, tissue, 1) + soft,
        "first_transport": first,
        "second_transport": second,
        "hard_moller": moller(energy, tissue, 0),
        "hard_bremsstrahlung": hard,
        "photons_until_rest": np.concatenate([[0.0], np.cumsum(photons)]),
    }


def bremsstrahlung_shape(energy, fractions):
    """Return k dsigma/dk at ``k = fraction * energy`` over its maximum, shape ``(energies, fractions)``."""
    shape = np.stack([bremsstrahlung_3bn(e, np.clip(fractions, 1e-4, 0.9999) * e) for e in energy])
    return shape / shape.max(axis=1, keepdims=True)
