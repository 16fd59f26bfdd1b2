"""What the stand-ins of the MRML widgets do: tables and plots."""

from __future__ import annotations

import io

import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from . import clock
from .classes import behavior
from .ctk_widgets import row
from .mrml_widgets import MODIFIED, TakesScene, with_scene
from .observers import Observers


@behavior("qMRMLTableView")
@with_scene
class TableView:
    """Show a table node; an edited cell goes into the node unless the node is locked."""

    def _build(self):
        self._table = None
        self._busy = False
        self._observers = Observers(self)
        self._items = QtGui.QStandardItemModel(self)
        self.setModel(self._items)
        QtWidgets.QTableView.verticalHeader(self).setVisible(False)
        self._items.connect("itemChanged(QStandardItem*)", self._on_edit)

    def _property_changed(self, name, value):
        self._fill()

    def mrmlTableNode(self):
        return self._table

    def setMRMLTableNode(self, node):
        self._observers.clear()
        self._table = node
        if node is not None:
            self._observers.add(node, MODIFIED, "_fill")
        self._fill()

    def _fill(self):
        if self._busy:
            return
        self._busy = True
        self._items.clear()
        table = self._table.GetTable() if self._table is not None else None
        if table is not None:
            rows, columns = table.GetNumberOfRows(), table.GetNumberOfColumns()
            self._items.setRowCount(rows)
            for column in range(self._offset(), columns):
                place = column - self._offset()
                self._items.setHorizontalHeaderItem(place, QtGui.QStandardItem(self._title(column)))
                for index in range(rows):
                    self._items.setItem(index, place, self._cell(index, column))
            for index in range(rows):
                label = table.GetValue(index, 0).ToString() if self._offset() else str(index + 1)
                self._items.setVerticalHeaderItem(index, QtGui.QStandardItem(label))
        QtWidgets.QTableView.resizeColumnsToContents(self)
        self._busy = False

    def _offset(self):
        """Columns of the table that are the header of the rows (``qMRMLTableModel::updateModelFromMRML``)."""
        return 1 if self._table.GetUseFirstColumnAsRowHeader() else 0

    def _title(self, column):
        if not self._table.GetUseColumnTitleAsColumnHeader():
            return chr(ord("A") + column)
        name = self._table.GetTable().GetColumnName(column) or ""
        title, unit = self._table.GetColumnTitle(name) or name, self._table.GetColumnUnitLabel(name)
        return f"{title} [{unit}]" if unit else title

    def _cell(self, index, column):
        array = self._table.GetTable().GetColumn(column)
        value = self._table.GetTable().GetValue(index, column)
        if array.IsA("vtkBitArray"):
            return self._check_box(bool(value.ToInt()))
        text = value.ToString()
        if array.IsA("vtkFloatArray") or array.IsA("vtkDoubleArray"):
            text = f"{value.ToDouble():g}"
        item = QtGui.QStandardItem(text)
        item.setEditable(not self._table.GetLocked())
        return item

    def _check_box(self, checked):
        """Bits are check boxes without a text, as in the application."""
        item = QtGui.QStandardItem()
        item.setEditable(False)
        item.setCheckable(not self._table.GetLocked())
        item.setCheckState(QtCore.Qt.CheckState.Checked if checked else QtCore.Qt.CheckState.Unchecked)
        return item

    def _on_edit(self, item):
        if self._busy:
            return
        self._busy = True
        column = item.column() + self._offset()
        array = self._table.GetTable().GetColumn(column)
        if array.IsA("vtkBitArray"):
            array.SetValue(item.row(), int(item.checkState() == QtCore.Qt.CheckState.Checked))
        else:
            self._table.GetTable().SetValue(item.row(), column, vtk.vtkVariant(item.text()))
        self._busy = False
        self._table.GetTable().Modified()
        self._table.Modified()


@behavior("qMRMLTableWidget")
class TableWidget:
    """A table view with its controller bar."""

    def _build(self):
        from .classes import standin

        self._view = standin("qMRMLTableView")()
        row(self, self._view)

    def tableView(self):
        return self._view


