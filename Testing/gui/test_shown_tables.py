"""Tables in the panels: few digits and words for the user, all digits in the nodes, nothing overwritten by accident."""

from __future__ import annotations

import math

import pytest
from gui import measure


@pytest.fixture
def way(module_widget):
    from gui.way import Way

    return Way(module_widget("TheranosticDose"))


@pytest.fixture
def balls(way):
    """The panel with four balls whose dose is computed."""
    measure.show_balls(way, 16, ("led",))
    return way


def texts(view) -> list[list[str]]:
    """Return the cells of a table view as they are read."""
    model = view.model()
    return [
        [model.index(row, column).data() or "" for column in range(model.columnCount())]
        for row in range(model.rowCount())
    ]


def header(view) -> list[str]:
    """Return the names of the columns; the view shows their titles with the unit behind them."""
    table = view.mrmlTableNode().GetTable()
    first = 1 if view.mrmlTableNode().GetUseFirstColumnAsRowHeader() else 0
    return [table.GetColumnName(index) for index in range(first, table.GetNumberOfColumns())]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1164.4123, 4, "1164"),
        (27734.2, 4, "27730"),
        (4.13294, 4, "4.133"),
        (0.664255, 2, "0.66"),
        (24.0, 4, "24"),
        (0.0, 4, "0"),
        (0.00001234, 4, "1.234e-05"),
        (5.43e8, 4, "5.43e+08"),
        (999.96, 4, "1000"),
        (-1.50001, 3, "-1.5"),
        (math.nan, 4, ""),
    ],
)
def test_numbers_have_few_digits(value: float, digits: int, text: str) -> None:
    from TheranosticDoseSlicer.shown_tables import number

    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "u", "text"),
    [
        (2.38348, 0.17350, "2.38 ± 0.17"),
        (27734.2, 942.0, "27730 ± 940"),
        (1.0, 0.0996, "1.00 ± 0.10"),
        (12.345, 1.0, "12.3 ± 1.0"),
        (3000.0, 14873.0, "3000 ± 15000"),
        (3.2, 0.0, "3.2"),
        (3.2, math.nan, "3.2"),
        (math.nan, 1.0, ""),
    ],
)
def test_an_uncertainty_has_two_digits_and_the_value_ends_with_it(value: float, u: float, text: str) -> None:
    from TheranosticDoseSlicer.shown_tables import pair

    assert pair(value, u) == text


def test_what_is_typed_is_understood_or_refused() -> None:
    from TheranosticDoseLib.errors import InputError
    from TheranosticDoseSlicer.shown_tables import parsed

    assert parsed(" 1164.5 MBq", "activity") == 1164.5
    assert parsed("0,25", "u") == 0.25
    assert parsed("1.2e3", "activity") == 1200.0
    for text in ("1,164", "many", "", "nan"):
        with pytest.raises(InputError, match="activity"):
            parsed(text, "activity")


def test_an_edited_cell_leaves_all_other_numbers_alone(balls) -> None:
    from gui.actions import edit_cell
    from PySide6.QtCore import Qt
    from TheranosticDoseSlicer import case as roles
    from TheranosticDoseSlicer import study_nodes, tables

    balls.open("study")
    table = balls.case.get(roles.TIME_POINTS)
    before = tables.rows_of(table)
    view = balls.ui.timePointsTable
    column = header(view).index(study_nodes.TIME)
    assert view.model().headerData(column, Qt.Orientation.Horizontal) == "time [h]"
    label = header(view).index(study_nodes.LABEL)
    activity = header(view).index(study_nodes.ACTIVITY)
    assert all(len(row[activity].replace(".", "").lstrip("0")) <= 4 for row in texts(view))
    edit_cell(view, 1, column, f"{before[1][study_nodes.TIME] + 0.123456:.6f}")
    balls.settle("time")
    after = tables.rows_of(table)
    assert after[1][study_nodes.TIME] == pytest.approx(before[1][study_nodes.TIME] + 0.123456, abs=1e-6)
    after[1][study_nodes.TIME] = before[1][study_nodes.TIME]
    assert after == before
    # The label names the volumes: changed, the time point would be left out without a word.
    edit_cell(view, 0, label, "other")
    balls.settle("label")
    assert (
        tables.rows_of(table)[0][study_nodes.LABEL] == before[0][study_nodes.LABEL] == texts(view)[0][label]
    )
    edit_cell(view, 0, column, "late")
    [problem] = balls.user.texts("error")
    assert "'late' is not a number" in problem
    assert texts(view)[0][column] == f"{before[0][study_nodes.TIME]:g}"
    balls.user.messages.clear()


