"""Registration of a study: known displacement, activity, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from moving_phantom import ORGANS, moving_phantom, points_of
from TheranosticDoseLib.errors import (
    ActivityConservationError,
    CancelledError,
    GeometryError,
    InputError,
    SettingsError,
    UnitsError,
)
from TheranosticDoseLib.registration import RegisteredStudy, RegistrationSettings, register
from TheranosticDoseLib.study import Acquisition, Administration, Study

QUICK = RegistrationSettings(spacing_mm=5.0, iterations=(30, 30, 20))
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


def study_of(phantom, with_ct: bool = True) -> Study:
    points = points_of(phantom.fixed)
    back = (points - phantom.offset) @ phantom.rotation
    anatomy = back.copy()
    from moving_phantom import breathing

    for _ in range(25):
        anatomy = back - breathing(anatomy)
    fixed = Acquisition("24h", 24.0, spect_of(points, phantom.fixed), ct=phantom.fixed if with_ct else None)
    moving = Acquisition(
        "96h", 96.0, spect_of(anatomy, phantom.fixed), ct=phantom.moving if with_ct else None
    )
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
