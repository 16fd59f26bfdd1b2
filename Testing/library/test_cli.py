"""The shell: exit status 0, or one line and 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

CHECKOUT = Path(__file__).resolve().parents[2]


def shell(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    paths = os.pathsep.join(str(CHECKOUT / name) for name in ("TheranosticDose", "DoseSegmentation"))
    command = [sys.executable, "-m", "TheranosticDoseLib", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": paths}
    environment.pop("THERANOSTIC_DOSE_DEBUG", None)
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def assert_one_line_error(result: subprocess.CompletedProcess[str], text: str) -> None:
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert text in result.stderr
    assert "Traceback" not in result.stderr + result.stdout


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """A TIA map of 1 MBq h/mL in the middle of water."""
    tia = np.zeros((12, 12, 12), np.float32)
    tia[4:8, 4:8, 4:8] = 1.0
    for name, array in (("tia", tia), ("density", np.ones_like(tia)), ("ct", np.zeros_like(tia))):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((4.0, 4.0, 4.0))
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    return tmp_path


@pytest.mark.parametrize(
    "command",
    ["", "demo", "phantom", "inspect", "run", "dose", "segment", "validate", "benchmark"]
    + ["replay", "diff", "batch", "calibrate", "cycles", "commission"],
)
def test_help(command: str) -> None:
    result = shell(*([command] if command else []), "--help")
    assert result.returncode == 0
    assert "not a medical device" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "COMMAND"),
        (("sing",), "sing"),
        (("run", "x"), "--out"),
        (("run", "nowhere", "--out", "o"), "nowhere"),
        (("run", "nowhere", "--out", "o", "--engine", "magic"), "magic"),
        (("run", ".", "--out", "o", "--settings", "missing.json"), "missing.json"),
        (("dose", "--tia", "missing.nii", "--ct", "c", "--out", "o.nii"), "missing.nii"),
        (("validate", "--topic", "magic"), "magic"),
        (("replay", "nowhere.json", "x"), "nowhere.json"),
        (("batch", "nowhere.csv", "--out", "o"), "nowhere.csv"),
        (("calibrate", "cylinder", "nowhere", "--out", "s.json"), "nowhere"),
        (("cycles", "nowhere", "--out", "o"), "nowhere"),
    ],
)
def test_mistakes_get_one_line(arguments: tuple[str, ...], text: str) -> None:
    assert_one_line_error(shell(*arguments), text)


def led_dose_of(maps: Path) -> tuple[object, ...]:
    return ("dose", "--tia", maps / "tia.nii.gz", "--density", maps / "density.nii.gz", "--engine", "led")


def test_dose_of_a_map(maps: Path) -> None:
    out = maps / "dose.nii.gz"
    result = shell(
        "dose",
        "--tia",
        maps / "tia.nii.gz",
        "--density",
        maps / "density.nii.gz",
        "--engine",
        "led",
        "--out",
        out,
    )
    assert result.returncode == 0, result.stderr
    dose = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    # 1 MBq h/mL of 177Lu in water: 3.6e9 decays/mL of 147.9 keV electrons (ICRP 107) in 1 g.
    assert dose[5, 5, 5] == pytest.approx(3.6e9 * 147.9 * 1.602176634e-16 / 1e-3, rel=2e-3)
    record = json.loads((maps / "dose.json").read_text())
    assert record["engine"] == "led"
    assert record["nuclide"] == "Lu-177"


def test_dose_from_ct(maps: Path) -> None:
    result = shell(
        "dose",
        "--tia",
        maps / "tia.nii.gz",
        "--ct",
        maps / "ct.nii.gz",
        "--engine",
        "led",
        "--out",
        maps / "d.nrrd",
    )
    assert result.returncode == 0, result.stderr
    assert sitk.ReadImage(str(maps / "d.nrrd")).GetSize() == (12, 12, 12)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("--nuclide", "Xx-1"), "Xx-1"),
        (("--set", "histories"), "KEY=VALUE"),
        (("--set", "no_such_setting=1"), "no_such_setting"),
        (("--material", "m.nii"), "m.nii"),
    ],
)
def test_dose_mistakes(maps: Path, change: tuple[str, ...], text: str) -> None:
    out = maps / "dose.nii.gz"
    arguments = (
        "dose",
        "--tia",
        maps / "tia.nii.gz",
        "--density",
        maps / "density.nii.gz",
        "--engine",
        "led",
        "--out",
        out,
    )
    assert_one_line_error(shell(*arguments, *change), text)
    assert not out.exists()


def test_dose_without_permission_to_write(maps: Path) -> None:
    arguments = (
        "dose",
        "--tia",
        maps / "tia.nii.gz",
        "--density",
        maps / "density.nii.gz",
        "--engine",
        "led",
    )
    assert_one_line_error(shell(*arguments, "--out", maps / "tia.nii.gz" / "x.nii.gz"), "tia.nii.gz")
    assert sorted(p.name for p in maps.iterdir()) == ["ct.nii.gz", "density.nii.gz", "tia.nii.gz"]


def test_engines_as_json() -> None:
    result = shell("engines", "--json")
    listed = json.loads(result.stdout)
    assert set(listed) == {"led", "vsv", "vsv_density", "mc", "gate", "cnn", "cnn_pvc"}
    assert all(entry["available"] or entry["reason"] for entry in listed.values())


def test_engines_lists_the_segmentation_backends_too() -> None:
    result = shell("engines")
    assert result.returncode == 0, result.stderr
    for name in ("vsv_density", "classical", "organs_ct", "lesions_spect_ct", "totalsegmentator", "nnunet"):
        assert name in result.stdout + result.stderr


def test_schedule_tells_that_more_scans_are_better() -> None:
    arguments = (
        "schedule",
        "--times",
        "24",
        "--times",
        "4,24,96,168",
        "--method",
        "bayes",
        "--patients",
        "60",
    )
    result = shell(*arguments)
    assert result.returncode == 0, result.stderr
    rows = [line.split("│")[1:-1] for line in result.stdout.splitlines() if line.startswith("│")]
    errors = {row[0].strip(): float(row[4]) for row in rows}
    assert errors["4, 24, 96, 168"] < errors["24"]
    assert_one_line_error(shell("schedule", "--times", "a,b"), "a,b")
    assert_one_line_error(shell("schedule", "--times", "24", "--prior", "nothing/kidney"), "nothing/kidney")


def test_priors_of_a_cohort(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    times = np.array([4.0, 24.0, 96.0, 168.0])
    curves = [
        {"time_h": times.tolist(), "activity_mbq": (90 * np.exp(-np.log(2) * times / half_life)).tolist()}
        for half_life in rng.uniform(45, 60, 6)
    ]
    (tmp_path / "cohort.json").write_text(json.dumps({"curves": curves}))
    out = tmp_path / "prior.json"
    result = shell("priors", tmp_path / "cohort.json", "--name", "177Lu-X/kidney", "--out", out)
    assert result.returncode == 0, result.stderr
    assert "177Lu-X/kidney" in out.read_text()
    (tmp_path / "few.json").write_text(json.dumps({"curves": curves[:2]}))
    few = shell("priors", tmp_path / "few.json", "--name", "177Lu-X/kidney", "--out", tmp_path / "no.json")
    assert_one_line_error(few, "at least 5")
    assert not (tmp_path / "no.json").exists()


def test_inspect_an_empty_folder(tmp_path: Path) -> None:
    result = shell("inspect", tmp_path, "--json")
    assert result.returncode == 0, result.stderr
    page = json.loads(result.stdout)
    assert page["usable"] is False
    assert page["errors"]


def not_a_number(tia: Path) -> str:
    array = np.ones((12, 12, 12), np.float32)
    array[3, 3, 3] = np.nan
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((4.0, 4.0, 4.0))
    sitk.WriteImage(image, str(tia))
    return "1 voxels are NaN"


def ends_early(tia: Path) -> str:
    whole = tia.read_bytes()
    tia.write_bytes(whole[: len(whole) // 2])
    return "ends early"


def several_components(tia: Path) -> str:
    image = sitk.GetImageFromArray(np.ones((12, 12, 12, 3), np.float32), isVector=True)
    image.SetSpacing((4.0, 4.0, 4.0))
    sitk.WriteImage(image, str(tia))
    return "several components"


@pytest.mark.parametrize("spoil", [not_a_number, ends_early, several_components])
def test_dose_of_a_spoiled_nifti_is_no_number(maps: Path, spoil) -> None:
    text = spoil(maps / "tia.nii.gz")
    result = shell(
        *("dose", "--tia", maps / "tia.nii.gz", "--density", maps / "density.nii.gz"),
        *("--engine", "led", "--out", maps / "dose.nii.gz"),
    )
    assert_one_line_error(result, text)
    assert not (maps / "dose.nii.gz").exists()


@pytest.mark.parametrize("value", [256, 1.5])
def test_material_that_is_no_tissue_is_not_rounded_to_one(maps: Path, value: float) -> None:
    density = sitk.ReadImage(str(maps / "density.nii.gz"))
    sitk.WriteImage(density * value, str(maps / "material.nii.gz"))
    result = shell(
        *("dose", "--tia", maps / "tia.nii.gz", "--density", maps / "density.nii.gz"),
        *("--material", maps / "material.nii.gz", "--engine", "led", "--out", maps / "dose.nii.gz"),
    )
    assert_one_line_error(result, "no tissue index")


def test_ct_elsewhere_is_an_error(maps: Path) -> None:
    ct = sitk.ReadImage(str(maps / "ct.nii.gz"))
    ct.SetOrigin((5000.0, 0.0, 0.0))
    sitk.WriteImage(ct, str(maps / "ct.nii.gz"))
    result = shell(
        *("dose", "--tia", maps / "tia.nii.gz", "--ct", maps / "ct.nii.gz"),
        *("--engine", "led", "--out", maps / "dose.nii.gz"),
    )
    assert_one_line_error(result, "do not overlap")


def test_dose_tells_its_warnings(maps: Path) -> None:
    ct = sitk.ReadImage(str(maps / "ct.nii.gz"))
    sitk.WriteImage(ct + 40000, str(maps / "ct.nii.gz"))
    result = shell(
        *("dose", "--tia", maps / "tia.nii.gz", "--ct", maps / "ct.nii.gz"),
        *("--engine", "led", "--out", maps / "dose.nii.gz"),
    )
    assert result.returncode == 0, result.stderr
    assert "above 3000 HU" in result.stdout


def test_dose_does_not_replace_its_input(maps: Path) -> None:
    before = (maps / "tia.nii.gz").read_bytes()
    result = shell(
        *("dose", "--tia", maps / "tia.nii.gz", "--density", maps / "density.nii.gz"),
        *("--engine", "led", "--out", maps / "tia.nii.gz"),
    )
    assert_one_line_error(result, "one of the inputs")
    assert (maps / "tia.nii.gz").read_bytes() == before


def test_terminated_command_leaves_nothing_partial(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from TheranosticDoseLib.cli import commands\n"
        "from TheranosticDoseLib.cli.main import main\n"
        "from TheranosticDoseLib.files import staged\n"
        "def write(options):\n"
        "    with staged(Path(sys.argv[1])) as folder:\n"
        "        (folder / 'a').write_text('a')\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(5)\n"
        "commands.engines = write\n"
        "main(['engines'])\n"
    )
    paths = os.pathsep.join(str(CHECKOUT / name) for name in ("TheranosticDose", "DoseSegmentation"))
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
        check=False,
    )
    assert_one_line_error(result, "Cancelled")
    assert not (tmp_path / "out").exists()
