"""TotalSegmentator and nnU-Net: refusals without them, a stand-in, the real ones where installed."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import SimpleITK as sitk
from DoseSegmentationLib import backend_nnunet, backend_totalsegmentator, backends
from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.segmentation import BackendUnavailable

STAND_IN = {
    "__init__.py": "",
    "map_to_binary.py": (
        "class_map = {'total': {1: 'spleen', 2: 'kidney_right', 3: 'kidney_left', 5: 'liver', "
        "10: 'lung_upper_lobe_left', 11: 'lung_lower_lobe_left'}}\n"
    ),
    "python_api.py": (
        "import SimpleITK as sitk\n"
        "calls = []\n"
        "def totalsegmentator(input, output, **options):\n"
        "    print('chatter')\n"
        "    calls.append(options)\n"
        "    if options['device'] == 'mps':\n"
        "        raise SystemExit(1)\n"
        "    if options['device'] == 'gpu':\n"
        "        raise RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')\n"
        "    ct = sitk.ReadImage(str(input))\n"
        "    out = sitk.Cast(ct == 60, sitk.sitkUInt8) * 5 + sitk.Cast(ct == -800, sitk.sitkUInt8) * 10 "
        "+ sitk.Cast(ct == -790, sitk.sitkUInt8) * 11\n"
        "    sitk.WriteImage(out, str(output))\n"
    ),
}


@pytest.fixture
def ct():
    values = np.full((30, 40, 44), -1000.0, np.float32)
    values[:, 6:34, 6:38] = 0.0
    values[4:12, 10:20, 8:20] = 60.0
    values[14:20, 10:20, 24:34] = -800.0
    values[20:28, 10:20, 24:34] = -790.0
    image = sitk.GetImageFromArray(values)
    image.SetSpacing([4.0] * 3)
    return image


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed (extra 'networks')")
    folder = tmp_path / "site" / "totalsegmentator"
    folder.mkdir(parents=True)
    for name, text in STAND_IN.items():
        (folder / name).write_text(text)
    for name in [m for m in sys.modules if m.split(".")[0] == "totalsegmentator"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    for name in [m for m in sys.modules if m.split(".")[0] == "totalsegmentator"]:
        del sys.modules[name]


def test_totalsegmentator_classes_become_structures(stand_in, ct, capsys):
    found = backends.segment("totalsegmentator", ct, None, ["Liver", "lung left"], device="cpu")
    truth = sitk.GetArrayFromImage(ct)
    assert np.array_equal(sitk.GetArrayFromImage(found.mask("Liver")) > 0, truth == 60)
    lungs = np.isin(truth, (-800, -790))
    assert np.array_equal(sitk.GetArrayFromImage(found.mask("Lung left")) > 0, lungs)
    assert found.record("Liver").code["value"] == "10200004"
    assert capsys.readouterr().out == ""
    from totalsegmentator.python_api import calls

    assert calls[-1]["roi_subset"] == ["liver", "lung_upper_lobe_left", "lung_lower_lobe_left"]
    assert calls[-1]["fast"] is False


def test_totalsegmentator_memory_guard_and_failure(stand_in, ct, monkeypatch):
    monkeypatch.setattr(backend_totalsegmentator, "LARGE_VOXELS", 1000)
    found = backends.segment("totalsegmentator", ct, None, ["Liver"], device="cpu")
    assert any("3 mm mode" in note for note in found.notes)
    with pytest.raises(SegmentationError, match="TotalSegmentator failed"):
        backends.segment("totalsegmentator", ct, None, ["Liver"], device="mps")
    with pytest.raises(SegmentationError, match="needs a CT"):
        backends.segment("totalsegmentator", None, ct + 1001.0, ["Liver"], device="cpu")


def test_totalsegmentator_goes_to_the_cpu_where_the_memory_of_the_gpu_ran_out(stand_in, ct):
    found = backends.segment("totalsegmentator", ct, None, ["Liver"], device="cuda")
    assert found.record("Liver").volume_ml > 0
    assert any("Memory ran out on gpu: repeated on the CPU" in note for note in found.notes)


def test_a_part_of_the_packages_is_one_sentence(stand_in, ct, tmp_path):
    (tmp_path / "site" / "totalsegmentator" / "python_api.py").write_text("import package_that_is_missing\n")
    with pytest.raises(BackendUnavailable, match="in part only: No module named 'package_that_is_missing'"):
        backends.segment("totalsegmentator", ct, None, ["Liver"], device="cpu")


@pytest.mark.skipif(find_spec("totalsegmentator") is not None, reason="TotalSegmentator is installed")
def test_totalsegmentator_absent(ct):
    with pytest.raises(BackendUnavailable, match="pip install TotalSegmentator"):
        backends.segment("totalsegmentator", ct)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("totalsegmentator") is None, reason="TotalSegmentator is not installed")
def test_totalsegmentator_knows_all_classes_of_the_groups():
    from totalsegmentator.map_to_binary import class_map

    names = set(class_map["total"].values())
    assert not [
        part for parts in backend_totalsegmentator._groups().values() for part in parts if part not in names
    ]


def test_groups_cover_the_structures_offered():
    groups = backend_totalsegmentator._groups()
    assert set(groups) == set(backend_totalsegmentator.STRUCTURES)
    parts = [part for one in groups.values() for part in one]
    assert len(parts) == len(set(parts))


def nnunet_folder(folder, labels=None):
    folder.mkdir()
    dataset = {
        "channel_names": {"0": "CT"}, "labels": labels or {"background": 0, "liver": 1, "kidney_left": 2},
        "numTraining": 1, "file_ending": ".nii.gz",
    }  # fmt: skip
    features = {
        "n_stages": 2, "features_per_stage": [4, 8], "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 2, "strides": [[1, 1, 1], [2, 2, 2]], "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1], "conv_bias": True, "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": [16, 16, 16], "median_image_size_in_voxels": [30.0, 40.0, 44.0], "spacing": [4.0, 4.0, 4.0],
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape", "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling, "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": features, "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }  # fmt: skip
    intensity = {"0": {"mean": 0.0, "std": 200.0, "percentile_00_5": -1000.0, "percentile_99_5": 1000.0,
                       "max": 1000.0, "min": -1000.0, "median": 0.0}}  # fmt: skip
    plans = {
        "dataset_name": "Dataset999_Tiny", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "experiment_planner_used": "x",
        "label_manager": "LabelManager", "foreground_intensity_properties_per_channel": intensity,
        "original_median_spacing_after_transp": [4.0, 4.0, 4.0],
        "original_median_shape_after_transp": [30, 40, 44], "configurations": {"3d_fullres": configuration},
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "fold_0").mkdir()
    return dataset, plans


def test_nnunet_folders_that_are_none(tmp_path):
    with pytest.raises(SegmentationError, match="no nnU-Net v2 model"):
        backend_nnunet.read_folder(tmp_path, "", "checkpoint_final.pth")
    nnunet_folder(tmp_path / "m")
    with pytest.raises(SegmentationError, match="no fold has"):
        backend_nnunet.read_folder(tmp_path / "m", "", "checkpoint_final.pth")
    (tmp_path / "m" / "fold_0" / "checkpoint_final.pth").write_bytes(b"x")
    dataset, _, file = backend_nnunet.read_folder(tmp_path / "m", "0", "checkpoint_final.pth")
    assert file.parent.name == "fold_0"
    assert backend_nnunet.class_names(dataset, tmp_path) == {1: "liver", 2: "kidney left"}
    with pytest.raises(SegmentationError, match="do not overlap"):
        backend_nnunet.class_names({"labels": {"background": 0, "tumor": [1, 2]}}, tmp_path)


@pytest.mark.skipif(find_spec("nnunetv2") is not None, reason="nnunetv2 is installed")
def test_nnunet_absent(ct):
    with pytest.raises(BackendUnavailable, match="pip install nnunetv2"):
        backends.segment("nnunet:folder", ct)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("nnunetv2") is None, reason="nnunetv2 is not installed")
def test_nnunet_real_loading(tmp_path, ct):
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    _, plans = nnunet_folder(tmp_path / "m")
    arguments = dict(plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"])
    arguments |= {
        "conv_op": torch.nn.Conv3d,
        "norm_op": torch.nn.InstanceNorm3d,
        "nonlin": torch.nn.LeakyReLU,
    }
    torch.manual_seed(0)
    network = PlainConvUNet(1, num_classes=3, deep_supervision=False, **arguments)
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": (0, 1, 2),
        "_best_ema": np.float64(0.5),
    }
    torch.save(checkpoint, tmp_path / "m" / "fold_0" / "checkpoint_final.pth")
    first = backends.segment(f"nnunet:{tmp_path / 'm'}", ct, device="cpu")
    again = backends.segment(f"nnunet:{tmp_path / 'm'}", ct, device="cpu")
    labels = [sitk.GetArrayFromImage(found.label_map) for found in (first, again)]
    assert np.array_equal(*labels)
    assert labels[0].max() > 0
    assert {record.name for record in first.records} == {"Liver", "Kidney left"}
