"""The writers of CT series, NM multi-frame and RTSTRUCT, read back by other software."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from TheranosticDoseLib.dicom_io.write_common import SeriesTags, decimal, dicom_time
from TheranosticDoseLib.dicom_io.write_ct import write_ct_series
from TheranosticDoseLib.dicom_io.write_nm import NmScan, write_nm_multiframe
from TheranosticDoseLib.dicom_io.write_rtstruct import ReferencedSeries, contours_of, write_rtstruct
from TheranosticDoseLib.errors import InputError, OutputError
from TheranosticDoseLib.study import Voi

TAGS = SeriesTags(
    ("test",), "P1", "Test^Möbius", "SPECT/CT 24h", "24h", 3, "CT", dt.datetime(2026, 3, 3, 9, 5, 7)
)
SCAN = NmScan(activity_mbq=7400.0, injection=dt.datetime(2026, 3, 2, 10), half_life_s=574300.8)


def grid(size=(20, 16, 12), spacing=(2.0, 3.0, 4.0), tilt_deg=0.0) -> sitk.Image:
    image = sitk.Image(list(size), sitk.sitkFloat32)
    image.SetSpacing(spacing)
    image.SetOrigin((-11.5, 7.25, -100.125))
    rotation = sitk.Euler3DTransform((0, 0, 0), np.deg2rad(tilt_deg), 0.0, 0.0)
    image.SetDirection(rotation.GetMatrix())
    return image


def filled(image: sitk.Image, values: np.ndarray) -> sitk.Image:
    out = sitk.GetImageFromArray(values.astype(np.float32))
    out.CopyInformation(image)
    return out


@pytest.mark.parametrize("tilt_deg", [0.0, 12.0])
def test_ct_comes_back_voxel_by_voxel_in_its_place(tmp_path, tilt_deg):
    empty = grid(tilt_deg=tilt_deg)
    values = np.random.default_rng(0).integers(-1024, 3071, (12, 16, 20))
    write_ct_series(filled(empty, values), tmp_path, TAGS)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    back = reader.Execute()
    assert np.array_equal(sitk.GetArrayFromImage(back), values)
    for corner in ((0, 0, 0), (19, 15, 11)):
        expected = empty.TransformIndexToPhysicalPoint(corner)
        assert back.TransformIndexToPhysicalPoint(corner) == pytest.approx(expected, abs=1e-3)


def test_files_are_the_same_bytes_each_time(tmp_path):
    image = filled(grid(), np.arange(12 * 16 * 20).reshape(12, 16, 20))
    first = write_ct_series(image, tmp_path / "a", TAGS)
    second = write_ct_series(image, tmp_path / "b", TAGS)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    uids = {pydicom.dcmread(p).SOPInstanceUID for p in first}
    assert len(uids) == len(first)


def test_nm_has_values_geometry_and_administration(tmp_path):
    values = np.random.default_rng(1).gamma(0.3, 5e4, (12, 16, 20))
    path = write_nm_multiframe(filled(grid(), values), tmp_path / "nm.dcm", TAGS, SCAN)
    dataset = pydicom.dcmread(path)
    mapping = dataset.RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "Bq/ml"
    for slope in (float(dataset.RescaleSlope), mapping.RealWorldValueSlope):
        assert np.abs(dataset.pixel_array * slope - values).max() <= 0.51 * slope
    detector = dataset.DetectorInformationSequence[0]
    assert [float(v) for v in detector.ImagePositionPatient] == pytest.approx([-11.5, 7.25, -100.125])
    assert [float(v) for v in dataset.PixelSpacing] == [3.0, 2.0]
    assert list(dataset.SliceVector) == list(range(1, 13))
    item = dataset.RadiopharmaceuticalInformationSequence[0]
    assert float(item.RadionuclideTotalDose) == 7400.0
    assert item.RadiopharmaceuticalStartDateTime == "20260302100000"
    assert dataset.AcquisitionDate + dataset.AcquisitionTime == "20260303090507"
    window = dataset.EnergyWindowInformationSequence[0].EnergyWindowRangeSequence[0]
    assert window.EnergyWindowLowerLimit < 208.37 < window.EnergyWindowUpperLimit
    rotation = dataset.RotationInformationSequence[0]
    assert rotation.NumberOfFramesInRotation * rotation.ActualFrameDuration == 1800 * 1000


def test_counts_are_stored_as_they_are(tmp_path):
    values = np.random.default_rng(2).poisson(40.0, (12, 16, 20))
    scan = NmScan(unit="CNTS")
    dataset = pydicom.dcmread(write_nm_multiframe(filled(grid(), values), tmp_path / "nm.dcm", TAGS, scan))
    assert np.array_equal(dataset.pixel_array, values)
    assert dataset.Units == "CNTS"
    assert "RealWorldValueMappingSequence" not in dataset
    assert "RadionuclideTotalDose" not in dataset.RadiopharmaceuticalInformationSequence[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_nm_refuses_what_is_no_activity(tmp_path, bad):
    values = np.ones((12, 16, 20))
    values[3, 4, 5] = bad
    with pytest.raises(InputError, match="negative, infinite or NaN"):
        write_nm_multiframe(filled(grid(), values), tmp_path / "nm.dcm", TAGS, SCAN)
    assert not list(tmp_path.iterdir())


def test_ct_refuses_nan_and_nothing_is_left_where_a_file_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="finite Hounsfield"):
        write_ct_series(filled(grid(), np.full((12, 16, 20), np.nan)), tmp_path, TAGS)
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(OutputError, match="could not be written"):
        write_ct_series(grid(), blocked, TAGS)


def area(points: np.ndarray) -> float:
    """Area of a polygon in a tilted plane: half of the length of the sum of cross products."""
    relative = points - points[0]
    return 0.5 * float(np.linalg.norm(np.cross(relative[:-1], relative[1:]).sum(axis=0)))


def shell(image: sitk.Image, inner: float, outer: float) -> np.ndarray:
    z, y, x = np.indices(image.GetSize()[::-1])
    sx, sy, sz = image.GetSpacing()
    r = np.sqrt(((x - 31.3) * sx) ** 2 + ((y - 30.2) * sy) ** 2 + ((z - 14.0) * sz) ** 2)
    return (r >= inner) & (r < outer)


@pytest.mark.parametrize("tilt_deg", [0.0, 15.0])
def test_contours_of_a_hollow_sphere(tmp_path, tilt_deg):
    """Even-odd area times slice distance is the volume of the shell; holes are contours of their own."""
    empty = grid((64, 64, 30), (1.0, 1.0, 2.0), tilt_deg)
    mask = shell(empty, 10.0, 24.0)
    voi = Voi("Shell", filled(empty, mask), kind="lesion")
    paths = write_ct_series(empty, tmp_path / "ct", TAGS)
    tags = SeriesTags(("test",), "P1", "T", "SPECT/CT 24h", "24h", 10, "VOIs", TAGS.datetime)
    path = write_rtstruct([voi], empty, ReferencedSeries.of_files(paths), tmp_path / "rs.dcm", tags)
    dataset = pydicom.dcmread(path)
    volume, per_slice = 0.0, {}
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert len(points) == contour.NumberOfContourPoints
        per_slice.setdefault(contour.ContourImageSequence[0].ReferencedSOPInstanceUID, []).append(points)
        index = np.array([empty.TransformPhysicalPointToContinuousIndex(p) for p in points.tolist()])
        assert np.ptp(index[:, 2]) < 2e-3
    for polygons in per_slice.values():
        areas = sorted((area(points) for points in polygons), reverse=True)
        volume += 2.0 * (areas[0] - sum(areas[1:]))
    assert max(len(polygons) for polygons in per_slice.values()) == 2
    assert volume == pytest.approx(mask.sum() * 2.0, rel=0.01)
    assert volume == pytest.approx(4 / 3 * np.pi * (24**3 - 10**3), rel=0.02)
    assert dataset.RTROIObservationsSequence[0].RTROIInterpretedType == "GTV"


def test_contours_close_at_the_edge_of_the_image_and_follow_weights():
    empty = grid((32, 32, 3), (1.0, 1.0, 1.0))
    weights = np.zeros((3, 32, 32))
    weights[1] = np.clip(16.25 - np.arange(32), 0, 1)[None, :]
    ((index, points),) = contours_of(filled(empty, weights), empty)
    assert index == 1
    # Half weight lies where a linear ramp from 1 (column 15) to 0.25 and on to 0 crosses 0.5.
    assert points[:, 0].max() == pytest.approx(-11.5 + 15 + 0.5 / 0.75, abs=1e-6)
    assert points[:, 0].min() == pytest.approx(-11.5 - 0.5, abs=1e-6)


def test_rtstruct_refuses_empty_and_double_names(tmp_path):
    empty = grid()
    paths = write_ct_series(empty, tmp_path / "ct", TAGS)
    referenced = ReferencedSeries.of_files(paths)
    nothing = Voi("Nothing", empty)
    with pytest.raises(InputError, match="'Nothing' has no voxel"):
        write_rtstruct([nothing], empty, referenced, tmp_path / "rs.dcm", TAGS)
    with pytest.raises(InputError, match="unique names"):
        write_rtstruct([nothing, nothing], empty, referenced, tmp_path / "rs.dcm", TAGS)
    assert not (tmp_path / "rs.dcm").exists()


def test_decimals_fit_into_sixteen_characters():
    for value in (1 / 3 * 1e-9, -123456.789012345, 574300.8, 4.8):
        assert len(decimal(value)) <= 16
        assert float(decimal(value)) == pytest.approx(value, rel=1e-8)
    assert dicom_time(dt.datetime(2026, 1, 1, 1, 2, 3, 400)) == "010203.000400"
