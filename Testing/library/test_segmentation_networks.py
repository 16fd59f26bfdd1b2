"""Networks through their real loading code: own folder, MONAI bundle, weights, tiles, memory."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DoseSegmentationLib import backends
from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.inputs import working_grid
from DoseSegmentationLib.segmentation import SegmentationCancelled

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'networks')")
pytest.importorskip("monai", reason="MONAI is not installed (extra 'networks')")

from DoseSegmentationLib import backend_network, inference, networks, weights  # noqa: E402

SHAPE, SPACING = (28, 36, 40), 4.0
LABELS = {"1": "Liver", "2": "Kidney left", "3": "Kidney right"}
LEVELS = {"Liver": 200.0, "Kidney left": 400.0, "Kidney right": 600.0}


class ByValue(torch.nn.Module):
    """A 'network' whose answer is known: the class whose level the CT is nearest to."""

    def __init__(self, levels=(0.0, 0.2, 0.4, 0.6)):
        super().__init__()
        self.levels = torch.nn.Parameter(torch.tensor(levels).reshape(1, -1, 1, 1, 1))

    def forward(self, x):
        return -500.0 * (x[:, :1] - self.levels) ** 2


@pytest.fixture(scope="module")
def scene():
    """A body with three boxes of their own CT value; the left kidney lies at larger x."""
    values = np.full(SHAPE, -1000.0, np.float32)
    values[:, 4:-4, 4:-4] = 0.0
    truth = {name: np.zeros(SHAPE, bool) for name in LEVELS}
    truth["Liver"][8:20, 8:16, 8:30] = True
    truth["Kidney right"][8:20, 20:28, 8:15] = True
    truth["Kidney left"][6:20, 20:28, 25:32] = True
    for name, mask in truth.items():
        values[mask] = LEVELS[name]
    image = sitk.GetImageFromArray(values)
    image.SetSpacing([SPACING] * 3)
    image.SetOrigin([-80.0, -70.0, 900.0])
    return image, truth


def description(**changes):
    made = networks.NetworkDescription(
        "tiny", "1", "organs", ("ct_wide",), dict(LABELS), (SPACING,) * 3, (16, 16, 16), features=(4, 8)
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A folder with real (random) weights, and the known answer in place of the U-Net."""
    made = description()
    torch.manual_seed(0)
    networks.save(tmp_path / "net", made, networks.build(made), "# a card")
    load = networks.load

    def known(folder):
        found, _ = load(folder)
        return found, ByValue().eval()

    monkeypatch.setattr(backend_network, "load", known)
    return tmp_path / "net"


def mask_of(found, name):
    return sitk.GetArrayFromImage(found.mask(name)) > 0


def dice(a, b):
    return 2 * np.sum(a & b) / (np.sum(a) + np.sum(b))


def test_folder_round_trip(tmp_path):
    made = description()
    torch.manual_seed(1)
    network = networks.build(made)
    saved = networks.save(tmp_path / "n", made, network, "# card")
    found, loaded = networks.load(tmp_path / "n")
    assert found == saved
    assert found.weights_sha256 == weights.sha256(tmp_path / "n" / "weights.safetensors")
    x = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(loaded(x), network.eval()(x))
    assert not list((tmp_path / "n").glob(".part*"))


def test_an_untrained_refinement_changes_nothing(tmp_path):
    plain, refined = description(), description(refinement=4)
    torch.manual_seed(2)
    network = networks.build(plain)
    networks.save(tmp_path / "plain", plain, network, "# card")
    larger = networks.build(refined)
    x = torch.randn(1, 1, 16, 16, 16)
    assert not torch.equal(larger.eval()(x), network.eval()(x))
    networks.start_from(larger, tmp_path / "plain")
    assert torch.equal(larger(x), network(x))
    # One step of learning reaches the refinement, and what was learned is stored and read again.
    torch.nn.functional.mse_loss(larger(x), torch.zeros(1, 4, 16, 16, 16)).backward()
    assert larger.refine[-1].weight.grad.abs().max() > 0
    with torch.no_grad():
        larger.refine[-1].weight += 0.1
    networks.save(tmp_path / "refined", refined, larger, "# card")
    _, loaded = networks.load(tmp_path / "refined")
    assert torch.equal(loaded(x), larger(x))
    assert not torch.allclose(loaded(x), network(x))
    another = networks.build(refined)
    networks.start_from(another, tmp_path / "refined")
    assert torch.equal(another.eval()(x), larger(x))


