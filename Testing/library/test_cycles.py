"""Several cycles of one patient: sums, budgets, forecast, lesions, CT doses."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from TheranosticDoseLib import workflow
from TheranosticDoseLib.cli import main
from TheranosticDoseLib.cycles import CycleSettings, account, activity_within, ct_doses, forecast, read_cycles
from TheranosticDoseLib.cycles.voxels import track
from TheranosticDoseLib.errors import InputError, SettingsError
from TheranosticDoseLib.registration import RegistrationSettings
from TheranosticDoseLib.workflow import RunSettings
from tiny_study import tiny_study

UNMOVED = RunSettings(registration=RegistrationSettings(method="none"))
SETTINGS = CycleSettings(registration=RegistrationSettings(method="rigid", spacing_mm=7.0))
SHIFT_MM = (14.0, -7.0, 7.0)


@pytest.fixture(scope="module")
def cycles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three cycles: the second moved in the scanner and its lesion renamed, the third without it."""
    folder = tmp_path_factory.mktemp("cycles")
    changes = (
        {},
        {"scale": 0.8, "shift_mm": SHIFT_MM, "renamed": {"Lesion_1": "Lesion_X"}},
        {"scale": 0.9, "activity_mbq": 6000.0, "without": ("Lesion_1",)},
    )
    for number, change in enumerate(changes, start=1):
        source = tiny_study(folder / f"in{number}", injection=f"2026-0{2 * number}-01T09:00:00", **change)
        workflow.run(source, folder / f"out{number}", UNMOVED, ("led",))
    return [folder / f"out{number}" for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def two(cycles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    out = tmp_path_factory.mktemp("account")
    return account([cycles[1], cycles[0]], out, SETTINGS), out


def entry(document: dict, name: str) -> dict:
    return next(voi for voi in document["vois"] if voi["name"] == name)


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_doses_and_beds_add_up_in_the_order_of_the_injections(
    two: tuple[dict, Path], cycles: list[Path]
) -> None:
    document, _ = two
    assert [c["datetime"][:7] for c in document["cycles"]] == ["2026-02", "2026-04"]
    for name in ("Kidney_L", "Liver"):
        single = [next(v for v in results(c)["vois"] if v["name"] == name) for c in cycles[:2]]
        voi = entry(document, name)
        assert voi["dose_gy"] == pytest.approx(sum(v["dose"]["led"]["mean_gy"] for v in single))
        assert voi["bed_gy"] == pytest.approx(sum(v["bed_gy"] for v in single))
    kidney = entry(document, "Kidney_L")
    assert kidney["cycles"][1]["gy_per_gbq"] == pytest.approx(
        0.8 * kidney["cycles"][0]["gy_per_gbq"], rel=0.02
    )


def test_voxels_add_up_through_the_motion_between_cycles(two: tuple[dict, Path]) -> None:
    document, out = two
    by_name = {row["name"]: row for row in document["voxels"]}
    # 7 mm voxels of organs with sharp edges: interpolation takes some of the small ones.
    assert abs(by_name["Liver"]["relative_to_sum"]) < 0.05
    assert abs(by_name["Kidney_L"]["relative_to_sum"]) < 0.12
    dose = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "accumulated_dose.nii.gz")))
    bed = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "accumulated_bed.nii.gz")))
    assert (bed >= dose - 1e-4).all()
    assert by_name["Kidney_L"]["bed_gy"] > by_name["Kidney_L"]["dose_gy"]


def test_a_lesion_is_followed_where_it_lies(two: tuple[dict, Path]) -> None:
    document, _ = two
    lesion = entry(document, "Lesion_1")
    assert [row["name"] for row in lesion["cycles"]] == ["Lesion_1", "Lesion_X"]
    assert "Lesion_X" not in [voi["name"] for voi in document["vois"]]
    assert any("Lesion_X" in f["message"] and f["severity"] == "warning" for f in document["findings"])


class Drawn:
    """A cycle whose lesions are slabs of a small image, given by their first and last x."""

    def __init__(self, label: str, **slabs: tuple[int, int]) -> None:
        self.label, self._slabs = label, slabs
        self.vois = {name: {"name": name, "kind": "lesion"} for name in slabs}

    def labels(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._slabs, 1)}

    def image(self, _name: str) -> sitk.Image:
        values = np.zeros((4, 4, 60), np.uint8)
        for number, (start, stop) in enumerate(self._slabs.values(), 1):
            values[:, :, start:stop] = number
        return sitk.GetImageFromArray(values)


def followed(*cycles: Drawn) -> tuple[dict, list[str]]:
    names, findings = track(cycles, [sitk.Transform(3, sitk.sitkIdentity)] * len(cycles))
    return names, [f"{finding.severity}: {finding.message}" for finding in findings]


def test_crowded_lesions_are_matched_so_that_all_fit() -> None:
    # A overlaps more with One than with Two; but B can only be One.
    names, said = followed(
        Drawn("cycle 1", One=(10, 20), Two=(20, 30)), Drawn("cycle 2", A=(14, 24), B=(8, 14))
    )
    assert names == {"One": ["One", "B"], "Two": ["Two", "A"]}
    assert len(said) == 2
    assert all("taken as one lesion" in text for text in said)


