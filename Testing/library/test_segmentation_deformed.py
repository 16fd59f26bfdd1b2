"""Samples from a labelled CT: labels stay with their tissue, the same seed gives the same sample."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from DoseSegmentationLib import deformed_samples
from DoseSegmentationLib.classical import SegmentationError

LABELS = {"1": "Body", "2": "Bone", "3": "Liver"}


@pytest.fixture
def folder(tmp_path):
    """A labelled CT of an elliptic body with a liver and a spine, and a folder with one other sample."""
    z, y, x = np.indices((30, 50, 60))
    body = ((y - 25) / 20) ** 2 + ((x - 30) / 26) ** 2 < 1
    liver = (z - 15) ** 2 + (y - 22) ** 2 + (x - 20) ** 2 < 81
    bone = (y - 38) ** 2 + (x - 32) ** 2 < 16
    ct = np.where(body, 0.0, -1000.0)
    muscle = (np.abs(z - 15) < 10) & (np.abs(y - 36) < 4) & (np.abs(x - 18) < 5)
    ct[liver], ct[bone], ct[muscle] = 120.0, 700.0, -80.0
    image = sitk.GetImageFromArray(ct.astype(np.float32))
    image.SetSpacing((4.0, 4.0, 4.0))
    (tmp_path / "masks").mkdir()
    for name, mask in (("liver", liver), ("muscle", muscle), ("vertebrae_L1", bone)):
        made = sitk.GetImageFromArray(mask.astype(np.uint8))
        made.CopyInformation(image)
        sitk.WriteImage(made, str(tmp_path / "masks" / f"{name}.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / "ct.nii.gz"))
    out = tmp_path / "samples"
    out.mkdir()
    (out / "samples.json").write_text(json.dumps({"source": "Virtual.", "tasks": {"organs": LABELS}}))
    small = np.zeros((8, 8, 8), np.uint8)
    np.savez(
        out / "first.npz", ct=small.astype(np.int16), organs=small, spacing_mm=np.full(3, 6.0, np.float32)
    )
    return tmp_path


def test_labels_stay_with_their_tissue(folder):
    paths = deformed_samples.write_samples(
        folder / "ct.nii.gz", folder / "masks", folder / "samples", 3, "a test"
    )
    seen = []
    for path in paths:
        with np.load(path) as sample:
            ct, organs, regions = sample["ct"].astype(float), sample["organs"], sample["regions"]
            assert np.allclose(sample["spacing_mm"], 6.0)
        assert organs.shape == tuple(2 * n for n in ct.shape)
        # Each mask is a region of its own, whether or not the network is to find it.
        assert set(np.unique(regions)) == {0, 1, 2, 3, 4}
        assert np.median(ct[regions == 3]) == pytest.approx(-80.0, abs=5)
        ct = ct.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        assert np.median(ct[organs == 3]) == pytest.approx(120.0, abs=5)
        assert np.median(ct[organs == 2]) > 400.0
        assert np.median(ct[organs == 1]) == pytest.approx(0.0, abs=5)
        assert np.mean(ct[organs == 0] < -500) > 0.9
        seen.append((organs == 3).sum())
    assert len(set(seen)) == 3  # deformed, each in another way
    about = json.loads((folder / "samples" / "samples.json").read_text())
    assert about["labelled_cts"] == "3 strongly deformed copies of a labelled CT (a test)."
    assert about["source"] == "Virtual."


def test_the_same_seed_gives_the_same_sample(folder):
    arguments = folder / "ct.nii.gz", folder / "masks", folder / "samples", 1, "a test"
    (path,) = deformed_samples.write_samples(*arguments)
    with np.load(path) as sample:
        first = sample["ct"]
    path.unlink()
    deformed_samples.write_samples(*arguments)
    with np.load(path) as sample:
        assert np.array_equal(sample["ct"], first)


def test_shell_says_what_is_missing(folder, capsys):
    start = ["--ct", str(folder / "ct.nii.gz"), "--source", "a test", "--count", "1"]
    (folder / "empty").mkdir()
    assert (
        deformed_samples.main([*start, "--masks", str(folder / "empty"), "--out", str(folder / "samples")])
        == 2
    )
    assert "no mask named after" in capsys.readouterr().err
    assert (
        deformed_samples.main([*start, "--masks", str(folder / "masks"), "--out", str(folder / "empty")]) == 2
    )
    assert "samples.json is missing" in capsys.readouterr().err
    with pytest.raises(SegmentationError, match="another grid"):
        deformed_samples.labelled(sitk.Image(10, 10, 10, sitk.sitkInt16), folder / "masks", ["Liver"])
