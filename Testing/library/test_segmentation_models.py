"""What a model says of itself before it runs: structures, licence, checksum, card; nothing is run for it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from DoseSegmentationLib.backends import MODULES
from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.models import READ_FROM_PATH, SHIPPED, folder_of, model_of
from DoseSegmentationLib.networks import CARD, DESCRIPTION, WEIGHTS, NetworkDescription

CONTENT = b"not read here"
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


def network(folder: Path) -> Path:
    """A folder with a description, weights of no meaning and a card."""
    labels = {"1": "Liver", "2": "Spleen"}
    described = NetworkDescription(
        "tiny", "1", "organs", ("ct_wide",), labels, (4.0,) * 3, (16,) * 3, features=(4, 8)
    )
    (folder / DESCRIPTION).write_text(json.dumps(dataclasses.asdict(described)))
    (folder / WEIGHTS).write_bytes(CONTENT)
    (folder / CARD).write_text("# tiny")
    return folder


def test_an_own_network(tmp_path: Path) -> None:
    found = model_of("network", network(tmp_path) / DESCRIPTION)
    assert found.structures == ("Liver", "Spleen")
    assert (found.licence, found.sha256, found.card) == ("Apache-2.0", CHECKSUM, "# tiny")
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(SegmentationError, match="weights are missing"):
        model_of("network", tmp_path)


def test_an_nnunet_folder(tmp_path: Path) -> None:
    dataset = {
        "labels": {"background": 0, "kidney_left": 1},
        "licence": "CC-BY-4.0",
        "description": "Kidneys",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    (tmp_path / "plans.json").write_text("{}")
    (tmp_path / "fold_0").mkdir()
    (tmp_path / "fold_0" / "checkpoint_final.pth").write_bytes(CONTENT)
    found = model_of("nnunet", tmp_path / "plans.json")
    assert found.structures == ("kidney left",)
    assert (found.licence, found.sha256, found.card) == ("CC-BY-4.0", CHECKSUM, "Kidneys")


def test_a_shipped_network_is_described_where_it_is(tmp_path: Path, monkeypatch) -> None:
    from DoseSegmentationLib import backend_network, models

    network(tmp_path)
    monkeypatch.setattr(backend_network, "resource_path", lambda *_parts: tmp_path)
    monkeypatch.setattr(models, "resource_path", lambda *_parts: tmp_path)
    for name in SHIPPED:
        assert model_of(name).sha256 == CHECKSUM


def test_every_backend_answers() -> None:
    for name in MODULES:
        if name in READ_FROM_PATH:
            with pytest.raises(SegmentationError, match="needs the folder"):
                model_of(name)
        else:
            assert isinstance(model_of(name).structures, tuple)
    with pytest.raises(SegmentationError, match="no segmentation backend"):
        model_of("unknown")


def test_a_file_in_a_model_stands_for_its_folder(tmp_path: Path) -> None:
    assert folder_of(tmp_path / "configs" / "metadata.json") == tmp_path
    assert folder_of(tmp_path / "dataset.json") == tmp_path
    assert folder_of(tmp_path / "bundle.zip") == tmp_path / "bundle.zip"
