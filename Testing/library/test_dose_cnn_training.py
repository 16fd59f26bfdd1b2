"""Training of the dose networks: samples, symmetries, loss, calibration, a run that goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from TheranosticDoseLib.dose.cnn.inputs import BLUR_CHANNELS, CHANNELS
from TheranosticDoseLib.dose.training import card, data, fields, samples
from TheranosticDoseLib.errors import CancelledError, InputError, SettingsError

torch = pytest.importorskip("torch")
pytest.importorskip("monai")
pytest.importorskip("safetensors")
pytest.importorskip("numba")

from TheranosticDoseLib.dose.cnn import network as networks  # noqa: E402
from TheranosticDoseLib.dose.training import loop  # noqa: E402
from TheranosticDoseLib.dose.training.__main__ import main, train_network  # noqa: E402

TINY = loop.TrainingSettings(steps=6, batch=1, side=8, features=(4, 4, 8), save_every=2, threads=1, seed=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small fields to train on and one that is held out, with few decays."""
    root = tmp_path_factory.mktemp("samples")
    for place, seeds in (("train", (1, 2)), ("held", (3,))):
        (root / place).mkdir()
        for seed in seeds:
            case = fields.random_field(seed, 14)
            np.savez(root / place / f"{case.name}.npz", **samples.with_truth(case, 200_000, seed, threads=1))
    return root


@pytest.fixture(scope="module")
def sample(folder):
    return data.read_samples(folder / "train")[0]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_fields_are_bodies_with_activity_of_any_seed(seed):
    field = fields.random_field(seed, 12)
    assert field.tia.shape == field.density.shape == (12, 12, 12)
    assert field.tia.min() >= 0 < field.tia.max()
    assert 0.0012 <= field.density.min() <= field.density.max() < 3
    assert all(2.0 <= s <= 5.0 for s in field.spacing_mm)
    again = fields.random_field(seed, 12)
    np.testing.assert_array_equal(again.tia, field.tia)


def test_the_truth_of_a_sample_is_the_monte_carlo(folder, sample):
    with np.load(folder / "train" / "field_00001.npz") as arrays:
        assert set(arrays) == {"tia", "density", "dose", "noise", "spacing_mm"}
        energy = float((arrays["dose"].astype(float) * arrays["density"]).sum())
    assert energy > 0
    assert np.isfinite(sample.ratio).all()
    assert sample.channels.shape == (len(CHANNELS), 14, 14, 14)
    assert not sample.counts[0].any()  # the faces are not learned
    assert 0 < sample.counts.mean() < 1


