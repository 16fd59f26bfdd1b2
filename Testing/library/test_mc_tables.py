"""Physics tables against NIST ESTAR, XCOM and sum rules."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from DoseSegmentationLib.resources import resource_path
from TheranosticDoseLib.tissues import tissues


def table(name):
    return json.loads(resource_path("Physics", name).read_text(encoding="utf-8"))


def log_interpolate(x, grid, values):
    return np.exp(np.interp(np.log(x), np.log(grid), np.log(values)))


@pytest.mark.realdata
@pytest.mark.parametrize(("tissue", "estar"), [("WATER", "water.liquid"), ("AIR", "air.dry")])
def test_stopping_power_and_range_within_one_percent_of_estar(tissue, estar, reference_data):
    file = reference_data("nist_estar") / "data" / "df.NIST.estar.SP.csv"
    rows = [r for r in csv.DictReader(file.open()) if r["id"] == estar and 0.01 <= float(r["MeV"]) <= 1.0]
    assert len(rows) > 20
    electrons = table("electrons.json")
    grid, columns = np.geomspace(*electrons["energy_mev"]), electrons["tissues"][tissue]
    energy = np.array([float(r["MeV"]) for r in rows])
    for column, name, limit in (
        ("collision_stopping_power", "MSP.el", 0.01),
        ("csda_range", "range.CSDA", 0.01),
        ("radiative_stopping_power", "MSP.rad", 0.20),
    ):
        expected = np.array([float(r[name]) for r in rows])
        assert log_interpolate(energy, grid, columns[column]) == pytest.approx(expected, rel=limit), column


@pytest.mark.realdata
def test_attenuation_within_one_percent_of_xcom(reference_data):
    folder = next(reference_data("nist_xcom").rglob("water.csv"))
    lines = [line.split() for line in folder.read_text().splitlines()]
    reference = np.array([[float(v) for v in line[:2]] for line in lines if len(line) == 3])
    reference = reference[(reference[:, 0] >= 0.01) & (reference[:, 0] <= 1.5)]
    photons = table("photons.json")
    columns = photons["tissues"]["WATER"]
    total = np.sum([columns[c] for c in ("photo", "incoherent", "coherent")], axis=0)
    found = log_interpolate(reference[:, 0], np.geomspace(*photons["energy_mev"]), total)
    assert found == pytest.approx(reference[:, 1], rel=0.01)


def test_incoherent_function_and_form_factor_integrate_to_the_cross_sections():
    """What is sampled (Klein-Nishina times S, Thomson times F^2) must have the tabulated totals."""
    photons = table("photons.json")
    grid = np.geomspace(*photons["energy_mev"])
    transfer = np.geomspace(*photons["transfer_per_angstrom"])
    cosine = np.linspace(-1, 1, 20001)
    radius2 = 2.8179403e-13**2
    for energy in (0.03, 0.113, 0.208):
        columns = photons["tissues"]["WATER"]
        x = np.sqrt((1 - cosine) / 2) * energy / 0.01239842
        ratio = 1 / (1 + energy / 0.510999 * (1 - cosine))
        klein = np.pi * radius2 * ratio**2 * (ratio + 1 / ratio - 1 + cosine**2)
        bound = np.interp(x, transfer, columns["incoherent_function"], left=0.0)
        incoherent = np.trapezoid(klein * bound, cosine) * 6.02214e23 * 0.55508
        assert incoherent == pytest.approx(log_interpolate(energy, grid, columns["incoherent"]), rel=0.01)
        form = np.interp(x, transfer, columns["form_factor_squared"])
        coherent = np.trapezoid(np.pi * radius2 * (1 + cosine**2) * form, cosine) * 6.02214e23
        assert coherent == pytest.approx(log_interpolate(energy, grid, columns["coherent"]), rel=0.03)


def test_hard_and_soft_losses_add_up():
    """Restricted stopping power plus the hard Moller losses is the collision stopping power."""
    electrons = table("electrons.json")
    energy = np.geomspace(*electrons["energy_mev"])
    hard = electrons["hard_mev"]
    for tissue in tissues():
        columns = {k: np.array(v) for k, v in electrons["tissues"][tissue.name].items()}
        per_gram = sum(f * z / {1: 1.008}.get(z, 2 * z) for z, f in tissue.mass_fraction.items())
        index = np.searchsorted(energy, 0.2)
        t = energy[index]
        w = np.linspace(hard, t / 2, 20001)
        gamma, beta2 = 1 + t / 0.510999, t * (t + 1.021998) / (t + 0.510999) ** 2
        moller = 1 / w**2 + 1 / (t - w) ** 2 + ((gamma - 1) / gamma / t) ** 2
        moller -= (2 * gamma - 1) / gamma**2 / (w * (t - w))
        lost = 0.1535374 * per_gram / beta2 * np.trapezoid(w * moller, w)
        difference = columns["collision_stopping_power"][index] - columns["restricted_stopping_power"][index]
        assert difference == pytest.approx(lost, rel=0.03), tissue.name
