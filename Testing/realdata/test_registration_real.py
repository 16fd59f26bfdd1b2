"""Registration of real data: a SPECT pair without CT, and real CTs deformed by a known field."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib.registration import RegistrationSettings, register
from TheranosticDoseLib.study import Acquisition, Administration, Study

pytestmark = pytest.mark.realdata


def smooth_field(image: sitk.Image, seed: int, amplitude: float = 9.0, scale: float = 60.0):
    """Return a function of points: a sum of smooth waves of at most about ``amplitude`` mm."""
    rng = np.random.default_rng(seed)
    waves = [
        (rng.normal(0, 1 / scale, 3), rng.uniform(0, 6.28), rng.normal(0, amplitude / 3, 3)) for _ in range(6)
    ]

    def displacement(points: np.ndarray) -> np.ndarray:
        return sum(np.sin(points @ k + phase)[..., None] * a for k, phase, a in waves)

    return displacement


def points_of(image: sitk.Image) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.arange(n) for n in image.GetSize()[::-1]], indexing="ij")
    index = np.stack([x, y, z], axis=-1) * np.array(image.GetSpacing())
    return index @ np.array(image.GetDirection()).reshape(3, 3).T + np.array(image.GetOrigin())


def real_ct(folder, name: str) -> sitk.Image:
    if name == "ct_reference_segmentation":
        return sitk.ReadImage(
            str(folder / "tests" / "reference_files" / "example_ct.nii.gz"), sitk.sitkFloat32
        )
    raw = np.fromfile(folder / "patient15_LuDOTATATE_attn.i33", "<u2").reshape(90, 70, 108).astype(np.float32)
    image = sitk.GetImageFromArray(raw[::-1, ::-1].copy() - 1024.0)
    image.SetSpacing((3.9063, 3.9063, 4.4196))
    return image


@pytest.mark.parametrize("name", ["ct_reference_segmentation", "lu177_patient_ct_organs"])
def test_real_ct_with_a_known_deformation(reference_data, name):
    ct = real_ct(reference_data(name), name)
    displacement = smooth_field(ct, seed=5)
    points = points_of(ct)
    back = points.copy()
    for _ in range(20):  # moving(x + u(x)) = fixed(x)
        back = points - displacement(back)
    vectors = sitk.GetImageFromArray((back - points).astype(np.float64), isVector=True)
    vectors.CopyInformation(ct)
    moving = sitk.Resample(ct, ct, sitk.DisplacementFieldTransform(vectors), sitk.sitkBSpline, -1000.0)
    noise = np.random.default_rng(1).normal(0, 15.0, ct.GetSize()[::-1]).astype(np.float32)
    noisy = sitk.GetImageFromArray(sitk.GetArrayFromImage(moving) + noise)
    noisy.CopyInformation(ct)
    body = sitk.SmoothingRecursiveGaussian(sitk.Clamp(ct, lowerBound=-1000.0, upperBound=100.0) + 1000.0, 8.0)
    scans = (Acquisition("24h", 24.0, body, ct=ct), Acquisition("96h", 96.0, body, ct=noisy))
    settings = RegistrationSettings(activity_tolerance=1.0)
    result = register(Study(Administration(), scans), settings)

    inside = np.argwhere((sitk.GetArrayViewFromImage(ct) > -200) & (sitk.GetArrayViewFromImage(ct) < 200))
    margin = 6
    inside = inside[np.all((inside >= margin) & (inside < np.array(points.shape[:3]) - margin), axis=1)]
    chosen = points[tuple(inside[np.random.default_rng(0).permutation(len(inside))[:500]].T)]
    truth = chosen + displacement(chosen)
    found = np.array([result.transforms[1].TransformPoint(point.tolist()) for point in chosen])
    before = np.linalg.norm(truth - chosen, axis=1).mean()
    after = np.linalg.norm(truth - found, axis=1).mean()
    assert before > 5.0
    assert after <= 2.5, (before, after)
    assert result.quality[1]["folded_fraction"] == 0.0


def test_real_spect_pair(reference_data):
    """Two real SPECTs without CT: rigid, better than before, activity kept, lesions come closer."""
    from TheranosticDoseLib.dicom_io import load_study
    from TheranosticDoseLib.voi_tools import activity_per_time_point, map_vois

    study = load_study(reference_data("lu177_dotatate_patient_spect"))
    result = register(study)
    moved = next(record for record in result.quality if record["method"] != "reference")
    assert moved["image"] == "spect"
    assert moved["similarity_rigid"] >= moved["similarity_before"]
    assert abs(moved["activity_relative_change"]) < 0.02
    assert moved["activity_before_mbq"] == pytest.approx(1328.78, rel=1e-3)
    mapped = map_vois(result)
    assert mapped
    for voi in mapped:
        assert voi.volume_after_ml == pytest.approx(voi.volume_before_ml, rel=0.05)
        assert all(activity > 0 for activity, _ in activity_per_time_point(result, voi.voi))
