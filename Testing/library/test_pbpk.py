"""Reduced compartment model and SBML."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.integrate import solve_ivp, trapezoid
from TheranosticDoseLib.errors import EngineUnavailableError, InputError
from TheranosticDoseLib.pbpk import fit_reduced_model, simulate_sbml
from TheranosticDoseLib.pbpk.reduced import _activities, _areas, _matrix

HALF_LIFE_H = 159.53
DECAY = np.log(2) / HALF_LIFE_H
TRUE = np.log([0.3, 0.02, 0.012, 0.03, 0.008, 0.5, 0.3])
TIMES = np.array([1.0, 4, 24, 72, 168])


def test_solution_is_that_of_an_integrator_and_the_area_that_of_the_curve():
    start = np.array([1.0, 0, 0, 0])
    numeric = solve_ivp(
        lambda t, x: _matrix(TRUE, DECAY) @ x, (0, 168), start, t_eval=TIMES, rtol=1e-9, atol=1e-12
    ).y
    assert np.allclose(_activities(TRUE, TIMES, DECAY), numeric, rtol=1e-5, atol=1e-9)
    fine = np.linspace(0, 3000, 300001)
    assert np.allclose(
        _areas(TRUE, DECAY), trapezoid(_activities(TRUE, fine, DECAY), fine, axis=1), rtol=1e-4
    )


def test_fit_predicts_the_next_cycle_and_says_what_it_cannot_tell():
    organs = _activities(TRUE, TIMES, DECAY)[1:3] * 7400
    curves = {
        name: {"time_h": TIMES, "activity_mbq": row}
        for name, row in zip(("kidneys", "liver"), organs, strict=True)
    }
    fit = fit_reduced_model(curves, 7400.0, half_life_h=HALF_LIFE_H, other_organs=("spleen",))
    truth = _areas(TRUE, DECAY)
    for i, name in enumerate(curves):
        tia, u = fit.tia_mbq_h(name, 5000.0)
        assert tia == pytest.approx(5000 * truth[1 + i], rel=0.03)
        assert u < 0.06 * tia
    spleen, u_spleen = fit.tia_mbq_h("spleen", 5000.0)
    assert u_spleen > 0.5 * spleen
    assert fit.identifiability["k_out[kidneys]"] > 0.9
    assert fit.identifiability["k_in[spleen]"] < 0.2
    assert any("do not identify" in finding.message for finding in fit.findings)
    json.dumps(fit.to_dict())
    assert fit.predict("liver", [24.0], 7400.0)[0][0] == pytest.approx(organs[1, 2], rel=0.05)


def test_bad_input():
    with pytest.raises(InputError, match="organ curves"):
        fit_reduced_model({}, 7400.0, half_life_h=HALF_LIFE_H)
    with pytest.raises(InputError, match="kidneys"):
        fit_reduced_model(
            {"kidneys": {"time_h": [4], "activity_mbq": [9e3]}}, 7400.0, half_life_h=HALF_LIFE_H
        )


def test_sbml_without_its_library_says_what_to_install(tmp_path):
    try:
        import roadrunner  # noqa: F401
    except ImportError:
        with pytest.raises(EngineUnavailableError, match="pbpk"):
            simulate_sbml(tmp_path / "model.xml", [0, 1], ["x"])
    else:
        with pytest.raises(InputError, match="cannot be read"):
            simulate_sbml(tmp_path / "model.xml", [0, 1], ["x"])
