"""The checks that the validation of the Monte Carlo leans on, and the exact answer of Fano."""

from __future__ import annotations

import numpy as np
import pytest
from TheranosticDoseLib.dose.mc import transport
from TheranosticDoseLib.tissues import SOFT
from TheranosticDoseLib.validation.monte_carlo_checks import (
    ELECTRONS_PER_GRAM,
    _lengths_within,
    klein_nishina,
    sphere_dose,
)


def test_klein_nishina_at_its_limits():
    attenuation, transfer = klein_nishina(np.array([1e-6, 0.51099895]))
    assert attenuation[0] / ELECTRONS_PER_GRAM == pytest.approx(6.6524587e-25, rel=1e-4)  # Thomson, CODATA
    assert transfer[0] / attenuation[0] == pytest.approx(1e-6 / 0.51099895, rel=1e-3)
    # at one electron mass: sigma / sigma_Thomson = 0.4309 (the formula of Klein and Nishina by hand)
    by_hand = 0.75 * (2 * (4 / 3 - np.log(3)) + np.log(3) / 2 - 4 / 9)
    assert attenuation[1] / attenuation[0] == pytest.approx(by_hand, rel=1e-4)


def test_length_of_a_path_within_a_sphere():
    place = np.array([[0.0, 0.0, 0.0], [-5.0, 0.0, 0.0], [-5.0, 3.0, 0.0], [0.0, 0.0, 2.0]])
    direction = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    lengths = _lengths_within(place, direction, np.array([9.0, 5.0, 99.0, 1.0]), np.array([2.0, 4.0]))
    np.testing.assert_allclose(lengths, [[2, 2, 0, 0], [4, 4, 2 * np.sqrt(7), 1]], atol=1e-12)


def test_spheres_absorb_what_was_sent_out():
    energies = np.geomspace(0.001, 0.5, 50)
    absorption = klein_nishina(energies)[1] + 4.8e-6 / energies**3  # a photoelectric effect as in water
    dose = sphere_dose(0.2, energies, absorption, np.array([0.0, 20.0, 500.0]), 20_000)
    assert dose @ [20.0, 480.0] == pytest.approx(0.2, rel=0.01)


def test_fano_one_medium_in_two_densities():
    """With as much source per mass everywhere the dose does not know of the interface."""
    density = np.repeat(np.float32([1.0, 1.92]), 8).reshape(16, 1, 1)
    tissue = np.full(density.shape, SOFT, np.uint8)
    energy, relative, _ = transport(
        density, tissue, (2000.0, 2000.0, 0.5), density, None, 200_000, 3, ("electron",), 300.0
    )
    ratio = (energy / density * density.sum() / 0.3).ravel()[2:-2]
    assert np.all(np.abs(ratio - 1) < 0.01 + 4 * relative.ravel()[2:-2])
