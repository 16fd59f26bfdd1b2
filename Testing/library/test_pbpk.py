"""Reduced compartment model and SBML."""

from __future__ import annotations

import json
import sys

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


ONE_ORGAN = """<?xml version="1.0" encoding="UTF-8"?>
<sbml xmlns="http://www.sbml.org/sbml/level2/version4" level="2" version="4"><model id="one_organ">
<listOfCompartments><compartment id="c1" name="Blood" size="1"/><compartment id="c2" name="Kidney" size="1"/>
</listOfCompartments>
<listOfSpecies><species id="s1" name="Hot" compartment="c1" initialAmount="0" hasOnlySubstanceUnits="true"/>
<species id="s2" name="Hot" compartment="c2" initialAmount="0" hasOnlySubstanceUnits="true"/></listOfSpecies>
<listOfParameters><parameter id="k" name="k_in" value="0.01"/><parameter id="half" name="half_k_in" value="-1"/>
<parameter id="d" name="decay" value="-1"/></listOfParameters>
<listOfInitialAssignments><initialAssignment symbol="half"><math xmlns="http://www.w3.org/1998/Math/MathML">
<apply><divide/><ci>k</ci><cn>2</cn></apply></math></initialAssignment></listOfInitialAssignments>
<listOfReactions>
<reaction id="r1" reversible="false"><listOfReactants><speciesReference species="s1"/></listOfReactants>
<listOfProducts><speciesReference species="s2"/></listOfProducts><kineticLaw>
<math xmlns="http://www.w3.org/1998/Math/MathML"><apply><times/><ci>half</ci><ci>s1</ci></apply></math>
</kineticLaw></reaction>
<reaction id="r2" reversible="false"><listOfReactants><speciesReference species="s2"/></listOfReactants><kineticLaw>
<math xmlns="http://www.w3.org/1998/Math/MathML"><apply><times/><ci>d</ci><ci>s2</ci></apply></math>
</kineticLaw></reaction></listOfReactions></model></sbml>"""


def test_sbml_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "roadrunner", None)
    with pytest.raises(EngineUnavailableError, match="pbpk"):
        simulate_sbml(tmp_path / "model.xml", [0, 1], ["x"])


def test_sbml_model_is_the_analytic_answer_and_derived_values_follow(tmp_path):
    pytest.importorskip("roadrunner", reason="libroadrunner is not installed (extra pbpk)")
    file = tmp_path / "one_organ.xml"
    file.write_text(ONE_ORGAN, encoding="utf-8")
    time_h = np.array([0.0, 1, 4, 24])
    values = {"Blood.Hot": 100.0, "k_in": 0.02, "decay": 0.003}
    found = simulate_sbml(file, time_h, ["Blood.Hot", "Kidney.Hot"], values)
    minutes, k_in = 60 * time_h, 0.01
    assert np.allclose(found["Blood.Hot"], 100 * np.exp(-k_in * minutes), rtol=1e-4, atol=1e-6)
    kidney = 100 * k_in / (k_in - 0.003) * (np.exp(-0.003 * minutes) - np.exp(-k_in * minutes))
    assert np.allclose(found["Kidney.Hot"], kidney, rtol=1e-3, atol=1e-4)
    assert np.allclose(simulate_sbml(file, time_h, ["s1"], values)["s1"], found["Blood.Hot"])


def test_sbml_bad_input_is_one_sentence(tmp_path):
    pytest.importorskip("roadrunner", reason="libroadrunner is not installed (extra pbpk)")
    with pytest.raises(InputError, match="cannot be read"):
        simulate_sbml(tmp_path / "none.xml", [0, 1], ["x"])
    file = tmp_path / "one_organ.xml"
    file.write_text("<sbml>", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        simulate_sbml(file, [0, 1], ["x"])
    file.write_text(ONE_ORGAN, encoding="utf-8")
    with pytest.raises(InputError, match="placeholders.*decay"):
        simulate_sbml(file, [0, 1], ["Blood.Hot"])
    for species, values in ((["Blood.Cold"], {}), (["Blood.Hot"], {"k_out": 1.0})):
        with pytest.raises(InputError, match="no parameter or species"):
            simulate_sbml(file, [0, 1], species, values)
    with pytest.raises(InputError, match="increasing"):
        simulate_sbml(file, [4, 1], ["Blood.Hot"], {"decay": 0.003})


@pytest.mark.realdata
def test_published_psma_model_runs_and_saturates(reference_data):
    pytest.importorskip("roadrunner", reason="libroadrunner is not installed (extra pbpk)")
    file = reference_data("pbpk_psma") / "src/pycno/models/reduced.sbml"
    hot = [f"Kidney{part}.Hot" for part in ("Vas", "Int", "Bound", "Intern", "Intera")]
    time_h = np.linspace(0, 400, 401)

    def kidney_per_hot(cold_nmol: float) -> np.ndarray:
        found = simulate_sbml(file, time_h, hot, {"Blood.Hot": 10.0, "Blood.Cold": cold_nmol})
        return sum(found.values()) / 10.0

    few, many = kidney_per_hot(10.0), kidney_per_hot(1000.0)
    decay = 7.24e-5 * 60
    assert 0.001 < few[24] < 0.05
    # After the uptake nothing falls more slowly than physical decay; more substance saturates the receptors.
    assert np.all(np.diff(np.log(few[30:])) < -decay * 0.999)
    assert trapezoid(many, time_h) < 0.6 * trapezoid(few, time_h)
    # The full model derives its placeholders as well.
    full = simulate_sbml(file.with_name("PSMA.sbml"), [0, 1, 24], ["KidneyIntern.Hot"], {"Art.Hot": 10.0})
    assert 0 < full["KidneyIntern.Hot"][-1] < 10