MANY_LINES = 6


def chart_image(chart, width: int, height: int) -> QtGui.QImage:
    """Draw a chart node with its series as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width, 120) / 100, max(height, 90) / 100), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index in range(chart.GetNumberOfPlotSeriesNodes()):
        _draw_series(axes, chart.GetNthPlotSeriesNode(index))
    axes.set_xlabel(chart.GetXAxisTitle() or "")
    axes.set_ylabel(chart.GetYAxisTitle() or "")
    axes.set_title(chart.GetTitle() or "")
    if chart.GetXAxisLogScale():
        axes.set_xscale("log")
    if chart.GetYAxisLogScale():
        axes.set_yscale("log")
    if chart.GetLegendVisibility() and axes.lines:
        # A long legend would lie over the curves.
        many = len(axes.lines) > MANY_LINES
        (figure if many else axes).legend(fontsize="small", loc="outside right upper" if many else "best")
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return QtGui.QImage.fromData(data.getvalue(), "PNG")


def _column(series, name):
    from vtkmodules.util.numpy_support import vtk_to_numpy

    table = series.GetTableNode().GetTable() if series.GetTableNode() else None
    column = table.GetColumnByName(name) if table is not None and name else None
    return None if column is None else vtk_to_numpy(column)


def _draw_series(axes, series):
    if series is None:
        return
    x, y = _column(series, series.GetXColumnName()), _column(series, series.GetYColumnName())
    if y is None:
        return
    x = range(len(y)) if x is None else x
    line = series.GetLineStyle() != series.LineStyleNone and series.GetPlotType() != series.PlotTypeBar
    marker = series.GetMarkerStyle() != series.MarkerStyleNone
    dashed = series.GetLineStyle() in (
        series.LineStyleDash,
        series.LineStyleDashDot,
        series.LineStyleDashDotDot,
    )
    axes.plot(x, y, ("--" if dashed else "-") if line else " ", marker="o" if marker else None, color=series.GetColor(),
              label=series.GetName(), markersize=4)  # fmt: skip


@behavior("qMRMLPlotView")
class PlotView(TakesScene):
    """Show the chart of a plot view node."""

    def _build(self):
        self._view_node = None
        self._observers = Observers(self)
        self._picture = None
        self.setMinimumHeight(160)

    def setMRMLPlotViewNode(self, node):
        self._view_node = node
        self._watch()

    def _watch(self):
        self._observers.clear()
        if self._view_node is not None:
            self._observers.add(self._view_node, MODIFIED, "_watch")
            chart = self._view_node.GetPlotChartNode()
            if chart is not None:
                self._observers.add(chart, [MODIFIED, chart.PlotModifiedEvent], "_changed")
        self._changed()

    def _changed(self):
        self._picture = None
        QtWidgets.QWidget.update(self)

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect, QtCore.Qt.GlobalColor.white)
        chart = self._view_node.GetPlotChartNode() if self._view_node is not None else None
        if chart is not None:
            if self._picture is None or self._picture.size() != self.size:
                with clock.exclude():  # in the application VTK draws the chart
                    self._picture = chart_image(chart, self.width, self.height)
            painter.drawImage(0, 0, self._picture)
        painter.end()


@behavior("qMRMLPlotWidget")
class PlotWidget:
    """A plot view with its controller bar."""

    def _build(self):
        from .classes import standin

        self._view = standin("qMRMLPlotView")()
        row(self, self._view)

    def _scene_set(self):
        self._view.setMRMLScene(self._scene)

    def plotView(self):
        return self._view

    def viewWidget(self):
        return self._view

    def setMRMLPlotViewNode(self, node):
        self._view.setMRMLPlotViewNode(node)

    def setMRMLAbstractViewNode(self, node):
        self._view.setMRMLPlotViewNode(node)

    def mrmlPlotViewNode(self):
        return self._view._view_node

    def mrmlAbstractViewNode(self):
        return self._view._view_node
