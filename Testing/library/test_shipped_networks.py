"""The networks in Resources/Models: whole, small, with a card, and of use on a case they never saw."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from DoseSegmentationLib import backends
from DoseSegmentationLib.resources import resource_path

pytest.importorskip("torch", reason="torch is not installed (extra 'networks')")
pytest.importorskip("monai", reason="MONAI is not installed (extra 'networks')")

from DoseSegmentationLib import networks  # noqa: E402

NAMES = ("lesions_spect_ct", "organs_ct")


@pytest.mark.parametrize("name", NAMES)
def test_weights_belong_to_the_description_and_are_small(name):
    folder = resource_path("Models", name)
    description, network = networks.load(folder)  # compares the checksum
    assert description.name == name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    assert {path.name for path in folder.iterdir()} == {
        "network.json",
        "weights.safetensors",
        "card.md",
        "curve.csv",
    }
    assert description.training["samples"] > 0
    assert description.statistics
    assert not network.training


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_how_it_was_measured(name):
    card = backends.backends()[name]["card"]
    for words in (
        "not a medical device",
        "Intended use",
        "virtual patients, in the whole pipeline",
        "Real:",
        "## Limits",
    ):
        assert words in card
    assert "Do not use these weights" not in card


def test_they_are_listed_with_their_structures():
    listed = backends.backends()
    assert listed["lesions_spect_ct"]["available"]
    assert listed["lesions_spect_ct"]["structures"] == ("Lesion", "Physiological uptake")
    assert set(listed["organs_ct"]["structures"]) >= {
        "Liver",
        "Spleen",
        "Kidney left",
        "Kidney right",
        "Bladder",
    }


def patient():
    """A trunk with one hot sphere of 17 mL, blurred as a SPECT is."""
    z, y, x = np.indices((56, 56, 72))
    body = ((y - 28) / 20) ** 2 + ((x - 36) / 30) ** 2 < 1
    lesion = (z - 28) ** 2 + (y - 26) ** 2 + (x - 30) ** 2 < 3.3**2
    ct = np.where(body, 40.0, -1000.0) + np.random.default_rng(1).normal(0, 10, body.shape)
    uptake = sitk.GetImageFromArray((1000.0 * body + 40000.0 * lesion).astype(np.float32))
    ct = sitk.GetImageFromArray(ct.astype(np.float32))
    for image in (ct, uptake):
        image.SetSpacing([4.8] * 3)
    return ct, sitk.SmoothingRecursiveGaussian(uptake, 12.0 / 2.355), lesion


def test_the_lesion_network_finds_a_hot_sphere_and_nothing_else():
    ct, spect, lesion = patient()
    for image in (ct, None):
        found = backends.segment("lesions_spect_ct", image, spect, ["Lesion"], ensemble=False)
        assert [record.name for record in found.records if record.label] == ["Lesion 1"]
        mask = sitk.GetArrayFromImage(found.label_map) > 0
        assert 2 * (mask & lesion).sum() / (mask.sum() + lesion.sum()) > 0.6


def test_curve_goes_down():
    for name in NAMES:
        rows = (
            resource_path("Models", name).joinpath("curve.csv").read_text(encoding="utf-8").splitlines()[1:]
        )
        losses = [float(row.split(",")[1]) for row in rows]
        # One that went on from trained weights has less far to go.
        continued = (
            "initial_weights_sha256" in networks.read_description(resource_path("Models", name)).training
        )
        fifth = len(losses) // 5
        assert np.mean(losses[-fifth:]) < (0.9 if continued else 0.7) * np.mean(losses[:fifth])
