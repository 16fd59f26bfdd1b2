"""Every vendor's dialect gives the same study."""

from __future__ import annotations

import datetime as dt

import dialects
import numpy as np
import pytest
from TheranosticDoseLib.dicom_io import load_study
from TheranosticDoseLib.geometry import array_of, image_like, total_activity_mbq

START = dialects.INJECTION + dt.timedelta(hours=24, minutes=30)
DECAYED = 0.1 * dialects.INJECTED_MBQ


def messages(study, severity):
    return [finding.message for finding in study.findings if finding.severity == severity]


def assert_in_place(image, expected=None):
    """Voxels stand where the truth has them, whatever the order of the frames in the file."""
    expected = dialects.activity() if expected is None else expected
    assert image.GetSize() == dialects.SHAPE[::-1]
    assert image.GetSpacing() == pytest.approx(dialects.SPACING)
    assert image.GetOrigin() == pytest.approx(dialects.ORIGIN)
    assert image.GetDirection() == pytest.approx(np.eye(3).ravel())
    assert array_of(image) == pytest.approx(expected, rel=1e-3, abs=expected.max() * 2e-5)


def test_siemens_xspect(tmp_path):
    dialects.siemens_xspect(tmp_path, START)
    study = load_study(tmp_path)
    scan = study.acquisitions[0]
    assert scan.unit == "BQML"
    assert scan.time_h == pytest.approx(24.5)
    assert scan.duration_s == 1200.0
    assert_in_place(scan.spect)
    assert study.administration.activity_mbq == pytest.approx(dialects.INJECTED_MBQ)
    assert any("DECY" in text for text in messages(study, "assumption"))


def test_ge_counts(tmp_path):
    early = dialects.INJECTION + dt.timedelta(hours=4)
    dialects.ge_counts(tmp_path, early)
    study = load_study(tmp_path)
    assert study.acquisitions[0].unit == "CNTS"
    assert study.acquisitions[0].time_h == pytest.approx(4.0)
    assert study.administration.activity_mbq == pytest.approx(dialects.INJECTED_MBQ)
    expected = np.rint(dialects.activity() / dialects.activity().max() * 1000)
    assert_in_place(study.acquisitions[0].spect, expected)
    said = " ".join(messages(study, "assumption"))
    assert "a time without a date" in said
    assert "the standard wants MBq" in said
    assert "names no unit" in said


def test_ge_time_without_a_date_on_a_later_day(tmp_path):
    # The date of the later scan is a day after the injection: the first scan tells the day.
    dialects.ge_counts(tmp_path, dialects.INJECTION + dt.timedelta(hours=4), "s1")
    dialects.ge_counts(tmp_path, dialects.INJECTION + dt.timedelta(hours=28), "s2")
    study = load_study(tmp_path)
    assert study.time_h == pytest.approx((4.0, 28.0))


def test_mediso_without_injection_is_an_error_that_names_tag_and_remedy(tmp_path):
    from TheranosticDoseLib.dicom_io import Overrides
    from TheranosticDoseLib.errors import InputError

    dialects.mediso(tmp_path, START)
    with pytest.raises(InputError, match=r"RadiopharmaceuticalStartDateTime.*set injection_datetime"):
        load_study(tmp_path)
    given = Overrides(injection_datetime=dialects.INJECTION.isoformat(), injected_activity_mbq=7400.0)
    study = load_study(tmp_path, given)
    assert study.acquisitions[0].time_h == pytest.approx(24.5)
    expected = np.rint(dialects.activity() / dialects.activity().max() * 1000)
    assert_in_place(study.acquisitions[0].spect, expected)
    assert any("do not make the scan arc" in text for text in messages(study, "warning"))


@pytest.mark.parametrize("decay", ["ADMIN", "START"])
def test_mim_slices_undo_their_decay_correction(tmp_path, decay):
    dialects.mim(tmp_path, START, decay=decay)
    study = load_study(tmp_path)
    assert_in_place(study.acquisitions[0].spect)
    assert total_activity_mbq(study.acquisitions[0].spect) == pytest.approx(DECAYED, rel=1e-4)
    assert bool(study.acquisitions[0].corrections) == (decay == "ADMIN")


