"""The way into the dose engines, and local energy deposition against the analytic answer."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib import nuclides
from TheranosticDoseLib.dose import Anatomy, absorbed_dose, engines
from TheranosticDoseLib.errors import (
    CancelledError,
    EngineUnavailableError,
    GeometryError,
    InputError,
    SettingsError,
)


def voxels(image):
    return sitk.GetArrayFromImage(image)


def image(array, spacing=(4.0, 4.0, 5.0)):
    result = sitk.GetImageFromArray(np.asarray(array, np.float32))
    result.SetSpacing(spacing)
    result.SetOrigin((-10.0, 20.0, -300.0))
    return result


@pytest.fixture
def uniform():
    tia = image(np.full((6, 7, 8), 2.5))
    density = image(np.full((6, 7, 8), 1.05))
    return tia, Anatomy(density)


def test_led_of_a_uniform_activity_is_the_textbook_number(uniform):
    # 1 MBq h/g of 147.9 keV electrons is 0.0853 Gy (MIRD: 3.6e9 decays/g x 147.9 keV).
    result = absorbed_dose(*uniform, engine="led")
    expected = 2.5 / 1.05 * 3.6e9 * 147.9e3 * 1.602176634e-19 * 1e3
    np.testing.assert_allclose(voxels(result.dose), expected, rtol=2e-3)
    assert result.uncertainty is None
    assert result.dose.GetOrigin() == uniform[0].GetOrigin()


def test_led_absorbs_the_charged_energy_and_says_that_photons_are_left_out(uniform):
    record = absorbed_dose(*uniform, engine="led").record
    lu177 = nuclides.nuclide("Lu-177")
    charged = lu177.electron_energy_kev / (lu177.electron_energy_kev + lu177.photon_energy_kev)
    assert record["energy_absorbed_fraction"] == pytest.approx(charged, rel=1e-5)
    assert any("Photons (19 %" in finding["message"] for finding in record["findings"])
    assert {"engine", "version", "seconds", "nuclide", "settings", "hu_table", "decays"} <= set(record)
    json.dumps(record)


def test_led_of_an_alpha_chain_deposits_alphas_and_recoils(uniform):
    actinium = nuclides.nuclide("Ac-225")
    charged = actinium.electron_energy_kev + actinium.alpha_energy_kev + actinium.recoil_energy_kev
    assert actinium.alpha_energy_kev > 25_000
    dose = voxels(absorbed_dose(*uniform, engine="led", nuclide="Ac-225").dose)
    np.testing.assert_allclose(dose, 2.5 / 1.05 * 3.6e9 * charged * 1.602176634e-13, rtol=1e-5)


def test_led_is_local_and_uses_the_mass_of_the_voxel():
    tia, density = np.zeros((5, 5, 5)), np.ones((5, 5, 5))
    tia[2, 2, 2] = tia[2, 2, 3] = 1.0
    density[2, 2, 3] = 0.25
    dose = voxels(absorbed_dose(image(tia), Anatomy(image(density)), engine="led").dose)
    assert dose[2, 2, 3] == pytest.approx(4 * dose[2, 2, 2], rel=1e-6)
    assert np.count_nonzero(dose) == 2


def test_led_gives_no_dose_to_gas_and_counts_its_activity():
    tia, density = np.ones((4, 4, 4)), np.ones((4, 4, 4))
    density[0] = 0.0012
    result = absorbed_dose(image(tia), Anatomy(image(density)), engine="led")
    assert not voxels(result.dose)[0].any()
    fields = {finding["field"]: finding for finding in result.record["findings"]}
    assert fields["dose.led.gas"]["value"] == pytest.approx(0.25)
    assert fields["tia.outside_body"]["severity"] == "warning"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(np.nan, "1 NaN"), (np.inf, "infinite"), (-1.0, "1 negative")],
)
def test_bad_activity_is_refused(uniform, value, sentence):
    array = np.ones((6, 7, 8))
    array[1, 2, 3] = value
    with pytest.raises(InputError, match=sentence):
        absorbed_dose(image(array), uniform[1], engine="led")


def test_no_activity_is_refused(uniform):
    with pytest.raises(InputError, match="zero everywhere"):
        absorbed_dose(image(np.zeros((6, 7, 8))), uniform[1], engine="led")


def test_other_grid_is_refused(uniform):
    moved = image(np.ones((6, 7, 8)))
    moved.SetOrigin((0.0, 0.0, 0.0))
    with pytest.raises(GeometryError, match="different grids"):
        absorbed_dose(moved, uniform[1], engine="led")


def test_activity_without_mass_is_refused(uniform):
    density = np.ones((6, 7, 8))
    density[0, 0] = 0.0
    with pytest.raises(InputError, match="8 voxels have activity .* zero density"):
        absorbed_dose(uniform[0], Anatomy(image(density)), engine="led")


def test_unknown_engine_nuclide_and_setting_are_refused(uniform):
    with pytest.raises(SettingsError, match="no dose engine 'vsvv'; known: led"):
        absorbed_dose(*uniform, engine="vsvv")
    with pytest.raises(InputError, match="Xx-1"):
        absorbed_dose(*uniform, engine="led", nuclide="Xx-1")
    with pytest.raises(SettingsError, match="minimum_density_g_cm3"):
        absorbed_dose(*uniform, engine="led", minimum_density=0.1)


def test_cancel_at_the_start(uniform):
    with pytest.raises(CancelledError):
        absorbed_dose(*uniform, engine="led", progress=lambda fraction, message: False)


def test_engines_are_listed_with_a_reason_for_those_that_are_missing(uniform):
    listed = engines()
    assert set(listed) == {"led", "vsv", "vsv_density", "mc", "gate", "cnn", "cnn_pvc"}
    assert listed["led"]["available"]
    for name, entry in listed.items():
        assert entry["description"]
        assert entry["available"] != bool(entry["reason"])
        if not entry["available"]:
            with pytest.raises(EngineUnavailableError):
                absorbed_dose(*uniform, engine=name)


@pytest.mark.parametrize(
    ("density", "sentence"),
    [(np.nan, "NaN"), (-1.0, "from -1"), (1050.0, "Hounsfield units or kg/m3"), (0.0, "from 0 to 0")],
)
def test_density_that_is_no_density_is_refused(density, sentence):
    with pytest.raises(InputError, match=sentence):
        Anatomy(image(np.full((3, 3, 3), density)))


def test_material_on_another_grid_is_refused():
    with pytest.raises(GeometryError):
        Anatomy(image(np.ones((3, 3, 3))), image(np.ones((3, 3, 4))))


def test_anatomy_keeps_its_mass_on_a_coarser_grid():
    rng = np.random.default_rng(1)
    fine = Anatomy(image(rng.uniform(0.3, 1.5, (12, 16, 16)), spacing=(2.0, 2.0, 2.0)))
    grid = sitk.Image(8, 8, 6, sitk.sitkFloat32)
    grid.SetSpacing((4.0, 4.0, 4.0))
    grid.SetOrigin(fine.density.TransformContinuousIndexToPhysicalPoint((0.5, 0.5, 0.5)))
    coarse = fine.on_grid(grid)
    assert coarse.mass_g().sum() == pytest.approx(fine.mass_g().sum(), rel=1e-5)
    assert not coarse.findings


def test_anatomy_beyond_the_ct_is_air_with_a_finding():
    anatomy = Anatomy(image(np.ones((4, 4, 4)), spacing=(4.0, 4.0, 4.0)))
    grid = sitk.Image(8, 4, 4, sitk.sitkFloat32)
    grid.SetSpacing((4.0, 4.0, 4.0))
    grid.SetOrigin(anatomy.density.GetOrigin())
    wide = anatomy.on_grid(grid)
    assert voxels(wide.density)[0, 0, -1] == pytest.approx(0.001205)
    assert wide.findings[0].value == pytest.approx(0.5)


def test_water_anatomy_says_that_it_was_assumed():
    anatomy = Anatomy.water(image(np.zeros((3, 3, 3))))
    assert voxels(anatomy.density).min() == 1.0
    assert anatomy.findings[0].severity == "assumption"


def test_anatomy_from_ct_names_its_table_and_what_lies_outside():
    hu = np.zeros((3, 4, 5))
    hu[0], hu[1], hu[2, 0, 0] = -1000, 50, 5000
    anatomy = Anatomy.from_ct(image(hu))
    density = voxels(anatomy.density)
    assert anatomy.hu_table == "Schneider 2000"
    assert density[0, 0, 0] == pytest.approx(0.00121)
    assert 1.03 < density[1, 0, 0] < 1.12
    assert anatomy.findings[0].value == 1
    with pytest.raises(InputError, match="not finite"):
        Anatomy.from_ct(image(np.full((3, 3, 3), np.nan)))


def test_unknown_tissue_index_is_refused():
    with pytest.raises(InputError, match="no tissue index"):
        Anatomy(image(np.ones((3, 3, 3))), image(np.full((3, 3, 3), 77)))


def test_tissue_follows_from_density_where_none_is_given():
    density = image(np.array([0.001, 0.26, 0.95, 1.05, 1.9]).reshape(1, 1, 5))
    np.testing.assert_array_equal(Anatomy(density).tissue_array().ravel(), [0, 1, 2, 3, 4])
    material = image(np.full((1, 1, 5), 5))
    np.testing.assert_array_equal(Anatomy(density, material).tissue_array().ravel(), 5)
