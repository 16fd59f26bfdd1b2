"""A table node in a table view, in few digits.

The view shows a node of its own, outside of the scene, that holds texts.  A text that the user changes becomes a
number of the table node; a text that is left alone leaves its number alone, with all digits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
import vtk
from TheranosticDoseSlicer import shown_tables, tables
from TheranosticDoseSlicer.tables import Column

ROW_HEIGHT = 24
NARROWEST_COLUMN = 30


class ShownTable:
    """A table node in a table view.

    Parameters
    ----------
    view : qMRMLTableView
    columns : callable
        Returns what is shown of a table node: columns of texts or of bool (check boxes).
    editable : sequence of str
        Columns that the user may change; they are called as in the table node.
    errors : callable
        Returns a context that shows errors to the user.
    wrapped : str
        A column of long texts: it takes the rest of the width, and its lines wrap.
    named : bool
        The first column names the rows and stays in sight when the table is moved sideways.
    """

    def __init__(
        self,
        view,
        columns: Callable[[Any], list[Column]] = shown_tables.columns_of,
        editable: Sequence[str] = (),
        errors: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
        wrapped: str = "",
        named: bool = False,
    ) -> None:
        self.view, self.source = view, None
        self._columns, self._editable, self._errors, self._wrapped = columns, editable, errors, wrapped
        self._known: list[Column] = []
        self._filling = False
        self.node = slicer.vtkMRMLTableNode()
        self.node.SetUseColumnTitleAsColumnHeader(True)
        self.node.SetLocked(not editable)
        self.node.SetUseFirstColumnAsRowHeader(named)
        self.node.GetTable().AddObserver(vtk.vtkCommand.ModifiedEvent, self._onModified)

    def show(self, source) -> None:
        """Show a table node as it is now; ``None`` shows nothing."""
        self.source = source
        if source is None:
            self._known = []
            if self.view.mrmlTableNode() is not None:
                self.view.setMRMLTableNode(None)
            return
        shown = self._columns(source)
        new = [(column.name, list(column.values)) for column in shown]
        if new != [(column.name, list(column.values)) for column in self._known]:
            same_shape = _shape(shown) == _shape(self._known)
            self._known = shown
            self._fill(in_place=same_shape)
        if self.view.mrmlTableNode() is not self.node:
            self.view.setMRMLTableNode(self.node)
            self._arrange()

    def _fill(self, in_place: bool) -> None:
        self._filling = True
        try:
            if in_place:
                # The items of the view stay, so that a cell may be written while it is being edited.
                for number_of_column, column in enumerate(self._known):
                    array = self.node.GetTable().GetColumn(number_of_column)
                    for row, value in enumerate(column.values):
                        array.SetValue(row, value)
                self.node.GetTable().Modified()
                self.node.Modified()
            else:
                tables.set_table(self.node, self._known)
        finally:
            self._filling = False
        if self.view.mrmlTableNode() is self.node:
            self._arrange()

    def _arrange(self) -> None:
        """Give every column the width of its texts; the view does so only for another node."""
        across, down = self.view.horizontalHeader(), self.view.verticalHeader()
        across.setMinimumSectionSize(NARROWEST_COLUMN)
        down.visible = bool(self.node.GetUseFirstColumnAsRowHeader())
        down.setDefaultSectionSize(ROW_HEIGHT)
        self.view.resizeColumnsToContents()
        names = [column.name for column in self._known]
        if self._wrapped in names:
            across.setSectionResizeMode(names.index(self._wrapped), qt.QHeaderView.Stretch)
            down.setSectionResizeMode(qt.QHeaderView.ResizeToContents)

    def _onModified(self, _caller=None, _event=None) -> None:
        if self._filling or self.source is None:
            return
        # The table was changed in the view: take what may be changed, and show the rest as it was.
        with self._errors():
            try:
                for column, row, text in self._changes():
                    self._take(column, row, text)
            finally:
                self._known = self._columns(self.source)
                self._fill(in_place=True)

    def _changes(self) -> list[tuple[str, int, Any]]:
        table = self.node.GetTable()
        found = []
        for index, column in enumerate(self._known):
            for row, value in enumerate(tables.values_of(table.GetColumn(index))):
                if value != column.values[row] and column.name in self._editable:
                    found.append((column.name, row, value))
        return found

    def _take(self, column: str, row: int, value: Any) -> None:
        if not isinstance(value, bool):
            value = shown_tables.parsed(value, column)
        tables.set_cell(self.source, row, column, value)


def _shape(columns: Sequence[Column]) -> list[tuple]:
    return [
        (column.name, len(column.values), [type(value) for value in column.values][:1]) for column in columns
    ]
