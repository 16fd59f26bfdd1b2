"""Times, units and bad input of the loader."""

from __future__ import annotations

import datetime as dt

import dialects
import numpy as np
import pytest
from pydicom import dcmread
from TheranosticDoseLib.dicom_io import AcquisitionOverrides, Overrides, inspect_path, load_study
from TheranosticDoseLib.errors import (
    GeometryError,
    InputError,
    SettingsError,
    TheranosticDoseError,
    UnitsError,
)
from TheranosticDoseLib.geometry import total_activity_mbq

HOURS = dt.timedelta(hours=1)
START = dialects.INJECTION + 24 * HOURS


def change(folder, function, pattern="*.dcm"):
    for path in sorted(folder.glob(pattern)):
        ds = dcmread(path)
        function(ds)
        ds.save_as(path)


def found(study, severity, text):
    return [f for f in study.findings if f.severity == severity and text in f.message]


@pytest.fixture
def scan(tmp_path):
    dialects.mim(tmp_path, START)
    return tmp_path


def test_scan_across_midnight(tmp_path):
    injection = dt.datetime(2026, 3, 2, 23, 30)
    dialects.save_all(
        dialects.pt_slices(dialects.activity(), injection + HOURS, injection=injection), tmp_path, "a"
    )
    assert load_study(tmp_path).time_h == pytest.approx((1.0,))


def test_time_zones_that_differ_between_scans(tmp_path):
    """Summer time began between injection and scan: wall clocks differ by 25 h, 24 h have passed."""
    injection = dt.datetime(2026, 3, 28, 12, 0)
    objects = dialects.pt_slices(dialects.activity(), injection + 25 * HOURS, injection=injection)
    for ds in objects:
        ds.TimezoneOffsetFromUTC = "+0200"
        item = ds.RadiopharmaceuticalInformationSequence[0]
        item.RadiopharmaceuticalStartDateTime = "20260328120000+0100"
    dialects.save_all(objects, tmp_path, "a")
    study = load_study(tmp_path)
    assert study.time_h == pytest.approx((24.0,))
    assert study.acquisitions[0].datetime - study.administration.datetime == 24 * HOURS


def test_series_time_is_only_a_stated_fallback(scan):
    def strip(ds):
        del ds.AcquisitionDate
        del ds.AcquisitionTime

    change(scan, strip)
    study = load_study(scan)
    assert study.time_h == pytest.approx((24 + 7 * 24,))
    assert found(study, "warning", "acquisition time is missing")


def test_acquisition_datetime_comes_first_and_contradiction_is_told(scan):
    change(scan, lambda ds: setattr(ds, "AcquisitionDateTime", (START + 2 * HOURS).strftime("%Y%m%d%H%M%S")))
    study = load_study(scan)
    assert study.time_h == pytest.approx((26.0,))
    assert found(study, "warning", "differ")


def test_beds_of_one_scan_start_with_the_first(scan):
    def later_bed(ds):
        if ds.ImagePositionPatient[2] > 120:
            ds.AcquisitionTime = (START + HOURS / 2).strftime("%H%M%S")

    change(scan, later_bed)
    assert load_study(scan).time_h == pytest.approx((24.0,))


def test_injection_date_of_the_scan_day_is_told(tmp_path):
    dialects.save_all(dialects.pt_slices(dialects.activity(), dialects.INJECTION + 4 * HOURS), tmp_path, "a")
    wrong = dialects.pt_slices(
        dialects.activity(), START + 4 * HOURS, study="s2", injection=dialects.INJECTION + 24 * HOURS
    )
    dialects.save_all(wrong, tmp_path, "b")
    study = load_study(tmp_path)
    assert study.time_h == pytest.approx((4.0, 28.0))
    assert found(study, "warning", "different injection times")


def test_two_cycles_are_an_error(tmp_path):
    dialects.mim(tmp_path, START, "s1", "START")
    later = dialects.INJECTION + dt.timedelta(weeks=8, hours=3)
    dialects.save_all(
        dialects.pt_slices(dialects.activity(), later + 24 * HOURS, study="s2", injection=later),
        tmp_path,
        "b",
    )
    with pytest.raises(InputError, match="Two administrations"):
        load_study(tmp_path)


def test_activity_in_mbq_within_a_pet_object(scan):
    change(
        scan,
        lambda ds: setattr(ds.RadiopharmaceuticalInformationSequence[0], "RadionuclideTotalDose", "7400"),
    )
    study = load_study(scan)
    assert study.administration.activity_mbq == pytest.approx(7400)
    assert found(study, "assumption", "can only be MBq")


def test_scan_before_injection_is_an_error(tmp_path):
    dialects.mim(tmp_path, dialects.INJECTION - 2 * HOURS, decay="START")
    with pytest.raises(InputError, match=r"2\.00 h before the injection"):
        load_study(tmp_path)


def test_missing_activity_is_a_finding(scan):
    change(scan, lambda ds: delattr(ds.RadiopharmaceuticalInformationSequence[0], "RadionuclideTotalDose"))
    study = load_study(scan)
    assert study.administration.activity_mbq is None
    assert found(study, "missing", "injected activity")


