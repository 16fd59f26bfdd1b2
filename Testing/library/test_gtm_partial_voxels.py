"""The transfer matrix with VOIs that cut voxels: truth on a fine grid, SPECT on a coarse one."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib.geometry import array_of, image_like, resample
from TheranosticDoseLib.quantification import recovery_gtm

FINE_MM, COARSE_MM, FWHM_MM = 1.6, 4.8, 11.5


def empty(size: int, spacing: float) -> sitk.Image:
    image = sitk.Image((size,) * 3, sitk.sitkFloat32)
    image.SetSpacing((spacing,) * 3)
    image.SetOrigin((-(size - 1) / 2 * spacing,) * 3)
    return image


@pytest.fixture(scope="module")
def case() -> tuple[sitk.Image, dict[str, sitk.Image], dict[str, float]]:
    fine, coarse = empty(120, FINE_MM), empty(40, COARSE_MM)
    axis = (np.arange(120) - 59.5) * FINE_MM
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    masks = {
        "kidney": ((x - 40.3) / 22) ** 2 + ((y - 5) / 20) ** 2 + (z / 40) ** 2 < 1,
        "lesion": (x + 31.1) ** 2 + (y + 3.3) ** 2 + (z - 4.7) ** 2 < 15.0**2,
        "liver": ((x + 35) / 42) ** 2 + (y / 50) ** 2 + (z / 55) ** 2 < 1,
    }
    masks["liver"] &= ~masks["lesion"]
    truth = {"kidney": 8e5, "lesion": 3e6, "liver": 1e5}
    concentration = np.full(x.shape, 1e4)
    for name, mask in masks.items():
        concentration[mask] = truth[name]
    blurred = sitk.SmoothingRecursiveGaussian(image_like(concentration, fine), FWHM_MM / 2.3548)
    vois = {name: resample(image_like(mask, fine), coarse) for name, mask in masks.items()}
    return resample(blurred, coarse), vois, truth


def test_partial_voxels_do_not_bias_the_recovery(case) -> None:
    spect, vois, truth = case
    assert all(((array_of(w) > 0.01) & (array_of(w) < 0.99)).sum() > 50 for w in vois.values())
    found = recovery_gtm(spect, vois, FWHM_MM)
    for name, value in truth.items():
        assert found[name] == pytest.approx(value, rel=0.03), name


def test_a_voi_around_another_holds_both(case) -> None:
    spect, vois, truth = case
    whole = image_like(array_of(vois["liver"]) + array_of(vois["lesion"]), spect)
    found = recovery_gtm(
        spect, {"kidney": vois["kidney"], "lesion": vois["lesion"], "whole liver": whole}, FWHM_MM
    )
    sizes = {name: float(array_of(vois[name]).sum()) for name in ("liver", "lesion")}
    expected = (truth["liver"] * sizes["liver"] + truth["lesion"] * sizes["lesion"]) / sum(sizes.values())
    assert found["whole liver"] == pytest.approx(expected, rel=0.03)


def test_a_scan_that_was_not_moved_keeps_its_resolution(case) -> None:
    # Counts over factors leave the last digits of an identity different; that is no interpolation.
    from types import SimpleNamespace

    from TheranosticDoseLib.workflow.steps import _interpolated

    spect = case[0]
    values = np.array(array_of(spect))
    last_digit = image_like(np.nextafter(values, np.float32(np.inf)), spect)
    moved = resample(spect, spect, sitk.TranslationTransform(3, (2.4, 0.0, 0.0)))
    registered = SimpleNamespace(
        study=SimpleNamespace(acquisitions=[SimpleNamespace(spect=spect)] * 3),
        spect=[spect, last_digit, moved],
    )
    assert _interpolated(registered) == [False, False, True]


def test_regions_kept_from_before_an_edit_give_the_factors_of_a_new_computation(case, monkeypatch) -> None:
    from TheranosticDoseLib.quantification import gtm

    spect, vois, _ = case
    blurred, blur = [], gtm._blurred

    def counted(*args):
        blurred.append(args)
        return blur(*args)

    monkeypatch.setattr(gtm, "_blurred", counted)
    kept = gtm.KeptRegions()
    scans, widths = [spect, spect], [FWHM_MM, FWHM_MM + 1.0]
    first = gtm.gtm_factors(scans, vois, widths, 0.1, kept)
    kept.drop_unused()
    whole = len(blurred)
    assert gtm.gtm_factors(scans, vois, widths, 0.1, kept) == first
    kept.drop_unused()
    assert len(blurred) == whole
    lesion = np.array(array_of(vois["lesion"]))
    edited = {**vois, "lesion": image_like(np.roll(lesion, 1, axis=0), spect)}
    again = gtm.gtm_factors(scans, edited, widths, 0.1, kept)
    kept.drop_unused()
    few = len(blurred) - whole
    assert 0 < few < whole
    assert again == gtm.gtm_factors(scans, edited, widths, 0.1)
    assert again != first
