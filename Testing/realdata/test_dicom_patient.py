"""The real 177Lu-DOTATATE patient: facts that another code publishes as well."""

from __future__ import annotations

import datetime as dt

import pytest
from TheranosticDoseLib.dicom_io import load_study
from TheranosticDoseLib.dicom_io.vois import volume_ml
from TheranosticDoseLib.geometry import total_activity_mbq

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def study(reference_data):
    return load_study(reference_data("lu177_dotatate_patient_spect"))


def test_administration(study):
    assert study.administration.nuclide == "Lu-177"
    assert study.administration.activity_mbq == pytest.approx(7210.43, abs=0.01)
    assert study.administration.datetime == dt.datetime(2018, 11, 15, 9, 22)


def test_times_and_totals(study):
    assert study.time_h == pytest.approx((3.7411, 27.7253), abs=5e-4)
    totals = [total_activity_mbq(acquisition.spect) for acquisition in study.acquisitions]
    assert totals == pytest.approx([1328.778, 883.019], rel=1e-4)
    assert [acquisition.unit for acquisition in study.acquisitions] == ["BQML", "BQML"]
    assert [acquisition.duration_s for acquisition in study.acquisitions] == pytest.approx(
        [1506.277, 1507.255]
    )


def test_lesions_of_both_structure_sets(study):
    found = {(voi.acquisition, voi.name): volume_ml(voi) for voi in study.vois}
    first, second = (acquisition.label for acquisition in study.acquisitions)
    assert found.keys() == {
        (label, name)
        for label in (first, second)
        for name in ("lesion1 liver R lobe", "lesion2 liver L lateral")
    }
    # The same lesions were drawn on both scans.
    assert found[first, "lesion1 liver R lobe"] == pytest.approx(
        found[second, "lesion1 liver R lobe"], rel=0.02
    )
    assert all(voi.kind == "lesion" for voi in study.vois)


def test_missing_ct_is_a_finding(study):
    missing = [f.field for f in study.findings if f.severity == "missing"]
    assert missing == [f"acquisitions.{a.label}.ct" for a in study.acquisitions]
    assert len(study.inputs) == 400