def test_empty_and_absent_folder(tmp_path):
    with pytest.raises(InputError, match="empty"):
        load_study(tmp_path)
    with pytest.raises(InputError, match="no such"):
        load_study(tmp_path / "absent")
    (tmp_path / "note.txt").write_text("no DICOM")
    with pytest.raises(InputError, match="no DICOM"):
        load_study(tmp_path)


def test_truncated_pixels(scan):
    path = sorted(scan.glob("*.dcm"))[3]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=f"{path.name}.*truncated"):
        load_study(scan)


def test_truncated_header_leaves_a_gap(scan):
    path = sorted(scan.glob("*.dcm"))[3]
    path.write_bytes(path.read_bytes()[:180])
    with pytest.raises(TheranosticDoseError):
        load_study(scan)


def test_missing_slice(scan):
    (scan / "s1_mim_004.dcm").unlink()
    with pytest.raises(GeometryError, match=r"1 missing between s1_mim_003.dcm.*s1_mim_005.dcm"):
        load_study(scan)


def test_two_patients(scan):
    change(scan, lambda ds: setattr(ds, "PatientID", "P2"), "*_004.dcm")
    with pytest.raises(InputError, match=r"'P1' \(9 files.*'P2' \(1 files"):
        load_study(scan)


def test_copies_are_left_out(scan):
    for path in list(scan.glob("*.dcm")):
        (scan / "copy").mkdir(exist_ok=True)
        (scan / "copy" / path.name).write_bytes(path.read_bytes())
    study = load_study(scan)
    assert found(study, "info", "10 files are copies")
    assert len(study.inputs) == 10


def test_same_uid_with_other_content(scan):
    (scan / "other.dcm").write_bytes((scan / "s1_mim_000.dcm").read_bytes()[:-2] + b"\x01\x02")
    with pytest.raises(InputError, match="share the SOP Instance UID"):
        load_study(scan)


def test_two_reconstructions_of_one_scan(scan):
    dialects.save_all(dialects.pt_slices(dialects.activity() * 2, START, series="again"), scan, "again")
    with pytest.raises(InputError, match=r"2 series of one acquisition.*use"):
        load_study(scan)
    unwanted = dialects.uid("s1", "again")
    study = load_study(scan, Overrides(acquisitions={unwanted: {"use": False}}))
    assert total_activity_mbq(study.acquisitions[0].spect) == pytest.approx(740, rel=1e-3)


def test_quantitative_reconstruction_is_preferred_and_told(scan):
    dialects.save(dialects.nm(np.rint(dialects.activity() / 5e4), START, series="NAC"), scan, "nac.dcm")
    study = load_study(scan)
    assert [a.unit for a in study.acquisitions] == ["BQML"]
    assert found(study, "assumption", "2 series of one acquisition")


def test_counts_declared_as_activity(tmp_path):
    dialects.save_all(dialects.pt_slices(dialects.activity(40), START), tmp_path, "a")
    with pytest.raises(UnitsError, match="impossible"):
        load_study(tmp_path)


def test_activity_declared_as_counts_is_doubted(tmp_path):
    dialects.save_all(dialects.pt_slices(dialects.activity(), START, units="CNTS"), tmp_path, "a")
    assert found(load_study(tmp_path), "warning", "they may be Bq/mL")
    study = load_study(tmp_path, Overrides(units="BQML"))
    assert study.acquisitions[0].unit == "BQML"


def test_so_little_activity_looks_like_counts(tmp_path):
    dialects.save_all(dialects.pt_slices(dialects.activity(1e-3), START), tmp_path, "a")
    assert found(load_study(tmp_path), "warning", "looks like counts")


def test_unknown_unit(scan):
    change(scan, lambda ds: setattr(ds, "Units", "GML"))
    with pytest.raises(UnitsError, match="'GML'"):
        load_study(scan)


def test_negative_voxels_are_told(scan):
    change(scan, lambda ds: setattr(ds, "RescaleIntercept", "-500000"))
    assert found(load_study(scan), "warning", "negative voxels")


def test_broken_rescale(scan):
    change(scan, lambda ds: setattr(ds, "RescaleSlope", "0"), "*_004.dcm")
    with pytest.raises(InputError, match=r"_004.dcm \(0028,1053\)"):
        load_study(scan)


def test_ct_of_another_frame_of_reference(scan):
    dialects.ct(scan, START + HOURS / 2, study="s9", frame="elsewhere")
    study = load_study(scan)
    assert study.acquisitions[0].ct is not None
    assert found(study, "warning", "different frames of reference")
    assert load_study(scan, Overrides(acquisitions={"24h": {"ct": "none"}})).acquisitions[0].ct is None


def test_ct_of_another_day_is_not_taken(scan):
    dialects.ct(scan, START + 24 * HOURS, study="s9", frame="elsewhere")
    study = load_study(scan)
    assert study.acquisitions[0].ct is None
    assert found(study, "missing", "no CT")


