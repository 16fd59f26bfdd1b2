"""Table and plot nodes: columns with units, charts of curves and histograms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Column:
    """One column: name, values, unit and what it is.  bool becomes a check box, numbers stay numbers."""

    name: str
    values: Sequence[Any]
    unit: str = ""
    description: str = ""


def set_table(node, columns: Iterable[Column]) -> None:
    """Replace the content of a table node in one event."""
    was_modifying = node.StartModify()
    try:
        node.RemoveAllColumns()
        for column in columns:
            array = _array(column)
            node.AddColumn(array)
            # The view writes the unit behind the title: "time [h]".
            node.SetColumnTitle(column.name, column.name.removesuffix(f" ({column.unit})"))
            if column.unit:
                node.SetColumnUnitLabel(column.name, column.unit)
            if column.description:
                node.SetColumnDescription(column.name, column.description)
        # Without this the view calls the columns A, B, C and shows their names as a first row.
        node.SetUseColumnTitleAsColumnHeader(True)
        node.GetTable().Modified()
    finally:
        node.EndModify(was_modifying)


def table_from(columns: Iterable[Column], name: str, node=None):
    """Return a table node with these columns; ``node`` is reused where one is given."""
    import slicer

    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    set_table(node, columns)
    return node


def rows_of(node) -> list[dict[str, Any]]:
    """Return the rows of a table node as dictionaries of plain Python values."""
    table = node.GetTable()
    columns = {}
    for index in range(table.GetNumberOfColumns()):
        array = table.GetColumn(index)
        columns[array.GetName()] = values_of(array)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def set_cell(node, row: int, column: str, value: Any) -> None:
    """Set one cell and tell the observers of the table."""
    array = node.GetTable().GetColumnByName(column)
    if array is None:
        msg = f"The table {node.GetName()!r} has no column {column!r}."
        raise KeyError(msg)
    array.SetValue(row, _plain(value, array))
    array.Modified()
    node.GetTable().Modified()
    node.Modified()


def _plain(value: Any, array) -> Any:
    if array.IsA("vtkStringArray"):
        return str(value)
    return int(value) if array.IsA("vtkBitArray") else float(value)


def _array(column: Column):
    import vtk

    values = list(column.values)
    if values and all(isinstance(value, (bool, np.bool_)) for value in values):
        array = vtk.vtkBitArray()
    elif all(isinstance(value, (int, float, np.integer, np.floating)) for value in values):
        array = vtk.vtkDoubleArray()
    else:
        array = vtk.vtkStringArray()
    array.SetName(column.name)
    array.SetNumberOfValues(len(values))
    for index, value in enumerate(values):
        array.SetValue(index, "" if value is None else _plain(value, array))
    return array


def values_of(array) -> list[Any]:
    """Return the values of a column as plain Python values."""
    number = array.GetNumberOfValues()
    if array.IsA("vtkStringArray"):
        return [array.GetValue(i) for i in range(number)]
    if array.IsA("vtkBitArray"):
        return [bool(array.GetValue(i)) for i in range(number)]
    return [float(array.GetTuple1(i)) for i in range(number)]


@dataclass(frozen=True)
class Series:
    """One curve of a chart: columns ``x`` and ``y`` of a table node."""

    name: str
    table: Any
    x: str
    y: str
    color: tuple[float, float, float] = (0.0, 0.45, 0.70)
    line: bool = True
    marker: bool = False
    dashed: bool = False


def chart_from(series: Sequence[Series], name: str, x_title: str, y_title: str, chart=None, log_y=False):
    """Return a plot chart node with exactly these series; nodes are reused, by name first, the rest removed.

    A node that comes or goes makes every node selector of the application look through the scene.
    """
    import slicer

    scene = slicer.mrmlScene
    if chart is None:
        chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    was_modifying = chart.StartModify()
    try:
        existing = {}
        for index in range(chart.GetNumberOfPlotSeriesNodes()):
            node = chart.GetNthPlotSeriesNode(index)
            if node is not None:
                existing[node.GetName()] = node
        chart.RemoveAllPlotSeriesNodeIDs()
        wanted = {item.name for item in series}
        spare = [existing.pop(known) for known in list(existing) if known not in wanted]
        for item in series:
            node = existing.pop(item.name, None) or (spare.pop(0) if spare else None)
            if node is None:
                node = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", item.name)
            node.SetName(item.name)
            _set_series(slicer, node, item)
            chart.AddAndObservePlotSeriesNodeID(node.GetID())
        for node in [*existing.values(), *spare]:
            scene.RemoveNode(node)
        chart.SetTitle(name)
        chart.SetXAxisTitle(x_title)
        chart.SetYAxisTitle(y_title)
        chart.SetYAxisLogScale(log_y)
        chart.SetLegendVisibility(True)
    finally:
        chart.EndModify(was_modifying)
    return chart


def _set_series(slicer, node, item: Series) -> None:
    kinds = slicer.vtkMRMLPlotSeriesNode
    was_modifying = node.StartModify()
    try:
        node.SetAndObserveTableNodeID(item.table.GetID())
        node.SetXColumnName(item.x)
        node.SetYColumnName(item.y)
        node.SetPlotType(kinds.PlotTypeScatter)
        node.SetColor(*item.color)
        if not item.line:
            style = kinds.LineStyleNone
        else:
            style = kinds.LineStyleDash if item.dashed else kinds.LineStyleSolid
        node.SetLineStyle(style)
        node.SetMarkerStyle(kinds.MarkerStyleCircle if item.marker else kinds.MarkerStyleNone)
        node.SetMarkerSize(9)
        node.SetLineWidth(2)
    finally:
        node.EndModify(was_modifying)
