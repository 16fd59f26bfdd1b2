"""The real patient out as DICOM and back, at full size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from TheranosticDoseLib.dicom_io import load_study, load_voi_file
from TheranosticDoseLib.dicom_io.out_common import Place
from TheranosticDoseLib.dicom_io.out_dose import read_rtdose, write_rtdose
from TheranosticDoseLib.dicom_io.out_parametric import read_parametric_map, write_parametric_map
from TheranosticDoseLib.dicom_io.out_seg import write_seg
from TheranosticDoseLib.geometry import array_of, same_grid

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


def test_round_trip(reference_data, tmp_path):
    study = load_study(reference_data("lu177_dotatate_patient_spect"))
    scan = study.acquisitions[0]
    place = Place(study, scan.label)
    given = array_of(scan.spect)

    again, unit = read_parametric_map(
        write_parametric_map(scan.spect, tmp_path / "pm.dcm", place, "activity_concentration")
    )
    assert unit == "Bq/ml"
    assert np.array_equal(array_of(again), given)
    assert same_grid(again, scan.spect)

    dose = read_rtdose(write_rtdose(scan.spect, tmp_path / "dose.dcm", place))
    large = given > given.max() / 250
    assert np.array_equal(array_of(dose)[large], given[large])
    assert np.abs(array_of(dose) - given).max() <= 1.2e-10 * given.max() + np.spacing(given.max() / 250)
    assert same_grid(dose, scan.spect)

    lesions = [voi for voi in study.vois if voi.acquisition == scan.label]
    without = dataclasses.replace(study, vois=())
    read = load_voi_file(write_seg(lesions, scan.spect, tmp_path / "seg.dcm", place), without)
    assert [voi.name for voi in read] == [voi.name for voi in lesions]
    for before, after in zip(lesions, read, strict=True):
        assert np.abs(array_of(before.weights) - array_of(after.weights)).max() <= 0.5 / 255 + 1e-6