def test_one_frame_of_reference_for_all_scans_pairs_by_time(tmp_path):
    for hours in (4, 24):
        objects = dialects.pt_slices(
            dialects.activity(), dialects.INJECTION + hours * HOURS, study=f"s{hours}"
        )
        for ds in objects:
            ds.FrameOfReferenceUID = dialects.uid("common")
        dialects.save_all(objects, tmp_path, f"s{hours}")
        dialects.ct(tmp_path, dialects.INJECTION + (hours + 0.4) * HOURS, study=f"s{hours}", frame="common")
    study = load_study(tmp_path)
    pairs = {label: found_["ct"]["series"] for label, found_ in study.dicom["acquisitions"].items()}
    assert pairs == {"4h": dialects.uid("s4", "CT"), "24h": dialects.uid("s24", "CT")}


def test_overrides_are_findings(scan):
    given = Overrides(
        injected_activity_mbq=7000.0,
        residual_mbq=100.0,
        acquisitions={"24h": AcquisitionOverrides(time_h=20.0, camera_factor_cps_per_mbq=9.5)},
    )
    study = load_study(scan, given)
    assert study.administration.activity_mbq == 6900.0
    assert study.time_h == (20.0,)
    assert study.dicom["camera_factors"] == {"24h": 9.5}
    told = {f.field for f in found(study, "info", "was given")}
    assert told >= {
        "administration.injected_activity_mbq",
        "administration.residual_mbq",
        "acquisitions.24h.time_h",
    }
    # The correction that the writer made with its own injection time is undone with that time.
    assert total_activity_mbq(study.acquisitions[0].spect) == pytest.approx(740, rel=1e-3)


def test_sidecar_is_read_and_unknown_keys_are_named(scan):
    side = scan / "theranostic-dose.json"
    side.write_text('{"injected_activity_mbq": 7100.0}')
    study = load_study(scan)
    assert study.administration.activity_mbq == 7100.0
    assert found(study, "info", "theranostic-dose.json")
    assert load_study(scan, Overrides(injected_activity_mbq=7200.0)).administration.activity_mbq == 7200.0
    side.write_text('{"injected_activty_mbq": 7100.0}')
    with pytest.raises(SettingsError, match="Did you mean 'injected_activity_mbq'"):
        load_study(scan)
    side.write_text('{"acquisitions": {"24h": {"tim_h": 3}}}')
    with pytest.raises(SettingsError, match="Did you mean 'time_h'"):
        load_study(scan)


def test_inspect_tells_all_and_never_raises(scan, tmp_path):
    page = inspect_path(scan)
    assert page.usable
    assert {"Administration", "Acquisition 24h", "Activity balance", "Objects"} <= set(page.sections())
    assert any(
        "10.0 %" in str(row.value) or "11.1 %" in str(row.value)
        for row in page.sections()["Activity balance"]
    )
    import json

    assert json.loads(json.dumps(page.to_dict()))["usable"] is True
    change(scan, lambda ds: setattr(ds, "PatientID", "P2"), "*_004.dcm")
    (scan / "s1_mim_006.dcm").unlink()
    page = inspect_path(scan)
    assert not page.usable
    assert any("patients are mixed" in text for text in page.errors)
    assert any("missing between" in text for text in page.errors)


def test_progress_and_cancel(scan):
    from TheranosticDoseLib.errors import CancelledError

    seen = []
    load_study(scan, progress=lambda fraction, message: seen.append(fraction) or True)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    with pytest.raises(CancelledError):
        load_study(scan, progress=lambda fraction, message: False)


def test_values_for_an_acquisition_that_does_not_exist(scan):
    with pytest.raises(SettingsError, match=r"'25h'.*no such acquisition; there are 24h"):
        load_study(scan, Overrides(acquisitions={"25h": {"time_h": 25.0}}))


def test_decay_factor_that_contradicts_its_correction_is_told(scan):
    assert found(load_study(scan), "assumption", "DecayFactor is 1")
    factor = 2 ** (24 * 3600 / dialects.HALF_LIFE_S)
    change(scan, lambda ds: setattr(ds, "DecayFactor", f"{factor:.6f}"))
    assert not found(load_study(scan), "assumption", "DecayFactor")


def test_wrong_sign_of_the_slice_spacing_is_doubted(tmp_path):
    stored = np.rint(dialects.activity() / dialects.activity().max() * 6000)
    dialects.save(dialects.nm(stored, START, spacing_sign=-1), tmp_path, "nm.dcm")
    dialects.ct(tmp_path, START + HOURS / 2)
    assert found(load_study(tmp_path), "warning", "SpacingBetweenSlices may be wrong")


def test_dose_report_states_the_residual(scan):
    dialects.dose_report(scan, before_mbq=7450.0, after_mbq=50.0, start=dialects.INJECTION)
    study = load_study(scan)
    assert study.administration.activity_mbq == pytest.approx(7400.0)
    assert study.administration.residual_mbq == pytest.approx(50.0)
    assert not found(study, "assumption", "No residual")
    study = load_study(scan, Overrides(residual_mbq=100.0))
    assert study.administration.activity_mbq == pytest.approx(7350.0)
