"""Training: samples, exact resumption, the learning of a simple rule, the shell."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
from DoseSegmentationLib import backends, networks
from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.segmentation import SegmentationCancelled

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'networks')")
pytest.importorskip("monai", reason="MONAI is not installed (extra 'networks')")

from DoseSegmentationLib import training, training_data  # noqa: E402

TINY = {"patch": (16, 16, 16), "features": (4, 8), "batch": 2, "threads": 1, "device": "cpu"}


def write_spheres(folder, count, seed, size=24):
    """A bright and a dark sphere in a body, right and left: easy, and sided."""
    folder.mkdir()
    tasks = {"organs": {"1": "Body", "2": "Kidney left", "3": "Kidney right"}}
    (folder / "samples.json").write_text(json.dumps({"source": "spheres", "tasks": tasks}))
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        z, y, x = np.indices((size,) * 3)
        body = ((y - size / 2) ** 2 + (x - size / 2) ** 2) < (0.46 * size) ** 2
        target = body.astype(np.uint8)
        for label, middle in ((3, 0.3), (2, 0.7)):
            centre = np.array([0.5, 0.5, middle]) * size + rng.uniform(-1.5, 1.5, 3)
            inside = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < rng.uniform(
                3.2, 4.2
            ) ** 2
            target[inside] = label
        ct = np.array([-1000.0, 0.0, 150.0, 150.0])[target] + rng.normal(0, 10, target.shape)
        arrays = {"ct": ct.astype(np.int16), "organs": target, "regions": target}
        np.savez(folder / f"s{seed}_{number}.npz", spacing_mm=np.full(3, 4.0, np.float32), **arrays)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("samples")
    return write_spheres(root / "train", 6, 1), write_spheres(root / "test", 3, 2)


def settings(**more):
    return training.TrainingSettings(**{**TINY, "steps": 6, "save_every": 2, **more})


def weights_of(folder):
    return networks.load(folder)[1].state_dict()


def test_an_interrupted_training_gives_the_same_weights(folders, tmp_path):
    training.train(folders[0], tmp_path / "whole", settings())
    with pytest.raises(SegmentationCancelled):
        training.train(folders[0], tmp_path / "parts", settings(), progress=lambda f, m: f < 0.5)
    assert not (tmp_path / "parts" / "network.json").exists()
    training.train(folders[0], tmp_path / "parts", settings())
    a, b = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(a[key], b[key]) for key in a)
    other = training.train(folders[0], tmp_path / "other", settings(seed=1))
    c = weights_of(tmp_path / "other")
    assert not all(torch.equal(a[key], c[key]) for key in a)
    assert other.weights_sha256 != networks.read_description(tmp_path / "whole").weights_sha256
    with (tmp_path / "parts" / "curve.csv").open(encoding="utf-8") as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["2", "4", "6"]


def test_other_settings_do_not_take_up_a_checkpoint(folders, tmp_path):
    training.train(folders[0], tmp_path / "t", settings(steps=2))
    with pytest.raises(SegmentationError, match="other settings"):
        training.train(folders[0], tmp_path / "t", settings(steps=4))


def test_batches_depend_on_the_generator_only(folders):
    data = training_data.Samples(folders[0], "organs")
    made = networks.NetworkDescription(
        "n", "1", "organs", ("ct_wide", "ct_soft"), data.labels, data.spacing_mm, (16, 16, 16), (4, 8)
    )
    first, second, third = (training_data.batch(data, made, np.random.default_rng(s), 2) for s in (5, 5, 6))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], third[0])
    assert first[0].shape == (2, 2, 16, 16, 16)
    assert first[1].shape == (2, 4, 16, 16, 16)
    assert np.allclose(first[1].sum(1), 1.0)


def test_finer_labels_give_the_share_of_a_voxel(tmp_path):
    """A plate that ends within a voxel: its share there, and the same from equal and from finer labels."""
    fine = np.zeros((16, 16, 16), np.uint8)
    fine[:, :, 5:] = 1  # half of voxel 2 along x, all of those beyond
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "samples.json").write_text(json.dumps({"tasks": {"organs": {"1": "Body"}}}))
    np.savez(
        folder / "p.npz",
        ct=np.zeros((8, 8, 8), np.int16),
        organs=fine,
        spacing_mm=np.full(3, 4.0, np.float32),
    )
    sample = training_data.Samples(folder, "organs")[0]
    shares = training_data.shares_of(sample, np.indices((8, 8, 8)).astype(float), 2)
    assert np.array_equal(shares[1, 3, 3], [0, 0, 0.5, 1, 1, 1, 1, 1])
    assert np.array_equal(shares[0], 1 - shares[1])
    assert np.array_equal(training_data.most_of(sample, 2)[3, 3, 3:], np.ones(5))
    np.savez(
        folder / "p.npz",
        ct=np.zeros((8, 8, 7), np.int16),
        organs=fine,
        spacing_mm=np.full(3, 4.0, np.float32),
    )
    with pytest.raises(SegmentationError, match="whole multiple"):
        training_data.Samples(folder, "organs")[0]


def test_some_patches_show_a_slab_only(folders):
    """Air above and below, and nothing to be found there; the slab itself keeps its labels."""
    data = training_data.Samples(folders[0], "organs")
    made = networks.NetworkDescription(
        "n", "1", "organs", ("ct_wide",), data.labels, (30.0,) * 3, (24, 24, 24), (4, 8)
    )  # 30 mm voxels: the whole patch is higher than any slab
    cut = 0
    for seed in range(30):
        images, shares = training_data.batch(data, made, np.random.default_rng(seed), 1, deform=False)
        empty = (images[0, 0] == -1.0).all((1, 2))
        assert np.all(shares[0, 0, empty] == 1.0)
        cut += 0 < empty.sum() < 24
        assert np.any(shares[0, 1:] > 0.5)
    assert 5 <= cut <= 20  # 40 % of 30, give or take


def test_mirrored_batches_swap_the_sides(folders):
    data = training_data.Samples(folders[0], "organs")
    made = networks.NetworkDescription(
        "n", "1", "organs", ("ct_wide",), data.labels, data.spacing_mm, (24, 24, 24), (4, 8)
    )
    sides = []
    for seed in range(12):
        _, labels = training_data.batch(data, made, np.random.default_rng(seed), 1)
        columns = {label: np.argwhere(labels[0, label] > 0.5)[:, 2].mean() for label in (2, 3)}
        sides.append(columns[2] > columns[3])
    # Left (2) lies at larger x whether the patch was mirrored or not.
    assert all(sides)


def test_bad_settings_and_samples(folders, tmp_path):
    with pytest.raises(SegmentationError, match="multiples of 8"):
        training.TrainingSettings(patch=(60, 64, 64))
    with pytest.raises(SegmentationError, match="task is 'bones'"):
        training.TrainingSettings(task="bones")
    with pytest.raises(SegmentationError, match="knows no task 'lesions'"):
        training.train(folders[0], tmp_path, settings(task="lesions"))
    with pytest.raises(SegmentationError, match="samples.json is missing"):
        training.train(tmp_path / "nothing", tmp_path, settings())
    with pytest.raises(SegmentationError, match="same name"):
        training.train(folders[0], tmp_path, settings(), held_out=folders[0])


def test_shell(folders, tmp_path, capsys):
    arguments = ["--samples", str(folders[0]), "--out", str(tmp_path / "n"), "--held-out", str(folders[1])]
    more = ["--steps", "1", "--patch", "16", "16", "16", "--features", "4", "8", "--device", "cpu"]
    assert training.main(arguments + more) == 0
    card = (tmp_path / "n" / "card.md").read_text(encoding="utf-8")
    assert "not a medical device" in card
    assert "3 cases" in card
    assert "| Kidney left |" in card
    assert training.main([*arguments, "--steps", "0"]) == 2
    assert "expected at least 1" in capsys.readouterr().err


def test_card_without_a_measurement_says_so(folders, tmp_path):
    training.train(folders[0], tmp_path / "n", settings(steps=1))
    assert "Do not use these weights" in (tmp_path / "n" / "card.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_it_learns_and_the_network_backend_uses_it(folders, tmp_path):
    made = dataclasses.replace(
        settings(), steps=150, patch=(24, 24, 24), features=(8, 16, 32), learning_rate=3e-3, save_every=50
    )
    description = training.train(folders[0], tmp_path / "n", made, held_out=folders[1])
    rows = training.measured(
        networks.load(tmp_path / "n")[1], description, training_data.Samples(folders[1], "organs")
    )
    for name in ("Kidney left", "Kidney right"):
        assert np.mean([row["dice"][name] for row in rows]) > 0.85
    with (tmp_path / "n" / "curve.csv").open(encoding="utf-8") as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert losses[-1] < 0.5 * losses[0]
    with np.load(next(folders[1].glob("*.npz"))) as sample:
        image = sitk.GetImageFromArray(sample["ct"].astype(np.float32))
        truth = sample["organs"]
    image.SetSpacing([4.0] * 3)
    found = backends.segment(f"network:{tmp_path / 'n'}", image)
    mask = sitk.GetArrayFromImage(found.mask("Kidney left")) > 0
    assert 2 * (mask & (truth == 2)).sum() / (mask.sum() + (truth == 2).sum()) > 0.85
    assert found.record("Kidney left").confidence > 0.8


def test_a_lesion_network_also_sees_patches_without_ct(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "samples.json").write_text(json.dumps({"tasks": {"lesions": {"1": "Lesion"}}}))
    target = np.zeros((16, 16, 16), np.uint8)
    target[6:10, 6:10, 6:10] = 1
    spect = 1.0 + 20.0 * target.astype(np.float32)
    ct = np.zeros(target.shape, np.int16)
    np.savez(folder / "p.npz", ct=ct, spect=spect, lesions=target, spacing_mm=np.full(3, 4.8, np.float32))
    data = training_data.Samples(folder, "lesions")
    made = networks.NetworkDescription(
        "n", "1", "lesions", ("spect", "ct_wide"), data.labels, data.spacing_mm, (16, 16, 16), (4, 8),
        ct_optional=True,
    )  # fmt: skip
    channels = [
        training_data.batch(data, made, np.random.default_rng(s), 1, deform=False)[0] for s in range(60)
    ]
    without = sum(bool(np.all(c[0, 1] == -1.0)) for c in channels)
    assert 2 <= without <= 20  # 15 % of 60, give or take
    assert all(c[0, 0].max() > c[0, 0].mean() for c in channels)
    never = dataclasses.replace(made, ct_optional=False)
    channels = [
        training_data.batch(data, never, np.random.default_rng(s), 1, deform=False)[0] for s in range(60)
    ]
    assert not any(np.all(c[0, 1] == -1.0) for c in channels)


def test_training_goes_on_from_the_weights_of_another(folders, tmp_path):
    training.train(folders[0], tmp_path / "first", settings(steps=2))
    # A learning rate of almost nothing shows what it started from.
    more = settings(steps=1, learning_rate=1e-12, initial=str(tmp_path / "first"))
    second = training.train(folders[0], tmp_path / "second", more)
    a, b = weights_of(tmp_path / "first"), weights_of(tmp_path / "second")
    assert all(torch.allclose(a[key], b[key], atol=1e-6) for key in a)
    first = networks.read_description(tmp_path / "first")
    assert second.training["initial_weights_sha256"] == first.weights_sha256
    with pytest.raises(SegmentationError):
        training.train(
            folders[0], tmp_path / "third", settings(features=(8, 16), initial=str(tmp_path / "first"))
        )
    with pytest.raises(SegmentationError, match="no network of this program"):
        training.train(folders[0], tmp_path / "fourth", settings(initial=str(tmp_path)))
