"""What follows the mouse gives the numbers of a computation from scratch, and quickly."""

from __future__ import annotations

import time

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
pytestmark = pytest.mark.slicer

from mrml.ball_case import TIMES_H, ball, exhaust, lung_and_bone, made_case  # noqa: E402
from TheranosticDoseLib.dose import Anatomy, absorbed_dose  # noqa: E402
from TheranosticDoseLib.errors import InputError  # noqa: E402
from TheranosticDoseLib.geometry import array_of  # noqa: E402
from TheranosticDoseLib.workflow import RunSettings, steps  # noqa: E402
from TheranosticDoseSlicer import case as roles  # noqa: E402
from TheranosticDoseSlicer import dose_nodes, edits, segments, tables  # noqa: E402
from TheranosticDoseSlicer.case import Case  # noqa: E402
from TheranosticDoseSlicer.live import Live  # noqa: E402


def leave_out(case: Case, live: Live, name: str, position: int) -> None:
    """Leave a point out, move the first one up and choose a model."""
    used = tuple(i != position for i in range(len(TIMES_H)))
    moved = {"0": 1.3 * live.measured(name).activity_mbq[0]}
    case.set_record("edits", {name: edits.CurveEdit("mono", used, moved).to_dict()})


@pytest.mark.parametrize(
    ("engine", "anatomy"),
    [("led", Anatomy.water), ("vsv", Anatomy.water), ("vsv_density", lung_and_bone)],
)
def test_an_edited_curve_gives_the_dose_of_a_new_computation(scene, engine: str, anatomy) -> None:
    case, settings = made_case(32, (engine,), anatomy)
    live = Live(case, settings)
    exhaust(live.update())
    before = {result.name: result.dvh[engine].mean_gy for result in live.results}
    leave_out(case, live, "VOI 1", 3)
    exhaust(live.update())
    tia, _ = steps.tia_map(dose_nodes.voxels_of(case), live.results, settings)
    assert array_of(dose_nodes.tia_of(case)) == pytest.approx(array_of(tia), rel=2e-3)
    expected = absorbed_dose(tia, live.anatomy(), engine).dose
    found = dose_nodes.doses_of(case)[engine].dose
    scale = float(array_of(expected).max())
    assert np.abs(array_of(found) - array_of(expected)).max() < 1e-3 * scale
    assert live.problems == []
    for result in live.results:
        again = steps.with_dose(result, {engine: dose_nodes.doses_of(case)[engine]}, (), settings)
        assert result.dvh[engine].mean_gy == pytest.approx(again.dvh[engine].mean_gy, rel=1e-6)
        assert result.bed_gy == pytest.approx(again.bed_gy, rel=1e-6)
    assert live.result("VOI 1").dvh[engine].mean_gy != pytest.approx(before["VOI 1"], rel=1e-3)
    assert live.result("VOI 3").dvh[engine].mean_gy == pytest.approx(before["VOI 3"], rel=5e-3)


def test_nothing_is_computed_where_nothing_changed(scene) -> None:
    case, settings = made_case(32, ("led",))
    live = Live(case, settings)
    exhaust(live.update())
    kept = {name: id(entry.result) for name, entry in live._kept.items()}
    dose = case.get("dose/led").GetImageData().GetMTime()
    exhaust(live.update())
    assert {name: id(entry.result) for name, entry in live._kept.items()} == kept
    assert case.get("dose/led").GetImageData().GetMTime() == dose
    assert case.record("followed", []) == []


def test_the_first_edit_does_not_wait_for_kernels(scene) -> None:
    from TheranosticDoseLib.dose import vsv, vsv_density

    case, settings = made_case(24, ("vsv_density",))
    caches = vsv._grid_kernel, vsv_density._class_kernel
    for cache in caches:
        cache.cache_clear()
    live = Live(case, settings)
    exhaust(live.update())
    before = [cache.cache_info().misses for cache in caches]
    assert min(before) > 0
    leave_out(case, live, "VOI 1", 3)
    exhaust(live.update())
    assert [cache.cache_info().misses for cache in caches] == before


