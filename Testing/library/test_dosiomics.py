"""Dosiomics: the IBSI consensus, perturbations, tables."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib import dosiomics, workflow
from TheranosticDoseLib.cohort import BatchResult
from TheranosticDoseLib.cohort.page import write_summary
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import image_like
from TheranosticDoseLib.report.anonymous import without_identity
from TheranosticDoseLib.study import Voi
from TheranosticDoseLib.workflow.features import with_features
from tiny_study import tiny_study


def image(array, spacing=(4.0, 4.0, 4.0)):
    result = sitk.GetImageFromArray(np.asarray(array, np.float32))
    result.SetSpacing(spacing)
    return result


@pytest.mark.parametrize(
    ("mirp", "ibsi"),
    [
        ("cm_joint_entr_d1_3d_v_mrg", "cm_joint_entr_3D_comb"),
        ("cm_joint_entr_d1_2.5d_d_mrg", "cm_joint_entr_2_5D_avg"),
        ("rlm_sre_3d_v_mrg_fbn_n32", "rlm_sre_3D_comb"),
        ("szm_sze_3d", "szm_sze_3D"),
        ("ngl_lde_d1_a0.0_3d", "ngl_lde_3D"),
        ("stat_mean", "stat_mean"),
    ],
)
def test_names_are_those_of_the_ibsi(mirp, ibsi):
    assert dosiomics.ibsi_name(mirp) == ibsi


def test_intensities_at_volume_fractions():
    # IBSI digital phantom: levels 1, 3, 4, 6 in 50, 1, 16 and 7 of 74 voxels
    values = np.repeat([1.0, 3.0, 4.0, 6.0], [50, 1, 16, 7])
    found = dosiomics.volume_fraction_intensities(values, whole_numbers=True)
    assert (found["ivh_i10"], found["ivh_i90"], found["ivh_diff_i10_i90"]) == (5, 2, 3)
    ramp = dosiomics.volume_fraction_intensities(np.linspace(0.1, 10, 100))
    assert ramp["ivh_i10"] == pytest.approx(9.1)
    assert dosiomics.volume_fraction_intensities(np.ones(20))["ivh_i10"] == 1


def test_perturbed_vois_are_larger_smaller_and_shifted():
    weights = np.zeros((12, 12, 12))
    weights[3:9, 3:9, 3:9] = 1
    sizes = [sitk.GetArrayFromImage(v).sum() for v in dosiomics.perturbed_vois(image(weights))]
    assert sizes[0] == 216
    assert sizes[1] == 216 + 6 * 36
    assert sizes[2] == 64
    assert len(sizes) == 5


def test_a_voi_of_a_few_voxels_is_refused():
    weights = np.zeros((6, 6, 6))
    weights[2, 2, 2:5] = 1
    with pytest.raises(InputError, match="3 voxels"):
        dosiomics.features(image(np.ones((6, 6, 6))), image(weights))


def test_table_is_tidy_and_explained():
    rows = [{"case": "a", "voi": "k", "image": "dose", "unit": "Gy", "feature": "stat_mean", "family": "stat",
             "value": 2.5, "cv_voi": None, "cv_uncertainty": 0.1}]  # fmt: skip
    read = list(csv.DictReader(io.StringIO(dosiomics.table_csv(rows))))
    assert read[0]["value"] == "2.5"
    assert read[0]["cv_voi"] == ""
    explained = {entry["name"] for entry in dosiomics.data_dictionary()}
    assert set(dosiomics.COLUMNS) <= explained
    assert set(dosiomics.FAMILIES) <= explained


def test_a_run_writes_its_features_and_a_cohort_collects_them(tmp_path, monkeypatch):
    pytest.importorskip("mirp")

    def mean_only(one, weights, bins):
        inside = sitk.GetArrayFromImage(weights) >= 0.5
        return {"stat_mean": float(sitk.GetArrayFromImage(one)[inside].mean()), "cm_nothing": float("nan")}

    monkeypatch.setattr(dosiomics, "features", mean_only)
    chosen = {"registration": {"method": "none"}, "dosiomics": {"robustness": True}}
    settings = workflow.RunSettings.from_dict(chosen)
    out = tmp_path / "patients" / "p1"
    results = workflow.run(tiny_study(tmp_path / "in"), out, settings, ("led",))
    with (out / "tables" / "features.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    means = {(row["voi"], row["image"]): row for row in rows if row["feature"] == "stat_mean"}
    assert {voi for voi, _ in means} == {"Liver", "Kidney_L", "Kidney_R", "Lesion_1"}
    assert {image for _, image in means} == {"dose", "spect", "ct"}
    weights = sitk.GetArrayFromImage(results.voi("Liver").voi.weights)
    dose = sitk.GetArrayFromImage(results.doses["led"].dose)
    liver = means["Liver", "dose"]
    assert float(liver["value"]) == pytest.approx(dose[weights >= 0.5].mean(), rel=1e-6)
    assert (liver["case"], liver["unit"]) == ("tiny", "Gy")
    assert float(liver["cv_voi"]) > 0
    assert float(liver["cv_uncertainty"]) > 0
    assert means["Liver", "spect"]["cv_uncertainty"] == ""
    assert all(row["value"] == "" for row in rows if row["feature"] == "cm_nothing")
    assert (out / "tables" / "features_dictionary.csv").read_text().startswith("kind,name,meaning\n")
    patients = ({"id": "p1", "status": "finished", "message": "", "seconds": 1.0},)
    write_summary(BatchResult(patients, 1.0, tmp_path))
    with (tmp_path / "features.csv").open(newline="", encoding="utf-8") as file:
        collected = list(csv.DictReader(file))
    assert len(collected) == len(rows)
    assert {row["case"] for row in collected} == {"p1"}
    trail = json.loads((out / "results.json").read_text(encoding="utf-8"))["audit"]
    assert trail[-1]["step"] == "dosiomics"
    assert trail[-1]["finished"]
    hidden, _ = without_identity(results)
    assert "tiny" not in {row["case"] for row in hidden.features}
    monkeypatch.undo()
    few = np.zeros(weights.shape)
    few[2, 2, 2:5] = 1
    voi = dataclasses.replace(results.vois[0].voi, weights=image_like(few, results.tia))
    small = dataclasses.replace(results, vois=(dataclasses.replace(results.vois[0], voi=voi),), findings=())
    (finding,) = with_features(small).findings
    assert (finding.severity, finding.field) == ("missing", "dosiomics.Liver")


@pytest.mark.slow
def test_features_of_a_dose_with_their_robustness():
    z, y, x = np.indices((14, 14, 14))
    dose = 30 * np.exp(-((z - 7) ** 2 + (y - 7) ** 2 + (x - 7) ** 2) / 40)
    voi = Voi("tumor", image((dose > 10).astype(float)))
    images = {"dose": (image(dose), "Gy")}
    settings = dosiomics.DosiomicsSettings(robustness=True, noise_repeats=2)
    rows = dosiomics.feature_table("p1", images, [voi], settings, {"dose": image(0.02 * dose)})
    by_name = {row["feature"]: row for row in rows}
    assert by_name["stat_mean"]["value"] == pytest.approx(dose[dose > 10].mean(), rel=1e-4)
    assert by_name["morph_vol_approx"]["value"] == pytest.approx(np.sum(dose > 10) * 64, rel=1e-6)
    assert by_name["stat_mean"]["cv_voi"] > 0.05
    assert 0 < by_name["stat_mean"]["cv_uncertainty"] < 0.02
    assert by_name["morph_vol_approx"]["cv_uncertainty"] == pytest.approx(0, abs=1e-9)
    assert {row["family"] for row in rows} == set(dosiomics.FAMILIES)


@pytest.mark.realdata
@pytest.mark.slow
def test_the_ibsi_digital_phantom(reference_data, tmp_path):
    from TheranosticDoseLib.validation.dosiomics import figures

    reference_data("ibsi")
    (matched, *_rest) = figures(tmp_path)
    assert matched.passed, matched
