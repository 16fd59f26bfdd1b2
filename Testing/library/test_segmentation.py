"""The protocol of the backends, the classical backend, files, checks of quality."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
from DoseSegmentationLib import backends, inputs, quality, segmentation
from DoseSegmentationLib.classical import SegmentationError

SHAPE, SPACING = (44, 72, 96), 4.0  # (z, y, x), mm


def ellipsoid(centre_mm, radii_mm, shape=SHAPE, spacing=SPACING):
    """Voxels (z, y, x) inside an ellipsoid given in LPS mm around the middle of the image."""
    grids = np.ogrid[tuple(slice(0, n) for n in shape)]
    middle = [(n - 1) / 2 for n in shape]
    parts = zip(grids, middle, centre_mm[::-1], radii_mm[::-1], strict=True)
    return sum((((g - m) * spacing - c) / r) ** 2 for g, m, c, r in parts) <= 1.0


def image_of(values, spacing=SPACING):
    image = sitk.GetImageFromArray(np.asarray(values, np.float32))
    image.SetSpacing([spacing] * 3)
    image.SetOrigin([-(n - 1) / 2 * spacing for n in values.shape[::-1]])
    return image


@pytest.fixture(scope="module")
def scene():
    """An elliptic thorax: two lungs of known volume, a spine, two hot spheres of 20 mm radius."""
    truth = {
        "Body": ellipsoid((0, 0, 0), (160, 110, 1e6)),
        "Lung left": ellipsoid((75, -5, 0), (48, 70, 60)),
        "Lung right": ellipsoid((-75, -5, 0), (52, 70, 60)),
        "Bone": ellipsoid((0, 75, 0), (18, 18, 1e6)),
    }
    ct = np.full(SHAPE, -1000.0)
    for name, value in (("Body", 30.0), ("Lung left", -800.0), ("Lung right", -800.0), ("Bone", 350.0)):
        ct[truth[name]] = value
    rng = np.random.default_rng(1)
    ct += rng.normal(0, 12.0, SHAPE)
    hot = {"a": ellipsoid((0, -50, -30), (20, 20, 20)), "b": ellipsoid((10, 20, 40), (20, 20, 20))}
    spect = 1000.0 * truth["Body"]
    for mask, value in zip(hot.values(), (60e3, 30e3), strict=True):
        spect = np.where(mask, value, spect)
    spect = sitk.SmoothingRecursiveGaussian(image_of(spect), 10.0 / 2.355)
    return image_of(ct), spect, truth, hot


def dice(a, b):
    return 2 * np.sum(a & b) / (np.sum(a) + np.sum(b))


def mask_of(found, name):
    return sitk.GetArrayFromImage(found.mask(name)) > 0


def test_classical_finds_the_known_shapes(scene):
    ct, spect, truth, hot = scene
    found = backends.segment("classical", ct, spect)
    names = [record.name for record in found.records]
    assert names == ["Body", "Lung right", "Lung left", "Bone", "Hot region 1", "Hot region 2"]
    for name in ("Lung left", "Lung right", "Bone"):
        assert dice(mask_of(found, name), truth[name]) > 0.93, name
    everything = sitk.GetArrayFromImage(found.label_map) > 0
    assert dice(everything, truth["Body"]) > 0.97
    for number, sphere in enumerate(hot.values(), start=1):
        assert dice(mask_of(found, f"Hot region {number}"), sphere) > 0.85
    volume = {record.name: record.volume_ml for record in found.records}
    assert volume["Lung left"] == pytest.approx(np.sum(truth["Lung left"]) * SPACING**3 / 1000, rel=0.06)
    assert found.record("left lung").code["value"] == "44029006"
    assert found.record("Body").kind == "body"
    assert any("Body holds what no other" in note for note in found.notes)
    assert all(record.origin.backend == "classical" and record.confidence is None for record in found.records)


@pytest.mark.parametrize("order", ["RAI", "LAS", "PIR", "SLP"])
def test_orientation_does_not_matter(scene, order):
    ct, _, truth, _ = scene
    turned = sitk.DICOMOrient(ct, order)
    found = backends.segment("classical", turned, None, ["Lung left"])
    back = sitk.DICOMOrient(found.label_map, "LPS")
    assert found.label_map.GetDirection() == turned.GetDirection()
    assert dice(sitk.GetArrayFromImage(back) > 0, truth["Lung left"]) > 0.93


def test_oblique_ct(scene):
    ct, _, truth, _ = scene
    turn = sitk.Euler3DTransform((0, 0, 0), 0.0, 0.0, np.deg2rad(9.0))
    label = image_of(truth["Lung right"].astype(np.float32))
    oblique = sitk.Image(ct)
    matrix = np.array(turn.GetMatrix()).reshape(3, 3)
    oblique.SetDirection(matrix.ravel().tolist())
    oblique.SetOrigin((matrix @ np.array(ct.GetOrigin())).tolist())
    found = backends.segment("classical", oblique, None, ["Lung right"])
    assert dice(mask_of(found, "Lung right"), sitk.GetArrayFromImage(label) > 0) > 0.92


def test_gas_of_the_stomach_is_no_lung(scene):
    ct, _, truth, _ = scene
    values = sitk.GetArrayFromImage(ct)
    rng = np.random.default_rng(2)
    values[ellipsoid((75, -20, -75), (30, 25, 12))] = -985.0
    values = np.where(truth["Body"], values, -1000.0) + rng.normal(0, 10.0, SHAPE)
    gassy = image_of(values)
    found = backends.segment("classical", gassy, None, ["Lung left"])
    gas = ellipsoid((75, -20, -75), (30, 25, 12))
    assert dice(mask_of(found, "Lung left"), truth["Lung left"] & ~gas) > 0.93
    assert (mask_of(found, "Lung left") & gas).sum() < 0.1 * gas.sum()


def test_the_outermost_slices_are_not_lost(scene):
    ct, _, truth, _ = scene
    cut = sitk.Resample(ct[:, :, 9:35], [96, 72, 21], sitk.Transform(), sitk.sitkLinear, ct[:, :, 9:35].GetOrigin(),
                        [SPACING, SPACING, 4.99])  # fmt: skip
    found = backends.segment("classical", cut, None, ["Lung left"])
    there = image_of(truth["Lung left"].astype(np.float32))
    expected = sitk.GetArrayFromImage(sitk.Resample(there, cut, sitk.Transform(), sitk.sitkLinear)) > 0.5
    for number in (0, -1):
        assert dice(mask_of(found, "Lung left")[number], expected[number]) > 0.85


def test_only_what_was_asked_for_and_unknown_names(scene):
    ct, spect, _, _ = scene
    found = backends.segment("classical", ct, spect, ["left lung", "bone"])
    assert {record.name for record in found.records} == {"Lung left", "Bone"}
    with pytest.raises(SegmentationError, match="does not segment Brain; it offers Body"):
        backends.segment("classical", ct, spect, ["Brain"])
    with pytest.raises(SegmentationError, match="without a SPECT"):
        backends.segment("classical", ct, None, ["Hot regions"])
    with pytest.raises(SegmentationError, match="no segmentation backend 'magic'; known: classical"):
        backends.segment("magic", ct)
    with pytest.raises(SegmentationError, match="no setting colour"):
        backends.segment("classical", ct, colour=1)


def test_spect_only(scene):
    _, spect, _, hot = scene
    found = backends.segment("classical", None, spect)
    assert dice(mask_of(found, "Hot region 1"), hot["a"]) > 0.85
    assert any("No CT" in note for note in found.notes)


def test_boundary_shift_of_a_sphere(scene):
    ct, spect, _, _ = scene
    found = backends.segment("classical", ct, spect)
    inwards, outwards = found.record("Hot region 1").boundary_shift_percent
    assert 3.0 < inwards < 40.0
    assert -45.0 < outwards < -3.0
    assert backends.segment("classical", ct, None).record("Bone").boundary_shift_percent is None
    flat = np.ones((8, 8, 8), bool)
    flat[0] = False
    assert quality.boundary_shift_percent(flat, np.full((8, 8, 8), 7.0)) == (0.0, 0.0)


def test_what_lies_outside_of_the_spect_is_no_zero():
    labels = sitk.Image([20, 20, 20], sitk.sitkUInt8)
    labels[5:15, 5:15, 5:15] = 1
    labels[5:15, 5:15, 16:19] = 2
    origin = segmentation.origin_of("x", "1")
    names = ("Liver", "Spleen")
    records = tuple(segmentation.record_of(name, n, origin) for n, name in enumerate(names, start=1))
    found = segmentation.Segmentation(labels, records)
    spect = sitk.Image([20, 20, 15], sitk.sitkFloat32) + 7.0
    whole, outside = quality.with_quality(found, spect).records
    assert whole.boundary_shift_percent == pytest.approx((0.0, 0.0), abs=1e-4)
    assert outside.boundary_shift_percent is None
    assert any("100.0 % of it lie outside of the SPECT" in check for check in outside.checks)
    (cut, _) = quality.with_quality(found, spect[:, :, :10]).records
    assert cut.boundary_shift_percent is None
    assert any("50.0 % of it lie outside of the SPECT" in check for check in cut.checks)


def test_cut_and_mirrored_structures_are_reported(scene):
    ct, _, truth, _ = scene
    found = backends.segment("classical", ct[:, :, 18:], None)
    assert any("touches the border" in check for check in found.record("Lung left").checks)
    whole = backends.segment("classical", ct, None)
    assert not any("other side" in check for record in whole.records for check in record.checks)
    names = {"Lung left": "Lung right", "Lung right": "Lung left"}
    swapped = dataclasses.replace(
        whole,
        records=tuple(dataclasses.replace(r, name=names.get(r.name, r.name)) for r in whole.records),
    )
    judged = quality.with_quality(swapped, None)
    assert any("other side" in check for check in judged.record("Lung left").checks)
    assert any("other side" in check for check in judged.record("Lung right").checks)


def test_missing_structure_is_said():
    labels = sitk.Image([10, 10, 10], sitk.sitkUInt8)
    labels[4, 4, 4] = 1
    origin = segmentation.origin_of("x", "1")
    found = segmentation.Segmentation(
        labels, (segmentation.record_of("Liver", 1, origin), segmentation.record_of("Spleen", 2, origin))
    )
    judged = quality.with_quality(found, None)
    assert judged.record("Spleen").label == 0
    assert "field of view" in judged.record("Spleen").checks[0]
    assert "below the usual" in judged.record("Liver").checks[0]


@pytest.mark.parametrize("names", [("Body",), ("Kidney left", "Kidney right"), ("Body", "Kidney left")])
def test_nothing_found_at_all_is_said(names):
    labels, origin = sitk.Image([10, 10, 10], sitk.sitkUInt8), segmentation.origin_of("x", "1")
    records = tuple(segmentation.record_of(name, n, origin) for n, name in enumerate(names, start=1))
    judged = quality.with_quality(segmentation.Segmentation(labels, records), None)
    assert [record.label for record in judged.records] == [0] * len(names)
    assert all("field of view" in record.checks[0] for record in judged.records)


def test_two_organs_of_one_side_do_not_tell_where_the_middle_is():
    labels, origin = sitk.Image([30, 10, 10], sitk.sitkUInt8), segmentation.origin_of("x", "1")
    labels[4:8, 2:8, 2:8] = 1
    labels[10:12, 2:8, 2:8] = 2
    names = ("Lung right", "Kidney right")
    records = tuple(segmentation.record_of(name, n, origin) for n, name in enumerate(names, start=1))
    judged = quality.with_quality(segmentation.Segmentation(labels, records), None)
    assert not any("other side" in check for record in judged.records for check in record.checks)


def test_a_lesion_of_implausible_size():
    labels = sitk.Image([20, 20, 20], sitk.sitkUInt8) + 1
    labels.SetSpacing([10.0] * 3)
    record = segmentation.record_of("Lesion 3", 1, segmentation.origin_of("x", "1"))
    checks = quality.with_quality(segmentation.Segmentation(labels, (record,)), None).records[0].checks
    assert any("above the usual 0.3 to 2500 mL" in check for check in checks)


def test_parts_are_counted():
    labels = sitk.Image([20, 20, 20], sitk.sitkUInt8)
    labels[2:8, 2:8, 2:8] = 1
    labels[12:18, 12:18, 12:18] = 1
    found = segmentation.Segmentation(
        labels, (segmentation.record_of("Spleen", 1, segmentation.origin_of("x", "1")),)
    )
    assert any(
        "2 separate parts" in check for check in quality.with_quality(found, None).record("Spleen").checks
    )


BAD = {
    "constant": (lambda ct: ct * 0, "empty"),
    "not finite": (lambda ct: ct * float("nan"), "empty"),
    "stored values": (lambda ct: ct + 1100.0, "Hounsfield"),
    "no contrast": (lambda ct: ct / 100.0, "no anatomy"),
    "two-dimensional": (lambda ct: ct[:, :, 3], "one value per voxel"),
    "thin": (lambda ct: ct[:, :, 3:5], "4 voxels"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_ct_is_one_sentence(scene, case):
    change, text = BAD[case]
    with pytest.raises(SegmentationError, match=text) as caught:
        backends.segment("classical", change(scene[0]))
    assert "\n" not in str(caught.value)


def test_nothing_given_and_images_apart(scene):
    ct, spect, _, _ = scene
    with pytest.raises(SegmentationError, match="Neither"):
        backends.segment("classical", None)
    away = sitk.Image(spect)
    away.SetOrigin([5000.0, 0.0, 0.0])
    with pytest.raises(SegmentationError, match="do not overlap"):
        backends.segment("classical", ct, away)


def test_unusual_but_usable_ct_is_noted(scene):
    ct = sitk.Image(scene[0])
    ct[10:20, 30:34, 10:20] = 20000.0
    ct[0, 0, 0] = float("nan")
    notes = " ".join(inputs.checked(ct, None).notes)
    assert "metal" in notes
    assert "1 voxels of the CT are not finite" in notes


def test_files(scene, tmp_path):
    ct, spect, truth, _ = scene
    paths = tmp_path / "ct.nii.gz", tmp_path / "spect.nrrd"
    for image, path in zip((ct, spect), paths, strict=True):
        sitk.WriteImage(image, str(path))
    out = tmp_path / "new" / "labels.seg.nrrd"
    records = backends.segment_files(*paths, out, None, ["Lung left", "Lung right"])
    assert [r["name"] for r in records] == ["Lung right", "Lung left"]
    labels = sitk.ReadImage(str(out))
    written = json.loads((tmp_path / "new" / "labels.json").read_text(encoding="utf-8"))
    assert written["records"] == json.loads(json.dumps(records))
    assert "not a medical device" in written["notice"]
    assert labels.GetMetaData("Segment1_Name") == "Lung left"
    value = int(labels.GetMetaData("Segment1_LabelValue"))
    assert dice(sitk.GetArrayFromImage(labels) == value, truth["Lung left"]) > 0.93
    assert sorted(p.name for p in out.parent.iterdir()) == ["labels.json", "labels.seg.nrrd"]
    assert backends.names_path("a/b.nii.gz").name == "b.json"


def test_cancel_leaves_nothing(scene, tmp_path):
    path = tmp_path / "ct.nii.gz"
    sitk.WriteImage(scene[0], str(path))
    with pytest.raises(segmentation.SegmentationCancelled):
        backends.segment_files(path, None, tmp_path / "o.nii.gz", progress=lambda f, m: f < 0.4)
    assert [p.name for p in tmp_path.iterdir()] == ["ct.nii.gz"]


def test_nothing_is_cancelled_after_it_was_written(scene, tmp_path):
    path, out = tmp_path / "ct.nii.gz", tmp_path / "o.nii.gz"
    sitk.WriteImage(scene[0], str(path))
    records = backends.segment_files(
        path, None, out, structures=["Body"], progress=lambda f, m: m != "Written"
    )
    assert [record["name"] for record in records] == ["Body"]
    assert out.is_file()


def test_both_files_are_written_or_neither(scene, tmp_path):
    path = tmp_path / "ct.nii.gz"
    sitk.WriteImage(scene[0], str(path))
    (tmp_path / "o.json").mkdir()
    with pytest.raises(SegmentationError, match="this is a folder"):
        backends.segment_files(path, None, tmp_path / "o.nii.gz", structures=["Body"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct.nii.gz", "o.json"]


@pytest.mark.parametrize(
    ("backend", "settings", "word"),
    [
        ("classical", {"bone_hu": "high"}, "bone_hu.*'high'"),
        ("classical", {"smallest_ml": True}, "smallest_ml.*True"),
    ],
)
def test_settings_have_a_kind(scene, backend, settings, word):
    with pytest.raises(SegmentationError, match=word):
        backends.segment(backend, scene[0], **settings)


def test_segments_of_another_place_are_not_merged(scene):
    found = backends.segment("classical", scene[0], structures=["Body"])
    moved = sitk.Image(found.label_map)
    moved.SetOrigin([50.0, 0.0, 0.0])
    with pytest.raises(SegmentationError, match="another grid"):
        segmentation.merged(dataclasses.replace(found, label_map=moved), found)


def test_unreadable_files(tmp_path):
    text = tmp_path / "a.nii.gz"
    text.write_text("no image")
    with pytest.raises(SegmentationError, match="no image that can be read"):
        backends.segment_files(text, None, tmp_path / "o.nii.gz")
    with pytest.raises(SegmentationError, match="no such file"):
        backends.segment_files(tmp_path / "b.nii", None, tmp_path / "o.nii.gz")
    with pytest.raises(SegmentationError, match="no DICOM series"):
        backends.segment_files(tmp_path, None, tmp_path / "o.nii.gz")


def test_unknown_format_of_the_output(scene, tmp_path):
    found = backends.segment("classical", scene[0], None, ["Body"])
    with pytest.raises(SegmentationError, match="could not be written"):
        backends.write(found, tmp_path / "labels.unknown")
    assert list(tmp_path.iterdir()) == []


def test_edited_segments_are_kept(scene):
    ct, _, truth, _ = scene
    first = backends.segment("classical", ct, None, ["Lung left", "Lung right"])
    label = first.record("Lung left").label
    values = sitk.GetArrayFromImage(first.label_map)
    values[:20][values[:20] == label] = 0
    edited_map = sitk.GetImageFromArray(values)
    edited_map.CopyInformation(first.label_map)
    records = tuple(
        dataclasses.replace(r, origin=r.origin.by_hand()) if r.name == "Lung left" else r
        for r in first.records
    )
    edited = segmentation.Segmentation(edited_map, records)
    again = backends.segment("classical", ct, None, ["Lung left", "Lung right", "Bone"])
    kept = segmentation.merged(edited, again)
    assert np.array_equal(mask_of(kept, "Lung left"), values == label)
    assert kept.record("Lung left").origin.edited
    assert kept.record("Lung left").origin.edited_at
    assert not kept.record("Lung right").origin.edited
    assert kept.record("Bone").volume_ml == pytest.approx(again.record("Bone").volume_ml)
    replaced = segmentation.merged(edited, again, replace_edited=True)
    assert np.array_equal(mask_of(replaced, "Lung left"), mask_of(again, "Lung left"))


def test_listing():
    listed = backends.backends()
    assert listed["classical"]["available"]
    for entry in listed.values():
        assert entry["description"]
        assert entry["available"] or entry["reason"]
    assert listed["classical"]["settings"]["bone_hu"] == 125.0


@pytest.mark.parametrize("bridge", [0, 12], ids=["apart", "joined"])
def test_two_lungs_have_two_names_also_where_they_touch(bridge):
    """Two air-filled blocks; a broad bridge between them outlasts every erosion."""
    values = np.full((40, 70, 110), -1000.0, np.float32)
    values[:, 5:-5, 5:-5] = 40.0
    values[6:34, 15:55, 15:50] = values[6:34, 15:55, 60:95] = -800.0
    middle = slice(35 - bridge // 2, 35 + bridge // 2)
    values[14:26, middle, 50:60] = -800.0
    ct = sitk.GetImageFromArray(values)
    ct.SetSpacing([3.0] * 3)
    found = backends.segment("classical", ct, None, ["Lung left", "Lung right"])
    for name, columns in (("Lung right", slice(15, 50)), ("Lung left", slice(60, 95))):
        truth = np.zeros(values.shape, bool)
        truth[6:34, 15:55, columns] = True
        mask = sitk.GetArrayFromImage(found.mask(name)) > 0
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9


def test_one_thin_lung_is_found():
    """The lowest part of the right lung, too thin for the erosions that look for two."""
    values = np.full((40, 70, 110), -1000.0, np.float32)
    values[:, 5:-5, 5:-5] = 40.0
    values[16:23, 15:55, 15:50] = -800.0
    ct = sitk.GetImageFromArray(values)
    ct.SetSpacing([3.0] * 3)
    found = backends.segment("classical", ct, None, ["Lung right"])
    assert dice(mask_of(found, "Lung right"), values == -800.0) > 0.9