def test_a_refined_network_is_no_start_for_a_plain_one(tmp_path):
    refined = description(refinement=4)
    networks.save(tmp_path / "refined", refined, networks.build(refined), "# card")
    with pytest.raises(SegmentationError, match="belong to another network"):
        networks.start_from(networks.build(description()), tmp_path / "refined")


def test_network_backend_gives_the_known_answer(scene, stored):
    image, truth = scene
    found = backends.segment(f"network:{stored}", image, None, ensemble=False)
    assert [record.name for record in found.records] == ["Liver", "Kidney left", "Kidney right"]
    for name, mask in truth.items():
        assert dice(mask_of(found, name), mask) > 0.99, name
    assert found.record("Liver").origin.version.startswith("tiny 1 ")
    assert found.record("Liver").confidence is None


def test_confidence_is_the_agreement_with_the_mirror_image(scene, stored):
    image, truth = scene
    found = backends.segment(f"network:{stored}", image, None)
    assert dice(mask_of(found, "Liver"), truth["Liver"]) > 0.99
    assert found.record("Liver").confidence > 0.99
    # The mirror image swaps the names of the sides: a rule by value cannot follow, and the confidence tells.
    kidneys = [found.record(f"Kidney {side}") for side in ("left", "right")]
    assert all(record.label == 0 or record.confidence < 0.8 for record in kidneys)


@pytest.mark.parametrize("order", ["RAI", "PIR"])
def test_network_backend_in_other_orientations(scene, stored, order):
    image, truth = scene
    found = backends.segment(f"network:{stored}", sitk.DICOMOrient(image, order), None, ensemble=False)
    back = sitk.GetArrayFromImage(sitk.DICOMOrient(found.mask("Kidney left"), "LPS")) > 0
    assert dice(back, truth["Kidney left"]) > 0.98
    assert found.record("Liver").confidence is None


def test_network_backend_on_a_finer_ct(scene, stored):
    image, truth = scene
    fine = sitk.Expand(image, [2, 2, 2], sitk.sitkNearestNeighbor)
    found = backends.segment(f"network:{stored}", fine, None, ["Liver"], ensemble=False)
    expected = np.kron(truth["Liver"], np.ones((2, 2, 2))) > 0
    # The levels in between at the edges belong to other structures for this rule.
    assert dice(mask_of(found, "Liver"), expected) > 0.92
    assert found.record("Liver").volume_ml == pytest.approx(truth["Liver"].sum() * 0.064, rel=0.15)


def test_the_outline_is_finer_than_the_voxels_of_the_network():
    """A ball whose share of each 6 mm voxel is known, drawn on 2 mm voxels."""
    grid, reference = sitk.Image([12] * 3, sitk.sitkUInt8), sitk.Image([36] * 3, sitk.sitkUInt8)
    grid.SetSpacing([6.0] * 3)
    reference.SetSpacing([2.0] * 3)
    reference.SetOrigin([-2.0] * 3)  # three voxels in one of the network
    points = np.indices((36,) * 3) * 2.0 - 2.0
    ball = ((points - 31.0) ** 2).sum(0) < 28.0**2
    share = ball.reshape(12, 3, 12, 3, 12, 3).mean((1, 3, 5))
    hard = (share > 0.5).astype(np.uint8)
    dice = {}
    for name, probability in (("shares", share), ("labels", hard)):
        both = np.stack([1 - probability, probability]).astype(np.float16)
        found = sitk.GetArrayFromImage(backend_network.labels_on(hard, [1], both, grid, reference))
        dice[name] = 2 * (ball & (found == 1)).sum() / (ball.sum() + (found == 1).sum())
    assert dice["shares"] > 0.98
    assert 1 - dice["shares"] < 0.6 * (1 - dice["labels"])


