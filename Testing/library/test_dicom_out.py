"""Results as DICOM: what is written is read back, by us and by others."""

from __future__ import annotations

import datetime as dt

import dialects
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from TheranosticDoseLib.dicom_io import load_study, load_voi_file
from TheranosticDoseLib.dicom_io.out_common import Place
from TheranosticDoseLib.dicom_io.out_dose import dose_grid_scaling, read_rtdose, write_rtdose
from TheranosticDoseLib.dicom_io.out_parametric import read_parametric_map, write_parametric_map
from TheranosticDoseLib.dicom_io.out_registration import read_spatial_registration, write_spatial_registration
from TheranosticDoseLib.dicom_io.out_report import Measurement, read_sr, write_sr
from TheranosticDoseLib.dicom_io.out_seg import write_seg
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of, image_like, same_grid
from TheranosticDoseLib.study import Voi

START = dialects.INJECTION + dt.timedelta(hours=24)
NOW = dt.datetime(2026, 4, 1, 12, 0)


@pytest.fixture(scope="module", params=["slices", "multi-frame"])
def study(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    if request.param == "slices":
        dialects.mim(folder, START, "s1")
        dialects.mim(folder, START + dt.timedelta(hours=48), "s2")
    else:
        dialects.siemens_xspect(folder, START, "s1")
        dialects.siemens_xspect(folder, START + dt.timedelta(hours=48), "s2")
    return load_study(folder)


@pytest.fixture
def place(study):
    return Place(study, study.acquisitions[0].label, now=NOW)


@pytest.fixture
def grid(study):
    return study.acquisitions[0].spect


@pytest.fixture
def dose(grid):
    rng = np.random.default_rng(5)
    return image_like(rng.lognormal(0, 2, dialects.SHAPE), grid)


def assert_same_study(dataset, study):
    assert dataset.PatientID == study.patient_id == "P1"
    assert dataset.PatientName == "Test^Patient"
    assert dataset.StudyInstanceUID == dialects.uid("s1")
    assert dataset.FrameOfReferenceUID == study.acquisitions[0].frame_of_reference
    assert "not a medical device" in str(dataset.get("SoftwareVersions"))


def test_rtdose(study, place, dose, tmp_path):
    path = write_rtdose(dose, tmp_path / "dose.dcm", place)
    again = read_rtdose(path)
    assert same_grid(again, dose)
    given, got = array_of(dose), array_of(again)
    large = given > given.max() / 250
    assert 0.2 < large.mean() < 0.98
    assert np.array_equal(got[large], given[large])
    assert np.abs(got - given).max() <= 1.2e-10 * given.max() + np.spacing(given.max() / 250)
    # SimpleITK sees the same grid and, times the scaling, the same doses.
    other = sitk.ReadImage(str(path))
    assert other.GetSize() == dose.GetSize()
    assert other.GetSpacing() == pytest.approx(dose.GetSpacing())
    assert other.GetOrigin() == pytest.approx(dose.GetOrigin())
    dataset = dcmread(path)
    assert np.allclose(
        dataset.pixel_array * float(dataset.DoseGridScaling), given, rtol=1e-6, atol=1e-9 * given.max()
    )
    assert_same_study(dataset, study)
    listed = {item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence}
    assert listed == set(study.dicom["acquisitions"][place.label]["spect"]["instances"])


def test_rtdose_of_nothing_and_of_one_hot_voxel(place, dose, tmp_path):
    nothing = write_rtdose(dose * 0.0, tmp_path / "zero.dcm", place)
    assert not array_of(read_rtdose(nothing)).any()
    assert float(dcmread(nothing).DoseGridScaling) > 0
    values = array_of(dose).copy()
    values[3, 4, 5] = 1e5 * values.max()
    again = array_of(read_rtdose(write_rtdose(image_like(values, dose), tmp_path / "hot.dcm", place)))
    assert again[3, 4, 5] == values[3, 4, 5]
    # Half a step of the 32 bits, rounded up to three digits.
    assert np.abs(again - values).max() <= 1.2e-10 * float(values.max()) + np.spacing(values).max() / 2


@pytest.mark.parametrize("maximum", [1e-12, 0.3, 1.0, 57.123, 3e5])
def test_dose_grid_scaling_fits_in_32_bits(maximum):
    scaling = dose_grid_scaling(maximum)
    assert len(scaling) <= 16
    assert 0.98 * (2**32 - 1) <= maximum / float(scaling) <= 2**32 - 1


def test_rtdose_is_listed_beside_its_study(study, place, dose, tmp_path):
    dialects.mim(tmp_path, START, "s1")
    write_rtdose(dose, tmp_path / "dose.dcm", place)
    assert load_study(tmp_path).dicom["rtdose"] == ["dose.dcm"]


def test_bad_dose_is_not_written(place, dose, tmp_path):
    bad = image_like(np.where(array_of(dose) > 1, -1.0, 1.0), dose)
    with pytest.raises(InputError, match="negative"):
        write_rtdose(bad, tmp_path / "dose.dcm", place)
    with pytest.raises(InputError, match="dose_type"):
        write_rtdose(dose, tmp_path / "dose.dcm", place, dose_type="BIG")
    with pytest.raises(InputError, match="No acquisition"):
        Place(place.study, "99h")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quantity", ["activity_concentration", "tia", "relative_uncertainty"])
def test_parametric_map_keeps_every_bit(study, place, dose, tmp_path, quantity):
    path = write_parametric_map(dose, tmp_path / "map.dcm", place, quantity)
    again, unit = read_parametric_map(path)
    assert np.array_equal(array_of(again), array_of(dose))
    assert same_grid(again, dose)
    assert unit == {"activity_concentration": "Bq/ml", "tia": "MBq.h/ml"}.get(quantity, "1")
    dataset = dcmread(path)
    assert_same_study(dataset, study)
    import highdicom as hd

    volume = hd.imread(path).get_volume(apply_real_world_transform=True)
    point = dose.TransformIndexToPhysicalPoint((7, 5, 2))
    index = np.rint(np.linalg.inv(volume.affine) @ [*point, 1.0]).astype(int)[:3]
    assert volume.affine @ [*index, 1.0] == pytest.approx([*point, 1.0])
    assert volume.array[tuple(index)] == pytest.approx(dose.GetPixel(7, 5, 2))


def vois_on(grid, fractional):
    first, second = np.zeros(dialects.SHAPE), np.zeros(dialects.SHAPE)
    first[2:6, 3:9, 2:8], second[4:8, 5:9, 6:12] = 1, 1
    if fractional:
        first[2], second[4] = first[2] * 0.4, second[4] * 0.6
    kidney = {"scheme": "SCT", "value": "64033007", "meaning": "Kidney"}
    return (
        Voi("Kidney L", image_like(first, grid), "", "organ", kidney, "tool"),
        Voi("Lesion 1", image_like(second, grid), "", "lesion", None, "tool"),
    )


@pytest.mark.parametrize("fractional", [False, True])
def test_seg(study, place, grid, tmp_path, fractional):
    vois = vois_on(grid, fractional)
    path = write_seg(vois, grid, tmp_path / "seg.dcm", place)
    again = load_voi_file(path, study)
    assert [(voi.name, voi.kind, voi.acquisition) for voi in again] == [
        ("Kidney L", "organ", place.label),
        ("Lesion 1", "lesion", place.label),
    ]
    assert again[0].code == vois[0].code
    for before, after in zip(vois, again, strict=True):
        assert np.abs(array_of(before.weights) - array_of(after.weights)).max() <= (
            0.5 / 255 if fractional else 0
        )
    assert_same_study(dcmread(path), study)
    import highdicom as hd

    seg = hd.seg.segread(path)
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["Kidney L", "Lesion 1"]


def test_bad_seg(place, grid, tmp_path):
    with pytest.raises(InputError, match="at least one"):
        write_seg((), grid, tmp_path / "seg.dcm", place)
    with pytest.raises(InputError, match="Empty VOIs"):
        write_seg((Voi("none", grid * 0.0),), grid, tmp_path / "seg.dcm", place)
    with pytest.raises(InputError, match="between 0 and 1"):
        write_seg((Voi("much", grid * 0.0 + 2.0),), grid, tmp_path / "seg.dcm", place)


def test_structured_report(study, place, grid, tmp_path):
    vois = vois_on(grid, True)
    seg = write_seg(vois, grid, tmp_path / "seg.dcm", place)
    numbers = {
        "Kidney L": [
            Measurement("volume_ml", 17.25, 0.5),
            Measurement("mean_gy", 2.741, 0.31, "vsv"),
            Measurement("mean_gy", 2.802, 0.29, "mc"),
            Measurement("activity_mbq", 31.5, None, "24h"),
        ],
        "Lesion 1": [Measurement("tia_mbq_h", 812.5, 90.0)],
    }
    path = write_sr(numbers, vois, grid, tmp_path / "sr.dcm", place, segmentation=seg)
    assert read_sr(path) == numbers
    dataset = dcmread(path)
    assert dataset.StudyInstanceUID == dialects.uid("s1")
    text = str(dataset)
    assert dcmread(seg).SOPInstanceUID in text
    assert "Standard Deviation" in text
    without = write_sr(numbers, vois, grid, tmp_path / "sr2.dcm", place)
    assert read_sr(without) == numbers
    with pytest.raises(InputError, match="No VOI"):
        write_sr({"Heart": []}, vois, grid, tmp_path / "sr3.dcm", place)
    with pytest.raises(InputError, match="not a number"):
        write_sr(
            {"Lesion 1": [Measurement("mean_gy", float("nan"))]}, vois, grid, tmp_path / "sr3.dcm", place
        )


def test_rigid_registration(study, place, tmp_path):
    moving = Place(study, study.acquisitions[1].label, now=NOW)
    rigid = sitk.Euler3DTransform((10.0, 20.0, 30.0), 0.1, -0.05, 0.2, (5.0, -7.0, 11.0))
    path = write_spatial_registration(rigid, tmp_path / "reg.dcm", place, moving)
    again = read_spatial_registration(path)
    for point in ((0.0, 0.0, 0.0), (100.0, -50.0, 200.0), (-30.0, 80.0, 10.0)):
        assert again.TransformPoint(point) == pytest.approx(rigid.TransformPoint(point), abs=1e-6)
    dataset = dcmread(path)
    first, second = dataset.RegistrationSequence
    assert first.FrameOfReferenceUID == study.acquisitions[0].frame_of_reference
    assert second.FrameOfReferenceUID == study.acquisitions[1].frame_of_reference
    # PS3.3 C.20.2: the matrix takes points of its own frame of reference to the registered one.
    matrix = np.array(
        second.MatrixRegistrationSequence[0].MatrixSequence[0].FrameOfReferenceTransformationMatrix, float
    )
    point = np.array([12.0, -8.0, 120.0])
    mapped = matrix.reshape(4, 4) @ [*rigid.TransformPoint(point.tolist()), 1.0]
    assert mapped[:3] == pytest.approx(point, abs=1e-6)


def test_deformable_registration(study, place, grid, tmp_path):
    moving = Place(study, study.acquisitions[1].label, now=NOW)
    z, y, x = np.indices(dialects.SHAPE)
    vectors = np.stack([0.3 * np.sin(x), 0.2 * y, 1.0 + 0.1 * z], axis=-1)
    field = sitk.GetImageFromArray(vectors, isVector=True)
    field.CopyInformation(grid)
    warp = sitk.DisplacementFieldTransform(sitk.Image(field))
    path = write_spatial_registration(warp, tmp_path / "def.dcm", place, moving, grid=grid)
    again = read_spatial_registration(path)
    for index in ((1, 1, 1), (7, 5, 3), (12, 10, 8)):
        point = grid.TransformIndexToPhysicalPoint(index)
        assert again.TransformPoint(point) == pytest.approx(warp.TransformPoint(point), abs=1e-4)
    with pytest.raises(InputError, match="needs the grid"):
        write_spatial_registration(warp, tmp_path / "x.dcm", place, moving)


def test_same_results_get_the_same_identifiers_and_others_do_not(place, dose, tmp_path):
    first = dcmread(write_rtdose(dose, tmp_path / "a.dcm", place))
    second = dcmread(write_rtdose(dose, tmp_path / "b.dcm", place))
    other = dcmread(write_rtdose(dose * 1.01, tmp_path / "c.dcm", place))
    assert first.SOPInstanceUID == second.SOPInstanceUID != other.SOPInstanceUID
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