def test_new_split_and_merged_lesions_are_said() -> None:
    names, said = followed(
        Drawn("cycle 1", One=(10, 20)),
        # Of the parts, the larger one stays the lesion.
        Drawn("cycle 2", One=(10, 15), Two=(16, 20), Three=(40, 50)),
        Drawn("cycle 3", Large=(9, 20)),
    )
    assert names["One"] == ["One", "One", "Large"]
    assert names["Two"] == [None, "Two", None]
    assert names["Three"] == [None, "Three", None]
    assert sum("a part of what was One" in text for text in said) == 1
    assert "info: Three of cycle 2 lies in no lesion of an earlier cycle: it is new." in said
    assert any("Two has grown together with One in cycle 3" in text for text in said)


def test_a_lesion_outside_of_the_first_cycle_still_counts() -> None:
    far = Drawn("cycle 2", Far=(5, 10))
    names, _ = track(
        (Drawn("cycle 1", One=(20, 30)), far),
        (sitk.Transform(3, sitk.sitkIdentity), sitk.TranslationTransform(3, (500.0, 0.0, 0.0))),
    )
    assert names == {"One": ["One", None], "Far": [None, "Far"]}


def test_budget_and_activity_of_the_kidneys(two: tuple[dict, Path]) -> None:
    document, _ = two
    kidney = entry(document, "Kidney_L")
    limit = next(row for row in kidney["limits"] if row["quantity"] == "dose")
    assert limit["limit_gy"] == 23.0
    assert limit["remaining_gy"] == pytest.approx(23.0 - kidney["dose_gy"])
    expected = limit["activity_expected_gbq"] * kidney["forecast"]["gy_per_gbq"]
    assert expected == pytest.approx(max(limit["remaining_gy"], 0.0))
    assert limit["activity_safe_gbq"] <= limit["activity_expected_gbq"]
    bed = next(row for row in kidney["limits"] if row["limit_gy"] == 40.0)
    factor = np.mean([row["bed_per_gy2"] for row in kidney["cycles"]])
    dose = bed["activity_expected_gbq"] * kidney["forecast"]["gy_per_gbq"]
    assert dose * (1 + factor * dose) == pytest.approx(max(bed["remaining_gy"], 0.0))
    smallest = document["next_activity_gbq"][0]
    assert smallest["safe"] == min(row["safe"] for row in document["next_activity_gbq"])


