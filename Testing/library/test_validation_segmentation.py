"""How the validation measures memory: in a process of its own, on a CT as large as scanners make them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib.validation.processes import in_new_process
from TheranosticDoseLib.validation.segmentation_networks import enlarged, memory_of


def _body() -> sitk.Image:
    z, y, x = np.indices((24, 40, 48))
    ct = np.where(((y - 20) / 15) ** 2 + ((x - 24) / 18) ** 2 < 1, 40.0, -1000.0)
    image = sitk.GetImageFromArray(ct.astype(np.float32))
    image.SetSpacing((6.0, 6.0, 5.0))
    image.SetOrigin((-100.0, 20.0, -300.0))
    return image


def test_an_enlarged_ct_shows_the_same_body_at_the_same_place():
    ct = _body()
    large = enlarged(ct, (96, 80, 72))
    assert large.GetSize() == (96, 80, 72)
    edge = [(-0.5, -0.5, -0.5), tuple(n - 0.5 for n in ct.GetSize())]
    for corner, other in zip(edge, [(-0.5, -0.5, -0.5), (95.5, 79.5, 71.5)], strict=True):
        assert large.TransformContinuousIndexToPhysicalPoint(other) == pytest.approx(
            ct.TransformContinuousIndexToPhysicalPoint(corner)
        )
    volumes = [
        float((sitk.GetArrayFromImage(image) > -300).sum()) * np.prod(image.GetSpacing())
        for image in (ct, large)
    ]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.03)


def test_memory_is_that_of_the_work_alone(tmp_path):
    ballast = np.ones(150_000_000, np.float32)  # 0.56 GiB that a measurement in this process would count
    sitk.WriteImage(_body(), str(tmp_path / "ct.nrrd"))
    gib, seconds = in_new_process(memory_of, ("classical", str(tmp_path / "ct.nrrd"), ""))
    assert ballast.nbytes > 0.55 * 2**30
    assert 0.03 < gib < 0.55
    assert seconds > 0