def test_lesions_are_told_apart_and_a_prior_shifts_them(scene, stored):
    image, truth = scene
    lesions = description(labels={"1": "Lesion"}, mirrored=False)
    inputs = backends.checked(image, None)
    grid, channels, _ = backend_network.network_input(inputs, lesions)
    values = sitk.GetArrayFromImage(backend_network.resampled(image, grid, -1000.0))
    weak = ByValue((0.0, 0.44))  # the liver (0.2) lies just on the side of the background
    plain = inference.predict(weak, channels, (16, 16, 16), factor=2).labels
    assert not (plain[values == 200] > 0).any()
    prior = sitk.Image(image) * 0 + 0.5
    raised = prior + 0.5 * sitk.Cast(image == 200, sitk.sitkFloat32)
    offset = backend_network._offset(raised, 30.0, lesions, grid)
    shifted = inference.predict(weak, channels, (16, 16, 16), factor=2, offset=offset)
    found = backend_network.segments_of(shifted, lesions, grid, image, ["Lesion"], "x", 0.5)
    assert [record.name for record in found.records] == ["Lesion 1", "Lesion 2", "Lesion 3"]
    assert dice(mask_of(found, "Lesion 1"), truth["Liver"]) > 0.95
    with pytest.raises(SegmentationError, match="between 0 and 1"):
        backend_network._offset(prior + 3.0, 1.0, lesions, grid)


def test_slabs_and_small_tiles_give_the_same_labels(scene):
    rng = np.random.default_rng(0)
    channels = rng.normal(0.3, 0.2, (1, 90, 40, 36)).astype(np.float32)
    whole = inference.predict(ByValue(), channels, (90, 40, 36), factor=2)
    slabs = inference.predict(ByValue(), channels, (32, 32, 32), factor=2, limit_bytes=1_000_000)
    assert any("slabs" in note for note in slabs.notes)
    assert np.array_equal(whole.labels, slabs.labels)


class Hungry(ByValue):
    """Runs out of memory for tiles beyond a size."""

    def __init__(self, most, text="CUDA out of memory. Tried to allocate 3 GiB"):
        super().__init__()
        self.most, self.text = most, text

    def forward(self, x):
        if x.shape[-1] > self.most:
            raise RuntimeError(self.text)
        return super().forward(x)


def test_out_of_memory_retries_with_smaller_tiles():
    channels = np.random.default_rng(0).normal(0.3, 0.2, (1, 64, 64, 64)).astype(np.float32)
    found = inference.predict(Hungry(32), channels, (64, 64, 64), device="cpu")
    assert np.array_equal(found.labels, inference.predict(ByValue(), channels, (64, 64, 64)).labels)
    assert "tiles of 32x32x32" in found.notes[0]
    with pytest.raises(SegmentationError, match="smallest tile on the CPU"):
        inference.predict(Hungry(31), channels[:, :32, :32, :32], (32, 32, 32), device="cpu")
    with pytest.raises(RuntimeError, match="shapes"):
        inference.predict(Hungry(8, "mat1 and mat2 shapes"), channels, (64, 64, 64), device="cpu")


def test_an_unknown_device_is_a_sentence(scene, stored):
    with pytest.raises(SegmentationError, match="no device 'tpu'"):
        backends.segment(f"network:{stored}", scene[0], device="tpu")


def test_cancelled_between_tiles(scene, stored):
    with pytest.raises(SegmentationCancelled):
        backends.segment(f"network:{stored}", scene[0], progress=lambda f, m: not m.startswith("Tile 3"))


def test_unusual_input_is_noticed(scene, stored):
    path = stored / networks.DESCRIPTION
    content = json.loads(path.read_text())
    content["statistics"] = {"channel 0 percentile 50": [0.9, 0.01]}
    path.write_text(json.dumps(content))
    notes = backends.segment(f"network:{stored}", scene[0], ensemble=False).notes
    assert any("differ from those" in note for note in notes)


