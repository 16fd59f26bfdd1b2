"""Registration of a study: known displacement, activity, bad input."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import SimpleITK as sitk
from moving_phantom import ORGANS, breathing, moving_phantom, points_of
from TheranosticDoseLib.errors import (
    ActivityConservationError,
    CancelledError,
    GeometryError,
    InputError,
    SettingsError,
    UnitsError,
)
from TheranosticDoseLib.registration import (
    RegisteredStudy,
    RegistrationSettings,
    checkerboard,
    difference,
    inverse_transform,
    quality_pictures,
    register,
)
from TheranosticDoseLib.study import Acquisition, Administration, Study

QUICK = RegistrationSettings(spacing_mm=6.0, iterations=(40, 20, 8))
COARSE = RegistrationSettings(spacing_mm=9.0, iterations=(20, 10))
UPTAKE = {"liver": 4e5, "spleen": 9e5, "kidney_r": 12e5, "kidney_l": 12e5}


def spect_of(anatomy: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """Return blurred activity at anatomical points (z, y, x, 3)."""
    body = (anatomy[..., 0] / 185.0) ** 2 + (anatomy[..., 1] / 125.0) ** 2 < 1
    values = np.where(body, 2e4, 0.0)
    for name, centre, radii, _ in ORGANS:
        inside = sum(((anatomy[..., i] - centre[i]) / radii[i]) ** 2 for i in range(3)) < 1
        values = np.where(inside & (name in UPTAKE), UPTAKE.get(name, 0.0), values)
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.CopyInformation(grid)
    return sitk.SmoothingRecursiveGaussian(image, 10.0 / 2.355)


@pytest.fixture(scope="module")
def phantom():
    return moving_phantom()


@functools.lru_cache(maxsize=1)
def both_scans(phantom) -> tuple[sitk.Image, sitk.Image]:
    points = points_of(phantom.fixed)
    back = (points - phantom.offset) @ phantom.rotation
    anatomy = back.copy()

    for _ in range(12):
        anatomy = back - breathing(anatomy)
    return spect_of(points, phantom.fixed), spect_of(anatomy, phantom.fixed)


def study_of(phantom, with_ct: bool = True) -> Study:
    first, second = both_scans(phantom)
    fixed = Acquisition("24h", 24.0, first, ct=phantom.fixed if with_ct else None)
    moving = Acquisition("96h", 96.0, second, ct=phantom.moving if with_ct else None)
    return Study(Administration(activity_mbq=7400.0), (fixed, moving))


@pytest.fixture(scope="module")
def registered(phantom) -> RegisteredStudy:
    return register(study_of(phantom), QUICK)


def errors_mm(phantom, transform, organs=("liver", "spleen", "kidney_r", "kidney_l")) -> dict[str, float]:
    """Return the mean target registration error per organ."""
    rng = np.random.default_rng(0)
    result = {}
    for organ in organs:
        points = points_of(phantom.fixed)[phantom.labels[organ]]
        points = points[rng.permutation(len(points))[:300]]
        moved = np.array([transform.TransformPoint(point.tolist()) for point in points])
        result[organ] = float(np.linalg.norm(moved - phantom.truth(points), axis=1).mean())
    return result


def test_deformable_finds_the_known_displacement(phantom, registered):
    before = errors_mm(phantom, sitk.Transform(3, sitk.sitkIdentity))
    after = errors_mm(phantom, registered.transforms[1])
    assert np.mean(list(before.values())) > 10.0
    assert np.mean(list(after.values())) <= 2.5, after


def test_quality_figures(registered):
    reference, moved = registered.quality
    assert reference["method"] == "reference"
    assert (moved["from"], moved["to"], moved["image"]) == ("96h", "24h", "ct")
    assert moved["similarity_before"] < moved["similarity_rigid"] < moved["similarity_deformable"]
    assert moved["folded_fraction"] == 0.0
    assert 0.0 < moved["jacobian_min"] < 1.0 < moved["jacobian_max"] < 5.0
    assert moved["inverse_consistency_mm"] < 0.2
    assert abs(moved["activity_relative_change"]) < 0.05


def test_reference_is_nearest_24h_and_untouched(phantom, registered):
    assert registered.reference == "24h"
    assert registered.grid.GetSize() == phantom.fixed.GetSize()
    original = sitk.GetArrayViewFromImage(registered.study.acquisitions[0].spect)
    np.testing.assert_allclose(sitk.GetArrayViewFromImage(registered.spect[0]), original, rtol=1e-6)


def test_one_acquisition_is_fine(phantom):
    study = study_of(phantom)
    single = Study(study.administration, study.acquisitions[:1])
    result = register(single)
    assert len(result.spect) == 1
    assert result.transforms[0].TransformPoint((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)


def test_counts_are_refused(phantom):
    study = study_of(phantom)
    counts = Acquisition("x", 1.0, study.acquisitions[0].spect, unit="CNTS")
    with pytest.raises(UnitsError, match="quantify"):
        register(Study(study.administration, (counts,)))


def test_bad_input_has_a_sentence(phantom):
    study = study_of(phantom)
    with pytest.raises(InputError, match="no acquisition"):
        register(Study(study.administration, ()))
    with pytest.raises(InputError, match="there are 24h, 96h"):
        register(study, RegistrationSettings(reference="7d"))
    far = sitk.Image(phantom.fixed)
    far.SetOrigin((5000.0, 0.0, 0.0))
    apart = Acquisition("24h", 24.0, study.acquisitions[0].spect, ct=far)
    with pytest.raises(GeometryError, match="frame of reference"):
        register(Study(study.administration, (apart,)))
    empty = Acquisition("24h", 24.0, study.acquisitions[0].spect * 0)
    with pytest.raises(InputError, match="no activity"):
        register(Study(study.administration, (empty,)))
    with pytest.raises(SettingsError, match="method"):
        RegistrationSettings(method="affine")


def test_cancel(phantom):
    with pytest.raises(CancelledError):
        register(study_of(phantom), QUICK, lambda fraction, message: fraction < 0.5)


def test_activity_leaving_the_field_of_view_is_an_error(phantom):
    study = study_of(phantom)
    cut = study.acquisitions[0].spect[:, :, :30]
    reference = Acquisition("24h", 24.0, cut)
    with pytest.raises(ActivityConservationError, match="outside the reference field of view"):
        register(
            Study(study.administration, (reference, study.acquisitions[1])),
            RegistrationSettings(method="none"),
        )


def test_same_result_on_any_number_of_threads(phantom):
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    images = []
    try:
        for threads in (1, 3):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            images.append(register(study_of(phantom), COARSE).spect[1])
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    np.testing.assert_array_equal(*[sitk.GetArrayViewFromImage(image) for image in images])


def test_pictures(registered):
    pictures = quality_pictures(registered, "96h")
    assert set(pictures) == {"checkerboard", "difference"}
    assert all(data.startswith(b"\x89PNG") and len(data) > 20_000 for data in pictures.values())
    with pytest.raises(InputError, match="there are 24h, 96h"):
        quality_pictures(registered, "7d")


def test_checkerboard_takes_tiles_in_turn():
    one, two = sitk.Image([8, 8, 8], sitk.sitkFloat32), sitk.Image([8, 8, 8], sitk.sitkFloat32) + 1
    board = sitk.GetArrayFromImage(checkerboard(one, two, tile_mm=2.0))
    assert board.mean() == 0.5
    assert board[0, 0, 0] == 0
    assert board[0, 0, 2] == 1
    assert sitk.GetArrayFromImage(difference(one, two)).mean() == 1.0


def test_mass_preserving_keeps_activity(phantom):
    """Activity that lies well inside the field of view is all there again after the deformation."""
    study = study_of(phantom)
    first, second = (
        dataclasses.replace(one, spect=sitk.Mask(one.spect, sitk.Cast(one.spect > 1e5, sitk.sitkUInt8)))
        for one in study.acquisitions
    )
    study = Study(study.administration, (first, second))
    kept = register(study, dataclasses.replace(COARSE, mass_preserving=True)).quality[1]
    plain = register(study, COARSE).quality[1]
    assert abs(kept["activity_relative_change"]) < 0.004
    assert abs(plain["activity_relative_change"]) > 0.006
    assert plain["activity_outside_mbq"] == pytest.approx(
        kept["activity_before_mbq"] - kept["activity_after_mbq"], rel=1e-6
    )


def test_inverse_transform_brings_points_back(phantom, registered):
    rng = np.random.default_rng(3)
    inside = points_of(phantom.fixed)[phantom.labels["liver"]]
    back = inverse_transform(registered.transforms[1])
    for point in inside[rng.permutation(len(inside))[:100]].tolist():
        there = registered.transforms[1].TransformPoint(point)
        assert np.linalg.norm(np.array(back.TransformPoint(there)) - point) < 0.3


def test_spect_to_spect_without_ct(phantom):
    study = study_of(phantom, with_ct=False)
    result = register(study)
    quality = result.quality[1]
    assert (quality["image"], quality["method"]) == ("spect", "rigid")
    assert np.mean(list(errors_mm(phantom, result.transforms[1]).values())) < 6.0
    deformed = register(study, RegistrationSettings(spect_method="deformable", iterations=(30, 10)))
    assert deformed.quality[1]["folded_fraction"] == 0.0
    assert deformed.quality[1]["similarity_deformable"] > quality["similarity_rigid"]
    assert np.mean(list(errors_mm(phantom, deformed.transforms[1]).values())) < 5.0


def test_washout_is_not_read_as_motion(phantom):
    """Organs that lose activity at different rates stay where they are."""
    study = study_of(phantom, with_ct=False)
    first = study.acquisitions[0]
    values = sitk.GetArrayFromImage(first.spect) * 0.2
    values[phantom.labels["liver"]] *= 0.3
    values[phantom.labels["spleen"]] *= 1.5
    later = sitk.GetImageFromArray(values.astype(np.float32))
    later.CopyInformation(first.spect)
    moved = register(Study(study.administration, (first, Acquisition("96h", 96.0, later)))).transforms[1]
    same = dict.fromkeys(UPTAKE, 0.0)
    for organ in same:
        points = points_of(phantom.fixed)[phantom.labels[organ]][::500]
        moved_points = np.array([moved.TransformPoint(point.tolist()) for point in points])
        assert np.linalg.norm(moved_points - points, axis=1).max() < 2.0


@pytest.mark.parametrize(
    "shift", [(35.0, -25.0, -80.0), pytest.param((0.0, 0.0, 90.0), marks=pytest.mark.slow)]
)
def test_other_field_of_view_and_table_position(shift):
    """The moving CT is shorter, shifted, and covers another part of the body."""
    pair = moving_phantom(offset=shift, moving_size=(88, 76, 56), moving_shift=shift, noise_hu=15.0)
    scans = tuple(
        Acquisition(label, hours, spect_of(points_of(ct), ct), ct=ct)
        for label, hours, ct in (("24h", 24.0, pair.fixed), ("96h", 96.0, pair.moving))
    )
    study = Study(Administration(activity_mbq=7400.0), scans)
    result = register(study, dataclasses.replace(QUICK, activity_tolerance=1.0))
    errors = errors_mm(pair, result.transforms[1])
    assert np.mean(list(errors.values())) < 2.5, errors


@pytest.mark.slow
def test_oblique_anisotropic_grids():
    """The moving scan lies on a rotated, anisotropic grid; the answer is in patient coordinates."""
    pair = moving_phantom()
    turn = sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.25)
    oblique = sitk.Image([110, 100, 70], sitk.sitkFloat32)
    oblique.SetSpacing((4.0, 4.2, 7.0))
    oblique.SetDirection(turn.GetMatrix())
    middle = [(n - 1) / 2 * s for n, s in zip(oblique.GetSize(), oblique.GetSpacing(), strict=True)]
    oblique.SetOrigin((-np.array(turn.GetMatrix()).reshape(3, 3) @ middle).tolist())
    study = study_of(pair)
    ct = sitk.Resample(pair.moving, oblique, sitk.Transform(), sitk.sitkLinear, -1000.0)
    spect = sitk.Resample(study.acquisitions[1].spect, oblique)
    tilted = Acquisition("96h", 96.0, spect, ct=ct)
    result = register(Study(study.administration, (study.acquisitions[0], tilted)), QUICK)
    assert np.mean(list(errors_mm(pair, result.transforms[1]).values())) < 2.5


def test_not_a_number_is_a_finding(phantom):
    study = study_of(phantom)
    values = sitk.GetArrayFromImage(phantom.fixed)
    values[:2, 5, 5] = np.nan
    broken = sitk.GetImageFromArray(values)
    broken.CopyInformation(phantom.fixed)
    first = Acquisition("24h", 24.0, study.acquisitions[0].spect, ct=broken)
    result = register(Study(study.administration, (first,)))
    assert [finding.value for finding in result.findings] == [2]
    assert np.isfinite(sitk.GetArrayViewFromImage(result.ct)).all()


def test_ct_beside_its_spect_is_a_finding(phantom):
    study = study_of(phantom)
    aside = sitk.Image(phantom.moving)
    aside.SetOrigin((np.array(aside.GetOrigin()) + (110.0, 0.0, 0.0)).tolist())
    wrong = dataclasses.replace(study.acquisitions[1], ct=aside)
    settings = dataclasses.replace(COARSE, method="rigid", activity_tolerance=1.0)
    result = register(Study(study.administration, (study.acquisitions[0], wrong)), settings)
    messages = [finding.message for finding in result.findings]
    assert any("96h lie outside the body on its CT" in message for message in messages), messages
    assert not any("24h lie outside" in message for message in messages)


def test_worse_outcome_is_thrown_away(phantom, monkeypatch):
    """An optimiser that runs away leaves the scanner coordinates and a finding."""
    from TheranosticDoseLib.registration import run

    away = sitk.Euler3DTransform((0, 0, 0), 0.5, 0.5, 0.5, (90.0, 60.0, 0.0))
    monkeypatch.setattr(run, "rigid_transform", lambda *args: away)
    result = register(study_of(phantom), dataclasses.replace(QUICK, method="rigid"))
    assert any("scanner coordinates are used" in finding.message for finding in result.findings)
    assert result.transforms[1].TransformPoint((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)


def test_folding_is_removed():
    """A field that folds is smoothed until it does not, and tells so."""
    from TheranosticDoseLib.registration.fields import jacobian, vector_like, without_folding

    grid = sitk.Image([32, 32, 32], sitk.sitkUInt8)
    grid.SetSpacing((4.0, 4.0, 4.0))
    x = np.arange(32) * 4.0
    field = np.zeros((32, 32, 32, 3))
    field[..., 0] = 9.0 * np.sin(x / 5.0)[None, None, :]
    folded = vector_like(field, grid)
    assert jacobian(folded).min() < 0
    smooth, rounds, fraction = without_folding(folded)
    assert rounds > 0
    assert fraction > 0.1
    assert jacobian(smooth).min() > 0
