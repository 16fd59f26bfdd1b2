"""Metrics against analytic answers and against MONAI, bootstrap, detection, the shell."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from DoseSegmentationLib import backends, evaluation
from DoseSegmentationLib.backend_classical import painted
from DoseSegmentationLib.classical import SegmentationError


def cube(low, high, size=30):
    mask = np.zeros((size,) * 3, bool)
    mask[low:high, low:high, low:high] = True
    return mask


def test_shifted_cube():
    a = cube(5, 15)
    b = np.roll(a, 2, axis=0)
    found = evaluation.agreement(a, b, (2.0, 1.0, 1.0))
    assert found.dice == pytest.approx(0.8)
    assert found.volume_error_percent == 0.0
    # Two slices of 2 mm: the faces up and down are 4 mm apart, the sides lie on one another for 8 of 10 slices.
    assert found.hd95_mm == pytest.approx(4.0)
    same = evaluation.agreement(a, a, (2.0, 1.0, 1.0))
    assert (same.dice, same.surface_dice, same.hd95_mm) == (1.0, 1.0, 0.0)
    near = evaluation.agreement(a, np.roll(a, 1, axis=2), (2.0, 1.0, 1.0))
    assert near.surface_dice == 1.0


def test_absent_structures():
    none, some = np.zeros((9, 9, 9), bool), cube(2, 5, 9)
    assert np.isnan(evaluation.agreement(none, none, (1, 1, 1)).dice)
    missed = evaluation.agreement(none, some, (1, 1, 1))
    assert (missed.dice, missed.surface_dice, missed.volume_error_percent) == (0.0, 0.0, -100.0)
    assert missed.hd95_mm == float("inf")
    extra = evaluation.agreement(some, none, (1, 1, 1))
    assert extra.dice == 0.0
    assert extra.volume_error_percent == float("inf")


def test_tia_error():
    tia = np.ones((30, 30, 30))
    tia[:10] = 3.0
    a, b = cube(8, 14), cube(8, 12)
    truth = tia[b].sum()
    assert evaluation.agreement(a, b, (1, 1, 1), tia).tia_error_percent == pytest.approx(
        100 * (tia[a].sum() - truth) / truth
    )


def test_against_monai():
    torch = pytest.importorskip("torch", reason="torch is not installed (extra 'networks')")
    metrics = pytest.importorskip("monai.metrics", reason="MONAI is not installed (extra 'networks')")
    rng = np.random.default_rng(3)
    from scipy import ndimage

    for spacing in ((1.0, 1.0, 1.0), (3.0, 2.0, 1.5)):
        a, b = (ndimage.gaussian_filter(rng.normal(size=(24, 26, 28)), 3.0) > 0.02 for _ in range(2))
        ours = evaluation.agreement(a, b, spacing)
        ta, tb = (torch.from_numpy(m[None, None].astype(np.float32)) for m in (a, b))
        surface = metrics.compute_surface_dice(ta, tb, [3.0], include_background=True, spacing=spacing)
        hd95 = metrics.compute_hausdorff_distance(
            ta, tb, include_background=True, percentile=95, spacing=spacing
        )
        dice = metrics.compute_dice(ta, tb)
        assert ours.dice == pytest.approx(float(dice), abs=1e-5)
        assert ours.surface_dice == pytest.approx(float(surface), abs=0.02)
        assert ours.hd95_mm == pytest.approx(float(hd95), abs=0.75)


def test_bootstrap_covers_the_mean():
    rng = np.random.default_rng(0)
    hits = 0
    for draw in range(200):
        _, low, high = evaluation.bootstrap(rng.normal(0.9, 0.02, 30), draws=400, seed=draw)
        hits += low <= 0.9 <= high
    assert 180 <= hits <= 199
    assert np.isnan(evaluation.bootstrap([float("nan")])[0])
    assert evaluation.bootstrap([0.5]) == (0.5, 0.5, 0.5)


def test_lesion_detection():
    reference, found = (np.zeros((20, 20, 20), int) for _ in range(2))
    reference[2:6, 2:6, 2:6], reference[10:14, 10:14, 10:14], reference[17, 17, 17] = 1, 2, 3
    found[2:6, 2:6, 2:5], found[15:18, 2:5, 2:5] = 7, 8
    result = evaluation.lesion_detection(found, reference, voxel_ml=0.1, smallest_ml=5.0)
    assert (result["lesions"], result["found"], result["false_positives"]) == (2, 1, 1)
    assert result["dice"] == [pytest.approx(2 * 48 / (64 + 48))]


def test_a_neighbor_that_only_brushes_a_lesion_does_not_count_as_its_segment():
    reference, found = (np.zeros((20, 20, 30), int) for _ in range(2))
    reference[5:10, 5:10, 5:10], reference[5:10, 5:10, 10:20] = 1, 2
    found[5:10, 5:10, 5:9], found[5:10, 5:10, 9:20] = 1, 2  # the second takes a slice of the first
    result = evaluation.lesion_detection(found, reference, voxel_ml=0.1, smallest_ml=5.0)
    assert result["dice"] == [pytest.approx(2 * 4 / (4 + 5)), pytest.approx(2 * 10 / (11 + 10))]
    # Two lesions in one segment: it is compared with each of them.
    result = evaluation.lesion_detection(np.where(reference > 0, 1, 0), reference, 0.1, 5.0)
    assert result["dice"] == [pytest.approx(2 * 5 / (5 + 15)), pytest.approx(2 * 10 / (10 + 15))]


@pytest.fixture
def files(tmp_path):
    grid = sitk.Image([30, 30, 30], sitk.sitkUInt8)
    truth = painted([("Liver", cube(5, 15)), ("Spleen", cube(20, 26))], grid, "expert", "1")
    found = painted([("Spleen", cube(20, 26)), ("liver", cube(5, 14))], grid, "test", "1")
    for name, one in (("truth.nii.gz", truth), ("found.seg.nrrd", found)):
        backends.write(one, tmp_path / name)
    (tmp_path / "found.json").unlink()
    return tmp_path


def test_shell(files, capsys):
    arguments = ["--found", str(files / "found.seg.nrrd"), "--reference", str(files / "truth.nii.gz")]
    assert evaluation.main([*arguments, "--out", str(files / "table.json")]) == 0
    rows = {(r["structure"], r["metric"]): r for r in json.loads((files / "table.json").read_text())}
    assert rows["Liver", "dice"]["mean"] == pytest.approx(2 * 729 / 1729)
    assert rows["Spleen", "dice"]["mean"] == 1.0
    assert rows["Liver", "volume_error_percent"]["mean"] == pytest.approx(-27.1)
    assert "Liver" in capsys.readouterr().out
    assert evaluation.main([*arguments, "--tia", "a", "b"]) == 2
    assert "differ in length" in capsys.readouterr().err
    (files / "truth.json").unlink()
    assert evaluation.main(arguments) == 2
    assert "names its labels" in capsys.readouterr().err


def test_shapes_must_agree():
    with pytest.raises(SegmentationError, match="shapes"):
        evaluation.agreement(np.ones((3, 3, 3)), np.ones((3, 3, 4)), (1, 1, 1))
