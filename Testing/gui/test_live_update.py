"""What follows the mouse in the panel: points dragged or left out, models, segments; and how long the loop waits."""

from __future__ import annotations

import pytest
from gui import measure

PATIENCE_S = 120


@pytest.fixture
def way(module_widget):
    from gui.way import Way

    return Way(module_widget("TheranosticDose"))


def result(way, name: str):
    return way.widget.controller.live.result(name)


def drag_point(chart, position: int, factor: float) -> float:
    """Drag a point of the first series with the mouse, as the plot view does, and return where it lies then.

    The chart is VTK's own, on the table of the series node, with what the view and chart nodes allow.
    """
    import slicer
    import vtk

    view_node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotViewNode")
    assert view_node.GetInteractionMode() == view_node.InteractionModeMovePoints
    series = chart.GetNthPlotSeriesNode(0)
    table = series.GetTableNode().GetTable()
    names = [table.GetColumnName(i) for i in range(table.GetNumberOfColumns())]
    x, y = names.index(series.GetXColumnName()), names.index(series.GetYColumnName())
    view = vtk.vtkContextView()
    view.GetRenderWindow().SetOffScreenRendering(1)
    view.GetRenderWindow().SetSize(500, 400)
    plots = vtk.vtkChartXY()
    view.GetScene().AddItem(plots)
    plots.AddPlot(vtk.vtkChart.POINTS).SetInputData(table, x, y)
    plots.SetActionToButton(vtk.vtkChart.CLICK_AND_DRAG, vtk.vtkContextMouseEvent.LEFT_BUTTON)
    for axis, allowed in (("X", chart.GetEnablePointMoveAlongX()), ("Y", chart.GetEnablePointMoveAlongY())):
        getattr(plots, f"SetDragPointAlong{axis}")(allowed)
    view.GetRenderWindow().Render()

    def pixel(value: float, axis, number: int) -> int:
        share = (value - axis.GetMinimum()) / (axis.GetMaximum() - axis.GetMinimum())
        low, high = axis.GetPoint1()[number], axis.GetPoint2()[number]
        return round(low + share * (high - low))

    time_h, activity = (table.GetValue(position, column).ToDouble() for column in (x, y))
    across = pixel(time_h, plots.GetAxis(1), 0)
    mouse = view.GetInteractor()
    mouse.Initialize()
    for value, event in ((activity, "LeftButtonPressEvent"), (factor * activity, "LeftButtonReleaseEvent")):
        # To the side as well: only the activity may follow.
        sideways = 0 if event == "LeftButtonPressEvent" else 25
        mouse.SetEventInformation(across + sideways, pixel(value, plots.GetAxis(0), 1))
        mouse.InvokeEvent("MouseMoveEvent")
        mouse.InvokeEvent(event)
    assert table.GetValue(position, x).ToDouble() == time_h
    return table.GetValue(position, y).ToDouble()


def test_a_point_dragged_in_the_plot_moves_curve_dose_and_bed(way, event_loop_watchdog) -> None:
    import slicer
    from TheranosticDoseSlicer.case import CURVE_CHART

    if slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotViewNode") is None:
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode", "Plot")
    case = measure.show_balls(way, 32, ("led",))
    from gui.actions import choose

    choose(way.ui.voiBox, "VOI 1")
    way.click(way.ui.movePointsButton)
    before = result(way, "VOI 1")
    other = result(way, "VOI 3")
    moved = drag_point(case.get(CURVE_CHART), 2, 0.5)
    assert moved == pytest.approx(0.5 * before.activity_mbq[2], rel=0.02)
    way.wait(lambda: result(way, "VOI 1").activity_mbq[2] != before.activity_mbq[2], PATIENCE_S, "edit taken")
    way.settle("update")
    after = result(way, "VOI 1")
    assert after.activity_mbq[2] == pytest.approx(moved)
    assert after.fit.tia_mbq_h < 0.98 * before.fit.tia_mbq_h
    ratio = after.fit.tia_mbq_h / before.fit.tia_mbq_h
    assert after.dvh["led"].mean_gy / before.dvh["led"].mean_gy == pytest.approx(ratio, rel=0.02)
    assert after.bed_gy < before.bed_gy
    assert result(way, "VOI 3") is other
    assert "VOI 1" in way.ui.kineticsNeeds.text
    way.click(way.ui.undoEditsButton)
    way.settle("undo")
    assert result(way, "VOI 1").fit.tia_mbq_h == pytest.approx(before.fit.tia_mbq_h, rel=1e-9)


