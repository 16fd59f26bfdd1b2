"""Segments carried over to other time points, drawn again, and told apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
from DoseSegmentationLib import lesion_matching, propagation
from DoseSegmentationLib.backend_classical import painted
from DoseSegmentationLib.classical import SegmentationError

SIZE, SPACING = 48, 4.0


def grid():
    image = sitk.Image([SIZE] * 3, sitk.sitkFloat32)
    image.SetSpacing([SPACING] * 3)
    return image


def ball(centre_mm, radius_mm):
    z, y, x = np.indices((SIZE,) * 3) * SPACING
    cx, cy, cz = centre_mm
    return (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 <= radius_mm**2


def lesions(**named):
    return painted([(name.replace("_", " "), mask) for name, mask in named.items()], grid(), "expert", "1")


def mask_of(found, name):
    return sitk.GetArrayFromImage(found.mask(name)) > 0


def dice(a, b):
    return 2 * np.sum(a & b) / (np.sum(a) + np.sum(b))


def blurred(mask, value=50e3, background=1e3):
    image = sitk.GetImageFromArray((background + value * mask).astype(np.float32))
    image.CopyInformation(grid())
    return sitk.SmoothingRecursiveGaussian(image, 10.0 / 2.355)


def test_propagated_by_a_translation_and_back():
    drawn = lesions(Lesion_1=ball((90, 90, 90), 20), Liver=ball((130, 120, 60), 28))
    # Points of the target lie 12 mm lower in x in the source.
    shift = sitk.TranslationTransform(3, (-12.0, 0.0, 0.0))
    moved = propagation.propagate(drawn, grid(), shift)
    assert dice(mask_of(moved, "Lesion 1"), ball((102, 90, 90), 20)) > 0.99
    assert moved.record("Liver").origin.backend == "propagated"
    back = propagation.propagate(moved, grid(), propagation.inverse_of(shift, grid()))
    assert np.array_equal(mask_of(back, "Lesion 1"), mask_of(drawn, "Lesion 1"))
    away = propagation.propagate(drawn, grid(), sitk.TranslationTransform(3, (900.0, 0.0, 0.0)))
    assert away.record("Lesion 1").label == 0
    assert "Outside" in away.record("Lesion 1").checks[0]


def test_inverse_of_a_deformation():
    field = np.zeros((SIZE,) * 3 + (3,))
    z = np.arange(SIZE)[:, None, None] * SPACING
    field[..., 0] = 8.0 * np.exp(-((z - 96.0) ** 2) / (2 * 40.0**2))
    image = sitk.GetImageFromArray(field, isVector=True)
    image.SetSpacing([SPACING] * 3)
    forward = sitk.DisplacementFieldTransform(sitk.Image(image))
    inverse = propagation.inverse_of(forward, grid())
    for point in ((90.0, 90.0, 96.0), (100.0, 60.0, 120.0)):
        assert inverse.TransformPoint(forward.TransformPoint(point)) == pytest.approx(point, abs=0.3)


def test_resegmented_follows_a_shrinking_lesion():
    drawn = lesions(Lesion_1=ball((90, 90, 90), 24), Lesion_2=ball((90, 90, 150), 16))
    truth = ball((94, 90, 90), 18)
    spect = blurred(truth | ball((90, 90, 150), 16))
    found = propagation.resegment(drawn, spect)
    assert dice(mask_of(found, "Lesion 1"), truth) > 0.88
    assert dice(mask_of(found, "Lesion 1"), truth) > dice(mask_of(drawn, "Lesion 1"), truth)
    rows = {row["name"]: row for row in propagation.changes(drawn, found)}
    expected = 100.0 * (mask_of(found, "Lesion 1").sum() / mask_of(drawn, "Lesion 1").sum() - 1.0)
    assert rows["Lesion 1"]["change_percent"] == pytest.approx(expected)
    assert rows["Lesion 1"]["shift_mm"] == pytest.approx(4.0, abs=1.0)
    assert rows["Lesion 2"]["dice"] > 0.85


def test_resegmented_keeps_what_is_not_seen():
    drawn = lesions(Lesion_1=ball((90, 90, 90), 20))
    found = propagation.resegment(drawn, blurred(np.zeros((SIZE,) * 3)) + 1.0)
    assert np.array_equal(mask_of(found, "Lesion 1"), mask_of(drawn, "Lesion 1"))
    assert "Not seen" in found.record("Lesion 1").checks[-1]
    with pytest.raises(SegmentationError, match="fraction is 2"):
        propagation.resegment(drawn, blurred(ball((90, 90, 90), 20)), fraction=2.0)


def test_changes_of_a_missing_structure():
    a, b = lesions(Lesion_1=ball((90, 90, 90), 20)), lesions(Lesion_2=ball((90, 90, 90), 20))
    row = propagation.changes(a, b)[0]
    assert (row["after_ml"], row["change_percent"], row["dice"], row["shift_mm"]) == (0.0, -100.0, 0.0, None)


def test_identities_survive_other_names_gaps_and_new_ones():
    a, b, c = ball((50, 90, 90), 16), ball((110, 90, 90), 12), ball((90, 50, 40), 14)
    times = [
        lesions(Lesion_1=a, Lesion_2=b),
        lesions(Lesion_1=ball((112, 90, 92), 10), Lesion_2=ball((52, 92, 90), 14)),
        lesions(Lesion_1=ball((54, 90, 90), 12), Lesion_2=c),
        lesions(Lesion_1=ball((110, 90, 90), 11), Lesion_2=c, Lesion_3=ball((52, 90, 90), 12)),
    ]
    rows = propagation.match_lesions(times)
    assert [row["names"] for row in rows] == [
        ["Lesion 1", "Lesion 2", "Lesion 1", "Lesion 3"],
        ["Lesion 2", "Lesion 1", None, "Lesion 1"],
        [None, None, "Lesion 2", "Lesion 2"],
    ]
    assert rows[1]["events"] == ["", "", "gone", ""]
    assert rows[2]["events"] == ["", "", "new", ""]
    assert rows[0]["overlap"][0] is None
    assert rows[0]["overlap"][1] > 0.9
    assert rows[0]["volumes_ml"][0] == pytest.approx(a.sum() * 0.064)
    assert propagation.match_lesions([]) == []


def test_split_and_merged_lesions():
    left, right = ball((80, 90, 90), 14), ball((104, 90, 90), 12)
    whole = left | right
    rows = propagation.match_lesions([lesions(Lesion_1=whole), lesions(Lesion_1=left, Lesion_2=right)])
    assert rows[0]["names"] == ["Lesion 1", "Lesion 1"]
    assert rows[1]["events"] == ["", "split from 1"]
    rows = propagation.match_lesions(
        [lesions(Lesion_1=left, Lesion_2=right & ~left), lesions(Lesion_1=whole)]
    )
    assert rows[0]["names"] == ["Lesion 1", "Lesion 1"]
    assert rows[1]["events"] == ["", "merged with 1"]


def test_all_time_points_get_the_names_of_the_reference():
    a, b = ball((50, 90, 90), 16), ball((110, 90, 90), 12)
    late = ball((90, 50, 40), 14)
    # At the second time point the patient lies 12 mm further, and the lesions were counted the other way round.
    moved = lesions(
        Lesion_1=np.roll(b, 3, axis=2), Lesion_2=np.roll(a, 3, axis=2), Lesion_3=np.roll(late, 3, 2)
    )
    times = [lesions(Lesion_1=a, Lesion_2=b), moved]
    shift = sitk.TranslationTransform(3, (12.0, 0.0, 0.0))
    found = lesion_matching.matched(times, [None, shift], ["4h", "24h"], 0, grid())
    assert found.names[1] == {"Lesion 1": "Lesion 2", "Lesion 2": "Lesion 1", "Lesion 3": "Lesion 3"}
    named = lesion_matching.renamed(moved, found.names[1])
    assert np.array_equal(mask_of(named, "Lesion 1"), np.roll(a, 3, axis=2))
    rows = {(row["lesion"], row["label"]): row for row in found.table}
    assert rows["Lesion 1", "24h"]["volume_ml"] == pytest.approx(a.sum() * 0.064)
    assert rows["Lesion 1", "24h"]["overlap"] == pytest.approx(1.0)
    assert rows["Lesion 1", "4h"]["overlap"] is None
    assert rows["Lesion 3", "24h"]["note"] == "new"
    assert ("Lesion 3", "4h") not in rows


def test_a_new_lesion_never_takes_the_name_of_another_one():
    a, b = ball((50, 90, 90), 16), ball((110, 90, 90), 12)
    found = lesion_matching.matched(
        [lesions(Lesion_1=a), lesions(Lesion_1=b)], [None, None], ["4h", "24h"], 0, grid()
    )
    assert found.names[1] == {"Lesion 1": "Lesion 1 (2)"}
    assert [(r["lesion"], r["label"], r["note"]) for r in found.table] == [
        ("Lesion 1", "4h", ""), ("Lesion 1", "24h", "gone"), ("Lesion 1 (2)", "24h", "new")
    ]  # fmt: skip
    away = sitk.TranslationTransform(3, (900.0, 0.0, 0.0))
    far = lesion_matching.matched([lesions(Lesion_1=a)] * 2, [None, away], ["4h", "24h"], 0, grid())
    assert far.table[-1]["note"] == lesion_matching.NOT_COMPARED


def test_two_close_lesions_are_not_swapped():
    first = lesions(Lesion_1=ball((80, 90, 90), 10), Lesion_2=ball((102, 90, 90), 10))
    second = lesions(Lesion_1=ball((108, 90, 90), 10), Lesion_2=ball((86, 90, 90), 10))
    rows = propagation.match_lesions([first, second])
    assert [row["names"] for row in rows] == [["Lesion 1", "Lesion 2"], ["Lesion 2", "Lesion 1"]]
    organs = dataclasses.replace(
        first, records=tuple(dataclasses.replace(r, kind="organ") for r in first.records)
    )
    assert propagation.match_lesions([organs, organs]) == []
