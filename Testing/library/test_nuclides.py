"""Decay data: names, half-lives, mean energies against ICRP 107, checksums."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from DoseSegmentationLib.resources import resource_path
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.nuclides import nuclide, nuclides

# Mean energies per decay, keV, printed in ICRP Publication 107 (all electrons, all photons).
PRINTED = {
    "Lu-177": (147.92, 35.10),
    "Y-90": (933.1, 0.0013),
    "I-131": (191.8, 382.8),
    "Cu-67": (150.3, 115.4),
}


def test_all_nuclides_are_there():
    wanted = {"Lu-177", "Y-90", "I-131", "Tb-161", "Ga-68", "F-18", "Ho-166", "Cu-67", "Ac-225"}
    assert wanted <= set(nuclides())


@pytest.mark.parametrize("name", ["Lu-177", "177Lu", "Lu177", "lu-177", "LU 177", "^177^Lu"])
def test_spellings(name):
    assert nuclide(name).name == "Lu-177"


@pytest.mark.parametrize("name", ["Xx-1", "", "Lu-176", "177", "Lu"])
def test_unknown_nuclide_lists_the_known(name):
    with pytest.raises(InputError, match="Known: Ac-225, .*Y-90"):
        nuclide(name)


def test_half_life_and_decay_constant():
    lu = nuclide("Lu-177")
    assert lu.half_life_h == pytest.approx(6.647 * 24)
    assert np.exp(-lu.decay_constant_per_h * lu.half_life_h) == pytest.approx(0.5)


@pytest.mark.parametrize(("name", "energies"), PRINTED.items())
def test_mean_energies_are_those_printed(name, energies):
    found = nuclide(name)
    assert found.electron_energy_kev == pytest.approx(energies[0], rel=1e-3)
    assert found.photon_energy_kev == pytest.approx(energies[1], rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("name", nuclides())
def test_beta_spectrum_has_the_mean_of_the_branch_list(name):
    """The point values of the spectrum read as a step function would be several percent too hard."""
    found = nuclide(name)
    assert found.beta_energy_kev == pytest.approx(found.tabulated_beta_energy_kev, rel=1e-3)
    assert np.all(found.beta_yield >= 0)
    assert len(found.beta_edges_kev) == len(found.beta_yield) + 1


@pytest.mark.parametrize("name", nuclides())
def test_table_matches_the_decay_database(name):
    pytest.importorskip("icrp107_database")
    from icrp107_database import get_icrp107_spectrum

    found = nuclide(name)
    if found.daughters:
        pytest.skip("the chain sums several records; see the test of the chain")
    for kinds, lines in ((("gamma", "X"), found.photon_lines), (("IE", "auger"), found.electron_lines)):
        records = [get_icrp107_spectrum(name, kind) for kind in kinds]
        energy = sum(float(np.sum(r["energies"] * r["weights"])) for r in records)
        assert np.sum(lines[:, 0] * lines[:, 1]) == pytest.approx(1000 * energy, rel=1e-5, abs=1e-12)


def test_positron_emitters_have_annihilation_photons():
    fluorine = nuclide("F-18")
    assert fluorine.positron
    assert fluorine.annihilation_yield == pytest.approx(2 * 0.9673, rel=1e-4)
    assert fluorine.photon_energy_kev == pytest.approx(988.6, rel=1e-3)


def test_actinium_chain():
    """Four alphas of the chain: 5.79, 6.30, 7.07 and 8.5 MeV (ICRP 107), 27.5 MeV in all."""
    chain = nuclide("Ac-225")
    weights = {d.name: d.decays_per_parent_decay for d in chain.daughters}
    assert weights["Po-213"] == pytest.approx(0.979, abs=2e-3)
    assert weights["Tl-209"] == pytest.approx(0.021, abs=2e-3)
    assert weights["Pb-209"] == pytest.approx(1.0, abs=1e-3)
    expected = 5787.2 + 6303.6 + 7068.0 + 122.2 + 0.979 * 8376.5
    assert chain.alpha_energy_kev == pytest.approx(expected, rel=1e-3)
    assert chain.recoil_energy_kev == pytest.approx(0.019 * chain.alpha_energy_kev, rel=0.05)


def test_tables_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        nuclide("Lu-177").beta_yield[0] = 1.0


@pytest.mark.parametrize("folder", ["Nuclides", "Physics"])
def test_checksums(folder):
    root = resource_path(folder)
    entries = [line.split() for line in (root / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in entries} == {f.name for f in root.iterdir()} - {"SHA256SUMS"}
    for checksum, name in entries:
        assert hashlib.sha256((root / name).read_bytes()).hexdigest() == checksum, name