def test_missing_images_and_bad_folders(scene, stored, tmp_path):
    image, _ = scene
    with pytest.raises(SegmentationError, match="needs a network's folder"):
        backends.segment("network", image)
    with pytest.raises(SegmentationError, match="no network of this program"):
        backends.segment(f"network:{tmp_path}", image)
    with pytest.raises(SegmentationError, match="needs a CT"):
        backends.segment(f"network:{stored}", None, image + 1001.0)
    path = stored / networks.DESCRIPTION
    path.write_text(path.read_text().replace('"patch": [', '"patch": [3, '))
    with pytest.raises(SegmentationError, match="not understood"):
        backends.segment(f"network:{stored}", image)


def test_changed_and_foreign_weights(stored, tmp_path):
    file = stored / networks.WEIGHTS
    content = bytearray(file.read_bytes())
    content[-5] ^= 255
    file.write_bytes(bytes(content))
    with pytest.raises(SegmentationError, match="checksum"):
        networks.load(stored)
    damaged = tmp_path / "w.safetensors"
    damaged.write_bytes(b"12345678 no tensors")
    with pytest.raises(SegmentationError, match="no safetensors"):
        weights.load_weights(damaged)
    network = networks.build(description())
    with pytest.raises(SegmentationError, match="another network \\(.* is missing"):
        weights.fill(network, {}, damaged)
    state = dict(network.state_dict())
    first = next(iter(state))
    with pytest.raises(SegmentationError, match="has the shape"):
        weights.fill(network, {**state, first: torch.zeros(1)}, damaged)
    with pytest.raises(SegmentationError, match="not finite"):
        weights.fill(network, {**state, first: state[first] * float("nan")}, damaged)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("/nonexistent/evil"),))


def test_pickled_code_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": Evil()}, path)
    with pytest.raises(SegmentationError, match="holds more than weights"):
        weights.load_weights(path)
    torch.save({"network_weights": {"a": torch.ones(1)}, "best": np.float64(0.5)}, path)
    assert torch.equal(weights.load_weights(path)["a"], torch.ones(1))
    path.write_bytes(b"nothing")
    with pytest.raises(SegmentationError, match="weights"):
        weights.load_weights(path)
    torch.save({"numbers": [1, 2]}, path)
    with pytest.raises(SegmentationError, match="no table of weights"):
        weights.load_weights(path)
    with pytest.raises(SegmentationError, match="only"):
        script = tmp_path / "model.ts"
        script.write_bytes(b"x")
        weights.load_weights(script)


def test_old_pytorch_reads_no_pickles(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(1)}, path)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(SegmentationError, match="2.6 or newer"):
        weights.load_weights(path)


def test_working_grid_of_an_oblique_image(scene):
    image = sitk.Image(scene[0])
    turn = np.array(sitk.Euler3DTransform((0, 0, 0), 0.1, 0.0, 0.2).GetMatrix())
    image.SetDirection(turn.tolist())
    grid = working_grid(image, (3.0, 3.0, 5.0))
    assert grid.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert grid.GetSpacing() == (3.0, 3.0, 5.0)


# MONAI bundle -------------------------------------------------------------------------------------

METADATA = {
    "version": "0.1.0",
    "name": "Tiny organs",
    "copyright": "public domain",
    "intended_use": "a test",
    "network_data_format": {
        "inputs": {
            "image": {"type": "image", "modality": "CT", "num_channels": 1, "spatial_shape": [16, 16, 16]}
        },
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "liver", "2": "kidney_left"}}},
    },
}


def bundle_config(**more):
    return {
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3,
            "channels": [3, 4], "strides": [2], "num_res_units": 0,
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
                {"_target_": "Spacingd", "keys": "image", "pixdim": [8.0, 8.0, 8.0], "mode": "bilinear"},
                {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0.0, "a_max": 1000.0,
                 "b_min": 0.0, "b_max": 1.0},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 1, "overlap": 0.25},
        **more,
    }  # fmt: skip


