"""DVH and gamma against the tables of Eclipse, CERR and SlicerRT."""

import pytest
import SimpleITK as sitk
from TheranosticDoseLib.validation import dvh as validation

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def prostate(reference_data):
    data = reference_data("slicerrt_dose_dvh_gamma") / "Data"
    dose = sitk.ReadImage(str(data / "EclipseProstate_Dose.nrrd"), sitk.sitkFloat32)
    return data, dose, validation.structures(data / "EclipseProstate_Structures.seg", dose)


@pytest.mark.parametrize(("system", "least"), [("CERR", 99.0), ("Eclipse", 93.0)])
def test_every_prostate_structure_agrees_with_the_table(prostate, system, least):
    data, dose, dvhs = prostate
    largest = float(sitk.GetArrayViewFromImage(dose).max())
    tables = validation.published(data / f"EclipseProstate_DvhTable_{system}.csv")
    assert set(dvhs) == {"BODY", "Bladder", "Femoral Head Lt", "Femoral Head RT", "PTV", "Rectum"}
    for name, dvh in dvhs.items():
        volume, points = tables[validation._plain(name)]
        # 1 % of the volume and 1 % of the maximum dose, for each point of the published curve
        assert validation.agreeing_points(dvh, points, largest) >= least, name
        assert dvh.volume_ml == pytest.approx(volume, rel=0.015)
        assert dvh.mean_gy == pytest.approx(validation.mean_of(points), abs=0.15)


def test_metrics_of_slicerrt(prostate):
    _, _, dvhs = prostate
    # EclipseProstate_DvhMetrics_SlicerRT.csv: mean, V20 in percent, D10 %
    for name, mean, v20, d10 in (
        ("Bladder", 45.9069, 100.0, 46.6511),
        ("PTV", 45.88, 100.0, 46.2024),
        ("Rectum", 39.1106, 98.3398, 45.3264),
        ("Femoral Head Lt", 25.0277, 99.0662, 26.0368),
    ):
        dvh = dvhs[name]
        assert dvh.mean_gy == pytest.approx(mean, abs=0.05)
        assert dvh.v(20) == pytest.approx(v20, abs=0.3)
        assert dvh.d(10) == pytest.approx(d10, abs=0.1)


def test_the_figures_of_the_validation_pass(tmp_path, reference_data):
    reference_data("slicerrt_dose_dvh_gamma")
    figures = validation.figures(tmp_path, quick=True)
    assert len(figures) >= 5
    assert all(figure.passed is not False for figure in figures), [f for f in figures if f.passed is False]
