"""Calibration from synthesized phantoms of known truth."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation
from TheranosticDoseLib.calibration import (
    PhantomScan,
    calibrate_cylinder,
    calibrate_spheres,
    load_phantom_scan,
    measure_resolution,
    update_site,
)
from TheranosticDoseLib.calibration.spheres import FWHM_PER_SIGMA, blurred_sphere
from TheranosticDoseLib.cli import main
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.quantification import RecoveryCurve
from TheranosticDoseLib.workflow import RunSettings

SPACING = 4.0
DURATION_S = 1800.0
FACTOR = 9.5
HALF_LIFE_H = 6.647 * 24
TRUE_DIAMETERS = (10.0, 13.0, 17.0, 22.0, 28.0, 37.0)


def image_of(array: np.ndarray, spacing: float = SPACING) -> sitk.Image:
    image = sitk.GetImageFromArray(array.astype(np.float32))
    image.SetSpacing((spacing,) * 3)
    image.SetOrigin((-100.0, 50.0, 20.0))
    return image


def blurred(truth: np.ndarray, fwhm_mm: float, spacing: float, fine: int) -> np.ndarray:
    """Blur on a fine grid, then take voxel means: no formula is shared with what is tested."""
    sigma = fwhm_mm / 2.354820045 / (spacing / fine)
    smooth = ndimage.gaussian_filter(truth, sigma, truncate=5)
    shape = [n for size in truth.shape for n in (size // fine, fine)]
    return smooth.reshape(shape).mean(axis=(1, 3, 5))


def counts_of(concentration_mbq_ml: np.ndarray, seed: int | None) -> np.ndarray:
    """Counts of an acquisition, with the noise of a reconstruction: correlated over 8 mm."""
    expected = concentration_mbq_ml * (SPACING / 10) ** 3 * FACTOR * DURATION_S
    if seed is None:
        return expected
    noise = np.random.default_rng(seed).normal(size=expected.shape) * np.sqrt(60 * expected)
    sigma = 8.0 / 2.354820045 / SPACING
    return np.maximum(expected + ndimage.gaussian_filter(noise, sigma), 0)


def cylinder_scan(center_loss: float = 0.0, seed: int | None = 1) -> tuple[PhantomScan, float]:
    """Return the scan, 24 h after 1000 MBq were filled in, and the volume in mL."""
    fine, n, radius, half = 2, 72, 100.0, 100.0
    axis = (np.arange(n * fine) + 0.5) * SPACING / fine - n * SPACING / 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    r = np.hypot(x + 7, y - 3)
    truth = ((r < radius) & (np.abs(z) < half)).astype(float)
    volume_ml = np.pi * radius**2 * 2 * half / 1000
    truth *= 1000.0 / (truth.sum() * (SPACING / fine / 10) ** 3)
    truth *= 1 - center_loss * np.maximum(1 - r / radius, 0)
    start = 2 ** (-24.0 / HALF_LIFE_H)
    x_scan = np.log(2) * DURATION_S / 3600 / HALF_LIFE_H
    mean = start * -np.expm1(-x_scan) / x_scan
    counts = counts_of(blurred(truth, 11.0, SPACING, fine) * mean, seed)
    return PhantomScan(image_of(counts), "CNTS", DURATION_S, 24.0), volume_ml


def spheres_scan(background: float, seed: int | None, fwhm_mm: float = 11.0, mirrored: bool = False):
    """NEMA spheres of 0.5 MBq/mL, tilted, in a body with a lung insert; a factor of 9.5 cps/MBq."""
    fine, shape = 3, (48, 64, 72)
    axes = [(np.arange(n * fine) + 0.5) * SPACING / fine - n * SPACING / 2 for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    body = ((x / 140) ** 2 + (y / 110) ** 2 < 1) & (np.abs(z) < 85) & (np.hypot(x, y) > 25)
    truth = background * body.astype(float)
    turn = Rotation.from_euler("zxy", [37, 4, -3], degrees=True)
    angle = 2 * np.pi * np.arange(6) / 6 * (-1 if mirrored else 1)
    centers = turn.apply(57.2 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)) + [
        1.3,
        -2.1,
        3.7,
    ]
    for center, diameter in zip(centers, TRUE_DIAMETERS, strict=True):
        gap = np.sqrt((x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2)
        truth = np.where(gap < diameter / 2, 0.5, truth)
    counts = counts_of(blurred(truth, fwhm_mm, SPACING, fine), seed)
    image = image_of(counts)
    corner = np.array([-n * SPACING / 2 + SPACING / 2 for n in shape[::-1]])
    return PhantomScan(image, "CNTS", DURATION_S), centers - corner + np.array(image.GetOrigin())


def true_recovery(diameter_mm: float, fwhm_mm: float) -> float:
    """Numerical integral of a blurred sphere over its own volume."""
    r = np.linspace(0, diameter_mm / 2, 4001)
    r = (r[1:] + r[:-1]) / 2
    return float(np.average(blurred_sphere(r, diameter_mm / 2, fwhm_mm / FWHM_PER_SIGMA), weights=r**2))


def test_a_blurred_sphere_conserves_activity_and_has_its_limits() -> None:
    r = np.linspace(0, 120, 60001)
    profile = blurred_sphere(r, 14.0, 5.0)
    assert 4 * np.pi * np.trapezoid(profile * r**2, r) == pytest.approx(4 / 3 * np.pi * 14.0**3, rel=1e-6)
    assert blurred_sphere(np.array([0.0]), 60.0, 3.0)[0] == pytest.approx(1.0)
    assert blurred_sphere(np.array([60.0]), 60.0, 0.5)[0] == pytest.approx(0.5, abs=0.01)


def test_camera_factor_of_a_cylinder() -> None:
    scan, volume_ml = cylinder_scan()
    found = calibrate_cylinder(scan, 1000.0, 0.015, volume_ml)
    assert found.camera_factor_cps_per_mbq == pytest.approx(FACTOR, rel=0.005)
    assert abs(found.camera_factor_cps_per_mbq / FACTOR - 1) < 2 * found.relative_uncertainty
    assert 0.015 <= found.relative_uncertainty < 0.03
    assert found.volume_ml == pytest.approx(volume_ml, rel=0.02)
    assert found.concentration_ratio == pytest.approx(1.0, abs=0.02)
    assert not found.findings


def test_a_cylinder_in_bqml_gives_its_ratio_to_truth(tmp_path: Path) -> None:
    scan, _ = cylinder_scan(seed=None)
    start = 2 ** (-24.0 / HALF_LIFE_H)
    image = scan.spect * (1.04e6 / (FACTOR * DURATION_S * (SPACING / 10) ** 3))
    found = calibrate_cylinder(PhantomScan(image, "BQML", None, 24.0), 1000.0)
    decay = scan.decay / start
    assert found.bqml_ratio == pytest.approx(1.04 * decay, rel=0.003)
    site = update_site(tmp_path / "site.json", found, scan)
    assert 0.04 < site["quantification"]["bqml_relative_uncertainty"] < 0.05


def test_cupping_is_told() -> None:
    scan, volume_ml = cylinder_scan(center_loss=0.35)
    found = calibrate_cylinder(scan, 1000.0, volume_ml=volume_ml)
    assert {finding.field for finding in found.findings} >= {"calibration.uniformity"}
    assert found.contributions["uniformity"] > 0.01


def test_a_cut_cylinder_and_nonsense_are_refused() -> None:
    scan, _ = cylinder_scan(seed=None)
    for size in ([30, 72, 72], [72, 72, 40]):
        cut = sitk.RegionOfInterest(scan.spect, size, [0, 0, 0])
        with pytest.raises(InputError, match="edge of the SPECT"):
            calibrate_cylinder(PhantomScan(cut, "CNTS", DURATION_S), 1000.0)
    for activity in (0.0, float("nan"), -5.0):
        with pytest.raises(InputError, match="activity"):
            calibrate_cylinder(scan, activity)
    with pytest.raises(InputError, match="no activity"):
        calibrate_cylinder(PhantomScan(scan.spect * 0, "CNTS", 10.0), 1.0)
    with pytest.raises(InputError, match="duration"):
        PhantomScan(scan.spect, "CNTS", None)
    with pytest.raises(InputError, match="'HU'"):
        PhantomScan(scan.spect, "HU", 1.0)


@pytest.mark.parametrize(("background", "seed"), [(0.0, 1), (0.05, 3), (0.0, None)])
def test_spheres_are_found_and_give_resolution_and_recovery(background: float, seed: int | None) -> None:
    scan, centers = spheres_scan(background, seed)
    found = calibrate_spheres(scan, 0.5 / scan.decay, FACTOR)
    places = np.array([sphere["center_mm"] for sphere in found.spheres])
    assert np.linalg.norm(places - centers, axis=1).max() < 1.5
    assert found.fwhm_mm == pytest.approx(11.0, abs=max(0.15, 3 * found.u_fwhm_mm))
    assert found.u_fwhm_mm < 1.0
    assert found.background_ratio == pytest.approx(background / 0.5, abs=0.03)
    for sphere in found.spheres:
        # Voxels and the soft edge of the VOI lower it by up to 0.02 beyond the blur itself.
        true = true_recovery(sphere["diameter_mm"], 11.0)
        assert -max(0.035, 3 * sphere["u_recovery"]) < sphere["recovery"] - true < 3 * sphere["u_recovery"]


def test_the_recovery_curve_follows_the_spheres() -> None:
    scan, _ = spheres_scan(0.0, 4)
    found = calibrate_spheres(scan, 0.5 / scan.decay, FACTOR)
    for sphere in found.spheres[1:]:
        assert sphere["curve"] == pytest.approx(true_recovery(sphere["diameter_mm"], 11.0), abs=0.06)
    without = calibrate_spheres(scan)
    assert without.true_concentration == "fitted"
    assert without.findings[0].severity == "assumption"


def test_spheres_that_are_not_there_are_not_found() -> None:
    scan, _ = cylinder_scan()
    with pytest.raises(InputError, match="not found"):
        calibrate_spheres(scan)
    noise = np.random.default_rng(0).poisson(5.0, (40, 40, 40))
    with pytest.raises(InputError):
        calibrate_spheres(PhantomScan(image_of(noise), "CNTS", 60.0), 0.5, FACTOR)
    with pytest.raises(InputError, match="nema_iec"):
        calibrate_spheres(scan, phantom="jaszczak")
    spheres, _ = spheres_scan(0.0, 1)
    with pytest.raises(InputError, match="camera factor"):
        calibrate_spheres(spheres, 0.5)


def test_resolution_of_a_point_and_a_line() -> None:
    fine, n = 4, 32
    truth = np.zeros((n * fine,) * 3)
    truth[60:62, 66:68, 57:59] = 1e6
    found = measure_resolution(PhantomScan(image_of(blurred(truth, 9.0, SPACING, fine)), "CNTS", 60.0))
    assert found.source == "point"
    assert found.mean_fwhm_mm == pytest.approx(9.0, rel=0.02)
    truth[:] = 0
    truth[16:112, 66:68, 57:59] = 1e6
    array = blurred(truth, 9.0, SPACING, fine)
    noisy = np.random.default_rng(1).poisson(array * 400 / array.max()).astype(float)
    found = measure_resolution(PhantomScan(image_of(noisy), "CNTS", 60.0))
    assert found.source == "line"
    assert found.fwhm_mm[2] is None
    assert abs(found.mean_fwhm_mm - 9.0) < max(3 * found.u_fwhm_mm, 0.3)
    with pytest.raises(InputError, match="point nor a line"):
        measure_resolution(cylinder_scan()[0])


def test_the_shell_makes_a_site_file_that_run_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, volume_ml = cylinder_scan()
    sitk.WriteImage(scan.spect, str(tmp_path / "cylinder.nii.gz"))
    spheres, _ = spheres_scan(0.0, 5)
    sitk.WriteImage(spheres.spect, str(tmp_path / "spheres.nii.gz"))
    site = tmp_path / "site.json"
    common = ["--duration", str(DURATION_S), "--out", str(site)]
    cylinder = ["cylinder", str(tmp_path / "cylinder.nii.gz"), "--activity", "1000", "--delay", "24"]
    commands = [
        ["calibrate", *cylinder, "--volume", str(volume_ml), *common],
        [
            "calibrate",
            "spheres",
            str(tmp_path / "spheres.nii.gz"),
            "--concentration",
            "0.5",
            "--delay",
            "0",
            *common,
        ],
    ]
    for command in commands:
        with pytest.raises(SystemExit) as status:
            main(command)
        assert status.value.code == 0, capsys.readouterr().err
    settings = RunSettings.from_dict(json.loads(site.read_text()))
    assert settings.quantification.camera_factor_cps_per_mbq == pytest.approx(FACTOR, rel=0.01)
    assert settings.quantification.fwhm_mm == pytest.approx(11.0, abs=0.6)
    assert RecoveryCurve.from_dict(settings.quantification.recovery_curve)(1000.0)[0] > 0.9
    assert set(settings.calibration) == {"cylinder", "spheres"}
    site.write_text("{")
    with pytest.raises(SystemExit) as status:
        main(commands[0])
    assert status.value.code == 2
    assert "site.json" in capsys.readouterr().err
    assert site.read_text() == "{"


def test_a_phantom_scan_in_dicom_is_read_with_its_decay(tmp_path: Path) -> None:
    from TheranosticDoseLib.dicom_io.write_common import SeriesTags
    from TheranosticDoseLib.dicom_io.write_nm import NmScan, write_nm_multiframe

    scan, _ = cylinder_scan()
    filled = dt.datetime(2026, 3, 1, 9, 0)
    begin = filled + dt.timedelta(hours=24)
    tags = SeriesTags(("cylinder",), "PHANTOM", "Phantom", "cylinder", "cylinder", 1, "cylinder", begin)
    (tmp_path / "dicom").mkdir()
    write_nm_multiframe(scan.spect, tmp_path / "dicom" / "nm.dcm", tags, NmScan("CNTS", DURATION_S))
    read = load_phantom_scan(tmp_path / "dicom", filled.isoformat())
    assert (read.unit, read.duration_s, read.time_h) == ("CNTS", DURATION_S, pytest.approx(24.0))
    found = calibrate_cylinder(read, 1000.0)
    assert found.camera_factor_cps_per_mbq == pytest.approx(FACTOR, rel=0.01)
    assert set(read.inputs) == {"nm.dcm"}


def test_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--activity-at"):
        load_phantom_scan(tmp_path)
    with pytest.raises(InputError, match="no phantom scan"):
        load_phantom_scan(tmp_path / "x.nii")
    (tmp_path / "y.nii").write_text("no image")
    with pytest.raises(InputError, match="y.nii"):
        load_phantom_scan(tmp_path / "y.nii", time_h=0.0)
