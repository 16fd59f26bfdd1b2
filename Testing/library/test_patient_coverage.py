"""Coverage over virtual patients: what is integrated over, and what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib.errors import CancelledError
from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.study import Voi
from TheranosticDoseLib.uncertainty import outline_relative_u
from TheranosticDoseLib.validation.patient_coverage import _drawn_outline, covered
from TheranosticDoseLib.validation.processes import in_processes
from TheranosticDoseLib.workflow import RunSettings


def test_errors_shared_by_a_patient_are_integrated_as_draws_would_be():
    record = {"u_tia": 0.05, "error_tia": 0.02, "shared_u_tia": 0.034}
    drawn = 0.02 + 0.034 * np.random.default_rng(1).standard_normal(400_000)
    for factor in (1.0, 1.96):
        assert covered(record, "tia", factor) == pytest.approx(
            np.mean(np.abs(drawn) < factor * 0.05), abs=3e-3
        )


def test_intervals_that_are_right_are_covered_as_stated():
    rng = np.random.default_rng(2)
    own, shared = 0.04, 0.03
    records = [
        {"u_dose": float(np.hypot(own, shared)), "error_dose": own * z, "shared_u_dose": shared}
        for z in rng.standard_normal(4000)
    ]
    assert np.mean([covered(r, "dose", 1.0) for r in records]) == pytest.approx(0.683, abs=0.01)
    assert np.mean([covered(r, "dose", 1.96) for r in records]) == pytest.approx(0.95, abs=0.01)
    sure = {"u_dose": 0.04, "error_dose": 0.03, "shared_u_dose": 0.0}
    assert (covered(sure, "dose", 1.0), covered(sure, "dose", 0.5)) == (1.0, 0.0)


def test_drawn_outlines_have_the_stated_spread_of_volume():
    axis = (np.arange(40) - 19.5) * 2.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    image = sitk.Image([40] * 3, sitk.sitkFloat32)
    image.SetSpacing([2.0] * 3)
    voi = Voi("Lesion", image_like(((x**2 + y**2 + z**2) < 16.0**2).astype(np.float32), image), kind="lesion")
    before = float(array_of(voi.weights).sum())
    settings, rng = RunSettings(), np.random.default_rng(3)
    volumes = [float(array_of(_drawn_outline(voi, settings, rng).weights).sum()) for _ in range(60)]
    stated = outline_relative_u(before * 8e-3, 1.5, 2.0)
    assert np.mean(volumes) == pytest.approx(before, rel=0.3 * stated)
    assert np.std(volumes) / before == pytest.approx(stated, rel=0.25)


def test_parts_in_processes_come_back_in_order_and_can_be_stopped():
    assert in_processes(abs, [-3, 2, -1], None, "parts") == [3, 2, 1]
    said: list[float] = []
    in_processes(abs, [-1, -2], lambda fraction, _: said.append(fraction) or True, "parts")
    assert said in ([0.5, 1.0], [0.0, 0.5])  # with one processor it says what begins
    with pytest.raises(CancelledError):
        in_processes(abs, [-1, -2], lambda *_: False, "parts")
