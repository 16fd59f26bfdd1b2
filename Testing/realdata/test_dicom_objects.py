"""Real objects of several vendors: geometry, compressed pixels, a clear page for every folder."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import dcmread
from TheranosticDoseLib.dicom_io import Overrides, inspect_path, load_study
from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.load import read_ct
from TheranosticDoseLib.dicom_io.pixels import stored_pixels
from TheranosticDoseLib.dicom_io.scan import Header, find_objects
from TheranosticDoseLib.geometry import array_of

pytestmark = pytest.mark.realdata


def test_mediso_multiframe(reference_data):
    folder = reference_data("nm_dicom") / "mediso_nmqc"
    given = Overrides(
        patient_id="123456",
        injected_activity_mbq=500.0,
        injection_datetime="2014-11-14T18:00:00",
        units="CNTS",
    )
    scan = load_study(folder, given).acquisitions[0]
    image = scan.spect
    assert image.GetSize() == (128, 128, 45)
    assert image.GetSpacing() == pytest.approx((4.13, 4.13, 4.13), abs=1e-4)
    assert image.GetDirection() == pytest.approx(np.eye(3).ravel())
    # First frame at (0, -264.32, -165.2), spacing -4.13: the last frame is the lowest.
    assert image.GetOrigin() == pytest.approx((0.0, -264.32, -165.2 - 44 * 4.13), abs=1e-3)
    frames = dcmread(folder / "Jaszack.dcm").pixel_array
    assert np.array_equal(array_of(image), frames[::-1])
    assert scan.time_h == pytest.approx((45 * 60 + 21) / 3600)


def test_ct_in_jpeg_2000(reference_data):
    folder = reference_data("ct_reference_segmentation") / "tests" / "reference_files" / "example_ct_dicom"
    (series,) = find_objects(folder, Journal())
    hashes = {}
    image = read_ct(series, hashes)
    assert image.GetSize() == (512, 512, 20)
    assert image.GetSpacing() == pytest.approx((0.9766, 0.9766, 2.0), abs=1e-4)
    values = array_of(image)
    assert values.min() >= -1024
    assert -200 < np.median(values[:, 200:300, 200:300]) < 200
    assert len(hashes) == 20
    middle = sorted(folder.iterdir())[9]
    dataset = dcmread(middle)
    slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    index = image.TransformPhysicalPointToIndex([float(v) for v in dataset.ImagePositionPatient])
    assert np.array_equal(values[index[2]], (dataset.pixel_array * slope + intercept).astype(np.float32))


def test_lossless_transfer_syntaxes_agree(reference_data):
    folder = reference_data("nm_dicom") / "ge_millennium" / "tests" / "data"
    arrays = []
    for name in ("nema-nm1_j2kr.dcm", "nema-nm1_jpll.dcm"):
        arrays.append(stored_pixels(Header(folder / name, name, dcmread(folder / name, defer_size=4096)), {}))
    assert np.array_equal(*arrays)
    assert arrays[0].max() > 0


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("nm_dicom", "Files of 3 patients are mixed"),
        ("nm_dicom/mediso_nmqc", "128 x 128 x 45 / 4.13 x 4.13 x 4.13 mm"),
        ("nm_dicom/ge_millennium", "no reconstructed SPECT"),
        ("ct_reference_segmentation", "512 x 512 x 20"),
        ("lu177_dotatate_patient_spect", "18.7 % of the 7094.17 MBq"),
        ("lu177_patient_ct_organs", "no DICOM"),
        ("slicerrt_dose_dvh_gamma", "no DICOM"),
    ],
)
def test_inspect_gives_a_clear_page(reference_data, folder, expected):
    top, _, rest = folder.partition("/")
    page = inspect_path(reference_data(top) / rest)
    text = page.to_text()
    assert expected in text
    assert "Traceback" not in text
    assert page.usable == (folder == "lu177_dotatate_patient_spect")
    assert all(len(row) == 6 for row in page.rows())
