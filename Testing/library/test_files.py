"""Files appear whole or not at all; nothing that was there is lost."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path

import numpy as np
import pytest
from TheranosticDoseLib import workflow
from TheranosticDoseLib.errors import OutputError
from TheranosticDoseLib.files import require_writable, sha256, staged, to_json, write_image, write_whole


def test_staged_entries_appear_together(tmp_path: Path) -> None:
    out = tmp_path / "new"
    with staged(out) as folder:
        (folder / "a.txt").write_text("1")
        (folder / "sub").mkdir()
        (folder / "sub" / "b.txt").write_text("2")
        assert [entry.name for entry in out.iterdir()] == [folder.name]
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == [
        "a.txt",
        "sub/b.txt",
    ]


def test_an_error_leaves_everything_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("old")
    with pytest.raises(ValueError, match="boom"), staged(tmp_path) as folder:
        (folder / "results.json").write_text("half")
        raise ValueError("boom")
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
    assert (tmp_path / "results.json").read_text() == "old"


def test_an_error_leaves_no_new_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boom"), staged(tmp_path / "new"):
        raise ValueError("boom")
    assert not (tmp_path / "new").exists()


def test_an_earlier_result_is_kept(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with staged(tmp_path) as folder:
            (folder / "results.json").write_text(text)
    kept = list(tmp_path.glob("earlier/*/results.json"))
    assert [p.read_text() for p in kept] == ["first"]
    assert (tmp_path / "results.json").read_text() == "second"


def test_what_a_command_makes_again_is_replaced(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with staged(tmp_path, keep_earlier=False) as folder:
            (folder / "page.md").write_text(text)
    assert [p.name for p in tmp_path.iterdir()] == ["page.md"]
    assert (tmp_path / "page.md").read_text() == "second"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(OutputError, match="x"), staged(tmp_path / "x"):
        pass
    with pytest.raises(OutputError, match="Cannot write"):
        write_whole(tmp_path / "x" / "y.txt", "1")
    assert (tmp_path / "x").read_text() == "mine"


@pytest.mark.skipif(os.name != "posix", reason="needs /dev/full")
def test_an_unwritable_target_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("x")
    with pytest.raises(OutputError, match="in the way"):
        require_writable(tmp_path / "in the way")
    require_writable(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(OutputError, match="in the way"):
        workflow.run(tmp_path / "no study", tmp_path / "in the way")


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "old")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_json_has_no_nan_and_no_numpy() -> None:
    values = {
        "a": np.float32(0.5),
        "b": [np.nan, np.inf, np.int16(3)],
        "c": np.eye(2),
        "t": dt.date(2026, 1, 2),
        1: (True,),
    }
    assert json.loads(to_json(values)) == {
        "a": 0.5, "b": [None, None, 3], "c": [[1, 0], [0, 1]], "t": "2026-01-02", "1": [True],
    }  # fmt: skip


def test_image_is_written_whole(tmp_path: Path) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    write_image(image, tmp_path / "a.nii.gz")
    assert np.array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii.gz"))), sitk.GetArrayFromImage(image)
    )
    with pytest.raises(OutputError, match="unknown"):
        write_image(image, tmp_path / "a.unknown")
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