def test_mean_over_the_scan_becomes_the_value_at_its_start(tmp_path):
    dialects.mim(tmp_path, START, decay="NONE")
    scan = load_study(tmp_path).acquisitions[0]
    x = np.log(2) * 1200.0 / dialects.HALF_LIFE_S
    assert total_activity_mbq(scan.spect) == pytest.approx(DECAYED * x / (1 - np.exp(-x)), rel=1e-5)
    assert scan.corrections[0].factor > 1


def test_philips_private_factor(tmp_path):
    dialects.philips(tmp_path, START)
    scan = load_study(tmp_path).acquisitions[0]
    assert scan.unit == "BQML"
    assert_in_place(scan.spect)


def test_ct_is_paired_and_in_hounsfield_units(tmp_path):
    dialects.mim(tmp_path, START)
    dialects.ct(tmp_path, START + dt.timedelta(minutes=25))
    scan = load_study(tmp_path).acquisitions[0]
    assert scan.ct.GetSize() == (28, 24, 2 * dialects.SHAPE[0] - 1)
    assert scan.ct.GetPixel(5, 6, 7) == 5 + 6 + 7 - 20
    assert scan.ct.GetSpacing() == pytest.approx((2.0, 2.0, 2.5))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "orientation",
    [
        (1, 0, 0, 0, 1, 0),
        (-1, 0, 0, 0, -1, 0),
        (1, 0, 0, 0, 0, -1),
        (0, 1, 0, 0, 0, -1),
        (0, 0.6, 0.8, 1, 0, 0),
    ],
)
def test_nm_frames_of_every_orientation_stand_in_their_place(tmp_path, orientation, sign):
    stored = np.rint(dialects.activity() / dialects.activity().max() * 60000)
    ds = dialects.nm(stored, START, spacing_sign=sign, orientation=orientation, position=(10.0, -20.0, 30.0))
    dialects.save(ds, tmp_path, "nm.dcm")
    image = load_study(tmp_path).acquisitions[0].spect
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    assert np.linalg.det(np.array(image.GetDirection()).reshape(3, 3)) == pytest.approx(1.0)
    # PS3.3 C.8.4.15: frame k lies at the first position plus k signed spacings along the normal.
    for z, y, x in [(0, 0, 0), (9, 0, 0), (0, 11, 0), (3, 2, 13), (8, 1, 12)]:
        place = np.array([10.0, -20.0, 30.0]) + x * 4.0 * row + y * 4.0 * column
        place = place + sign * z * 5.0 * np.cross(row, column)
        index = image.TransformPhysicalPointToIndex(place.tolist())
        assert image.GetPixel(index) == stored[z, y, x]


def test_slice_vector_orders_the_frames(tmp_path):
    order = np.random.default_rng(1).permutation(dialects.SHAPE[0])
    values = np.rint(dialects.activity() / dialects.activity().max() * 60000)
    ds = dialects.nm(values[order], START)
    ds.SliceVector = [int(k) + 1 for k in order]
    dialects.save(ds, tmp_path, "nm.dcm")
    assert_in_place(load_study(tmp_path).acquisitions[0].spect, values)


def test_rescale_slope_of_an_nm_object(tmp_path):
    ds = dialects.nm(np.rint(dialects.activity() / 200.0), START)
    ds.RescaleSlope, ds.RescaleIntercept, ds.Units, ds.DecayCorrection = "200", "0", "BQML", "START"
    dialects.save(ds, tmp_path, "hermes.dcm")
    scan = load_study(tmp_path).acquisitions[0]
    assert scan.unit == "BQML"
    assert array_of(scan.spect) == pytest.approx(dialects.activity(), abs=101)


def test_compressed_transfer_syntax(tmp_path):
    from pydicom.uid import RLELossless

    ds = dialects.nm(np.rint(dialects.activity() / dialects.activity().max() * 60000), START)
    ds.compress(RLELossless)
    dialects.save(ds, tmp_path, "rle.dcm")
    image = load_study(tmp_path).acquisitions[0].spect
    assert_in_place(image, np.rint(dialects.activity() / dialects.activity().max() * 60000))
    assert image_like(array_of(image), image).GetSize() == image.GetSize()
