"""Studies of NRRD and NIfTI images."""

from __future__ import annotations

import json

import dialects
import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib.dicom_io import Overrides, inspect_path, load_study
from TheranosticDoseLib.errors import InputError, SettingsError
from TheranosticDoseLib.geometry import array_of, total_activity_mbq


def write(folder, name, array):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(dialects.SPACING)
    image.SetOrigin(dialects.ORIGIN)
    sitk.WriteImage(image, str(folder / name))


@pytest.fixture
def listing(tmp_path):
    labels = np.zeros(dialects.SHAPE, np.uint8)
    labels[2:5] = 1
    for hours in (4, 24):
        write(tmp_path, f"spect_{hours}.nii.gz", dialects.activity().astype(np.float32))
    write(tmp_path, "ct.nrrd", np.zeros(dialects.SHAPE, np.int16))
    write(tmp_path, "labels.nrrd", labels)
    values = {
        "nuclide": "Lu-177",
        "injected_activity_mbq": 7400.0,
        "units": "BQML",
        "acquisitions": [
            {
                "spect": "spect_24.nii.gz",
                "ct": "ct.nrrd",
                "time_h": 24,
                "duration_s": 1200,
                "vois": "labels.nrrd",
            },
            {"spect": "spect_4.nii.gz", "time_h": 4.0, "label": "first", "decay_reference": "ADMIN"},
        ],
    }

    def store(**changes):
        (tmp_path / "manifest.json").write_text(json.dumps({**values, **changes}))
        return tmp_path

    store.values = values
    return store


def test_images_with_times(listing):
    study = load_study(listing())
    assert [(a.label, a.time_h) for a in study.acquisitions] == [("first", 4.0), ("24h", 24.0)]
    assert study.administration.activity_mbq == 7400.0
    assert study.acquisitions[1].ct is not None
    decay = 2 ** (-4 * 3600 / dialects.HALF_LIFE_S)
    totals = [total_activity_mbq(a.spect) for a in study.acquisitions]
    assert totals == pytest.approx([740 * decay, 740], rel=1e-6)
    (voi,) = study.vois
    assert (voi.name, voi.acquisition) == ("label 1", "24h")
    assert array_of(voi.weights).sum() == 3 * 12 * 14
    assert set(study.inputs) == {
        "manifest.json",
        "spect_24.nii.gz",
        "spect_4.nii.gz",
        "ct.nrrd",
        "labels.nrrd",
    }
    assert load_study(listing() / "manifest.json").time_h == study.time_h
    assert inspect_path(listing()).usable


def test_datetimes_and_shell_over_manifest(listing):
    acquisitions = [{"spect": "spect_24.nii.gz", "datetime": "2026-03-03T10:00:00", "label": "late"}]
    folder = listing(injection_datetime="2026-03-02T10:00", acquisitions=acquisitions)
    assert load_study(folder).time_h == (24.0,)
    assert load_study(folder, Overrides(injection_datetime="2026-03-02T09:00")).time_h == (25.0,)
    assert load_study(folder, Overrides(acquisitions={"late": {"time_h": 7.0}})).time_h == (7.0,)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"injected_activty_mbq": 3.0}, SettingsError, "Did you mean 'injected_activity_mbq'"),
        ({"acquisitions": [{"spect": "spect_4.nii.gz", "tim_h": 3}]}, SettingsError, "Did you mean 'time_h'"),
        ({"acquisitions": [{"spect": "spect_4.nii.gz"}]}, SettingsError, "time_h"),
        ({"acquisitions": [{"spect": "absent.nrrd", "time_h": 4}]}, InputError, "absent.nrrd: no such file"),
        ({"acquisitions": []}, InputError, "acquisitions is empty"),
        ({"acquisitions": [{"spect": "spect_4.nii.gz", "time_h": -1.0}]}, SettingsError, "time_h"),
        ({"units": None}, InputError, "unit is not stated"),
        ({"units": "kBq"}, SettingsError, "BQML or CNTS"),
        (
            {"acquisitions": [{"spect": "spect_4.nii.gz", "time_h": 4, "label": "a"}] * 2},
            InputError,
            "two acquisitions are called a",
        ),
    ],
)
def test_bad_manifest(listing, changes, error, text):
    with pytest.raises(error, match=text):
        load_study(listing(**changes))


def test_not_a_number_and_broken_json(listing):
    folder = listing()
    array = dialects.activity().astype(np.float32)
    array[3, 4, 5] = np.nan
    write(folder, "spect_4.nii.gz", array)
    with pytest.raises(InputError, match=r"spect_4.nii.gz: 1 voxels are not a number"):
        load_study(folder)
    write(folder, "spect_4.nrrd", array)
    with pytest.raises(InputError, match=r"spect_4.nrrd: 1 voxels are not a number"):
        load_study(listing(acquisitions=[{"spect": "spect_4.nrrd", "time_h": 4}]))
    assert not inspect_path(folder).usable
    (folder / "manifest.json").write_text("{,}")
    with pytest.raises(InputError, match="not valid JSON"):
        load_study(folder)


def test_manifest_without_images_completes_dicom(tmp_path):
    import datetime as dt

    dialects.mediso(tmp_path, dialects.INJECTION + dt.timedelta(hours=24))
    values = {"injection_datetime": dialects.INJECTION.isoformat(), "injected_activity_mbq": 7300.0}
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    study = load_study(tmp_path)
    assert study.administration.activity_mbq == 7300.0
    assert any("manifest.json" in f.source for f in study.findings)
