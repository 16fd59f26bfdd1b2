"""VOIs from structure sets, segmentations and label maps against analytic volumes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json

import dialects
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from TheranosticDoseLib.dicom_io import load_study, load_voi_file
from TheranosticDoseLib.dicom_io.contours import covered_fraction
from TheranosticDoseLib.dicom_io.vois import volume_ml
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of

START = dialects.INJECTION + dt.timedelta(hours=24)
SLICES = [dialects.ORIGIN[2] + k * dialects.SPACING[2] for k in range(2, 7)]


def circle(radius, z, center=(0.0, 0.0), turns=1, points=90):
    angle = turns * np.linspace(0, 2 * np.pi, points, endpoint=False)
    x, y = center[0] + radius * np.cos(angle), center[1] + radius * np.sin(angle)
    return np.column_stack([x, y, np.full(points, z)])


def polygon_area(radius, points=90):
    return 0.5 * points * radius**2 * np.sin(2 * np.pi / points)


@pytest.fixture
def folder(tmp_path):
    dialects.mim(tmp_path, START)
    return tmp_path


def load(folder, structures, **more):
    dialects.rtstruct(folder, structures, START, **more)
    study = load_study(folder)
    return study, {voi.name: voi for voi in study.vois}


def test_cylinder_disjoint_parts_and_overlap(folder):
    structures = {
        "Kidney": [circle(10.0, z) for z in SLICES],
        "two parts": [circle(5.0, z, c) for z in SLICES for c in ((-10.0, 0.0), (8.3, 1.7))],
        "Tumor overlap": [circle(6.0, SLICES[0], (3.0, 0.0))],
    }
    _, vois = load(folder, structures)
    thick = dialects.SPACING[2] / 1000
    assert volume_ml(vois["Kidney"]) == pytest.approx(5 * polygon_area(10.0) * thick, rel=2e-3)
    assert volume_ml(vois["two parts"]) == pytest.approx(10 * polygon_area(5.0) * thick, rel=2e-3)
    assert volume_ml(vois["Tumor overlap"]) == pytest.approx(polygon_area(6.0) * thick, rel=3e-3)
    assert vois["Tumor overlap"].kind == "lesion"
    weights = array_of(vois["Kidney"].weights)
    assert weights.min() == 0.0
    assert weights.max() == 1.0
    assert ((weights > 0.05) & (weights < 0.95)).any()


def test_hole_as_inner_contour_and_as_keyhole(folder):
    outer, inner = circle(12.0, 0.0), circle(6.0, 0.0)
    keyhole = np.concatenate([outer, outer[:1], inner[:1], inner[::-1], outer[:1]])
    structures = {
        "inner": [part + [0, 0, z] for z in SLICES for part in (outer, inner)],
        "keyhole": [keyhole + [0, 0, z] for z in SLICES],
    }
    _, vois = load(folder, structures)
    expected = 5 * (polygon_area(12.0) - polygon_area(6.0)) * dialects.SPACING[2] / 1000
    for name in structures:
        assert volume_ml(vois[name]) == pytest.approx(expected, rel=3e-3)
        assert array_of(vois[name].weights)[3, 5, 6] == 0.0
    assert array_of(vois["inner"].weights) == pytest.approx(array_of(vois["keyhole"].weights), abs=0.02)


def test_structure_drawn_on_the_ct_stays_on_its_grid(folder):
    dialects.ct(folder, START + dt.timedelta(minutes=20))
    series = dialects.uid("s1", "CT")
    heights = [dialects.ORIGIN[2] + k * 2.5 for k in range(4, 10)]
    study, vois = load(folder, {"Liver": [circle(9.0, z) for z in heights]}, series_uid=series)
    weights = vois["Liver"].weights
    assert weights.GetSize() == study.acquisitions[0].ct.GetSize()
    assert volume_ml(vois["Liver"]) == pytest.approx(6 * polygon_area(9.0) * 2.5 / 1000, rel=2e-3)


def test_contours_of_thinner_slices_on_a_coarse_grid(folder):
    heights = [dialects.ORIGIN[2] + 10.0 + k * 2.5 for k in range(9)]
    _, vois = load(folder, {"Spleen": [circle(9.0, z) for z in heights]})
    assert volume_ml(vois["Spleen"]) == pytest.approx(9 * polygon_area(9.0) * 2.5 / 1000, rel=2e-3)


def test_structure_outside_the_image_is_told(folder):
    structures = {
        "half": [circle(10.0, z, (dialects.ORIGIN[0] - 2.0, 0.0)) for z in SLICES],
        "outside": [circle(5.0, z, (500.0, 0.0)) for z in SLICES],
    }
    study, vois = load(folder, structures)
    assert set(vois) == {"half"}
    told = {f.field: f for f in study.findings}
    assert told["vois.half"].severity == "warning"
    assert told["vois.half"].value == pytest.approx(0.5, abs=0.05)
    assert told["vois.outside"].severity == "missing"


def test_structure_of_another_frame_of_reference_is_left_out(folder):
    dialects.rtstruct(folder, {"Liver": [circle(9.0, z) for z in SLICES]}, START, study="other")
    study = load_study(folder)
    assert not study.vois
    assert any("refers to no image of this study" in f.message for f in study.findings)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.4, 6.0),
    st.tuples(st.floats(6.5, 12.5), st.floats(6.5, 9.5)),
    st.integers(3, 40),
)
def test_area_of_any_polygon_is_kept(radius, center, points):
    polygon = circle(radius, 0.0, center, points=points)[:, :2]
    weights = covered_fraction([polygon], (17, 20))
    assert weights.sum() == pytest.approx(polygon_area(radius, points), rel=0.02, abs=0.05)
    assert weights.min() >= 0
    assert weights.max() <= 1


def test_covered_fraction_of_an_aligned_rectangle_is_exact():
    rectangle = np.array([[1.25, 0.5], [4.0, 0.5], [4.0, 2.5], [1.25, 2.5]])
    weights = covered_fraction([rectangle], (5, 7))
    assert weights[1] == pytest.approx([0, 0.25, 1, 1, 0.5, 0, 0])
    assert weights[[0, 3, 4]].sum() == 0
    assert weights.sum() == pytest.approx(2.75 * 2)


def seg(folder, source, mask, segmentation_type, **more):
    """Write a SEG of two segments with highdicom."""
    import highdicom as hd
    from pydicom import dcmread
    from pydicom.sr.codedict import codes

    def description(number, label, category):
        return hd.seg.SegmentDescription(
            number, label, category, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.MANUAL
        )

    images = [dcmread(path) for path in source]
    for image in images:
        image.PatientBirthDate, image.PatientSex, image.AccessionNumber = "", "", ""
        image.StudyID, image.ReferringPhysicianName, image.PositionReferenceIndicator = "", "", ""
        image.Manufacturer = "x"
    images.sort(key=lambda image: image.ImagePositionPatient[2])
    object_ = hd.seg.Segmentation(
        images, mask, segmentation_type,
        [description(1, "Liver", codes.SCT.Organ), description(2, "met", codes.SCT.MorphologicallyAbnormalStructure)],
        dialects.uid("seg"), 9, dialects.uid("seg", 1), 1, "maker", "model", "1", "2", **more,
    )  # fmt: skip
    object_.save_as(folder / "seg.dcm")


@pytest.mark.parametrize("segmentation_type", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_seg(folder, segmentation_type):
    rng = np.random.default_rng(3)
    labels = np.zeros(dialects.SHAPE, np.uint8)
    labels[2:5, 3:8, 2:6], labels[6:8, 5:9, 7:11] = 1, 2
    mask = labels
    if segmentation_type == "FRACTIONAL":
        mask = np.stack([rng.random(dialects.SHAPE) * (labels == number) for number in (1, 2)], axis=-1)
    seg(folder, sorted(folder.glob("*mim*.dcm")), mask, segmentation_type)
    study = load_study(folder)
    vois = {voi.name: voi for voi in study.vois}
    assert {name: voi.kind for name, voi in vois.items()} == {"Liver": "organ", "met": "lesion"}
    assert vois["Liver"].code["value"] == "10200004"
    for number, name in enumerate(("Liver", "met"), 1):
        truth = mask[..., number - 1] if segmentation_type == "FRACTIONAL" else (labels == number)
        assert array_of(vois[name].weights) == pytest.approx(truth.astype(float), abs=1 / 255)


def test_seg_of_the_ct(folder):
    dialects.ct(folder, START + dt.timedelta(minutes=20))
    mask = np.zeros((2 * dialects.SHAPE[0] - 1, 24, 28), np.uint8)
    mask[3:6, 4:9, 7:20], mask[10:12, 4:9, 7:20] = 1, 2
    seg(folder, sorted(folder.glob("*_CT_*.dcm")), mask, "BINARY")
    study = load_study(folder)
    assert array_of(study.vois[0].weights) == pytest.approx((mask == 1).astype(float))
    assert study.vois[0].acquisition == study.acquisitions[0].label


def label_image(like, array):
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(like)
    return image


def test_label_map_with_names_beside_it(folder, tmp_path_factory):
    study = load_study(folder)
    labels = np.zeros(dialects.SHAPE, np.uint8)
    labels[1:3], labels[5] = 3, 7
    path = tmp_path_factory.mktemp("vois") / "organs.nii.gz"
    sitk.WriteImage(label_image(study.acquisitions[0].spect, labels), str(path))
    assert [voi.name for voi in load_voi_file(path, study)] == ["label 3", "label 7"]
    path.with_name("organs.json").write_text(json.dumps({"3": "Liver", "7": "Lesion 1"}))
    vois = load_voi_file(path, study)
    assert [(voi.name, voi.kind, voi.acquisition) for voi in vois] == [
        ("Liver", "organ", "24h"),
        ("Lesion 1", "lesion", "24h"),
    ]
    assert array_of(vois[0].weights) == pytest.approx((labels == 3).astype(float))


def test_segmentation_of_slicer(folder, tmp_path_factory):
    study = load_study(folder)
    labels = np.zeros(dialects.SHAPE, np.uint8)
    labels[1:3], labels[5] = 1, 2
    image = label_image(study.acquisitions[0].spect, labels)
    tags = "TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list"
    tags += "~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~^^~Anatomic codes~^^~^^|"
    for number, name in enumerate(("left kidney", "tumor")):
        image.SetMetaData(f"Segment{number}_ID", f"Segment_{number + 1}")
        image.SetMetaData(f"Segment{number}_Name", name)
        image.SetMetaData(f"Segment{number}_LabelValue", str(number + 1))
        image.SetMetaData(f"Segment{number}_Layer", "0")
        image.SetMetaData(f"Segment{number}_Tags", tags if number == 0 else "")
    path = tmp_path_factory.mktemp("vois") / "patient.seg.nrrd"
    sitk.WriteImage(image, str(path))
    vois = load_voi_file(path, study)
    assert [voi.name for voi in vois] == ["left kidney", "tumor"]
    assert vois[0].code == {"scheme": "SCT", "value": "64033007", "meaning": "Kidney"}


def test_label_map_of_another_grid_keeps_its_volume(folder, tmp_path_factory):
    study = load_study(folder)
    fine = sitk.Image([60, 60, 60], sitk.sitkUInt8)
    fine.SetSpacing([0.8, 0.8, 0.8])
    fine.SetOrigin([-20.0, -20.0, 105.0])
    fine[10:40, 12:30, 10:35] = 1
    path = tmp_path_factory.mktemp("vois") / "fine.mha"
    sitk.WriteImage(fine, str(path))
    (voi,) = load_voi_file(path, study)
    assert voi.weights.GetSize() == study.acquisitions[0].spect.GetSize()
    assert volume_ml(voi) == pytest.approx(30 * 18 * 25 * 0.8**3 / 1000, rel=0.02)


def test_labels_outside_a_study_are_told(folder, tmp_path_factory):
    study = load_study(folder)
    image = sitk.Image([400, 20, 20], sitk.sitkUInt8)
    image.SetSpacing([2.0, 2.0, 2.0])
    image.SetOrigin([-20.0, -20.0, 105.0])
    image[2:12, 5:15, 5:15] = 1
    image[380:390, 5:15, 5:15] = 2
    path = tmp_path_factory.mktemp("vois") / "two.mha"
    sitk.WriteImage(image, str(path))
    findings = []
    assert [voi.name for voi in load_voi_file(path, study, findings)] == ["label 1"]
    assert any("label 2" in finding.message and "left out" in finding.message for finding in findings)


def test_label_map_that_ends_early_is_an_error(folder, tmp_path_factory):
    study = load_study(folder)
    labels = np.random.default_rng(1).integers(0, 3, dialects.SHAPE).astype(np.uint8)
    path = tmp_path_factory.mktemp("vois") / "cut.nii.gz"
    sitk.WriteImage(label_image(study.acquisitions[0].spect, labels), str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(InputError, match="ends early"):
        load_voi_file(path, study)


def test_second_file_with_the_same_names_is_kept(folder, tmp_path_factory):
    study = load_study(folder)
    place, paths = tmp_path_factory.mktemp("vois"), []
    for name, rows in (("a", slice(1, 3)), ("b", slice(4, 6))):
        labels = np.zeros(dialects.SHAPE, np.uint8)
        labels[rows] = 1
        paths.append(place / f"{name}.nii.gz")
        sitk.WriteImage(label_image(study.acquisitions[0].spect, labels), str(paths[-1]))
    findings = []
    for path in paths:
        study = dataclasses.replace(study, vois=study.vois + load_voi_file(path, study, findings))
    assert [voi.name for voi in study.vois[-2:]] == ["label 1", "label 1 (2)"]
    assert any("'label 1 (2)'" in finding.message for finding in findings)


def test_files_that_hold_no_voi(folder, tmp_path_factory):
    study = load_study(folder)
    elsewhere = tmp_path_factory.mktemp("vois")
    with pytest.raises(InputError, match="no such file"):
        load_voi_file(elsewhere / "absent.nrrd", study)
    (elsewhere / "text.nrrd").write_text("no image")
    with pytest.raises(InputError, match="cannot be read as an image"):
        load_voi_file(elsewhere / "text.nrrd", study)
    spect = study.acquisitions[0].spect
    sitk.WriteImage(spect, str(elsewhere / "spect.nrrd"))
    with pytest.raises(InputError, match="neither labels nor fractions"):
        load_voi_file(elsewhere / "spect.nrrd", study)
    sitk.WriteImage(spect * 0, str(elsewhere / "zero.nrrd"))
    with pytest.raises(InputError, match="no voxel is above zero"):
        load_voi_file(elsewhere / "zero.nrrd", study)
    with pytest.raises(InputError, match="is PT"):
        load_voi_file(next(iter(folder.glob("*.dcm"))), study)
