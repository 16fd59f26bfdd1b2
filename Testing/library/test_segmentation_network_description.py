"""The file that describes a network: what is not understood is one sentence that names the entry."""

from __future__ import annotations

import json

import pytest
from DoseSegmentationLib import networks
from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.resources import resource_path

GOOD = {
    "name": "tiny",
    "version": "1",
    "task": "lesions",
    "channels": ["spect", "ct_wide"],
    "labels": {"1": "Lesion", "2": "Physiological uptake"},
    "spacing_mm": [4.0, 4, 4.0],
    "patch": [16, 16, 16],
    "features": [4, 8],
    "log_odds": {"1": 0.7},
    "statistics": {"channel 1 percentile 99.5": [0.4, 0.1]},
}


def read(folder, text: str):
    (folder / networks.DESCRIPTION).write_text(text, encoding="utf-8")
    return networks.read_description(folder)


def test_a_good_description_is_read(tmp_path):
    found = read(tmp_path, json.dumps(GOOD))
    assert found.features == (4, 8)
    assert found.spacing_mm == (4.0, 4, 4.0)
    assert found.log_odds == {"1": 0.7}
    for name in ("organs_ct", "lesions_spect_ct"):
        assert networks.read_description(resource_path("Models", name)).name == name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 3),
        ("task", None),
        ("weights_sha256", ["a"]),
        ("mirrored", "yes"),
        ("training", []),
        ("channels", []),
        ("channels", "spect"),
        ("channels", ["mri"]),
        ("channels", [["spect"]]),
        ("labels", None),
        ("labels", {}),
        ("labels", {"one": "Lesion"}),
        ("labels", {"01": "Lesion"}),
        ("labels", {"1": "Lesion", "2": "Lesion"}),
        ("labels", {"1": 5}),
        ("spacing_mm", [0, 4, 4]),
        ("spacing_mm", [4, 4]),
        ("spacing_mm", ["4", 4, 4]),
        ("spacing_mm", [float("nan"), 4, 4]),
        ("spacing_mm", [10**400, 4, 4]),
        ("patch", [3, 16, 16, 16]),
        ("patch", [0, 16, 16]),
        ("patch", [16.0, 16, 16]),
        ("patch", None),
        ("features", ["a"]),
        ("features", ["a", "b"]),
        ("features", [4]),
        ("features", [10**12, 8]),
        ("features", 4),
        ("residual_units", -1),
        ("refinement", None),
        ("log_odds", {"3": 0.5}),
        ("log_odds", {"Lesion": 0.5}),
        ("log_odds", {"1": None}),
        ("log_odds", [1]),
        ("statistics", None),
        ("statistics", {"channel 0 percentile 5": None}),
        ("statistics", {"channel 0 percentile 5": [0.1]}),
        ("statistics", {"channel 2 percentile 5": [0.1, 0.1]}),
        ("statistics", {"mean": [0.1, 0.1]}),
        ("no_entry", 1),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, key, value):
    with pytest.raises(SegmentationError, match=f"not understood \\({key}.*\\)\\.$"):
        read(tmp_path, json.dumps(GOOD | {key: value}))


def test_a_missing_entry_is_named(tmp_path):
    with pytest.raises(SegmentationError, match="spacing_mm is missing"):
        read(tmp_path, json.dumps({key: value for key, value in GOOD.items() if key != "spacing_mm"}))


@pytest.mark.parametrize("text", ["[]", "null", '"text"', "{", "", "[" * 100_000])
def test_a_file_that_is_no_table_is_a_sentence(tmp_path, text):
    with pytest.raises(SegmentationError, match="not understood"):
        read(tmp_path, text)


def test_a_file_of_another_kind_is_a_sentence(tmp_path):
    (tmp_path / networks.DESCRIPTION).write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(SegmentationError, match="not understood"):
        networks.read_description(tmp_path)
