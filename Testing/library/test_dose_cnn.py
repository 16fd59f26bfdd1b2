"""The network engine: what holds for any weights, what it refuses, what it doubts, who takes over."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from TheranosticDoseLib.dose import Anatomy, absorbed_dose, engines
from TheranosticDoseLib.errors import CancelledError, EngineUnavailableError, InputError, SettingsError
from TheranosticDoseLib.geometry import array_of

sitk = pytest.importorskip("SimpleITK")
torch = pytest.importorskip("torch")
pytest.importorskip("monai")
pytest.importorskip("safetensors")

from TheranosticDoseLib.dose.cnn import network as networks  # noqa: E402
from TheranosticDoseLib.dose.cnn import predict  # noqa: E402
from TheranosticDoseLib.dose.cnn.inputs import BLUR_CHANNELS, CHANNELS, inputs_of  # noqa: E402
from TheranosticDoseLib.nuclides import nuclide  # noqa: E402

DOMAIN = {
    "log_contrast": (0.5, 3.0),
    "density_max": (1.0, 2.0),
    "spacing_min": (2.0, 5.0),
    "spacing_max": (2.0, 5.0),
    "anisotropy": (1.0, 1.6),
}


def image(array, spacing=(3.0, 3.0, 3.0)):
    made = sitk.GetImageFromArray(np.asarray(array, np.float32))
    made.SetSpacing(spacing)
    return made


@pytest.fixture(scope="module")
def case():
    """A body of soft tissue, lung and bone in air; a lesion, a background and an empty lung."""
    density = np.full((22, 24, 26), 0.0012, np.float32)
    density[2:-2, 2:-2, 2:-2] = 1.04
    density[2:-2, 2:-2, 2:9] = 0.26
    density[2:-2, 2:-2, 18:22] = 1.5
    tia = np.where(density > 0.9, 1.0, 0.0).astype(np.float32)
    tia[8:13, 8:13, 9:14] = 20.0
    return image(tia), Anatomy(image(density))


def written(folder, trained=True, name="cnn", channels=CHANNELS):
    """Write a network: of zeros in its last layer, or with random weights there."""
    torch.manual_seed(3)
    made = networks.DoseNetwork(name, "0", ("Lu-177",), (2.0, 5.0), channels, (4, 8, 8), domain=DOMAIN)
    network = networks.build(made)
    if trained:
        torch.nn.init.normal_(network.last.weight, std=0.2)
    networks.save(folder, made, network, "card")
    return str(folder)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return written(tmp_path_factory.mktemp("untrained"), trained=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return written(tmp_path_factory.mktemp("trained"))


def test_an_untrained_network_is_the_kernel(case, untrained):
    kernel = absorbed_dose(*case, engine="vsv_density")
    result = absorbed_dose(*case, engine="cnn", model=untrained)
    np.testing.assert_allclose(array_of(result.dose), array_of(kernel.dose), rtol=1e-5)
    assert abs(result.record["kernel_energy_change"]) < 1e-6
    assert result.record["network"]["weights_sha256"]
    assert result.record["device"] == "cpu"


def test_the_dose_is_proportional_to_the_activity(case, trained):
    tia, anatomy = case
    one = absorbed_dose(tia, anatomy, engine="cnn", model=trained)
    many = absorbed_dose(tia * 1000.0, anatomy, engine="cnn", model=trained)
    np.testing.assert_allclose(array_of(many.dose), 1000.0 * array_of(one.dose), rtol=2e-4)
    np.testing.assert_allclose(array_of(many.uncertainty), 1000.0 * array_of(one.uncertainty), rtol=2e-3)
    assert one.record["kernel_energy_change"] != 0


def test_the_correction_is_bounded(case, tmp_path):
    made = networks.DoseNetwork("cnn", "0", ("Lu-177",), (2.0, 5.0), CHANNELS, (4, 8, 8), domain=DOMAIN)
    network = networks.build(made)
    torch.nn.init.constant_(network.last.bias, 1e3)
    networks.save(tmp_path, made, network, "card")
    kernel = array_of(absorbed_dose(*case, engine="vsv_density").dose)
    dose = array_of(absorbed_dose(*case, engine="cnn", model=str(tmp_path)).dose)
    assert dose.max() <= 10.001 * kernel.max()


def test_tiles_give_what_the_whole_gives(case, trained):
    description, network = networks.load(trained)
    channels = np.tile(inputs_of(*case, nuclide("Lu-177")).channels, (1, 1, 1, 3))
    whole, u = predict.predict(network, description, channels, flips=1)
    tiled, u_tiled = predict._run(network, description, channels, 40, 1, "cpu", False, None)
    np.testing.assert_allclose(tiled, whole, rtol=1e-3)
    np.testing.assert_allclose(u_tiled, u, rtol=1e-3)


def test_the_memory_bound_makes_small_tiles(case, trained):
    from TheranosticDoseLib.dose.cnn.predict import tile_side

    assert tile_side(3000, 8) >= 128
    assert tile_side(50, 8) < 64
    generous = absorbed_dose(*case, engine="cnn", model=trained)
    bounded = absorbed_dose(*case, engine="cnn", model=trained, memory_mb=50.0)
    np.testing.assert_allclose(array_of(bounded.dose), array_of(generous.dose), rtol=1e-3)


def test_eight_mirror_images_make_the_correction_symmetric_and_add_their_scatter(case, trained):
    description, network = networks.load(trained)
    channels = inputs_of(*case, nuclide("Lu-177")).channels
    mirrored = np.ascontiguousarray(channels[:, :, :, ::-1])
    one, u_one = predict.predict(network, description, channels, flips=1)
    eight, u_eight = predict.predict(network, description, channels, flips=8)
    turned, _ = predict.predict(network, description, mirrored, flips=8)
    np.testing.assert_allclose(turned[:, :, ::-1], eight, rtol=1e-4)
    assert not np.allclose(one, eight, rtol=1e-4)
    assert u_eight.mean() > u_one.mean()


def test_progress_and_cancel(case, trained):
    seen = []
    absorbed_dose(*case, engine="cnn", model=trained, progress=lambda f, m: seen.append((f, m)) or True)
    assert any("Network" in message for _, message in seen)
    assert [f for f, _ in seen] == sorted(f for f, _ in seen)
    with pytest.raises(CancelledError):
        absorbed_dose(*case, engine="cnn", model=trained, progress=lambda f, m: "Network" not in m)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"flips": 3}, "flips"),
        ({"handover": "gate"}, "handover"),
        ({"doubt": 0.0}, "doubt"),
        ({"memory_mb": 1.0}, "memory_mb"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_settings_are_checked(case, values, word):
    with pytest.raises(SettingsError, match=word):
        absorbed_dose(*case, engine="cnn", **values)


def test_other_nuclides_are_refused_with_a_way_out(case, trained):
    with pytest.raises(InputError, match=r"not trained for Y-90.*'vsv_density' or 'mc'"):
        absorbed_dose(*case, engine="cnn", nuclide="Y-90", model=trained)


@pytest.mark.parametrize("side", [1.0, 8.0])
def test_other_voxel_sizes_are_refused_with_a_way_out(case, trained, side):
    tia, density = (image(array_of(i), (side,) * 3) for i in (case[0], case[1].density))
    with pytest.raises(InputError, match=r"2 to 5 mm.*'vsv_density' or 'mc'"):
        absorbed_dose(tia, Anatomy(density), engine="cnn", model=trained)


def test_a_huge_grid_is_refused_before_any_work(trained):
    from TheranosticDoseLib.dose.cnn.engine import refuse_foreign
    from TheranosticDoseLib.nuclides import nuclide

    class Huge:
        def GetSpacing(self):  # noqa: N802
            return (3.0, 3.0, 3.0)

        def GetSize(self):  # noqa: N802
            return (2048, 2048, 2048)

    description, _ = networks.load(trained)
    with pytest.raises(InputError, match="crop it"):
        refuse_foreign(Huge(), nuclide("Lu-177"), description)


def test_nan_is_refused(case, trained):
    tia = np.array(array_of(case[0]))
    tia[5, 5, 5] = np.nan
    with pytest.raises(InputError, match="NaN"):
        absorbed_dose(image(tia), case[1], engine="cnn", model=trained)


def test_missing_and_damaged_weights_are_errors_not_another_engine(case, tmp_path):
    with pytest.raises(EngineUnavailableError, match="vsv_density"):
        absorbed_dose(*case, engine="cnn", model=str(tmp_path))
    written(tmp_path)
    weights = tmp_path / networks.WEIGHTS
    damaged = bytearray(weights.read_bytes())
    damaged[-4] ^= 1
    weights.write_bytes(bytes(damaged))
    with pytest.raises(EngineUnavailableError, match="checksum.*vsv_density"):
        absorbed_dose(*case, engine="cnn", model=str(tmp_path))
    weights.unlink()
    with pytest.raises(EngineUnavailableError, match="missing.*vsv_density"):
        absorbed_dose(*case, engine="cnn", model=str(tmp_path))
    (tmp_path / networks.DESCRIPTION).write_text("{", encoding="utf-8")
    with pytest.raises(EngineUnavailableError, match="not understood"):
        absorbed_dose(*case, engine="cnn", model=str(tmp_path))


def test_weights_of_another_architecture_are_foreign(case, tmp_path):
    import json

    written(tmp_path)
    path = tmp_path / networks.DESCRIPTION
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "features": [4, 8, 16]}), encoding="utf-8")
    with pytest.raises(EngineUnavailableError, match="another network"):
        absorbed_dose(*case, engine="cnn", model=str(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"features": ["a", "b", "c"]}, {"features": []}, {"bound": 0}, {"bound": "ten"}, {"domain": None},
        {"domain": {}}, {"spacing_mm": [3.0]}, {"channels": ["level"]}, {"calibration": 0}, None,
    ],
)  # fmt: skip
def test_a_description_that_cannot_be_one_is_a_sentence(case, tmp_path, change):
    import json

    written(tmp_path)
    path = tmp_path / networks.DESCRIPTION
    content = {**json.loads(path.read_text(encoding="utf-8")), **change} if change else ["no table"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(EngineUnavailableError, match="not understood.*vsv_density"):
        absorbed_dose(*case, engine="cnn", model=str(tmp_path))


def test_a_network_of_the_other_kind_is_refused(case, tmp_path, trained):
    with pytest.raises(EngineUnavailableError, match="for the engine 'cnn'.*vsv_density"):
        absorbed_dose(*case, engine="cnn_pvc", model=trained)
    folder = written(tmp_path, name="cnn_pvc", channels=CHANNELS + BLUR_CHANNELS)
    with pytest.raises(EngineUnavailableError, match="for the engine 'cnn_pvc'.*vsv_density"):
        absorbed_dose(*case, engine="cnn", model=folder)


def test_without_torch_the_engine_says_what_to_install(case, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else find(name, *a)
    )
    listed = engines()["cnn"]
    assert not listed["available"]
    assert "torch" in listed["reason"]
    assert "vsv_density" in listed["reason"]
    with pytest.raises(EngineUnavailableError, match="torch"):
        absorbed_dose(*case, engine="cnn")


def test_listing_the_engines_imports_no_torch(checkout):
    import os
    import subprocess

    path = os.pathsep.join(str(checkout / part) for part in ("TheranosticDose", "DoseSegmentation"))
    code = (
        "import sys; from TheranosticDoseLib.dose import engines; engines(); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == 0


def test_cuda_is_an_error_where_there_is_none(case, trained):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(EngineUnavailableError, match="CUDA"):
        absorbed_dose(*case, engine="cnn", model=trained, device="cuda")


def test_half_precision_is_used_on_a_gpu_and_close(case, trained):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    cpu = absorbed_dose(*case, engine="cnn", model=trained, device="cpu")
    gpu = absorbed_dose(*case, engine="cnn", model=trained, device="cuda")
    assert gpu.record["network"]["half_precision"]
    np.testing.assert_allclose(array_of(gpu.dose), array_of(cpu.dose), rtol=0.02)


def test_a_usual_case_is_in_the_domain(case, untrained):
    confidence = absorbed_dose(*case, engine="cnn", model=untrained).record["confidence"]
    assert confidence["out_of_domain"]["score"] <= 1
    assert not confidence["doubtful"]


def test_metal_is_flagged_where_it_is(case, untrained):
    tia, anatomy = case
    density = np.array(array_of(anatomy.density))
    density[10:12, 17:19, 14:16] = 4.5
    result = absorbed_dose(tia, Anatomy(image(density)), engine="cnn", model=untrained)
    confidence = result.record["confidence"]
    assert confidence["out_of_domain"]["worst"] == "density_max"
    assert confidence["out_of_domain"]["score"] > 1
    assert 0 < confidence["foreign_voxels"] < 0.2 * density.size
    assert any(f["field"] == "dose.cnn.confidence" for f in result.record["findings"])


def test_a_lesion_a_hundred_times_hotter_is_flagged(case, untrained):
    tia = np.array(array_of(case[0]))
    tia[tia > 10] *= 100
    confidence = absorbed_dose(image(tia), case[1], engine="cnn", model=untrained).record["confidence"]
    assert confidence["out_of_domain"]["worst"] == "log_contrast"
    assert confidence["doubtful"]


@pytest.mark.parametrize("handover", ["region", "all"])
def test_the_monte_carlo_takes_over_as_chosen_and_says_so(case, untrained, handover):
    pytest.importorskip("numba")
    tia, anatomy = case
    density = np.array(array_of(anatomy.density))
    density[10:12, 17:19, 14:16] = 4.5
    metal = Anatomy(image(density))
    options = {"handover": handover, "handover_histories": 40_000}
    result = absorbed_dose(tia, metal, engine="cnn", model=untrained, **options)
    plain = absorbed_dose(tia, metal, engine="cnn", model=untrained)
    exact = absorbed_dose(tia, metal, engine="mc", histories=40_000, seed=1)
    of_mc = array_of(result.dose) == array_of(exact.dose)
    if handover == "all":
        from TheranosticDoseLib.dvh import histogram_of

        assert of_mc.all()
        voi = image(np.array(array_of(tia)) > 10)
        assert histogram_of(result, voi).u_mean_gy == pytest.approx(histogram_of(exact, voi).u_mean_gy)
    else:
        kept = array_of(result.dose) == array_of(plain.dose)
        assert (kept | of_mc).all()
        assert 0 < of_mc[density > 4].mean() == 1.0
        assert kept.mean() > 0.5
    assert result.record["handed_over"]["monte_carlo"]["decays"] == 40_000
    assert any(f["field"] == "dose.cnn.handover" for f in result.record["findings"])


def test_a_foreign_grid_is_handed_over_whole_though_a_place_in_it_is_foreign_too(case, untrained):
    pytest.importorskip("numba")
    tia, density = (np.array(array_of(one)) for one in (case[0], case[1].density))
    density[10:12, 17:19, 14:16] = 4.5
    flat = (2.0, 2.0, 5.0)
    options = {"model": untrained, "handover": "region", "handover_histories": 20_000}
    result = absorbed_dose(image(tia, flat), Anatomy(image(density, flat)), engine="cnn", **options)
    assert result.record["confidence"]["out_of_domain"]["numbers"]["anisotropy"]["score"] > 1
    assert result.record["handed_over"]["share_of_voxels"] > 0.9


def test_nothing_is_handed_over_without_doubt(case, untrained):
    result = absorbed_dose(*case, engine="cnn", model=untrained, handover="all")
    assert "handed_over" not in result.record


def test_uncertain_voxels_are_a_finding(case, untrained):
    result = absorbed_dose(*case, engine="cnn", model=untrained, doubt=0.01)
    finding = next(f for f in result.record["findings"] if f["field"] == "dose.cnn.confidence")
    assert "predicted uncertainty above 1 %" in finding["message"]


def test_the_deblurring_engine_says_what_it_did(case, tmp_path):
    folder = written(tmp_path, trained=False, name="cnn_pvc", channels=CHANNELS + BLUR_CHANNELS)
    kernel = absorbed_dose(*case, engine="vsv_density")
    result = absorbed_dose(*case, engine="cnn_pvc", model=folder, resolution_mm=12.0)
    np.testing.assert_allclose(array_of(result.dose), array_of(kernel.dose), rtol=1e-5)
    assert any("inferred, not measured" in f["message"] for f in result.record["findings"])
    with pytest.raises(SettingsError, match="de-blur"):
        absorbed_dose(*case, engine="cnn_pvc", model=folder, handover="all")
    with pytest.raises(SettingsError, match="9 to 15 mm"):
        absorbed_dose(*case, engine="cnn_pvc", model=folder, resolution_mm=5.0)


def test_scores_grow_with_the_distance_and_simpler_cases_are_inside():
    from TheranosticDoseLib.dose.cnn.domain import score

    made = networks.DoseNetwork("cnn", "0", ("Lu-177",), (2.0, 5.0), CHANNELS, domain=DOMAIN)
    inside = {
        "log_contrast": 1.0,
        "density_max": 1.5,
        "spacing_min": 3.0,
        "spacing_max": 3.0,
        "anisotropy": 1.0,
    }
    assert score(inside, made)["score"] <= 1
    assert score({**inside, "density_max": 0.9, "log_contrast": 0.0}, made)["score"] <= 1
    far = [score({**inside, "density_max": d}, made)["score"] for d in (2.5, 4.0, 8.0)]
    assert 1 < far[0] < far[1] < far[2]
    assert score({**inside, "spacing_min": 1.0}, made)["worst"] == "spacing_min"


def test_the_description_is_a_frozen_table_that_survives_json(trained):
    description, _ = networks.load(trained)
    assert description.channels == CHANNELS
    assert description.domain["density_max"] == [1.0, 2.0] or description.domain["density_max"] == (1.0, 2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        description.name = "other"


def test_a_run_hands_over_as_its_settings_say(case, untrained):
    pytest.importorskip("numba")
    from TheranosticDoseLib.workflow import RunSettings, steps
    from TheranosticDoseLib.workflow.run import engine_findings

    chosen = {"model": untrained, "doubt": 0.01, "handover": "region", "handover_histories": 20_000}
    values = RunSettings(engine_settings={"cnn": chosen})
    doses = steps.doses(*case, "Lu-177", ("cnn",), values, None)
    assert doses["cnn"].record["handed_over"]["share_of_voxels"] > 0
    assert {f.field for f in engine_findings(doses)} >= {"dose.cnn.confidence", "dose.cnn.handover"}


def test_the_deblurred_dose_is_shown_beside_the_plain_one_only():
    from TheranosticDoseLib.quantification import QuantificationSettings
    from TheranosticDoseLib.workflow import RunSettings, check_engines

    for engines_ in (("cnn_pvc",), ("cnn_pvc", "cnn"), ("mc", "cnn_pvc")):
        with pytest.raises(SettingsError, match="beside 'cnn'"):
            check_engines(engines_)
    twice = RunSettings(quantification=QuantificationSettings(recovery="gtm", fwhm_mm=11.0))
    with pytest.raises(SettingsError, match="undone twice"):
        check_engines(("cnn", "cnn_pvc"), twice)
    fine = RunSettings(quantification=QuantificationSettings(fwhm_mm=6.0))
    with pytest.raises(SettingsError, match="9 to 15 mm"):
        check_engines(("cnn", "cnn_pvc"), fine)


def test_the_deblurring_network_gets_the_resolution_of_the_site(case, tmp_path):
    from TheranosticDoseLib.quantification import QuantificationSettings
    from TheranosticDoseLib.workflow import RunSettings, steps

    folder = written(tmp_path, trained=False, name="cnn_pvc", channels=CHANNELS + BLUR_CHANNELS)
    values = RunSettings(
        quantification=QuantificationSettings(fwhm_mm=13.0), engine_settings={"cnn_pvc": {"model": folder}}
    )
    doses = steps.doses(*case, "Lu-177", ("cnn_pvc",), values, None)
    assert doses["cnn_pvc"].record["settings"]["resolution_mm"] == 13.0
