"""All results of a study at once, with and without the identity of the patient."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import re
import shutil
import subprocess

import dialects
import numpy as np
import pytest
import SimpleITK as sitk
from plotly.offline import get_plotlyjs
from pydicom import dcmread
from TheranosticDoseLib import workflow
from TheranosticDoseLib.audit import read_results, replay
from TheranosticDoseLib.dicom_io import load_study
from TheranosticDoseLib.dicom_io.out_dose import read_rtdose
from TheranosticDoseLib.dicom_io.out_export import ExportSettings, export_dicom
from TheranosticDoseLib.dicom_io.out_report import Measurement, read_sr
from TheranosticDoseLib.errors import InputError, OutputError
from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.registration import RegistrationSettings
from TheranosticDoseLib.report import results_document
from TheranosticDoseLib.study import Voi
from TheranosticDoseLib.workflow import RunSettings

START = dialects.INJECTION + dt.timedelta(hours=24)
NOW = dt.datetime(2026, 4, 1, 12, 0)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    dialects.mim(folder, START, "s1")
    dialects.mim(folder, START + dt.timedelta(hours=48), "s2")
    for path in folder.glob("*.dcm"):
        ds = dcmread(path)
        ds.PatientID, ds.PatientName, ds.PatientBirthDate = "HOSP-4711", "Mustermann^Erika", "19571224"
        ds.AccessionNumber, ds.ReferringPhysicianName, ds.StudyDescription = (
            "ACC998877",
            "Haustein^Gregory",
            "Mustermann Lu",
        )
        ds.StudyID = "ST556677"
        ds.save_as(path)
    return load_study(folder)


@pytest.fixture
def results(study):
    grid = study.acquisitions[0].spect
    weights = np.zeros(dialects.SHAPE)
    weights[2:7, 3:9, 3:10] = 1.0
    rng = np.random.default_rng(2)
    return {
        "reference": study.acquisitions[0].label,
        "doses_gy": {"vsv": image_like(rng.random(dialects.SHAPE), grid)},
        "maps": {"tia": image_like(rng.random(dialects.SHAPE), grid), "activity_concentration": grid},
        "vois": (
            Voi("Kidney", image_like(weights, grid)),
            Voi("Mustermann lesion", image_like(weights, grid)),
        ),
        "measurements": {"Kidney": [Measurement("mean_gy", 2.5, 0.25, "vsv")]},
        "transforms": {study.acquisitions[1].label: sitk.TranslationTransform(3, (1.0, 2.0, 3.0))},
        "now": NOW,
    }


def test_everything_of_one_patient_and_study(study, results, tmp_path):
    written = export_dicom(study, tmp_path / "dicom", **results)
    moving = study.acquisitions[1].label
    assert set(written) == {
        "RTDOSE_vsv", "PM_tia", "PM_activity_concentration", "SEG", "RTSTRUCT", "SR", f"REG_{moving}"
    }  # fmt: skip
    instances, series = set(), set()
    for path in written.values():
        ds = dcmread(path)
        assert (ds.PatientID, str(ds.PatientName), ds.AccessionNumber) == (
            "HOSP-4711",
            "Mustermann^Erika",
            "ACC998877",
        )
        assert ds.StudyInstanceUID == dialects.uid("s1")
        instances.add(ds.SOPInstanceUID)
        series.add(ds.SeriesInstanceUID)
    assert len(instances) == len(series) == len(written)
    assert np.allclose(array_of(read_rtdose(written["RTDOSE_vsv"])), array_of(results["doses_gy"]["vsv"]))
    assert {path.name for path in (tmp_path / "dicom").iterdir()} == {f"{name}.dcm" for name in written}


def test_exported_vois_load_again_with_the_study(study, results, tmp_path):
    dialects.mim(tmp_path, START, "s1")
    for path in tmp_path.glob("*.dcm"):
        ds = dcmread(path)
        ds.PatientID = "HOSP-4711"
        ds.save_as(path)
    export_dicom(study, tmp_path / "results", **results)
    again = load_study(tmp_path)
    origins = {voi.origin.split()[0] for voi in again.vois}
    assert origins == {"SEG", "RTSTRUCT"}
    assert len(again.vois) == 4


def test_no_identifier_survives_deidentification(study, results, tmp_path):
    pytest.importorskip("dicomanonymizer")
    hidden = ExportSettings(deidentify=True)
    written = export_dicom(study, tmp_path, settings=hidden, **results)
    references = study.dicom["acquisitions"].values()
    uids = [uid for each in references for uid in (*each["spect"]["instances"], each["spect"]["series"])]
    uids += [study.dicom["StudyInstanceUID"], study.acquisitions[0].frame_of_reference]
    uids += [study.acquisitions[1].frame_of_reference]
    words = ["Mustermann", "Erika", "HOSP-4711", "19571224", "ACC998877", "Haustein", "Gregory", "ST556677"]
    words += [START.strftime("%Y%m%d"), dialects.INJECTION.strftime("%Y%m%d"), NOW.strftime("%Y%m%d"), *uids]
    for path in written.values():
        content = path.read_bytes().decode("latin-1").lower()
        for word in words:
            assert word.lower() not in content, f"{word} in {path.name}"
        ds = dcmread(path)
        assert ds.PatientIdentityRemoved == "YES"
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    # The objects still belong together and still hold their numbers.
    datasets = {name: dcmread(path) for name, path in written.items()}
    assert len({ds.StudyInstanceUID for ds in datasets.values()}) == 1
    assert len({str(ds.PatientID) for ds in datasets.values()}) == 1
    assert datasets["SEG"].SOPInstanceUID in str(datasets["SR"])
    assert datasets["RTDOSE_vsv"].FrameOfReferenceUID == datasets["SEG"].FrameOfReferenceUID
    assert np.allclose(array_of(read_rtdose(written["RTDOSE_vsv"])), array_of(results["doses_gy"]["vsv"]))
    assert read_sr(written["SR"])["Kidney"] == results["measurements"]["Kidney"]
    assert not re.search(r"mustermann", str(datasets["RTSTRUCT"]), re.IGNORECASE)


def test_no_identifier_survives_in_the_folder_of_a_run(study, tmp_path):
    pytest.importorskip("dicomanonymizer")
    source, out = tmp_path / "Mustermann^Erika", tmp_path / "out"
    for hours, name in ((24, "s1"), (72, "s2")):
        dialects.mim(source, dialects.INJECTION + dt.timedelta(hours=hours), name)
    for number, path in enumerate(sorted(source.glob("*.dcm"))):
        ds = dcmread(path)
        ds.PatientID, ds.PatientName, ds.PatientBirthDate = "HOSP-4711", "Mustermann^Erika", "19571224"
        ds.save_as(path.with_name(f"Mustermann_{number:03d}.dcm"))
        path.unlink()
    labels = np.zeros(dialects.SHAPE, np.uint8)
    labels[2:7, 3:9, 3:10] = 1
    image = image_like(labels.astype(np.float32), study.acquisitions[0].spect)
    outlines = tmp_path / "Erika_outlines_HOSP-4711.nii.gz"
    sitk.WriteImage(sitk.Cast(image, sitk.sitkUInt8), str(outlines))
    outlines.with_name("Erika_outlines_HOSP-4711.json").write_text(json.dumps({"1": "Kidney Mustermann"}))
    settings = RunSettings(registration=RegistrationSettings(method="none"), body_voi=False)

    def run(folder, hidden):
        return workflow.run(
            source, folder, settings, ("led", "vsv"), [outlines], dicom=ExportSettings(deidentify=hidden)
        )

    named = run(tmp_path / "named", False)
    text = json.dumps(results_document(named))
    words = ["Mustermann", "Erika", "HOSP-4711", "19571224", "1957-12-24"]
    dates = [dialects.INJECTION + dt.timedelta(hours=hours) for hours in (0, 24, 72)]
    words += [form for date in dates for form in (date.strftime("%Y%m%d"), date.strftime("%Y-%m-%d"))]
    assert all(word in text for word in ("Kidney Mustermann", "HOSP-4711", "Mustermann_000.dcm", words[6]))
    run(out, True)
    library = get_plotlyjs().encode().decode("latin-1")
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".json", ".html", ".pdf", ".csv", ".gz", ".dcm"}
    for path in files:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        if path.suffix == ".pdf" and shutil.which("pdftotext"):
            content += subprocess.run(["pdftotext", str(path), "-"], capture_output=True, check=True).stdout
        # The plotting library knows a map of "Amerika".
        text = path.name + content.decode("latin-1").replace(library, "")
        found = [word for word in words if word.lower() in text.lower()]
        assert not found, f"{found} in {path.name}"
    document = read_results(out)
    assert document["deidentified"]
    assert document["patient_id"] == str(dcmread(next(out.rglob("RTDOSE_led.dcm"))).PatientID)
    number = next(voi["tia_mbq_h"] for voi in document["vois"])
    assert number == named.vois[0].fit.tia_mbq_h
    with pytest.raises(InputError, match="de-identified"):
        replay(out, source)
    with pytest.raises(OutputError, match="folder of their own"):
        run(tmp_path / "named", True)


def test_all_or_nothing(study, results, tmp_path):
    bad = {**results, "measurements": {"Heart": [Measurement("mean_gy", 1.0)]}}
    with pytest.raises(InputError, match="Heart"):
        export_dicom(study, tmp_path / "dicom", **bad)
    assert not (tmp_path / "dicom").exists()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        export_dicom(study, tmp_path / "file", **results)
    only_dose = ExportSettings(seg=False, rtstruct=False, report=False, registration=False, maps=False)
    assert set(export_dicom(study, tmp_path / "dicom", settings=only_dose, **results)) == {"RTDOSE_vsv"}


def test_identical_results_give_identical_files(study, results, tmp_path):
    first = export_dicom(study, tmp_path / "a", **results)
    second = export_dicom(study, tmp_path / "b", **results)
    for name, path in first.items():
        assert path.read_bytes() == second[name].read_bytes(), name