def test_page_and_table(two: tuple[dict, Path]) -> None:
    document, out = two
    page = (out / "cycles.html").read_text(encoding="utf-8")
    assert "not a medical device" in page
    assert "with 95 % confidence" in page
    with open(out / "cycles.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["voi"] == "Liver"]
    assert [row["cycle"] for row in rows] == ["cycle 1", "cycle 2", "sum"]
    assert float(rows[2]["dose_gy"]) == pytest.approx(entry(document, "Liver")["dose_gy"])


def test_an_organ_that_a_cycle_lacks_and_no_registration(cycles: list[Path]) -> None:
    document = account([cycles[0], cycles[2]], settings=CycleSettings(voxels=False))
    lesion = entry(document, "Lesion_1")
    assert [row["cycle"] for row in lesion["cycles"]] == ["cycle 1"]
    assert not lesion["complete"]
    assert document["voxels"] == []


def test_one_cycle_alone_has_a_forecast(cycles: list[Path]) -> None:
    document = account([cycles[0]], settings=CycleSettings(voxels=False, between_cycles=0.3))
    ahead = entry(document, "Kidney_R")["forecast"]
    assert ahead["between_cycles"] == pytest.approx(0.3)
    assert ahead["relative_u"] >= 0.3 * math.sqrt(2)


def test_mixed_patients_the_same_cycle_and_a_changed_file(cycles: list[Path], tmp_path: Path) -> None:
    other = tiny_study(tmp_path / "in", patient_id="somebody else")
    workflow.run(other, tmp_path / "out", UNMOVED, ("led",))
    with pytest.raises(InputError, match="different patients: .*somebody else"):
        read_cycles([cycles[0], tmp_path / "out"])
    with pytest.raises(InputError, match="same cycle"):
        read_cycles([cycles[0], cycles[0]])
    with pytest.raises(InputError, match="vsv"):
        read_cycles(cycles, "vsv")
    dose = tmp_path / "out" / "images" / "dose_led.nii.gz"
    whole = read_cycles([tmp_path / "out"])[0][0]
    twice = whole.image("dose_led") * 2
    sitk.WriteImage(twice, str(dose))
    with pytest.raises(InputError, match="dose_led.nii.gz was changed after it was written"):
        whole.image("dose_led")
    path = tmp_path / "out" / "results.json"
    path.write_text(path.read_text().replace("somebody else", "tiny"))
    with pytest.raises(InputError, match="was changed"):
        read_cycles([cycles[0], tmp_path / "out"])
    with pytest.raises(InputError, match="No cycle"):
        read_cycles([])
    with pytest.raises(SettingsError, match="confidence"):
        CycleSettings(confidence=1.0)


@given(st.floats(0.1, 40), st.floats(0.05, 5), st.floats(0.0, 0.6), st.floats(0.5, 0.99), st.floats(0.0, 0.5))
def test_the_activity_reaches_the_limit_and_falls_with_confidence(
    remaining: float, rate: float, u: float, confidence: float, factor: float
) -> None:
    expected = activity_within(remaining, rate, u, 0.5, factor)
    dose = expected * rate
    assert dose * (1 + factor * dose) == pytest.approx(remaining, rel=1e-9)
    assert activity_within(remaining, rate, u, confidence, factor) <= expected * (1 + 1e-12)
    assert activity_within(0.0, rate, u, confidence, factor) == 0.0


def test_the_safe_activity_keeps_its_promise() -> None:
    # 5 of 100 cycles of a lognormal dose per activity may pass the limit.
    activity = activity_within(10.0, 2.0, 0.3, 0.95)
    spread = math.sqrt(math.log1p(0.3**2))
    rates = 2.0 * np.exp(np.random.default_rng(0).normal(0, spread, 200_000))
    assert np.mean(rates * activity > 10.0) == pytest.approx(0.05, abs=0.003)


def test_the_forecast_learns_from_the_patient() -> None:
    steady = forecast([2.0, 2.0, 2.0, 2.0], [0.05] * 4, 0.3)
    wild = forecast([1.0, 3.0, 1.2, 2.8], [0.05] * 4, 0.3)
    assert steady["gy_per_gbq"] == pytest.approx(2.0)
    assert steady["between_cycles"] < 0.3 < wild["between_cycles"]
    assert forecast([0.0], [None], 0.2) is None


def ct_series(folder: Path, ctdi: float | None, patient: str = "tiny", study: str = "1.2.3") -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    for number in range(10):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        dataset.SOPInstanceUID = generate_uid()
        dataset.PatientID, dataset.StudyDate = patient, "20260201"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, study + ".1"
        dataset.ImagePositionPatient = [0, 0, 5.0 * number]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        if ctdi is not None:
            dataset.CTDIvol = ctdi
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def dose_report(folder: Path, study: str) -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    def item(code: str, value: float | None = None, children: tuple = ()) -> Dataset:
        out, name = Dataset(), Dataset()
        name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = code, "DCM", code
        out.ConceptNameCodeSequence = [name]
        out.ValueType = "NUM" if value is not None else "CONTAINER"
        if value is not None:
            number = Dataset()
            number.NumericValue = str(value)
            out.MeasuredValueSequence = [number]
        out.ContentSequence = list(children)
        return out

    dose = item("113829", children=(item("113830", 4.2), item("113838", 160.0)))
    second = item("113829", children=(item("113830", 1.1), item("113838", 20.0)))
    dataset = item(
        "113701",
        children=(
            item("113811", children=(item("113813", 180.0),)),
            *(item("113819", children=(d,)) for d in (dose, second)),
        ),
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.67", generate_uid()
    dataset.PatientID, dataset.StudyDate, dataset.StudyInstanceUID = "tiny", "20260401", study
    dataset.save_as(folder / "rdsr.dcm", enforce_file_format=True)
    return folder


def test_ct_doses_from_headers_and_dose_reports(tmp_path: Path) -> None:
    headers = ct_series(tmp_path / "a", 4.0)
    reported = dose_report(ct_series(tmp_path / "b", 4.0, study="1.2.4"), "1.2.4")
    doses, findings = ct_doses([headers, reported], "tiny")
    assert [d["source"] for d in doses] == ["image headers", "RDSR"]
    assert doses[0]["dlp_mgy_cm"] == pytest.approx(4.0 * 10 * 0.5)
    assert (doses[1]["dlp_mgy_cm"], doses[1]["ctdivol_mgy"]) == (180.0, 4.2)
    assert doses[1]["effective_msv"] == pytest.approx(2.7)
    assert [f.severity for f in findings] == ["assumption"]
    doses, findings = ct_doses([ct_series(tmp_path / "c", None)])
    assert doses == []
    assert "(0018,9345)" in findings[0].message
    with pytest.raises(InputError, match="is of patient other"):
        ct_doses([ct_series(tmp_path / "d", 1.0, patient="other")], "tiny")
    with pytest.raises(InputError, match="nowhere"):
        ct_doses([tmp_path / "nowhere"])


def test_shell(cycles: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as status:
        main(["cycles", str(cycles[0]), str(cycles[2]), "--out", str(tmp_path), "--no-voxels"])
    assert status.value.code == 0
    assert "Kidney_L" in capsys.readouterr().out
    assert (tmp_path / "cycles.json").is_file()
    with pytest.raises(SystemExit) as status:
        main(["cycles", str(cycles[0]), str(cycles[0]), "--out", str(tmp_path / "x")])
    assert status.value.code == 2
    assert not (tmp_path / "x").exists()