def test_a_cancelled_or_repeated_writing_keeps_what_is_there(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(samples, "random_field", lambda seed: fields.random_field(seed, 8))
    monkeypatch.setattr(samples, "with_truth", lambda case, *a: made.append(case.name) or {"tia": case.tia})
    with pytest.raises(CancelledError):
        samples.write_samples(tmp_path, "fields", 3, progress=lambda f, m: "2" not in m)
    assert len(made) == 2
    samples.write_samples(tmp_path, "fields", 3)
    assert len(made) == 3
    assert len(list(tmp_path.iterdir())) == 3


def test_deformed_cts_and_wrong_kinds(tmp_path):
    from TheranosticDoseLib.dose.training.samples import image_of

    ct = image_of(np.where(np.indices((30, 30, 30))[2] > 15, 40.0, -800.0), (2.0, 2.0, 2.0))
    case = samples.ct_case(1, ct, (16, 16, 16))
    assert case.density.shape == (16, 16, 16)
    assert case.tia.max() > 0
    assert not (case.tia[case.density < 0.1] > 0).any()
    with pytest.raises(InputError, match="--ct FILE"):
        samples.write_samples(tmp_path, "ct", 1)
    with pytest.raises(InputError, match="known: fields"):
        samples.write_samples(tmp_path, "magic", 1)


@given(order=st.permutations([0, 1, 2]), flips=st.tuples(*[st.integers(0, 1)] * 3))
@settings(max_examples=12, deadline=None)
def test_turning_the_input_turns_the_case(order, flips):
    """Channels of an axis go with it: the input of a turned case is the turned input."""
    from TheranosticDoseLib.dose.cnn.inputs import depths

    rng = np.random.default_rng(0)
    density, sides = rng.uniform(0.3, 1.5, (4, 5, 6)).astype(np.float32), [0.2, 0.3, 0.4]
    names = ("depth_z", "depth_y", "depth_x")
    found = data.turned(np.stack(depths(density, sides)), names, order, flips)
    moved = data._turn(density, order, flips)
    expected = np.stack(depths(moved, [sides[axis] for axis in order]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_blur_channels_turn_with_their_axis():
    names = CHANNELS + BLUR_CHANNELS
    channels = np.stack([np.full((2, 2, 2), float(i)) for i in range(len(names))])
    turned = data.turned(channels, names, (2, 0, 1), (0, 0, 0))
    assert turned[names.index("blur_z")][0, 0, 0] == names.index("blur_x")
    assert turned[names.index("depth_y")][0, 0, 0] == names.index("depth_z")


def test_the_expected_noise_goes_with_the_energy():
    rng = np.random.default_rng(1)
    kernel, density = rng.uniform(0.1, 1.0, (20, 20, 20)), rng.choice([0.3, 1.0, 1.5], (20, 20, 20))
    energy = kernel * density
    noise = np.sqrt(2e-3 * energy) / density
    found = data.expected_noise2(kernel, kernel, noise, density)
    np.testing.assert_allclose(found, 2e-3 / energy, rtol=1e-6)


def test_corrections_below_what_was_resolved_are_not_applied():
    from TheranosticDoseLib.dose.cnn.predict import shrunk

    np.testing.assert_allclose(
        shrunk(np.array([-0.3, -0.005, 0.0, 0.01, 0.5]), 0.01), [-0.29, 0, 0, 0, 0.49], atol=1e-7
    )


def test_the_loss_is_least_at_the_mean_of_noisy_truth():
    """The noise of the truth does not pull the correction to either side."""
    generator = torch.Generator().manual_seed(0)
    noise = 0.05
    ratio = 1.2 + noise * torch.randn((1, 40, 40, 40), generator=generator)
    noise2, counts = torch.full_like(ratio, noise**2), torch.ones_like(ratio, dtype=torch.bool)
    factors = np.linspace(1.15, 1.25, 21)
    losses = []
    for factor in factors:
        raw = torch.zeros((1, 2, 40, 40, 40))
        raw[:, 0] = np.log(10) * np.arctanh(np.log(factor) / np.log(10))
        losses.append(float(loop.loss_of(raw, ratio, noise2, counts, 10.0, 0.01)))
    assert factors[int(np.argmin(losses))] == pytest.approx(1.2, abs=0.008)


def test_the_calibration_finds_a_known_factor():
    rng = np.random.default_rng(2)
    relative, noise2 = rng.uniform(0.01, 0.05, 20000), np.full(20000, 0.02**2)
    error = rng.standard_normal(20000) * np.sqrt((2.5 * relative) ** 2 + noise2)
    assert card.calibrated(error, noise2, relative) == pytest.approx(2.5, rel=0.05)


def test_training_makes_a_network_with_record_card_and_checksum(folder, tmp_path):
    description = train_network(folder / "train", tmp_path, TINY, folder / "held")
    loaded, network = networks.load(tmp_path)
    assert loaded.weights_sha256 == description.weights_sha256
    assert loaded.training["sample_names"] == ["field_00001", "field_00002"]
    assert loaded.held_out["cases"] == ["field_00003"]
    assert set(loaded.domain) == {"log_contrast", "density_max", "spacing_min", "spacing_max", "anisotropy"}
    assert any(float(p.detach().abs().sum()) > 0 for p in network.last.parameters())
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "Research software, not a medical device" in text
    assert "tissue borders" in text
    rows = (tmp_path / "curve.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 4


def test_training_is_deterministic_and_goes_on_where_it_stopped(folder, tmp_path):
    learned = data.read_samples(folder / "train")
    _, straight = loop.train(learned, tmp_path / "a", TINY)
    with pytest.raises(CancelledError):
        loop.train(learned, tmp_path / "b", TINY, progress=lambda f, m: f < 0.5)
    _, resumed = loop.train(learned, tmp_path / "b", TINY)
    for a, b in zip(straight.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(InputError, match="other settings"):
        loop.train(learned, tmp_path / "b", dataclasses.replace(TINY, seed=6))


def test_learning_makes_the_error_smaller(folder, tmp_path):
    """On one case with a wrong kernel everywhere, a few steps learn the constant."""
    learned = data.read_samples(folder / "train")[:1]
    learned = [dataclasses.replace(learned[0], ratio=np.full_like(learned[0].ratio, 1.5))]
    choice = dataclasses.replace(TINY, steps=60, learning_rate=1e-2, save_every=60)
    description, network = loop.train(learned, tmp_path, choice)
    network_error, kernel_error = loop.net_errors(network, description, learned, "cpu")
    assert network_error < 0.5 * kernel_error


def test_what_cannot_be_trained_is_one_sentence(folder, tmp_path, capsys):
    learned = data.read_samples(folder / "train")
    with pytest.raises(InputError, match="both|among"):
        loop.train(learned, tmp_path, TINY, learned[:1])
    with pytest.raises(SettingsError, match="multiple of 2"):
        dataclasses.replace(TINY, side=9)
    with pytest.raises(SettingsError, match="variant"):
        dataclasses.replace(TINY, variant="gan")
    assert main(["train", "--samples", str(tmp_path / "none"), "--out", str(tmp_path / "x")]) == 2
    assert "no .npz" in capsys.readouterr().err
    np.savez(tmp_path / "bad.npz", tia=np.zeros(3))
    with pytest.raises(InputError, match="cannot be read"):
        data.read_sample(tmp_path / "bad.npz")


def test_shipped_networks_are_whole_and_say_what_they_were_trained_on(checkout):
    for folder in sorted((checkout / "Resources" / "Models").glob("dose_*")):
        description, _ = networks.load(folder)
        assert f"dose_{description.name}" == folder.name
        assert description.held_out["cases"]
        assert not set(description.held_out["cases"]) & set(description.training["sample_names"])
        assert (folder / networks.WEIGHTS).stat().st_size < 15e6
        text = (folder / "card.md").read_text(encoding="utf-8")
        assert "Performance on samples that were not trained on" in text
        json.loads((folder / networks.DESCRIPTION).read_text(encoding="utf-8"))


@pytest.mark.slow
def test_blurred_samples_hold_the_blurred_map_and_the_true_dose(tmp_path):
    (path,) = samples.write_samples(tmp_path, "blurred", 1, seed=1)
    with np.load(path) as arrays:
        assert arrays["blurred"].sum() == pytest.approx(arrays["tia"].sum(), rel=0.05)
        assert arrays["blurred"].max() < arrays["tia"].max()
    sample = data.read_sample(path, deblur=True)
    assert sample.channels.shape[0] == len(CHANNELS) + len(BLUR_CHANNELS)
    hot = sample.counts & (sample.share > 0.5)
    assert sample.ratio[hot].mean() > 1.0  # what blur took away