def write_bundle(folder, config=None, metadata=METADATA, save=True):
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    config = config or bundle_config()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    if save:
        from monai.networks.nets import UNet

        arguments = {k: v for k, v in config["network_def"].items() if k != "_target_"}
        network = UNet(**arguments)
        torch.manual_seed(0)
        torch.save(network.state_dict(), folder / "models" / "model.pt")
        return network
    return None


@pytest.fixture
def answering(monkeypatch):
    """The bundle's U-Net answers by value after its weights were really loaded into it."""
    from monai.networks.nets import UNet

    calls = []

    def forward(self, x):
        calls.append(tuple(x.shape))
        levels = torch.tensor((0.0, 0.2, 0.4)).reshape(1, -1, 1, 1, 1)
        return -500.0 * (x - levels) ** 2

    monkeypatch.setattr(UNet, "forward", forward)
    return calls


@pytest.mark.parametrize(
    ("order", "spacing", "least"), [("LPS", 4.0, 0.98), ("PIR", 4.0, 0.98), ("RAI", 8.0, 0.8)]
)
def test_bundle_folder(scene, tmp_path, answering, order, spacing, least):
    image, truth = scene
    config = bundle_config()
    config["preprocessing"]["transforms"][3]["pixdim"] = [spacing] * 3
    write_bundle(tmp_path / "b", config)
    found = backends.segment(f"monai_bundle:{tmp_path / 'b'}", sitk.DICOMOrient(image, order), None)
    assert [record.name for record in found.records] == ["Liver", "Kidney left"]
    back = sitk.GetArrayFromImage(sitk.DICOMOrient(found.mask("liver"), "LPS")) > 0
    assert dice(back, truth["Liver"]) > least
    back = sitk.GetArrayFromImage(sitk.DICOMOrient(found.mask("left kidney"), "LPS")) > 0
    # The nearest of this rule's levels to the right kidney is the left one's.
    assert dice(back, truth["Kidney left"] | truth["Kidney right"]) > least
    assert answering[0] == (1, 1, 16, 16, 16)
    assert any("public domain" in note for note in found.notes)
    assert found.record("Liver").code["value"] == "10200004"


def test_bundle_goes_to_the_cpu_where_memory_ran_out_and_says_so(scene, tmp_path, monkeypatch):
    from monai.networks.nets import UNet

    plain, calls = UNet.forward, []

    def forward(self, x):
        calls.append(x.device)
        if len(calls) == 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return plain(self, x)

    monkeypatch.setattr(UNet, "forward", forward)
    # Another name of the processor stands for a GPU.
    monkeypatch.setattr("DoseSegmentationLib.inference.device_of", lambda name: "cpu:0")
    write_bundle(tmp_path / "b")
    notes = backends.segment(f"monai_bundle:{tmp_path / 'b'}", scene[0], None).notes
    assert any("repeated on the CPU" in note for note in notes)


def test_bundle_zip_with_real_weights(scene, tmp_path):
    image, _ = scene
    write_bundle(tmp_path / "b" / "inner")
    archive = tmp_path / "b.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for path in (tmp_path / "b").rglob("*"):
            stream.write(path, path.relative_to(tmp_path / "b"))
    first = backends.segment(f"monai_bundle:{archive}", image, None, ["Liver"])
    again = backends.segment(f"monai_bundle:{tmp_path / 'b' / 'inner'}", image, None, ["Liver"])
    labels = [sitk.GetArrayFromImage(f.label_map) for f in (first, again)]
    assert np.array_equal(*labels)
    assert labels[0].max() == 1


