"""GATE 10: what is asked of it, tested on the generated configuration; a real run where it is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib import nuclides
from TheranosticDoseLib.dose import Anatomy, absorbed_dose, engines
from TheranosticDoseLib.dose.gate import EngineSettings, installation, process
from TheranosticDoseLib.dose.gate.configuration import configuration
from TheranosticDoseLib.errors import CancelledError, EngineUnavailableError, SettingsError


def image(array, spacing=(4.0, 4.0, 5.0)):
    result = sitk.GetImageFromArray(np.asarray(array, np.float32))
    result.SetSpacing(spacing)
    result.SetOrigin((100.0, -50.0, 33.0))
    result.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    return result


@pytest.fixture
def patient():
    rng = np.random.default_rng(0)
    density = rng.choice([0.0012, 0.26, 0.95, 1.05, 1.06, 1.6], (5, 6, 7))
    return image(rng.random((5, 6, 7))), Anatomy(image(density))


def made(nuclide="Lu-177", **settings):
    density = np.ones((2, 3, 4))
    return configuration(
        density, np.full((2, 3, 4), 3), (4.0, 4.0, 4.0), nuclides.nuclide(nuclide), EngineSettings(**settings)
    )[0]


@pytest.mark.parametrize("name", ["Lu-177", "Y-90", "F-18", "Ac-225"])
def test_trap_1_the_mean_energy_of_what_is_sampled_is_that_of_the_decay(name):
    nuclide = nuclides.nuclide(name)
    mean = {
        source["particle"]: source["per_decay"] * np.dot(source["energies_kev"], source["weights"])
        for source in made(name)["sources"]
    }
    assert mean.get("e-", 0) + mean.get("e+", 0) == pytest.approx(nuclide.electron_energy_kev, rel=1e-3)
    without_annihilation = (
        nuclide.photon_energy_kev - nuclide.annihilation_yield * nuclides.ELECTRON_REST_ENERGY_KEV
    )
    assert mean.get("gamma", 0) == pytest.approx(without_annihilation, rel=1e-6, abs=1e-9)
    assert mean.get("alpha", 0) == pytest.approx(nuclide.alpha_energy_kev, rel=1e-6)


def test_trap_1_beta_lines_are_fine_and_not_at_the_left_edges():
    lutetium = nuclides.nuclide("Lu-177")
    source = made()["sources"][0]
    lines = np.array(source["energies_kev"])
    widths = np.diff(lutetium.beta_edges_kev)
    assert widths.max() < 10
    beta = np.isin(np.round(lines, 6), np.round(lutetium.beta_edges_kev[:-1] + widths / 2, 6))
    assert beta.sum() >= np.count_nonzero(lutetium.beta_yield) - 1


def test_trap_2_cut_and_step_are_short():
    wanted = made()
    assert wanted["cut_mm"] <= 0.05
    assert wanted["max_step_mm"] <= 0.1
    with pytest.raises(SettingsError, match="cut_mm"):
        EngineSettings(cut_mm=0.7)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_trap_3_threads_do_not_multiply_the_primaries(threads):
    wanted = made(histories=100_000, threads=threads)
    for source in wanted["sources"]:
        asked = source["primaries_per_thread"] * threads
        assert asked == pytest.approx(100_000 * source["per_decay"], rel=2e-4)
        assert source["decays"] == pytest.approx(asked / source["per_decay"])


def test_trap_4_opengate_is_not_imported_and_its_data_are_checked_first(tmp_path, monkeypatch):
    core = tmp_path / "opengate_core"
    core.mkdir()
    (core / "g4DataSetup.py").write_text(
        'g4_data_path = {\n "G4LEDATA": data_location / "G4EMLOW8.8",\n "G4PIIDATA": data_location / "G4PII1.3",\n}\n'
    )
    monkeypatch.setattr(installation, "core_folder", lambda: core)
    assert "missing: all of it" in installation.missing()
    (core / "geant4_data" / "G4PII1.3").mkdir(parents=True)
    assert "missing: G4EMLOW8.8" in installation.missing()
    (core / "geant4_data" / "G4EMLOW8.8").mkdir()
    assert installation.missing() is None
    assert "opengate" not in sys.modules


def test_without_opengate_the_message_says_what_to_install(patient):
    reason = installation.missing()
    if reason is None:
        pytest.skip("GATE 10 and its data are installed here")
    assert "opengate" in reason
    assert engines()["gate"]["reason"] == reason
    with pytest.raises(EngineUnavailableError, match="opengate"):
        absorbed_dose(*patient, engine="gate")


def test_images_are_written_on_one_plain_grid(tmp_path, patient):
    tia, anatomy = patient
    wanted = process.write_input(tmp_path, tia, anatomy, nuclides.nuclide("Lu-177"), EngineSettings())
    assert wanted == json.loads((tmp_path / "simulation.json").read_text())
    labels, activity = (sitk.ReadImage(str(tmp_path / f"{name}.mhd")) for name in ("labels", "activity"))
    for written in (labels, activity):
        assert written.GetSize() == tuple(wanted["size"]) == tia.GetSize()
        assert written.GetSpacing() == tia.GetSpacing()
        assert written.GetOrigin() == (0, 0, 0)
        assert written.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(activity), sitk.GetArrayFromImage(tia))
    density = np.array([material["density_g_cm3"] for material in wanted["materials"]])
    np.testing.assert_allclose(
        density[sitk.GetArrayFromImage(labels)], sitk.GetArrayFromImage(anatomy.density), rtol=0.021
    )
    for material in wanted["materials"]:
        assert sum(material["weights"]) == pytest.approx(1)


def fake_run(monkeypatch, folder, code):
    """Have the child process run ``code`` instead of opengate: this tests the process, not the physics."""
    child = folder / "child.py"
    child.write_text(code)
    monkeypatch.setattr(process, "__file__", str(folder / "process.py"))


def test_a_child_that_fails_gives_its_last_words(tmp_path, monkeypatch):
    fake_run(
        monkeypatch, tmp_path, "import sys; print('begin'); sys.exit('the licence of the moon has expired')"
    )
    with pytest.raises(EngineUnavailableError, match="licence of the moon"):
        process.run_child(tmp_path, None)


def test_cancelling_kills_the_child(tmp_path, monkeypatch):
    fake_run(monkeypatch, tmp_path, "import time; time.sleep(60); open('finished', 'w')")
    with pytest.raises(CancelledError):
        process.run_child(tmp_path, lambda fraction, message: False)
    assert not (tmp_path / "finished").exists()


def test_missing_or_wrong_output_is_refused(tmp_path):
    with pytest.raises(EngineUnavailableError, match="without its edep image"):
        process.read_output(tmp_path, (2, 3, 4))
    for kind in ("edep", "edep_uncertainty"):
        sitk.WriteImage(
            sitk.GetImageFromArray(np.ones((2, 3, 4), np.float32)), str(tmp_path / f"dose_{kind}.mhd")
        )
    energy, relative = process.read_output(tmp_path, (2, 3, 4))
    assert energy.sum() == 24
    with pytest.raises(EngineUnavailableError, match="shape"):
        process.read_output(tmp_path, (4, 3, 2))


@pytest.mark.slow
def test_opengate_accepts_the_simulation(tmp_path, patient):
    """Built, not run: with this variable opengate is imported without its data and without a download."""
    if installation.core_folder() is None:
        pytest.skip("opengate is not installed, so the simulation cannot be built with it")
    process.write_input(tmp_path, *patient, nuclides.nuclide("Lu-177"), EngineSettings(histories=100))
    code = (
        "import sys, child; from pathlib import Path; s = child.build(Path(sys.argv[1])); "
        "print([x.n for x in s.source_manager.sources.values()], s.physics_manager.user_limits_particles)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "GATEONRTD": "1"},
        cwd=Path(process.__file__).parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert "['electron', 'positron']" in done.stdout


@pytest.mark.slow
def test_a_real_run_beside_the_embedded_monte_carlo():
    reason = installation.missing()
    if reason is not None:
        pytest.skip(f"no real run: {reason}")
    tia = np.zeros((11, 11, 11))
    tia[4:7, 4:7, 4:7] = 1.0
    water = Anatomy.water(image(tia))
    gate = absorbed_dose(image(tia), water, engine="gate", histories=40_000)
    own = absorbed_dose(image(tia), water, engine="mc", histories=200_000)
    inside = tia > 0
    mean = [sitk.GetArrayFromImage(result.dose)[inside].mean() for result in (gate, own)]
    assert mean[0] == pytest.approx(mean[1], rel=0.02)
