"""Samples of virtual patients for training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from DoseSegmentationLib.training_data import Samples
from TheranosticDoseLib import segmentation_samples
from TheranosticDoseLib.phantom import PhantomSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small patients instead of the random ones."""
    out = tmp_path_factory.mktemp("samples")
    small = PhantomSettings(
        time_h=(24.0,), reference=0, spect_size=(64, 48, 56), spect_spacing_mm=7.2, refinement=1,
        ct_size=(96, 96), ct_slice_mm=7.2, truth_engine="none", top_mm=60.0,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation_samples, "random_settings", lambda seed: small)
        segmentation_samples.write_samples(out, 2, seed=5)
        stamps = [path.stat().st_mtime_ns for path in sorted(out.glob("*.npz"))]
        segmentation_samples.write_samples(out, 2, seed=5)
        assert stamps == [path.stat().st_mtime_ns for path in sorted(out.glob("*.npz"))]
    return out


def test_labels_lie_on_their_tissues(folder):
    with np.load(folder / "patient_00005.npz") as sample:
        arrays = dict(sample)
    organs = {
        name: arrays["organs"] == number for number, name in enumerate(segmentation_samples.ORGANS, start=1)
    }
    ct, spect = arrays["ct"].astype(float), arrays["spect"]
    assert arrays["organs"].shape == tuple(2 * n for n in ct.shape)
    ct, spect = (array.repeat(2, 0).repeat(2, 1).repeat(2, 2) for array in (ct, spect))
    assert np.median(ct[arrays["organs"] == 0]) < -900
    assert -900 < np.median(ct[organs["Lung left"]]) < -600
    assert 20 < np.median(ct[organs["Liver"]]) < 90
    assert np.median(ct[organs["Bone"]]) > 100
    # Array x grows to the left of the patient, where the spleen lies.
    middle = {name: np.argwhere(mask)[:, 2].mean() for name, mask in organs.items() if mask.any()}
    assert middle["Kidney left"] > middle["Kidney right"]
    assert middle["Spleen"] > middle["Liver"]
    lesion = arrays["instances"] > 0
    assert lesion.any()
    assert np.array_equal(lesion, arrays["lesions"] == 1)
    assert spect[lesion].mean() > 3.0 * spect[arrays["organs"] == 1].mean()
    assert (arrays["organs"][lesion] > 0).all()


def test_the_training_reads_them(folder):
    names = json.loads((folder / "samples.json").read_text(encoding="utf-8"))["tasks"]
    assert names["lesions"] == {"1": "Lesion", "2": "Physiological uptake"}
    data = Samples(folder, "lesions")
    assert len(data) == 2
    assert data.spacing_mm == (7.2, 7.2, 7.2)
    assert data[0].spect_mean > 0
    assert not np.array_equal(data[0].target, data[1].target)


def test_random_settings_are_valid_and_repeatable():
    drawn = [segmentation_samples.random_settings(seed) for seed in range(40)]
    assert drawn[3] == segmentation_samples.random_settings(3)
    assert len({settings.time_h for settings in drawn}) > 3
    assert {settings.spect_size[2] for settings in drawn} > {176}
