"""Where segments came from: kept with the segment, edits noticed, results of a second run merged."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
pytestmark = pytest.mark.slicer

from TheranosticDoseSlicer import origins, segments  # noqa: E402


def box(low: int, high: int) -> sitk.Image:
    """A mask of a cube from ``low`` to ``high`` on every axis."""
    values = np.zeros((40, 40, 40), np.uint8)
    values[low:high, low:high, low:high] = 1
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((4.0, 4.0, 4.0))
    return image


def entry(name: str, kind: str = "organ", backend: str = "network", file: str = "x") -> dict:
    """A structure as the worker describes it."""
    return {
        "name": name, "kind": kind, "code": {"scheme": "SCT", "value": "10200004", "meaning": "Liver"}, "label": 1,
        "volume_ml": 1.0, "confidence": 0.9, "boundary_shift_percent": [1.0, -2.0], "checks": [], "file": file,
        "origin": {"backend": backend, "version": "1", "created": "2026-01-01T00:00:00+00:00",
                   "edited": False, "edited_at": ""},
    }  # fmt: skip


def take(node, entries: dict, **options) -> list[str]:
    """Take in ``{(name, kind): mask}``; return the names of those that were kept."""
    masks = {str(number): mask for number, mask in enumerate(entries.values())}
    described = [entry(name, kind, file=str(number)) for number, (name, kind) in enumerate(entries)]
    return [name for name in origins.take_in(node, described, masks.__getitem__, **options) if name]


def names(node) -> list[str]:
    found = segments.segment_ids(node)
    return [node.GetSegmentation().GetSegment(segment_id).GetName() for segment_id in found]


def voxels(node, name: str) -> int:
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return int(sitk.GetArrayFromImage(segments.read_segment(node, segment_id).mask).sum())


@pytest.fixture
def node(scene):
    return segments.new_segmentation("VOIs")


def test_an_edit_is_noticed_and_what_was_measured_before_is_forgotten(node) -> None:
    take(node, {("Liver", "organ"): box(5, 15), ("Spleen", "organ"): box(20, 25)})
    liver, spleen = segments.segment_ids(node)
    list(origins.mark_edits(node))
    assert not origins.by_hand(node, liver)
    segments.set_segment(node, "Liver", box(5, 16))
    list(origins.mark_edits(node))
    record = origins.record_of(node, liver)
    assert record["origin"]["edited"]
    assert record["origin"]["edited_at"] >= record["origin"]["created"]
    assert record["confidence"] is None
    assert not origins.record_of(node, spleen)["origin"]["edited"]
    assert "edited by hand" in segments.read_segment(node, liver).origin
    at = record["origin"]["edited_at"]
    list(origins.mark_edits(node))
    assert origins.record_of(node, liver)["origin"]["edited_at"] == at


def test_an_edit_nobody_watched_is_kept_too(node) -> None:
    take(node, {("Liver", "organ"): box(5, 15)})
    segments.set_segment(node, "Liver", box(5, 16))
    assert take(node, {("Liver", "organ"): box(5, 15)}) == ["Liver"]
    assert voxels(node, "Liver") == 11**3
    assert take(node, {("Liver", "organ"): box(5, 15)}, keep_edited=False) == []
    assert voxels(node, "Liver") == 10**3


def test_a_synonym_is_the_same_structure(node) -> None:
    segments.set_segment(node, "kidney_left", box(5, 9))
    assert take(node, {("Kidney left", "organ"): box(5, 15)}) == ["kidney_left"]
    assert names(node) == ["kidney_left"]
    take(node, {("Kidney left", "organ"): box(5, 15)}, keep_edited=False)
    assert names(node) == ["kidney_left"]
    assert voxels(node, "kidney_left") == 10**3


def test_lesions_of_a_second_run_replace_those_of_the_first(node) -> None:
    take(
        node,
        {
            ("Lesion 1", "lesion"): box(2, 6),
            ("Lesion 2", "lesion"): box(10, 14),
            ("Liver", "organ"): box(20, 30),
        },
    )
    assert names(node) == ["Lesion 1", "Lesion 2", "Liver"]
    take(node, {("Lesion 1", "lesion"): box(10, 15)})
    assert sorted(names(node)) == ["Lesion 1", "Liver"]
    assert voxels(node, "Lesion 1") == 5**3


def test_an_edited_lesion_stays_and_a_new_one_elsewhere_gets_a_free_name(node) -> None:
    take(node, {("Lesion 1", "lesion"): box(2, 6), ("Lesion 2", "lesion"): box(10, 14)})
    segments.set_segment(node, "Lesion 1", box(2, 7), kind="lesion")
    kept = take(node, {("Lesion 1", "lesion"): box(30, 34), ("Lesion 2", "lesion"): box(3, 6)})
    assert kept == ["Lesion 1"]
    assert sorted(names(node)) == ["Lesion 1", "Lesion 2"]
    assert voxels(node, "Lesion 1") == 5**3
    # One by hand, on which the second of the run lies: that one is replaced where the user asks for it.
    take(node, {("Lesion 1", "lesion"): box(3, 6)}, keep_edited=False)
    assert voxels(node, "Lesion 1") == 3**3


def test_origins_stay_with_a_saved_scene(node, scene, tmp_path) -> None:
    take(node, {("Liver", "organ"): box(5, 15), ("Lesion 1", "lesion"): box(20, 25)})
    first = segments.segment_ids(node)[0]
    # A bar parts the tags in the file of a segmentation.
    origins.keep(node, first, {**origins.record_of(node, first), "checks": ["|HU| > 40 | SUV"]})
    origins.write_table(node)
    before = [origins.record_of(node, segment_id) for segment_id in segments.segment_ids(node)]
    file = tmp_path / "scene.mrb"
    assert scene.WriteToMRB(str(file))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(file), True)
    again = scene.GetFirstNodeByName("VOIs")
    assert [origins.record_of(again, segment_id) for segment_id in segments.segment_ids(again)] == before
    assert not any(origins.by_hand(again, segment_id) for segment_id in segments.segment_ids(again))
    assert again.GetNodeReference(origins.TABLE_ROLE).GetNumberOfRows() == 2
