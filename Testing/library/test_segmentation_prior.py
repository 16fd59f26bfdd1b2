"""The prior from a diagnostic PET: what it says where, moved by a transform, refused where it cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.lesion_prior import pet_probability
from TheranosticDoseLib.cli import main
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.lesion_prior import prior_of_pet
from TheranosticDoseLib.registration import RegistrationSettings, transform_between


def body_image(value_in, value_out, hot=None, shift=(0.0, 0.0, 0.0), size=(48, 56, 40), spacing=5.0):
    """An ellipsoid with two spheres of different size, moved by ``shift`` mm (x, y, z)."""
    z, y, x = np.indices(size[::-1]) * spacing
    x, y, z = x - shift[0], y - shift[1], z - shift[2]
    body = ((x - 120) / 90) ** 2 + ((y - 140) / 110) ** 2 + ((z - 100) / 90) ** 2 < 1
    values = np.where(body, value_in, value_out).astype(np.float32)
    if hot is not None:
        values[(x - 80) ** 2 + (y - 150) ** 2 + (z - 100) ** 2 < 20**2] = hot
        values[(x - 160) ** 2 + (y - 110) ** 2 + (z - 80) ** 2 < 30**2] = 0.5 * (hot + value_in)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing([spacing] * 3)
    return image


def at(image, point):
    return image[image.TransformPhysicalPointToIndex(point)]


def test_hot_is_likely_cold_is_not_and_outside_says_nothing():
    pet = body_image(1.0, 0.0, hot=20.0)
    grid = sitk.Image([60, 70, 60], sitk.sitkFloat32)
    grid.SetSpacing([5.0] * 3)
    prior = pet_probability(pet, grid)
    assert at(prior, (80.0, 150.0, 100.0)) > 0.95
    assert at(prior, (120.0, 200.0, 60.0)) < 0.1
    assert at(prior, (120.0, 140.0, 280.0)) == 0.5
    values = sitk.GetArrayViewFromImage(prior)
    assert 0.0 <= values.min() <= values.max() <= 1.0
    # It is the ratio that counts, not the unit.
    again = pet_probability(pet * 1000.0, grid)
    assert np.allclose(sitk.GetArrayFromImage(again), values, atol=1e-5)


def test_it_follows_the_transform():
    pet = body_image(1.0, 0.0, hot=20.0, shift=(25.0, 0.0, 0.0))
    grid = body_image(0.0, -1000.0)
    move = sitk.TranslationTransform(3, [25.0, 0.0, 0.0])
    prior = pet_probability(pet, grid, move)
    assert at(prior, (80.0, 150.0, 100.0)) > 0.95
    assert at(pet_probability(pet, grid), (80.0 - 15.0, 150.0, 100.0)) < 0.3


def test_registration_of_the_two_cts_brings_the_pet_over():
    shift = (15.0, -10.0, 10.0)
    ct, other = body_image(0.0, -1000.0, hot=600.0), body_image(0.0, -1000.0, hot=600.0, shift=shift)
    transform, _ = transform_between(ct, other, RegistrationSettings(method="rigid"))
    moved = transform.TransformPoint((80.0, 150.0, 100.0))
    assert np.allclose(np.array(moved) - (80.0, 150.0, 100.0), shift, atol=2.0)


def test_pet_and_scan_make_one_prior_for_shell_and_panel():
    ct, spect = body_image(0.0, -1000.0), body_image(1.0, 0.0, hot=20.0)
    prior, said = prior_of_pet(spect, None, ct, spect)
    assert said == []
    assert prior.GetSize() == ct.GetSize()
    assert at(prior, (80.0, 150.0, 100.0)) > 0.95
    for given, words in (
        ((spect, ct, None, spect), "registers it to the CT"),
        ((None, ct, ct, None), "without the PET itself"),
        ((spect, None, None, None), "give one of them"),
    ):
        with pytest.raises(InputError, match=words):
            prior_of_pet(*given)


def test_the_shell_segments_a_spect_alone_and_tells_its_notes(tmp_path, capsys):
    sitk.WriteImage(body_image(1.0, 0.0, hot=20.0), str(tmp_path / "spect.nii.gz"))
    arguments = ["segment", "--progress", "none", "--spect", str(tmp_path / "spect.nii.gz")]
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--out", str(tmp_path / "out.nii.gz"), "--set", "smallest_ml=40"])
    said = capsys.readouterr()
    text = said.out + said.err
    assert "Hot region 1" in text
    assert "Hot region 2" not in text
    assert "No CT was given" in text
    for options, word in (
        (["--set", "hot_factor=high"], "hot_factor"),
        (["--pet-ct", "x.nii"], "the PET itself"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main([*arguments, "--out", str(tmp_path / "no.nii.gz"), *options])
        assert word in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["segment", "--progress", "none", "--out", str(tmp_path / "no.nii.gz")])
    assert "nothing to segment" in capsys.readouterr().err
    pet = ["--pet", str(tmp_path / "spect.nii.gz"), "--pet-ct", str(tmp_path / "spect.nii.gz")]
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--out", str(tmp_path / "no.nii.gz"), *pet])
    assert "--ct" in capsys.readouterr().err
    assert not (tmp_path / "no.nii.gz").exists()


def test_what_cannot_be_used_is_refused(tmp_path, capsys):
    grid = body_image(0.0, -1000.0)
    far = body_image(1.0, 0.0, hot=20.0)
    far.SetOrigin((5000.0, 0.0, 0.0))
    with pytest.raises(SegmentationError, match="do not overlap"):
        pet_probability(far, grid)
    with pytest.raises(SegmentationError, match="no activity"):
        pet_probability(sitk.Image([20, 20, 20], sitk.sitkFloat32), grid)
    with pytest.raises(SegmentationError, match="expected above 0"):
        pet_probability(far, grid, factor=0.0)
    sitk.WriteImage(grid, str(tmp_path / "ct.nii.gz"))
    arguments = ["segment", "--ct", str(tmp_path / "ct.nii.gz"), "--out", str(tmp_path / "out.nii.gz")]
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--pet-ct", str(tmp_path / "ct.nii.gz")])
    assert "give the PET itself" in capsys.readouterr().err
    sitk.WriteImage(body_image(1.0, 0.0, hot=20.0), str(tmp_path / "pet.nii.gz"))
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--pet", str(tmp_path / "pet.nii.gz"), "--backend", "classical"])
    assert "no setting prior" in capsys.readouterr().err
