"""VOIs on grids: volumes, activities, mapping through transforms, simple tools."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from TheranosticDoseLib.errors import GeometryError, InputError
from TheranosticDoseLib.registration import RegistrationSettings, register
from TheranosticDoseLib.study import Acquisition, Administration, Study, Voi
from TheranosticDoseLib.voi_tools import (
    activity_in_voi,
    activity_per_time_point,
    body_voi,
    dice,
    map_voi,
    map_vois,
    overlaps,
    percent_of_maximum_voi,
    threshold_voi,
    voi_on_acquisition,
    voi_on_grid,
    vois_on_reference,
    volume_change,
    volume_ml,
)


def grid(size=(40, 40, 40), spacing=(4.0, 4.0, 4.0), origin=None, direction=None) -> sitk.Image:
    image = sitk.Image(list(size), sitk.sitkFloat32)
    image.SetSpacing(list(spacing))
    if direction is not None:
        image.SetDirection(direction)
    middle = [-(n - 1) * s / 2 for n, s in zip(size, spacing, strict=True)]
    image.SetOrigin(origin or (np.array(image.GetDirection()).reshape(3, 3) @ middle).tolist())
    return image


def sphere(image: sitk.Image, centre=(0.0, 0.0, 0.0), radius=20.0) -> sitk.Image:
    """Return a sphere with partial voxels (3 samples per axis)."""
    steps = (np.arange(3) - 1) / 3
    direction = np.array(image.GetDirection()).reshape(3, 3)
    z, y, x = np.meshgrid(*[np.arange(n) for n in image.GetSize()[::-1]], indexing="ij")
    index = np.stack([x, y, z], axis=-1).astype(float)
    weight = np.zeros(index.shape[:3])
    for offset in np.array(np.meshgrid(steps, steps, steps)).reshape(3, -1).T:
        point = ((index + offset) * image.GetSpacing()) @ direction.T + image.GetOrigin()
        weight += np.sum((point - centre) ** 2, axis=-1) <= radius**2
    result = sitk.GetImageFromArray((weight / 27).astype(np.float32))
    result.CopyInformation(image)
    return result


def filled(image: sitk.Image, value: float) -> sitk.Image:
    result = sitk.Image(image) * 0 + value
    return sitk.Cast(result, sitk.sitkFloat32)


@settings(max_examples=12, deadline=None)
@given(
    st.floats(1.0, 6.0),
    st.floats(1.5, 5.0),
    st.tuples(st.floats(-15, 15), st.floats(-15, 15), st.floats(-15, 15)),
    st.floats(-0.6, 0.6),
)
def test_volume_is_kept_on_any_grid(fine, coarse, centre, angle):
    source = grid((60, 60, 60), (2.0, 2.0, 2.0))
    rotation = sitk.Euler3DTransform((0, 0, 0), angle, 0.3 * angle, -angle)
    size = [int(170 / s) for s in (fine, fine, coarse)]
    target = grid(size, (fine, fine, coarse), direction=rotation.GetMatrix())
    voi = Voi("Lesion 1", sphere(source, centre, 18.0), acquisition="24h")
    mapped = map_voi(voi, target)
    assert mapped.volume_before_ml == pytest.approx(4 / 3 * np.pi * 1.8**3, rel=0.02)
    assert mapped.volume_after_ml == pytest.approx(mapped.volume_before_ml, rel=0.03)
    assert mapped.outside_fraction == 0.0
    assert volume_ml(mapped.voi.weights) == mapped.volume_after_ml


def test_box_of_the_grid_gives_what_the_whole_grid_gives():
    from TheranosticDoseLib.geometry import resample

    source = grid((60, 60, 60), (2.0, 2.0, 2.0))
    target = grid((50, 44, 31), (3.1, 3.0, 5.0))
    transform = sitk.Euler3DTransform((5, 0, 3), 0.2, -0.1, 0.3, (6.0, -9.0, 11.0))
    voi = Voi("Lesion 1", sphere(source, (12.0, -9.0, 14.0), 9.0))
    whole = sitk.GetArrayFromImage(resample(voi.weights, target, transform))
    np.testing.assert_allclose(sitk.GetArrayFromImage(voi_on_grid(voi, target, transform)), whole, atol=1e-6)


def test_part_outside_is_found():
    source = grid((80, 40, 40))
    target = grid((40, 40, 40))
    voi = Voi("Liver", sphere(source, (78.0, 0.0, 0.0), 20.0))  # the grid ends at 80 mm
    mapped = map_voi(voi, target)
    assert mapped.outside_fraction == pytest.approx(0.5, abs=0.12)
    assert any("outside the reference field of view" in finding.message for finding in mapped.findings)
    with pytest.raises(InputError, match="outside the field of view"):
        map_voi(Voi("Liver", sphere(source, (130.0, 0.0, 0.0), 10.0)), target)


def test_bad_vois_have_a_sentence():
    target = grid()
    with pytest.raises(InputError, match="is empty"):
        map_voi(Voi("Spleen", filled(target, 0.0)), target)
    with pytest.raises(InputError, match="0 to 1"):
        map_voi(Voi("Spleen", filled(target, 3.0)), target)
    with pytest.raises(InputError, match="0 to 1"):
        map_voi(Voi("Spleen", filled(target, float("nan"))), target)


def test_activity_is_concentration_times_volume():
    image = grid()
    weights = sphere(image, radius=24.0)
    spect = filled(image, 5e5)
    assert activity_in_voi(spect, weights) == pytest.approx(0.5 * volume_ml(weights), rel=1e-6)
    with pytest.raises(GeometryError, match="different grids"):
        activity_in_voi(spect, sphere(grid((41, 40, 40))))


def two_scans(offset=(12.0, -8.0, 10.0)) -> tuple[Study, sitk.Euler3DTransform]:
    """Return two scans of one object that moved by ``offset``, with VOIs of the same name on both."""
    image = grid((48, 44, 40))
    moved = tuple(np.array((8.0, 4.0, -6.0)) + offset)
    background = [sphere(image, (0, 0, 0), 75.0), sphere(image, offset, 75.0)]
    hot = [sphere(image, (8.0, 4.0, -6.0), 20.0), sphere(image, moved, 20.0)]
    other = [
        sphere(image, (-40.0, 0.0, 10.0), 12.0),
        sphere(image, tuple(np.array((-40.0, 0, 10)) + offset), 12.0),
    ]
    spect = [b * 2e4 + h * 1e6 + o * 5e5 for b, h, o in zip(background, hot, other, strict=True)]
    vois = (
        Voi("Lesion 1", hot[0], "24h", "lesion"),
        Voi("Lesion 1", hot[1], "96h", "lesion"),
        Voi("Lesion 2", other[1], "96h", "lesion"),
    )
    scans = (Acquisition("24h", 24.0, spect[0]), Acquisition("96h", 96.0, spect[1]))
    return Study(Administration(activity_mbq=7400.0), scans, vois), sitk.Euler3DTransform()


@pytest.fixture(scope="module")
def registered():
    return register(two_scans()[0], RegistrationSettings(method="rigid"))


def test_vois_of_all_scans_lie_on_the_reference(registered):
    vois = vois_on_reference(registered)
    assert [voi.name for voi in vois] == ["Lesion 1", "Lesion 2"]
    assert vois[0].acquisition == "24h"
    assert vois[1].acquisition == "96h"
    expected = sphere(registered.grid, (-40.0, 0.0, 10.0), 12.0)
    assert dice(vois[1].weights, expected) > 0.85
    messages = [finding.message for mapped in map_vois(registered) for finding in mapped.findings]
    assert any("drawn on 24h, 96h; the one of 24h" in message for message in messages)


def test_own_voi_measures_its_own_scan(registered):
    vois = vois_on_reference(registered)
    (a24, source24), (a96, source96) = activity_per_time_point(registered, vois[0])
    assert (source24, source96) == ("drawn", "drawn")
    assert a96 == pytest.approx(a24, rel=0.02)
    (b24, source24), (b96, source96) = activity_per_time_point(registered, vois[1])
    assert (source24, source96) == ("registered", "drawn")
    assert b24 == pytest.approx(b96, rel=0.1)


def test_a_scan_that_does_not_hold_a_voi_has_no_point_for_it_and_a_finding():
    import dataclasses

    from TheranosticDoseLib.dose import Anatomy
    from TheranosticDoseLib.workflow import RunSettings, steps

    study = two_scans()[0]
    late = study.acquisitions[1]
    # The second scan ends below the lesions: one was drawn on it all the same, the other is carried to it.
    cut = dataclasses.replace(late, spect=late.spect[:, :, :10])
    third = dataclasses.replace(late, label="168h", time_h=168.0)
    vois = (*study.vois[:2], dataclasses.replace(study.vois[2], acquisition="168h"))
    study = dataclasses.replace(study, acquisitions=(study.acquisitions[0], cut, third), vois=vois)
    registered = register(study, RegistrationSettings(method="none", activity_tolerance=1.0))
    mapped = vois_on_reference(registered)
    (_, first), (activity, second), _ = activity_per_time_point(registered, mapped[0])
    assert (first, second) == ("drawn", "outside")
    assert np.isnan(activity)
    results = steps.voi_results(registered, mapped, Anatomy.water(registered.grid), RunSettings())
    for result in results:
        assert np.isfinite(result.activity_mbq[0])
        assert np.isnan(result.activity_mbq[1])
        assert list(result.fit.time_h) == [24.0, 168.0]
        assert any("96h; that time point was left out" in finding.message for finding in result.findings)


def test_volume_change_is_that_of_the_transform():
    from types import SimpleNamespace

    image = grid()
    bigger = sitk.AffineTransform(3)
    bigger.Scale((1.02, 1.0, 0.97))
    turned = sitk.Euler3DTransform((0, 0, 0), 0.1, 0.0, 0.05, (5.0, -3.0, 2.0))
    study = SimpleNamespace(grid=image, transforms=(sitk.Transform(3, sitk.sitkIdentity), bigger, turned))
    voi = Voi("Kidney_L", sphere(image, (6.0, 0.0, -8.0)))
    assert volume_change(study, 0, voi) == pytest.approx(0.0, abs=1e-9)
    assert volume_change(study, 1, voi) == pytest.approx(1.02 * 0.97 - 1, abs=1e-6)
    assert volume_change(study, 2, voi) == pytest.approx(0.0, abs=1e-6)


def test_propagation_to_another_scan(registered):
    first = vois_on_reference(registered)[0]
    there = voi_on_acquisition(registered, first, "96h")
    assert there.acquisition == "96h"
    assert dice(there.weights, registered.study.vois[1].weights) > 0.93


def test_unknown_scan_of_a_voi(registered):
    import dataclasses

    study = dataclasses.replace(registered.study, vois=(Voi("x", registered.study.vois[0].weights, "7d"),))
    with pytest.raises(InputError, match="there are 24h, 96h"):
        vois_on_reference(dataclasses.replace(registered, study=study))


def test_voi_outside_the_reference_is_left_out_and_said(registered):
    import dataclasses

    inside = registered.study.vois[0]
    far = sitk.Image(inside.weights)
    far.SetOrigin((5000.0, 0.0, 0.0))
    study = dataclasses.replace(registered.study, vois=(inside, Voi("Brain", far, "24h")))
    moved = dataclasses.replace(registered, study=study)
    left_out = []
    assert [mapped.voi.name for mapped in map_vois(moved, left_out)] == ["Lesion 1"]
    assert [finding.field for finding in left_out] == ["vois.Brain"]
    assert "left out" in left_out[0].message
    with pytest.raises(InputError, match="outside the field of view"):
        map_vois(moved)


def test_overlaps_and_dice():
    image = grid()
    one, two, apart = (
        Voi(name, sphere(image, centre, 20.0))
        for name, centre in (("a", (0, 0, 0)), ("b", (10.0, 0, 0)), ("c", (60.0, 60.0, 60.0)))
    )
    (pair,) = overlaps([one, two, apart])
    lens = np.pi * (4 * 20 + 10) * (2 * 20 - 10) ** 2 / 12
    assert (pair["first"], pair["second"]) == ("a", "b")
    assert pair["shared_ml"] == pytest.approx(lens / 1000, rel=0.05)
    assert dice(one.weights, one.weights) == 1.0


def test_simple_tools_make_vois():
    study, _ = two_scans()
    spect = study.acquisitions[0].spect
    lesion = percent_of_maximum_voi(spect, 50.0, name="Lesion 1", seed_mm=(8.0, 4.0, -6.0))
    assert lesion.kind == "lesion"
    assert dice(lesion.weights, study.vois[0].weights) > 0.9
    hot = threshold_voi(spect, 3e5, name="uptake")
    assert volume_ml(hot.weights) > volume_ml(lesion.weights)
    body = body_voi(spect, "spect")
    assert (body.kind, body.origin) == ("body", "body outline from SPECT")
    with pytest.raises(InputError, match="is empty"):
        threshold_voi(spect, 1e9, name="nothing")
    with pytest.raises(InputError, match="outside the image"):
        threshold_voi(spect, 1e5, name="x", seed_mm=(900.0, 0.0, 0.0))
