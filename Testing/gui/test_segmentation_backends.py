"""The backends in the panel of Dose Segmentation: listed, run in their process, edits kept, trust shown."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import types

import numpy as np
import pytest
import SimpleITK as sitk

PATIENCE_S = 180
needs_monai = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "monai")),
    reason="torch and MONAI are not installed (extra 'networks')",
)


def patient() -> tuple[sitk.Image, sitk.Image]:
    """A body with two lungs, a bright box in it, and one hot spot."""
    ct = np.full((30, 48, 60), -1000.0, np.float32)
    ct[:, 6:42, 6:54] = 40.0
    ct[6:26, 12:34, 10:24] = ct[6:26, 12:34, 34:48] = -800.0
    ct[10:18, 16:26, 26:32] = 400.0
    spect = np.full(ct.shape, 10.0, np.float32)
    spect[:, 6:42, 6:54] = 1e3
    spect[12:17, 34:39, 26:31] = 1e6
    found = []
    for values in (ct, spect):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((6.0, 6.0, 6.0))
        image.SetOrigin((-180.0, -144.0, -90.0))
        found.append(image)
    return tuple(found)


@pytest.fixture
def panel(module_widget):
    return module_widget("DoseSegmentation")


@pytest.fixture
def loaded(panel):
    """The panel with the patient chosen."""
    from TheranosticDoseSlicer import images

    ct, spect = patient()
    panel._parameterNode.ct = images.volume_from(ct, "CT", "ct_hu")
    panel._parameterNode.spect = images.volume_from(spect, "SPECT", "spect_bq_ml")
    return panel


def choose_backend(panel, name: str) -> None:
    from gui.actions import choose

    kinds = list(type(panel._parameterNode.backend))
    index = [kind.value for kind in kinds].index(name)
    choose(panel.ui.backendBox, panel.ui.backendBox.itemText(index))
    assert panel.backendPanel.backend == name


def run(panel, click, wait_until) -> None:
    click(panel.ui.runBackendButton)
    wait_until(lambda: not panel.bar.busy, PATIENCE_S, "backend")


def rows(panel) -> dict[str, dict]:
    from TheranosticDoseSlicer import tables

    found = tables.rows_of(panel.ui.originsTable.mrmlTableNode())
    return {row["segment"]: row for row in found}


def test_every_backend_of_the_library_is_listed_with_what_it_needs(panel) -> None:
    from DoseSegmentationLib.backends import MODULES, backends

    kinds = list(type(panel._parameterNode.backend))
    assert [kind.value for kind in kinds] == [kind.name for kind in kinds]
    assert {kind.value for kind in kinds} == set(MODULES)
    for index, (kind, listed) in enumerate((kind, backends()[kind.value]) for kind in kinds):
        text = panel.ui.backendBox.itemText(index)
        assert text.endswith("(not available)") != listed["available"], text
        panel._parameterNode.backend = kind
        panel.refresh()
        assert listed["description"] in panel.ui.backendLabel.text
        if not listed["available"]:
            assert listed["reason"] in panel.ui.backendNeeds.text
            assert panel.ui.runBackendButton.toolTip == panel.ui.backendNeeds.text
        assert not panel.ui.runBackendButton.enabled


def test_totalsegmentator_is_recommended_and_its_statistics_are_named(panel, monkeypatch) -> None:
    from DoseSegmentationLib import backend_totalsegmentator

    monkeypatch.setattr(backend_totalsegmentator, "available", lambda: (False, "the package is missing."))
    panel.backendPanel.listed = {}
    panel.refresh()
    assert "TotalSegmentator is recommended" in panel.ui.backendLabel.text
    choose_backend(panel, "totalsegmentator")
    assert "usage statistics" in panel.ui.backendLabel.text
    assert "Extensions Manager" in panel.ui.installButton.toolTip
    assert panel.ui.installButton.enabled


def test_classical_backend_edits_kept_and_replaced(
    loaded, click, wait_until, user, event_loop_watchdog
) -> None:
    from TheranosticDoseSlicer import origins, segments

    panel = loaded
    run(panel, click, wait_until)
    assert user.texts("error") == []
    node = panel._parameterNode.segmentation
    found = {segment.name: segment for segment in segments.read_segments(node)[0]}
    assert {"Body", "Lung left", "Lung right"} <= set(found)
    assert found["Lung left"].code["scheme"] == "SCT"
    assert panel.ui.trustSection.collapsed is False
    before = rows(panel)
    assert before["Lung left"]["made by"] == "classical"
    assert before["Lung left"]["made"].startswith("20")
    assert before["Lung left"]["edited by hand"] == ""
    assert float(before["Lung left"]["edge out (%)"]) == 0
    # 5 x 5 x 5 voxels of 1e6 grow by their 6 x 25 neighbors of 1e3.
    grown = (125 + 150e-3) / 275
    assert float(before["Hot region 1"]["edge out (%)"]) == pytest.approx(100 * (grown - 1), abs=0.6)
    assert "Body holds what no other segment took" in panel.ui.notesLabel.text

    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName("Lung left")
    record = origins.record_of(node, segment_id)
    array = sitk.GetArrayFromImage(found["Lung left"].mask)
    array[: array.shape[0] // 2] = 0
    edited = sitk.GetImageFromArray(array)
    edited.CopyInformation(found["Lung left"].mask)
    segments.set_segment(node, "Lung left", edited, code=found["Lung left"].code)
    wait_until(lambda: rows(panel)["Lung left"]["edited by hand"], PATIENCE_S, "edit noticed")
    assert rows(panel)["Lung left"]["made"] == record["origin"]["created"]
    assert rows(panel)["Lung left"]["confidence"] == ""
    assert rows(panel)["Lung right"]["edited by hand"] == ""

    run(panel, click, wait_until)
    assert "Kept as drawn or edited by hand: Lung left." in panel.ui.notesLabel.text
    kept = segments.read_segment(node, segment_id)
    assert int(sitk.GetArrayFromImage(kept.mask).sum()) == int(array.sum())
    click(panel.ui.keepEditedBox)
    run(panel, click, wait_until)
    again = segments.read_segment(node, segment_id)
    assert int(sitk.GetArrayFromImage(again.mask).sum()) > int(array.sum())
    assert rows(panel)["Lung left"]["edited by hand"] == ""


def test_picture_of_origin_and_trust(loaded, click, wait_until, screenshot) -> None:
    from .test_theranostic_dose_pictures import with_caption

    run(loaded, click, wait_until)
    for name in ("inputs", "tool", "edit", "propagate"):
        getattr(loaded.ui, f"{name}Section").collapsed = True
    # What a closed section holds does not come back when something else changes.
    loaded.refresh()
    assert not loaded.ui.propagateNeeds.visible
    assert not loaded.ui.toolNeeds.visible
    for dark in (False, True):
        assert with_caption(screenshot(loaded.parent, "segmentation-trust", dark=dark)).is_file()


def test_only_the_ticked_structures_are_made(loaded, click, type_text, wait_until) -> None:
    import qt
    from TheranosticDoseSlicer import segments

    panel = loaded
    shown = panel.ui.structuresList
    names = [shown.item(i).text() for i in range(shown.count)]
    assert "Bone" in names
    for index, name in enumerate(names):
        if name != "Bone":
            shown.item(index).setCheckState(qt.Qt.Unchecked)
    assert panel._parameterNode.structures == "Bone"
    run(panel, click, wait_until)
    node = panel._parameterNode.segmentation
    assert [segment.name for segment in segments.read_segments(node)[0]] == ["Bone"]


def test_backends_from_the_console(loaded) -> None:
    from TheranosticDoseSlicer import segments

    logic, node = loaded.logic, loaded._parameterNode
    assert logic.backends()["classical"]["available"]
    segmentation = logic.newSegmentation(node.ct)
    logic.segmentWith("classical", segmentation, node.ct, node.spect, ["Bone"])
    [segment] = segments.read_segments(segmentation)[0]
    assert int(sitk.GetArrayFromImage(segment.mask).sum()) == 8 * 10 * 6


@needs_monai
def test_the_lesion_network_takes_a_spect_alone_and_says_so(loaded, click, wait_until, user) -> None:
    panel = loaded
    choose_backend(panel, "lesions_spect_ct")
    assert "SPECT alone" not in panel.ui.backendLabel.text
    panel._parameterNode.ct = None
    panel.refresh()
    assert "SPECT alone" in panel.ui.backendLabel.text
    run(panel, click, wait_until)
    assert user.texts("error") == []
    assert "on the SPECT alone" in panel.ui.notesLabel.text
    panel._parameterNode.spect = None
    panel.refresh()
    assert panel.ui.backendNeeds.text == "Choose a SPECT."


@needs_monai
def test_a_pet_is_a_prior_for_the_lesions(loaded, click, wait_until, user) -> None:
    from TheranosticDoseSlicer import images

    panel, node = loaded, loaded._parameterNode
    assert not panel.ui.petSelector.visible
    choose_backend(panel, "lesions_spect_ct")
    assert panel.ui.petSelector.visible
    assert panel.ui.petCtSelectorLabel.visible
    ct, spect = patient()
    node.petCt = images.volume_from(ct, "PET CT", "ct_hu")
    panel.refresh()
    assert "without the PET itself" in panel.ui.backendNeeds.text
    assert not panel.ui.runBackendButton.enabled
    # A PET that holds nothing is refused where it is read: it has come all the way to the library.
    node.petCt = None
    node.pet = images.volume_from(spect * 0.0, "PET", "spect_bq_ml")
    wait_until(lambda: panel.ui.petSelector.currentNode() is node.pet, 10, "the PET is shown")
    run(panel, click, wait_until)
    [text] = user.texts("error")
    assert "no activity" in text
    # Another backend leaves the PET out.
    choose_backend(panel, "classical")
    run(panel, click, wait_until)
    assert len(user.texts("error")) == 1


def test_a_structure_that_is_not_offered_is_one_sentence(loaded, click, type_text, wait_until, user) -> None:
    type_text(loaded.ui.structuresEdit, "Left toe")
    run(loaded, click, wait_until)
    [text] = user.texts("error")
    assert "does not segment Left toe" in text
    assert loaded.ui.messageLabel.text == text
    assert loaded.ui.runBackendButton.enabled


def test_a_canceled_backend_changes_nothing(loaded, click, wait_until) -> None:
    click(loaded.ui.runBackendButton)
    task = loaded.bar.task
    wait_until(lambda: task.process is not None, PATIENCE_S, "process")
    click(loaded.ui.cancelButton)
    assert task.process.returncode not in (None, 0)
    assert not task.folder.exists()
    assert loaded._parameterNode.segmentation.GetSegmentation().GetNumberOfSegments() == 0
    assert "nothing of it was kept" in loaded.ui.messageLabel.text


def test_a_segmentation_that_is_deleted_meanwhile_is_one_sentence(loaded, click, wait_until, user) -> None:
    import slicer

    click(loaded.ui.runBackendButton)
    wait_until(lambda: loaded.bar.task.process is not None, PATIENCE_S, "process")
    slicer.mrmlScene.RemoveNode(loaded._parameterNode.segmentation)
    wait_until(lambda: not loaded.bar.busy, PATIENCE_S, "end")
    [text] = user.texts("error")
    assert "was deleted while" in text


def write_bundle(folder) -> str:
    """A real bundle: one 1x1x1 convolution that answers above 200 HU; return the checksum of its weights."""
    import torch

    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    config = {
        "network_def": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "ScaleIntensityRanged", "keys": "image",
                 "a_min": 0, "a_max": 1000, "b_min": 0, "b_max": 1},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16]},
    }  # fmt: skip
    outputs = {"pred": {"channel_def": {"0": "background", "1": "liver"}}}
    metadata = {
        "version": "0.1.0", "name": "Bright box", "license": "CC0-1.0", "intended_use": "A test of the panel.",
        "network_data_format": {
            "inputs": {"image": {"type": "image", "modality": "CT", "num_channels": 1}}, "outputs": outputs,
        },
    }  # fmt: skip
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    weights = {
        "weight": torch.tensor([0.0, 20.0]).reshape(2, 1, 1, 1, 1),
        "bias": torch.tensor([0.0, -4.0]),
    }
    torch.save(weights, folder / "models" / "model.pt")
    return hashlib.sha256((folder / "models" / "model.pt").read_bytes()).hexdigest()


@needs_monai
def test_a_bundle_shows_its_rights_and_runs(loaded, click, type_text, wait_until, user, tmp_path) -> None:
    from TheranosticDoseSlicer import segments

    checksum = write_bundle(tmp_path / "bundle")
    panel = loaded
    assert not panel.ui.modelEdit.visible
    choose_backend(panel, "monai_bundle")
    assert panel.ui.modelEdit.visible
    assert "folder or zip" in panel.ui.backendNeeds.text
    type_text(panel.ui.modelEdit, str(tmp_path / "bundle" / "configs" / "metadata.json"))
    wait_until(lambda: panel.backendPanel.model.get("sha256"), PATIENCE_S, "the model is read")
    assert panel.backendPanel.model["sha256"] == checksum
    assert checksum[:16] in panel.ui.backendLabel.text
    assert "CC0-1.0" in panel.ui.backendLabel.text
    assert [panel.ui.structuresList.item(i).text() for i in range(panel.ui.structuresList.count)] == ["liver"]
    click(panel.ui.cardButton)
    assert "A test of the panel." in panel.ui.cardText.plainText
    run(panel, click, wait_until)
    assert user.texts("error") == []
    [segment] = segments.read_segments(panel._parameterNode.segmentation)[0]
    assert segment.name == "Liver"
    assert int(sitk.GetArrayFromImage(segment.mask).sum()) == 8 * 10 * 6
    assert checksum[:12] in rows(panel)["Liver"]["version"]
    assert "below the usual" in rows(panel)["Liver"]["check"]


def test_a_folder_without_a_model_is_one_sentence(loaded, type_text, wait_until, tmp_path) -> None:
    panel = loaded
    choose_backend(panel, "monai_bundle")
    type_text(panel.ui.modelEdit, str(tmp_path))
    wait_until(lambda: panel.backendPanel.model.get("problem"), PATIENCE_S, "the model is read")
    assert "no MONAI bundle" in panel.backendPanel.model["problem"]
    assert not panel.ui.runBackendButton.enabled


def test_drawn_segments_are_checked_too(loaded, click, wait_until, user) -> None:
    from TheranosticDoseSlicer import segments

    panel = loaded
    _ct, spect = patient()
    node = segments.new_segmentation("Drawn", panel._parameterNode.spect)
    panel._parameterNode.segmentation = node
    hot = sitk.Cast(spect > 1e5, sitk.sitkUInt8)
    # A liver on a lesion: implausible in its volume, and it loses activity at its border.
    segments.set_segment(node, "Liver", hot)
    panel.ui.trustSection.collapsed = False
    panel.refresh()
    click(panel.ui.checkButton)
    wait_until(lambda: not panel.bar.busy, PATIENCE_S, "check")
    assert user.texts("error") == []
    row = rows(panel)["Liver"]
    assert "below the usual" in row["check"]
    assert row["made by"] == "drawn by hand"
    assert float(row["edge in (%)"]) == pytest.approx(0, abs=0.6)
    values = sitk.GetArrayFromImage(spect)
    from scipy import ndimage

    grown = values[ndimage.binary_dilation(sitk.GetArrayFromImage(hot) > 0)].mean()
    assert float(row["edge out (%)"]) == pytest.approx(100 * (grown / 1e6 - 1), abs=0.6)


def test_one_click_in_the_lesion_runs_the_tool(loaded, click, wait_until, user) -> None:
    from gui.actions import choose
    from TheranosticDoseSlicer import segments

    panel = loaded
    choose(panel.ui.toolBox, "SPECT: adaptive threshold")
    assert not panel.ui.runButton.enabled
    assert "seed" in panel.ui.runButton.toolTip
    click(panel.ui.seedButton)
    assert panel.ui.seedPlaceWidget.placeModeEnabled
    seed = panel._parameterNode.seed
    assert panel.ui.seedPlaceWidget.currentNode() is seed
    # Column, row and slice of the hot spot, in RAS.
    where = patient()[1].TransformIndexToPhysicalPoint((28, 36, 14))
    seed.AddControlPoint(-where[0], -where[1], where[2])
    wait_until(lambda: panel.bar.task is not None and not panel.bar.busy, PATIENCE_S, "tool")
    assert user.texts("error") == []
    assert not panel.ui.seedPlaceWidget.placeModeEnabled
    [segment] = segments.read_segments(panel._parameterNode.segmentation)[0]
    assert int(sitk.GetArrayFromImage(segment.mask).sum()) == 125
    assert rows(panel)["Lesion 1"]["made by"] == "adaptive threshold"


def test_packages_of_totalsegmentator_come_through_its_extension(slicer_app, monkeypatch) -> None:
    from TheranosticDoseLib.errors import EngineUnavailableError
    from TheranosticDoseSlicer import install

    real = importlib.util.find_spec
    there = []
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: (there or None) if name == "totalsegmentator" else real(name, *a),
    )
    monkeypatch.setitem(sys.modules, "TotalSegmentator", None)
    with pytest.raises(EngineUnavailableError, match="Extensions Manager"):
        install.ensure("totalsegmentator")

    class Logic:
        def setupPythonRequirements(self):
            there.append("installed")

    monkeypatch.setitem(sys.modules, "TotalSegmentator", types.SimpleNamespace(TotalSegmentatorLogic=Logic))
    assert install.ensure("totalsegmentator")
    assert there == ["installed"]


def test_torch_comes_before_the_packages_that_need_it(slicer_app, monkeypatch) -> None:
    from gui.standin.own import packaging
    from TheranosticDoseSlicer import install

    order = []
    monkeypatch.setattr(install, "_ensure_torch", lambda: order.append("torch") or True)
    monkeypatch.setattr(install, "missing", lambda step: ["monai>=1.4"] if order else ["monai>=1.4", "torch"])
    monkeypatch.setattr(packaging, "pip_check", lambda given: False)
    install.ensure("monai_bundle")
    assert order == ["torch"]
    assert packaging.requests == [("TheranosticDose", ["monai>=1.4"])]