def test_counts_are_called_counts(balls) -> None:
    from TheranosticDoseSlicer import case as roles
    from TheranosticDoseSlicer import study_nodes, tables

    table = balls.case.get(roles.TIME_POINTS)
    tables.set_cell(table, 0, study_nodes.UNIT, "CNTS")
    rows = study_nodes.shown_time_points(table)
    shown = {column.name: column.values for column in rows}
    assert shown[study_nodes.UNIT][:2] == ["counts", "Bq/mL"]
    assert shown[study_nodes.ACTIVITY][0].endswith(" counts")
    assert "counts" not in shown[study_nodes.ACTIVITY][1]


def test_results_show_dose_first_with_its_uncertainty_and_cannot_be_typed_over(balls) -> None:
    from PySide6.QtCore import Qt
    from TheranosticDoseSlicer import case as roles
    from TheranosticDoseSlicer import tables

    balls.open("evaluation")
    view = balls.ui.resultsTable
    assert header(view)[:2] == ["LED: mean (Gy)", "BED (Gy)"]
    precise = tables.rows_of(balls.case.get(roles.VOIS))
    live = balls.widget.controller.live
    for row, shown in zip(precise, texts(view), strict=True):
        result = live.result(row["VOI"])
        assert row["led mean (Gy)"] == result.dvh["led"].mean_gy
        expected = result.uncertainty["led"]["relative_u_dose"] * result.dvh["led"].mean_gy
        assert row["led u mean (Gy)"] == pytest.approx(expected)
        value, _sign, u = shown[0].partition(" ± ")
        assert float(value) == pytest.approx(row["led mean (Gy)"], abs=0.5 * expected)
        assert float(u) == pytest.approx(expected, rel=0.06)
        assert row["alpha/beta (Gy)"] == result.radiobiology["alpha_beta_gy"]
    assert [view.model().headerData(row, Qt.Orientation.Vertical) for row in range(len(precise))] == [
        row["VOI"] for row in precise
    ]
    assert view.verticalHeader().visible
    assert not balls.ui.pointsTable.verticalHeader().visible
    model = header(view).index("model")
    assert texts(view)[0][model] not in ("", precise[0]["model"])
    assert not view.model().index(0, 1).flags() & Qt.ItemFlag.ItemIsEditable


def test_a_moved_point_shows_what_was_measured(balls) -> None:
    from gui.actions import check_cell, edit_cell
    from TheranosticDoseSlicer import case as roles

    view, names = balls.ui.pointsTable, header(balls.ui.pointsTable)
    name = balls.widget.controller.panels[3].selected()
    measured = balls.widget.controller.live.measured(name).activity_mbq
    activity, use, was = (names.index(text) for text in ("activity (MBq)", "use", "measured (MBq)"))
    assert [row[was] for row in texts(view)] == [""] * len(measured)
    edit_cell(view, 0, activity, f"{1.3 * measured[0]:.3f}")
    balls.settle("moved")
    check_cell(view, 1, use, False)
    balls.settle("left out")
    assert float(texts(view)[0][was]) == pytest.approx(measured[0], rel=1e-3)
    assert texts(view)[1][was] == ""
    edits = balls.case.record("edits")[name]
    assert list(edits["moved_mbq"]) == ["0"]
    title = balls.case.get(roles.CURVE_CHART).GetTitle()
    assert "moved: " in title
    assert "left out: " in title


def test_a_fit_is_read_with_units_uncertainty_and_words(balls) -> None:
    from gui.actions import choose

    name = balls.widget.controller.panels[3].selected()
    text = balls.ui.fitLabel.text
    fit = balls.widget.controller.live.result(name).fit
    assert " ± " in text
    assert "MBq h" in text
    assert f"{fit.model}:" not in text
    choose(balls.ui.voiModelBox, "three exponentials with uptake")
    balls.settle("model")
    assert balls.ui.fitLabel.text.startswith("No curve. ")
    assert "parameters" in balls.ui.fitLabel.text
    for text in (balls.ui.fitLabel.text, balls.ui.messageLabel.text):
        assert "model three exponentials with uptake has" in text
        assert "'population prior'" in text


def test_long_findings_wrap(balls) -> None:
    from TheranosticDoseLib.findings import Finding
    from TheranosticDoseSlicer import study_nodes

    text = "A sentence that is far too long for a panel of this width, so that it has to go on below. " * 2
    study_nodes.set_findings(balls.case, "load", (Finding("warning", "x", text, None, "test", "Do this."),))
    balls.open("study")
    balls.widget.controller.refresh()
    view = balls.ui.findingsTable
    assert texts(view)[0][1].endswith("Do this.")
    assert view.columnWidth(0) + view.columnWidth(1) <= view.width
    assert view.rowHeight(0) > 40