def test_with_the_transfer_matrix_only_what_moved_is_measured_and_fitted_again(scene) -> None:
    case, _ = made_case(32, ("led",))
    settings = RunSettings.from_dict({"quantification": {"recovery": "gtm", "fwhm_mm": 11.0}})
    live = Live(case, settings)
    exhaust(live.update())
    before = {kept.voi.name: kept for kept in live._kept.values()}
    points = {name: id(kept.points) for name, kept in before.items()}
    fits = {name: kept.result.fit for name, kept in before.items()}
    grid = dose_nodes.tia_of(case)
    segments.set_segment(
        case.get(roles.SEGMENTATION), "VOI 0", ball((32, 32, 32), (9, 9, 9), 3, grid), kind="lesion"
    )
    exhaust(live.update())
    again = steps.voi_results(live.registered_for_run(), live.vois(), live.anatomy(), settings)
    for expected, kept in zip(again, live._kept.values(), strict=True):
        name = kept.voi.name
        assert (id(kept.points) == points[name]) == (name != "VOI 0")
        assert kept.measured.activity_mbq == pytest.approx(expected.activity_mbq, rel=1e-9)
        assert kept.result.fit.tia_mbq_h == pytest.approx(expected.fit.tia_mbq_h, rel=1e-3)
    assert live.result("VOI 0").fit is not fits["VOI 0"]
    assert live.result("VOI 3").fit is fits["VOI 3"]


def test_an_edited_segment_moves_only_what_it_touches(scene) -> None:
    case, settings = made_case(32, ("led",))
    live = Live(case, settings)
    exhaust(live.update())
    before = {name: id(entry.measured) for name, entry in live._kept.items()}
    node = case.get(roles.SEGMENTATION)
    grid = dose_nodes.tia_of(case)
    segments.set_segment(node, "VOI 2", ball((32, 32, 32), (18, 18, 18), 4, grid), kind="lesion")
    exhaust(live.update())
    changed = {live._kept[name].voi.name for name in before if id(live._kept[name].measured) != before[name]}
    assert changed == {"VOI 2"}
    volume_ml = float(array_of(ball((32, 32, 32), (18, 18, 18), 4, grid)).sum()) * 4.8**3 / 1000
    assert live.result("VOI 2").volume_ml == pytest.approx(volume_ml)
    row = next(row for row in tables.rows_of(case.get(roles.VOIS)) if row["VOI"] == "VOI 2")
    assert row["volume (mL)"] == pytest.approx(volume_ml)


@pytest.mark.parametrize("stopped_at", ["curves", "TIA", "TIA shown", "vsv", "histograms"])
def test_an_update_that_is_stopped_leaves_no_wrong_dose(scene, stopped_at: str) -> None:
    """A step that begins stops the update; the doses say that they are behind until the next one is through."""
    case, settings = made_case(32, ("led", "vsv"))
    live = Live(case, settings)
    exhaust(live.update())
    leave_out(case, live, "VOI 1", 3)
    for step in live.update():
        if step == stopped_at:
            break
    else:
        pytest.fail(f"no step {stopped_at}")
    behind = case.get("dose/vsv").GetAttribute(roles.OUTDATED) is not None
    assert behind == (stopped_at in ("TIA shown", "vsv"))
    exhaust(live.update())
    assert case.record("doseOf") == live.keys()
    tia, _ = steps.tia_map(dose_nodes.voxels_of(case), live.results, settings)
    assert array_of(dose_nodes.tia_of(case)) == pytest.approx(array_of(tia), rel=2e-3)
    for engine in ("led", "vsv"):
        expected = array_of(absorbed_dose(tia, live.anatomy(), engine).dose)
        found = array_of(dose_nodes.doses_of(case)[engine].dose)
        assert np.abs(found - expected).max() < 1e-3 * expected.max()
        assert case.get(f"dose/{engine}").GetAttribute(roles.OUTDATED) is None
        dvh = live.result("VOI 1").dvh[engine]
        again = steps.with_dose(
            live.result("VOI 1"), {engine: dose_nodes.doses_of(case)[engine]}, (), settings
        )
        assert dvh.mean_gy == pytest.approx(again.dvh[engine].mean_gy, rel=1e-6)


