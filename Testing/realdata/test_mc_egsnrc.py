"""The Monte Carlo against EGSnrc and published spheres, with the statistics a test can afford."""

from __future__ import annotations

import pytest
from TheranosticDoseLib.validation import monte_carlo

pytestmark = pytest.mark.realdata
# A figure with few histories may miss by its statistics; a tenth of a percent of bias does not matter here.
SCALE = 0.03


def all_within(figures):
    assert figures
    missed = [f"{f.name}: {f.measured:.2f} {f.limit} ({f.detail})" for f in figures if not f.passed]
    assert not missed, "\n".join(missed)


def test_electron_voxels(reference_data):
    """Self and first neighbour; the edge voxel needs the statistics of the validation."""
    found = monte_carlo.electron_voxels(reference_data("egsnrc"), SCALE)
    all_within([f for f in found if "edge" not in f.name])


def test_interface_of_soft_tissue_and_lung(reference_data, tmp_path):
    all_within(monte_carlo.interface(reference_data("egsnrc"), 0.1, tmp_path))
    assert len(list(tmp_path.glob("*.png"))) == 2


@pytest.mark.slow
def test_photon_voxels(reference_data):
    all_within(monte_carlo.photon_voxels(reference_data("egsnrc"), 0.15))


def test_organs_of_a_patient(reference_data):
    found = monte_carlo.patient(reference_data("egsnrc"), 0.06)
    all_within([f for f in found if "kidney_L <-" in f.name or "liver" in f.name or "rest" in f.name])


@pytest.mark.slow
def test_organs_of_a_patient_all(reference_data):
    all_within(monte_carlo.patient(reference_data("egsnrc"), 0.4))


@pytest.mark.slow
def test_spheres(reference_data):
    all_within(monte_carlo.sphere_s_values(reference_data("svalues_tacs"), 0.1))


def test_other_nuclides_in_a_voxel(reference_data):
    """MIRD Pamphlet 17 and the energies agree within 3 % for Y-90 and I-131."""
    all_within(monte_carlo.mird_17(reference_data("svalues_tacs"), 0.2))