def test_a_point_is_left_out_and_a_voi_has_its_own_model(way, event_loop_watchdog) -> None:
    from gui.actions import check_cell, choose

    case = measure.show_balls(way, 32, ("led",))
    choose(way.ui.voiBox, "VOI 2")
    before = result(way, "VOI 2")
    use = 3
    check_cell(way.ui.pointsTable, 0, use, False)
    way.settle("left out")
    assert case.record("edits")["VOI 2"]["used"] == [False, True, True, True]
    assert result(way, "VOI 2").fit.u_tia_mbq_h != before.fit.u_tia_mbq_h
    choose(way.ui.voiModelBox, "physical decay")
    way.settle("model")
    assert result(way, "VOI 2").fit.model == "physical"
    assert result(way, "VOI 2").fit.effective_half_life_h == pytest.approx(159.5, rel=0.01)
    assert result(way, "VOI 1").fit.model == before.fit.model
    for row in range(1, 4):
        check_cell(way.ui.pointsTable, row, use, False)
        way.settle("left out")
    assert "at least one time point" in way.ui.messageLabel.text
    assert result(way, "VOI 2").fit.model == "physical"


@pytest.mark.slow
@pytest.mark.parametrize("configuration", measure.CONFIGURATIONS)
def test_an_edit_of_128_cubed_never_holds_the_event_loop(
    way, configuration: str, event_loop_watchdog
) -> None:
    """Processor time, so that a busy machine does not fail it; the validation page has the seconds of the clock."""
    engine = configuration.rpartition(" ")[2]
    measure.show_balls(way, 128, (engine,))
    if configuration.startswith("gtm"):
        way.recover("geometric transfer matrix", measure.FWHM_MM)
    event_loop_watchdog.passes.clear()
    records = measure.live_updates(way, "VOI 1", "VOI 2")
    print(f"{configuration}: {records}, longest pass {event_loop_watchdog.longest}")
    assert max(record["cpu_s"] for record in records) < 1.0


def test_the_edits_can_be_measured_again_on_the_same_case(way) -> None:
    measure.show_balls(way, 24, ("led",))
    for _ in range(2):
        records = measure.live_updates(way, "VOI 1", "VOI 2")
        assert len({record["edit"] for record in records}) == 4


def test_an_edit_while_an_update_runs_is_not_lost(way):
    from gui.actions import choose, edit_cell

    measure.show_balls(way, 24, ("led",))
    choose(way.ui.voiBox, "VOI 1")
    controller = way.widget.controller
    first = controller.live.measured("VOI 1").activity_mbq[0]
    controller.startUpdate()
    assert controller._update is not None
    edit_cell(way.ui.pointsTable, 0, 1, f"{1.2 * first}")
    way.settle("both")
    assert controller.case.record("edits", {})["VOI 1"]["moved_mbq"]["0"] == pytest.approx(1.2 * first)
    assert result(way, "VOI 1").activity_mbq[0] == pytest.approx(1.2 * first, rel=1e-6)


@pytest.mark.parametrize("edited_first", [True, False])
def test_an_edit_is_followed_after_a_step_that_is_cancelled(way, edited_first: bool) -> None:
    """The edit comes before the step, which stops the update, or while the step runs."""
    import itertools

    from TheranosticDoseSlicer.jobs import Task

    measure.show_balls(way, 24, ("led",))
    controller = way.widget.controller
    before = result(way, "VOI 1").volume_ml
    if edited_first:
        measure.paint(way, "VOI 1", 4)
    controller.run(Task("Step", None, None, lambda _folder, _result: itertools.repeat("")))
    if not edited_first:
        measure.paint(way, "VOI 1", 4)
    way.wait(lambda: not controller._editTimer.active, PATIENCE_S, "delay of an edit")
    assert controller.busy
    assert result(way, "VOI 1").volume_ml == before
    way.click(way.ui.cancelButton)
    way.settle("update")
    assert result(way, "VOI 1").volume_ml > before
    assert result(way, "VOI 1").dvh


def test_what_the_steps_need_is_imported_while_nobody_clicks(way) -> None:
    import sys

    from TheranosticDoseSlicer import warmup

    way.ready()
    assert warmup.done()
    assert set(warmup.MODULES) <= set(sys.modules)