def test_a_series_that_is_stopped_on_the_way_leaves_no_volumes(scene, monkeypatch) -> None:
    case, settings = made_case(12, ())
    registered = Live(case, settings).registered()
    showing = dose_nodes.images.showing

    def stopped_at_24h(image, name, *more):
        if "24h" in name:
            raise RuntimeError("stopped")
        return showing(image, name, *more)

    monkeypatch.setattr(dose_nodes.images, "showing", stopped_at_24h)
    with pytest.raises(RuntimeError, match="stopped"):
        exhaust(dose_nodes._load_series(case, registered))
    assert scene.GetFirstNodeByName("SPECT 4h registered") is None


def test_two_segments_of_one_name_are_refused(scene) -> None:
    case, settings = made_case(12, ())
    live = Live(case, settings)
    segmentation = case.get(roles.SEGMENTATION).GetSegmentation()
    segment = segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName("VOI 3"))
    segment.SetName("VOI 1")
    with pytest.raises(InputError, match="'VOI 1'"):
        exhaust(live.update())
    segment.SetName("VOI 3")
    exhaust(live.update())
    assert len(live.results) == 4


def test_monte_carlo_doses_are_marked_out_of_date(scene) -> None:
    case, settings = made_case(24, ("led",))
    doses = dose_nodes.doses_of(case)
    exhaust(dose_nodes.load_doses(case, {**doses, "mc": doses["led"]}, dose_nodes.tia_of(case)))
    live = Live(case, settings)
    exhaust(live.update())
    from TheranosticDoseSlicer import engine_table

    assert engine_table.outdated(case) == []
    leave_out(case, live, "VOI 1", 3)
    exhaust(live.update())
    assert engine_table.outdated(case) == ["mc"]


def test_all_points_left_out_is_a_sentence_and_the_others_go_on(scene, caplog) -> None:
    case, settings = made_case(24, ("led",))
    live = Live(case, settings)
    case.set_record("edits", {"VOI 1": {"used": [False] * 4}})
    exhaust(live.update())
    assert "all time points are left out" in live.problems[0]
    assert live.result("VOI 1").fit is None
    assert live.result("VOI 2").fit is not None
    assert {record.threadName for record in caplog.records} == {"MainThread"}
    # The reason stays while another VOI is edited, and goes with it.
    case.set_record("edits", {**case.record("edits"), "VOI 2": {"used": [True, True, True, False]}})
    exhaust(live.update())
    assert "all time points are left out" in live.problem("VOI 1")
    assert live.problem("VOI 2") == ""
    assert live.problems == [live.problem("VOI 1")]
    case.set_record("edits", {})
    exhaust(live.update())
    assert live.problems == []


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["led", "vsv", "vsv_density"])
def test_an_edit_of_128_cubed_takes_less_than_a_second(scene, engine: str) -> None:
    """Processor time of this process, so that a busy machine does not fail it."""
    case, settings = made_case(128, (engine,))
    live = Live(case, settings)
    exhaust(live.update())
    leave_out(case, live, "VOI 1", 3)
    exhaust(live.update())
    leave_out(case, live, "VOI 1", 2)
    longest, start = 0.0, time.process_time()
    last = start
    for _step in live.update():
        now = time.process_time()
        longest, last = max(longest, now - last), now
    total = time.process_time() - start
    print(f"{engine}: {total:.2f} s, longest step {longest:.2f} s")
    assert total < 1.0


def test_another_model_for_all_fits_again_without_measuring_again(scene) -> None:
    case, settings = made_case(24, ("led",))
    live = Live(case, settings)
    exhaust(live.update())
    measured = {name: id(entry.measured) for name, entry in live._kept.items()}
    live.settings = RunSettings.from_dict({"fit": {"model": "physical"}})
    exhaust(live.update())
    assert {result.fit.model for result in live.results} == {"physical"}
    assert {name: id(entry.measured) for name, entry in live._kept.items()} == measured
    again = steps.voi_results(live.registered_for_run(), live.vois(), live.anatomy(), live.settings)
    for expected, found in zip(again, live.results, strict=True):
        assert found.fit.tia_mbq_h == pytest.approx(expected.fit.tia_mbq_h, rel=1e-9)
