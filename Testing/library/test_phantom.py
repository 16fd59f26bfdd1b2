"""The virtual patient: what is true of it, and that its images show it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scipy import integrate
from small_patient import SMALL, small_patient
from TheranosticDoseLib.errors import CancelledError, InputError, OutputError, SettingsError
from TheranosticDoseLib.geometry import array_of, image_like, total_activity_mbq, voxel_volume_ml
from TheranosticDoseLib.nuclides import nuclide
from TheranosticDoseLib.phantom import PhantomSettings, virtual_patient, write_patient
from TheranosticDoseLib.phantom.acquisition import moved_activity, spect_of
from TheranosticDoseLib.phantom.body import regions
from TheranosticDoseLib.phantom.kinetics import draw_kinetics, kinetics_table
from TheranosticDoseLib.phantom.motion import transform_of
from TheranosticDoseLib.phantom.patient import ct_grid, spect_grid

REFERENCE_RANGE_ML = {
    "Liver": (1100, 2400),
    "Spleen": (80, 340),
    "Stomach": (180, 520),
    "Pancreas": (60, 170),
}
"""Normal adults; means of ICRP 89: liver 1710, spleen 140, kidneys 295, pancreas 130 mL."""


def test_same_seed_same_patient_other_seed_other_patient():
    quick = dataclasses.replace(SMALL, time_h=(24.0,), reference=0)
    first, second, other = (virtual_patient(seed, quick) for seed in (3, 3, 4))
    for name in ("labels", "hu", "tia_mbq_h_ml"):
        assert np.array_equal(array_of(getattr(first, name)), array_of(getattr(second, name)))
    assert np.array_equal(array_of(first.spect[0]), array_of(second.spect[0]))
    assert np.array_equal(array_of(first.ct[0]), array_of(second.ct[0]))
    assert not np.array_equal(array_of(first.labels), array_of(other.labels))


@pytest.mark.parametrize("seed", [0, 1])
def test_organs_have_reference_volumes_and_sides(seed):
    patient = small_patient(seed)
    voxel_ml = voxel_volume_ml(patient.labels)
    for name, (low, high) in REFERENCE_RANGE_ML.items():
        volume = patient.mask(patient.voi(name)).sum() * voxel_ml
        assert low < volume < high, f"{name}: {volume:.0f} mL"
    kidneys = [patient.mask(patient.voi(f"Kidney_{side}")) for side in "LR"]
    assert 200 < sum(mask.sum() for mask in kidneys) * voxel_ml < 420
    left, right = (np.argwhere(mask)[:, 2].mean() for mask in kidneys)
    # In LPS x grows to the left of the patient.
    assert left > right
    liver, spleen = (np.argwhere(patient.mask(patient.voi(n)))[:, 2].mean() for n in ("Liver", "Spleen"))
    assert liver < spleen
    for voi in patient.vois:
        if voi.kind == "lesion":
            assert 0.9 < patient.mask(voi).sum() * voxel_ml < 110


def test_each_voi_is_in_one_piece_where_it_should_be():
    from scipy import ndimage

    patient = small_patient(0)
    for name in ("Liver", "Spleen", "Kidney_L", "Kidney_R", "Bladder"):
        if name in {voi.name for voi in patient.vois}:
            mask = patient.mask(patient.voi(name))
            pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
            assert np.bincount(pieces.ravel())[1:].max() > 0.97 * mask.sum(), name
            assert count >= 1


def test_time_integrated_activity_is_the_integral():
    patient = small_patient(0)
    for voi in patient.vois:
        kinetics = patient.voi_kinetics(voi)
        integral = sum(
            integrate.quad(kinetics.activity_mbq, a, b, epsrel=1e-9)[0]
            for a, b in ((0, 5), (5, 100), (100, 1000), (1000, 4000))
        )
        assert kinetics.tia_mbq_h == pytest.approx(integral, rel=1e-6)
        on_map = array_of(patient.tia_mbq_h_ml)[patient.mask(voi)].sum(dtype=np.float64)
        assert on_map * voxel_volume_ml(patient.labels) == pytest.approx(kinetics.tia_mbq_h, rel=1e-5)


@pytest.mark.parametrize("name", ["lu177_dotatate", "lu177_psma"])
def test_activity_is_balanced_and_leaves_faster_than_it_decays(name):
    """Over many draws: body + excreted = administered, and nothing comes back from the toilet."""
    decay = nuclide("Lu-177").decay_constant_per_h
    names = [*regions()]
    labels = {region: regions()[region].label for region in names} | {
        "Lesion_Liver_1": 64,
        "Lesion_Bone_1": 65,
    }
    volume = dict.fromkeys(labels.values(), 150.0) | {labels["Muscle"]: 12000.0}
    density = dict.fromkeys(volume, 1.0)
    lesions = {"Lesion_Liver_1": "Liver", "Lesion_Bone_1": "Bone"}
    time = np.concatenate([np.linspace(0, 12, 61), np.linspace(13, 400, 50)])
    for seed in range(40):
        rng = np.random.default_rng(seed)
        body = draw_kinetics(kinetics_table(name), volume, density, labels, lesions, 7400.0, rng)
        rates = [rate for kinetics in body.by_label.values() for rate in kinetics.rate_per_h]
        assert min(rates) > decay
        excreted = body.excreted_mbq(time) / body.administered.activity_mbq(time)
        assert excreted[0] == pytest.approx(0.0, abs=1e-9)
        assert np.all(np.diff(excreted) > -1e-9)
        assert excreted[-1] < 1.0
        for kinetics in body.by_label.values():
            assert kinetics.activity_mbq(time).min() > -1e-9


def test_kidney_dose_per_activity_is_the_published_one():
    """177Lu-DOTATATE: 0.43 +- 0.13 Gy/GBq (Santoro 2018), 0.47 median (Staanum 2021); by MIRD: TIA x energy / mass."""
    doses = []
    table = kinetics_table("lu177_dotatate")
    labels = {region: regions()[region].label for region in regions()}
    volume = dict.fromkeys(labels.values(), 75.0) | {labels["Muscle"]: 12000.0}
    kidneys = [labels[f"Kidney_{side}_{part}"] for side in "LR" for part in ("cortex", "medulla")]
    for seed in range(60):
        body = draw_kinetics(
            table, volume, dict.fromkeys(volume, 1.05), labels, {}, 1000.0, np.random.default_rng(seed)
        )
        tia = sum(body.by_label[label].tia_mbq_h for label in kidneys)
        doses.append(tia * 3.6e9 * 147.9e3 * 1.602e-19 / (0.300 * 1.05))
    assert 0.35 < np.mean(doses) < 0.60
    assert np.std(doses) / np.mean(doses) < 0.45


def test_psma_half_lives_are_the_published_ones_measured_as_published():
    """Medians of mono-exponential fits to 4, 24, 48 and 72 h, 20 patients (AAPM 2026, abstract 2620)."""
    from scipy.optimize import curve_fit

    published = {"Kidneys": 35.5, "Liver": 22.9, "Spleen": 16.8, "Marrow": 32.0, "Parotids": 42.2}
    decay, times = nuclide("Lu-177").decay_constant_per_h, np.array([4.0, 24.0, 48.0, 72.0])
    for entry in kinetics_table("lu177_psma")["regions"]:
        if entry["name"] in published:
            half_lives = np.array([*entry["biological_half_life_h"], entry["uptake_half_life_h"]])
            shares = np.array([entry["fast_share"], 1 - entry["fast_share"], -1.0])
            activity = shares @ np.exp(-np.outer(np.log(2) / half_lives + decay, times))
            rate = curve_fit(lambda t, a, k: a * np.exp(-k * t), times, activity, p0=(1.0, 0.02))[0][1]
            assert np.log(2) / rate == pytest.approx(published[entry["name"]], rel=0.03), entry["name"]


def test_known_displacement_moves_the_anatomy():
    """A point x of the reference is at x + u(x): centroids of moved organs, and the way back."""
    patient = small_patient(0)
    grid = patient.labels
    for motion, field in zip(patient.motions, patient.displacement, strict=True):
        if not motion.parameters:
            assert not sitk.GetArrayViewFromImage(field).any()
            continue
        to_time_point = transform_of(field)
        for name in ("Liver", "Kidney_L", "Spleen"):
            mask = patient.mask(patient.voi(name)).astype(np.float32)
            moved = moved_activity(image_like(mask, grid), motion)
            weights = array_of(moved)
            index = np.argwhere(weights > 1e-3)
            centroid = (
                np.average(index, axis=0, weights=weights[tuple(index.T)])[::-1] * 6.0 + grid.GetOrigin()
            )
            points = [grid.TransformIndexToPhysicalPoint(i[::-1].tolist()) for i in np.argwhere(mask)]
            expected = np.mean([to_time_point.TransformPoint(p) for p in points], axis=0)
            assert centroid == pytest.approx(expected, abs=0.6)
            back = sitk.Resample(moved, grid, to_time_point, sitk.sitkLinear)
            found = array_of(back) > 0.5
            dice = 2 * np.sum(found & (mask > 0)) / (found.sum() + mask.sum())
            assert dice > 0.95
        jacobian = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
        assert 0.6 < jacobian[2:-2, 2:-2, 2:-2].min() < jacobian[2:-2, 2:-2, 2:-2].max() < 1.6
        assert motion.inversion_error_mm < 0.1


def test_motion_is_of_realistic_size():
    patient = small_patient(0)
    dome = []
    for field in patient.displacement:
        size = np.linalg.norm(sitk.GetArrayViewFromImage(field)[..., :], axis=-1)
        dome.append(np.median(size))
        assert size.max() < 45
    assert dome[patient.settings.reference] == 0
    assert max(dome) > 1


def test_moving_keeps_the_activity():
    patient = small_patient(1)
    liver = image_like(patient.mask(patient.voi("Liver")).astype(np.float32), patient.labels)
    before = total_activity_mbq(liver)
    for motion in patient.motions:
        assert total_activity_mbq(moved_activity(liver, motion)) == pytest.approx(before, rel=0.01)


def cylinder(value: float) -> tuple[sitk.Image, PhantomSettings]:
    """A homogeneous block on a truth grid, and the settings it belongs to."""
    settings = PhantomSettings(spect_size=(48, 48, 40), refinement=1)
    grid = spect_grid(settings)
    return image_like(np.full(grid.GetSize()[::-1], value), grid), settings


def test_blur_has_the_stated_width_and_keeps_the_total():
    settings = PhantomSettings(spect_size=(48, 48, 40), refinement=2, spect_noise=False)
    grid = spect_grid(settings)
    fine = sitk.Expand(grid, [2, 2, 2], sitk.sitkNearestNeighbor)
    source = np.zeros(fine.GetSize()[::-1])
    source[40, 48, 48] = 1e6
    point = image_like(source, fine)
    image = spect_of(point, grid, (11.0, 10.0, 12.0), settings, np.random.default_rng(0))
    assert total_activity_mbq(image) == pytest.approx(total_activity_mbq(point), rel=2e-4)
    values = array_of(image).astype(float)
    for axis, fwhm in ((2, 11.0), (1, 10.0), (0, 12.0)):
        profile = values.sum(axis=tuple(a for a in range(3) if a != axis))
        position = np.arange(profile.size) * 4.8
        mean = np.average(position, weights=profile)
        # The box of two truth voxels in one SPECT voxel adds its own variance.
        variance = np.average((position - mean) ** 2, weights=profile) - 2.4**2 / 4
        assert 2.3548 * np.sqrt(variance) == pytest.approx(fwhm, rel=0.03)


def test_noise_is_poisson_and_without_bias():
    """Variance = amplification / counts x the power of the correlation kernel; the mean is exact."""
    flat, settings = cylinder(1.5e5)
    image = spect_of(flat, flat, (11.0, 11.0, 11.0), settings, np.random.default_rng(0))
    inner = array_of(image)[10:-10, 10:-10, 10:-10].astype(float)
    counts = 1.5e5 * voxel_volume_ml(flat) * 1e-6 * 9.5 * 1800
    sigma = 8.0 / 2.3548 / 4.8
    offsets = np.arange(-6, 7)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    expected = np.sqrt(60.0 / counts * np.sum(kernel**2) ** 3)
    cov = inner.std() / inner.mean()
    assert cov == pytest.approx(expected, rel=0.06)
    assert inner.mean() == pytest.approx(1.5e5, rel=4 * expected / np.sqrt(inner.size * 0.06))
    assert array_of(image).min() >= 0


def test_liver_noise_is_that_of_a_patient():
    patient = virtual_patient(
        0, dataclasses.replace(SMALL, spect_spacing_mm=4.8, time_h=(24.0,), reference=0, ct=False)
    )
    from scipy import ndimage

    mask = ndimage.binary_erosion(patient.mask(patient.voi("Liver")), iterations=3)
    grid = patient.spect[0]
    on_spect = sitk.Resample(
        image_like(mask, patient.labels), grid, sitk.Transform(), sitk.sitkNearestNeighbor
    )
    lesions = [np.isin(array_of(patient.labels), v.labels) for v in patient.vois if v.kind == "lesion"]
    near = ndimage.binary_dilation(np.any(lesions, axis=0), iterations=5)
    near = sitk.Resample(image_like(near, patient.labels), grid, sitk.Transform(), sitk.sitkNearestNeighbor)
    inside = array_of(grid)[(array_of(on_spect) > 0) & (array_of(near) == 0)]
    assert inside.size > 500
    assert 0.08 < inside.std() / inside.mean() < 0.22


def test_ct_shows_the_tissues():
    patient = virtual_patient(2, dataclasses.replace(SMALL, time_h=(24.0,), reference=0, breathing_mm=0.0))
    from scipy import ndimage

    ct = patient.ct[0]
    for name, tolerance in (
        ("Liver", 4),
        ("Spleen", 6),
        ("Lung_R", 40),
        ("Muscle", 12),
        ("Subcutaneous_fat", 12),
    ):
        label = regions()[name].label
        mask = ndimage.binary_erosion(array_of(patient.labels) == label)
        on_ct = sitk.Resample(image_like(mask, patient.labels), ct, sitk.Transform(), sitk.sitkLinear)
        values = array_of(ct)[array_of(on_ct) > 0.999]
        assert values.mean() == pytest.approx(regions()[name].hu, abs=tolerance), name
    assert array_of(ct).min() >= -1024


def test_spect_holds_the_activity_in_the_field_of_view():
    patient = small_patient(0)
    for time, image in zip(patient.time_h, patient.spect, strict=True):
        on_grid = sum(k.activity_mbq(time) for k in patient.kinetics.by_label.values())
        measured = total_activity_mbq(image)
        assert 0.85 * on_grid < measured < 1.001 * on_grid


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("patient")
    patient = small_patient(0)
    write_patient(patient, out)
    return patient, out


def test_dicom_is_what_a_site_would_have(written):
    patient, out = written
    for index, label in enumerate(("4h", "24h", "96h", "168h")):
        folder = out / "dicom" / label
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder / "CT")))
        ct = reader.Execute()
        assert np.array_equal(sitk.GetArrayFromImage(ct), array_of(patient.ct[index]))
        assert ct.GetOrigin() == pytest.approx(patient.ct[index].GetOrigin(), abs=1e-3)
        nm = pydicom.dcmread(folder / "NM" / "SPECT.dcm")
        slope = float(nm.RescaleSlope)
        assert np.abs(nm.pixel_array * slope - array_of(patient.spect[index])).max() < slope
        first = pydicom.dcmread(next((folder / "CT").iterdir()), stop_before_pixels=True)
        assert first.FrameOfReferenceUID == nm.FrameOfReferenceUID
        assert first.StudyInstanceUID == nm.StudyInstanceUID
        assert first.SeriesInstanceUID != nm.SeriesInstanceUID
    assert (out / "dicom" / "24h" / "RTSTRUCT" / "VOIs.dcm").is_file()
    assert sum(1 for _ in (out / "dicom").rglob("VOIs.dcm")) == 1


def test_truth_is_written_beside_it(written):
    patient, out = written
    truth = json.loads((out / "truth" / "truth.json").read_text())
    assert [voi["name"] for voi in truth["vois"]] == [voi.name for voi in patient.vois]
    tia, density, dose, labels = (
        sitk.ReadImage(str(out / "truth" / f"{name}.nii.gz")) for name in ("tia", "density", "dose", "labels")
    )
    assert tia.GetSize() == density.GetSize() == dose.GetSize() == labels.GetSize()
    for row in truth["vois"]:
        voi = patient.voi(row["name"])
        assert len(row["activity_mbq"]) == 4
        inside = np.isin(sitk.GetArrayFromImage(labels), voi.labels)
        volume_ml = inside.sum() * np.prod(labels.GetSpacing()) / 1000
        assert row["volume_ml"] == pytest.approx(volume_ml, rel=1e-5)
        mean = sitk.GetArrayFromImage(dose)[inside].mean(dtype=float)
        assert row["dose_gy"] == pytest.approx(mean, rel=1e-4)
    for row in truth["balance"]:
        parts = row["on_truth_grid_mbq"] + row["outside_mbq"] + row["excreted_mbq"]
        assert parts == pytest.approx(row["administered_decayed_mbq"], rel=1e-9)
    for row in truth["displacement"]:
        field = sitk.ReadImage(str(out / "truth" / row["file"]))
        assert field.GetNumberOfComponentsPerPixel() == 3
    assert truth["dose"]["record"]["engine"] == "led"


def test_truth_volumes_come_back_from_the_rtstruct(written):
    from TheranosticDoseLib.dicom_io import load_study

    patient, out = written
    study = load_study(out / "dicom")
    assert study.time_h == pytest.approx(patient.time_h)
    assert study.administration.activity_mbq == pytest.approx(7400.0)
    vois = {voi.name: voi for voi in study.vois}
    for name in ("Liver", "Spleen", "Kidney_L"):
        volume = array_of(vois[name].weights).sum() * voxel_volume_ml(vois[name].weights)
        expected = patient.mask(patient.voi(name)).sum() * voxel_volume_ml(patient.labels)
        assert volume == pytest.approx(expected, rel=0.03)
    for acquisition, image in zip(study.acquisitions, patient.spect, strict=True):
        assert total_activity_mbq(acquisition.spect) == pytest.approx(total_activity_mbq(image), rel=1e-3)


def test_counts_come_with_a_camera_factor(tmp_path):
    settings = dataclasses.replace(
        SMALL, counts="CNTS", time_h=(24.0,), reference=0, ct=False, truth_engine="none"
    )
    patient = virtual_patient(0, settings)
    write_patient(patient, tmp_path)
    sidecar = json.loads((tmp_path / "dicom" / "theranostic-dose.json").read_text())
    nm = pydicom.dcmread(tmp_path / "dicom" / "24h" / "NM" / "SPECT.dcm")
    assert nm.Units == "CNTS"
    counts = nm.pixel_array.sum() * float(nm.get("RescaleSlope", 1))
    activity = counts / sidecar["camera_factor_cps_per_mbq"] / settings.duration_s
    same_in_bq = virtual_patient(0, dataclasses.replace(settings, counts="BQML"))
    decay = nuclide("Lu-177").decay_constant_per_h * settings.duration_s / 3600
    assert activity == pytest.approx(
        total_activity_mbq(same_in_bq.spect[0]) * (1 - np.exp(-decay)) / decay, rel=2e-4
    )
    assert sidecar["injected_activity_mbq"] == 7400.0


def test_nothing_is_left_after_a_cancel_and_nothing_overwritten(tmp_path):
    patient = small_patient(0)
    with pytest.raises(CancelledError):
        write_patient(patient, tmp_path / "out", lambda fraction, message: fraction < 0.6)
    assert not any((tmp_path / "out").iterdir())
    (tmp_path / "out" / "truth").mkdir()
    with pytest.raises(OutputError, match="holds a dicom or truth folder already"):
        write_patient(patient, tmp_path / "out")
    again = tmp_path / "again"
    (again / "dicom").mkdir(parents=True)
    (again / "truth").mkdir()
    (again / "dicom" / "old.dcm").write_text("of an earlier virtual patient")
    (again / "truth" / "truth.json").write_text('{"schema": "theranostic-dosimetry/virtual-patient/1"}')
    write_patient(patient, again)
    assert not (again / "dicom" / "old.dcm").exists()
    assert (again / "truth" / "dose.nii.gz").is_file()
    with pytest.raises(CancelledError):
        virtual_patient(0, SMALL, lambda fraction, message: False)


def test_a_crop_of_the_body_keeps_the_organs_whole():
    """A training set takes a part of the body; organs must not shrink to fit into it."""
    whole = dataclasses.replace(SMALL, time_h=(24.0,), reference=0, ct=False)
    part = dataclasses.replace(whole, spect_size=(32, 32, 48))
    first, second = virtual_patient(0, whole), virtual_patient(0, part)
    assert np.array_equal(array_of(first.labels), array_of(second.labels))
    assert second.spect[0].GetSize() == (32, 32, 48)
    assert ct_grid(part).GetSize()[2] == 48


def test_salivary_glands_are_there_where_the_field_reaches_them():
    settings = dataclasses.replace(
        SMALL, radiopharmaceutical="lu177_psma", top_mm=420.0, time_h=(24.0,), reference=0, ct=False
    )
    patient = virtual_patient(0, settings)
    voxel_ml = voxel_volume_ml(patient.labels)
    left, right = (patient.mask(patient.voi(f"Parotid_{side}")) for side in "LR")
    for gland in (left, right):
        assert 12 < gland.sum() * voxel_ml < 40
    assert np.argwhere(left)[:, 2].mean() > np.argwhere(right)[:, 2].mean() + 10
    assert "Bladder" not in {voi.name for voi in patient.vois}
    assert "Parotid_L" not in {voi.name for voi in small_patient(0).vois}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"time_h": (24.0, 4.0)}, "time_h"),
        ({"counts": "SUV"}, "counts"),
        ({"breathing_mm": 60.0}, "breathing_mm"),
        ({"reference": 4}, "reference"),
        ({"resolution_mm": (5.0, 5.0, 5.0)}, "resolution_mm"),
    ],
)
def test_settings_say_what_they_expect(values, message):
    with pytest.raises(SettingsError, match=message):
        PhantomSettings.from_dict(values)


def test_unknown_radiopharmaceutical_is_named():
    with pytest.raises(InputError, match=r"'tc99m'.*lu177_dotatate"):
        kinetics_table("tc99m")