def test_bundle_that_wants_to_run_code(scene, tmp_path):
    path = tmp_path / "ran"
    config = bundle_config()
    code = f"$lambda x: (__import__('pathlib').Path({str(path)!r}).touch(), x)[1]"
    config["preprocessing"]["transforms"].append({"_target_": "Lambdad", "keys": "image", "func": code})
    write_bundle(tmp_path / "b", config)
    with pytest.raises(SegmentationError, match="Python of its own"):
        backends.segment(f"monai_bundle:{tmp_path / 'b'}", scene[0])
    assert not path.exists()
    backends.segment(f"monai_bundle:{tmp_path / 'b'}", scene[0], trusted=True)
    assert path.exists()
    config = bundle_config(network_def={"_target_": "os.system", "command": "true"})
    write_bundle(tmp_path / "c", config, save=False)
    with pytest.raises(SegmentationError, match="Python of its own \\('os.system'\\)"):
        backends.segment(f"monai_bundle:{tmp_path / 'c'}", scene[0])


def test_bundle_bad_folders(scene, tmp_path):
    image, _ = scene
    (tmp_path / "empty").mkdir()
    with pytest.raises(SegmentationError, match="no MONAI bundle"):
        backends.segment(f"monai_bundle:{tmp_path / 'empty'}", image)
    with pytest.raises(SegmentationError, match="neither a folder nor a zip"):
        backends.segment(f"monai_bundle:{tmp_path / 'none.zip'}", image)
    with pytest.raises(SegmentationError, match="needs a bundle"):
        backends.segment("monai_bundle", image)
    archive = tmp_path / "out.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("../escaped.txt", "x")
    with pytest.raises(SegmentationError, match="outside of itself"):
        backends.segment(f"monai_bundle:{archive}", image)
    write_bundle(tmp_path / "b", metadata={"version": "1"})
    with pytest.raises(SegmentationError, match="channel_def"):
        backends.segment(f"monai_bundle:{tmp_path / 'b'}", image)
    other = bundle_config()
    other["network_def"] = {**other["network_def"], "channels": [5, 6]}
    write_bundle(tmp_path / "d")
    (tmp_path / "d" / "configs" / "inference.json").write_text(json.dumps(other))
    with pytest.raises(SegmentationError, match="another network"):
        backends.segment(f"monai_bundle:{tmp_path / 'd'}", image)
    pet = json.loads(json.dumps(METADATA))
    pet["network_data_format"]["inputs"]["image"]["modality"] = "PET"
    write_bundle(tmp_path / "e", metadata=pet)
    with pytest.raises(SegmentationError, match="needs a SPECT"):
        backends.segment(f"monai_bundle:{tmp_path / 'e'}", image)


def test_a_network_trained_without_ct_too_takes_a_spect_alone(tmp_path):
    made = description(
        task="lesions", channels=("spect", "ct_wide"), labels={"1": "Lesion"}, ct_optional=True
    )
    made = dataclasses.replace(made, statistics={"channel 1 percentile 50": (0.05, 0.01)})
    values = np.full((24, 24, 24), 5.0, np.float32)
    values[10:14, 10:14, 10:14] = 100.0
    spect = sitk.GetImageFromArray(values)
    spect.SetSpacing([SPACING] * 3)
    inputs = backends.checked(None, spect)
    _, channels, notes = backend_network.network_input(inputs, made)
    assert np.all(channels[1] == -1.0)
    assert any("SPECT alone" in note for note in notes)
    # The channel of a CT that is not there does not count as unusual.
    assert not any("differ from those" in note for note in notes)
    with pytest.raises(SegmentationError, match="needs a CT"):
        backend_network.network_input(inputs, dataclasses.replace(made, ct_optional=False))


def test_log_odds_of_a_network_shift_its_class_everywhere():
    image = sitk.Image(6, 5, 4, sitk.sitkUInt8)
    made = description(
        task="lesions", labels={"1": "Lesion", "2": "Physiological uptake"}, log_odds={"1": 0.7}
    )
    offset = backend_network._offset(None, 2.0, made, image)
    assert offset.shape == (3, 4, 5, 6)
    assert np.all(offset[1] == np.float32(0.7))
    assert not offset[[0, 2]].any()
    sure = sitk.Cast(image + 1, sitk.sitkFloat32)
    assert np.allclose(backend_network._offset(sure, 2.0, made, image)[1], 2.7)
    assert backend_network._offset(None, 2.0, dataclasses.replace(made, log_odds={}), image) is None
