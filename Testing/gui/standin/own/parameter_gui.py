"""Bind parameters of the parameter node double to widgets."""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import types
import typing

import ctk
import qt
import slicer

from .parameter_types import is_node_type, split_annotations
from .parameter_validators import Choice, FloatRange, Maximum, Minimum, RangeBounds, WithinRange


@dataclasses.dataclass
class Decimals:
    """Annotation: digits after the point of a spin box or slider."""

    value: int


@dataclasses.dataclass
class SingleStep:
    """Annotation: step of a spin box or slider."""

    value: float


class GuiConnector:
    """One widget bound to one parameter: how to read, write and hear of changes."""

    signal = ""

    def __init__(self, widget, kind, notes):
        self._widget, self.kind, self.notes = widget, kind, notes
        self._callback = None
        self.prepare()

    def note(self, annotation):
        """Return the first annotation of a class, or None."""
        return next((item for item in self.notes if isinstance(item, annotation)), None)

    def prepare(self):
        """Set the widget up for the annotations."""

    def widget(self):
        return self._widget

    def onChanged(self, callback):
        """Set what is called after the user changed the widget; None ends it."""
        signal = getattr(self._widget, self.signal) if self.signal else None
        if signal is not None and self._callback is not None:
            signal.disconnect(self._changed)
        if signal is not None and callback is not None:
            signal.connect(self._changed)
        self._callback = callback

    def _changed(self, *_):
        if self._callback is not None:
            self._callback()


class CheckedConnector(GuiConnector):
    """Check boxes and checkable buttons to bool."""

    signal = "toggled"

    def prepare(self):
        if not self._widget.checkable:
            self._widget.checkable = True

    def read(self):
        return self._widget.checked

    def write(self, value):
        self._widget.checked = value


class NumberConnector(GuiConnector):
    """Spin boxes and sliders to numbers."""

    signal = "valueChanged"

    def prepare(self):
        widget = self._widget
        integer_widget = type(widget) in (qt.QSpinBox, qt.QSlider)
        within, low, high = self.note(WithinRange), self.note(Minimum), self.note(Maximum)
        lowest = within.minimum if within else (low.minimum if low else None)
        highest = within.maximum if within else (high.maximum if high else None)
        bounded = lowest is not None and highest is not None
        needs_bounds = type(widget) in (qt.QSlider, ctk.ctkSliderWidget, slicer.qMRMLSliderWidget)
        if needs_bounds and not bounded:
            raise RuntimeError(f"{type(widget).__name__} can not be bound to a number without bounds")
        unlimited = 2**31 - 1 if integer_widget else float("inf")
        if not integer_widget and type(widget) is not ctk.ctkDoubleSlider:
            decimals = self.note(Decimals)
            if self.kind is int:
                widget.decimals = 0
            elif decimals is not None:
                widget.decimals = decimals.value
        if self.note(SingleStep) is not None:
            widget.singleStep = self.note(SingleStep).value
        widget.minimum = -unlimited if lowest is None else lowest
        widget.maximum = unlimited if highest is None else highest

    def read(self):
        return self.kind(self._widget.value)

    def write(self, value):
        self._widget.value = value


class ChoiceConnector(GuiConnector):
    """A combo box filled from the Choice annotation."""

    signal = "currentIndexChanged"

    def prepare(self):
        choice = self.note(Choice)
        if choice is None:
            raise RuntimeError("a combo box needs the Choice annotation")
        self._fill([(str(item), item) for item in choice.choices])

    def _fill(self, entries):
        self._entries = entries
        self._widget.clear()
        for text, _ in entries:
            self._widget.addItem(text)

    def read(self):
        return self._entries[self._widget.currentIndex][1]

    def write(self, value):
        values = [item for _, item in self._entries]
        if value not in values:
            raise ValueError(f"{value!r} is none of {values}")
        self._widget.currentIndex = values.index(value)


class EnumConnector(ChoiceConnector):
    """A combo box filled from an enum (from its ``label`` method where it has one)."""

    def prepare(self):
        label = getattr(self.kind, "label", lambda item: item.name)
        self._fill([(label(item), item) for item in self.kind])


class TextConnector(GuiConnector):
    """A line edit to str."""

    signal = "textChanged"

    def read(self):
        return self._widget.text

    def write(self, value):
        if self._widget.text != value:
            self._widget.text = value


class LabelConnector(TextConnector):
    """A label shows a str."""

    signal = ""


class PlainTextConnector(GuiConnector):
    """A text edit to str."""

    signal = "textChanged"

    def read(self):
        return self._widget.toPlainText()

    def write(self, value):
        if self._widget.toPlainText() != value:
            self._widget.setPlainText(value)


class PathConnector(GuiConnector):
    """A path line edit or directory button to a pathlib type."""

    def __init__(self, widget, kind, notes):
        line = type(widget) is ctk.ctkPathLineEdit
        self.attribute = "currentPath" if line else "directory"
        self.signal = f"{self.attribute}Changed"
        super().__init__(widget, kind, notes)

    def read(self):
        return self.kind(getattr(self._widget, self.attribute))

    def write(self, value):
        setattr(self._widget, self.attribute, str(value))


class RangeConnector(GuiConnector):
    """A range widget to FloatRange."""

    signal = "valuesChanged"

    def prepare(self):
        bounds = self.note(RangeBounds)
        if bounds is None:
            raise RuntimeError("a range widget needs the RangeBounds annotation")
        if self.note(Decimals) is not None:
            self._widget.decimals = self.note(Decimals).value
        if self.note(SingleStep) is not None:
            self._widget.singleStep = self.note(SingleStep).value
        self._widget.setRange(bounds.minimum, bounds.maximum)

    def read(self):
        return FloatRange(self._widget.minimumValue, self._widget.maximumValue)

    def write(self, value):
        self._widget.setValues(value.minimum, value.maximum)


def _node_types(kind) -> list:
    if is_node_type(kind):
        return [kind]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        arguments = [item for item in typing.get_args(kind) if item is not type(None)]
        return arguments if arguments and all(is_node_type(item) for item in arguments) else []
    return []


class NodeConnector(GuiConnector):
    """A node selector to a node; the selector offers the annotated classes."""

    signal = "currentNodeChanged"

    def prepare(self):
        self._widget.nodeTypes = [item.__name__ for item in _node_types(self.kind)]

    def read(self):
        return self._widget.currentNode()

    def write(self, value):
        self._widget.setCurrentNode(value)


def _connector_class(widget, kind):
    """Return the connector for exactly this widget class and type, as Slicer's table has it."""
    exact = type(widget)
    boxes = (qt.QCheckBox, ctk.ctkCheckBox, qt.QPushButton, ctk.ctkCheckablePushButton)
    real = (qt.QDoubleSpinBox, ctk.ctkSliderWidget, slicer.qMRMLSliderWidget, ctk.ctkDoubleSlider)
    real = (*real, ctk.ctkDoubleSpinBox, slicer.qMRMLSpinBox)
    combos = (qt.QComboBox, ctk.ctkComboBox)
    ranges = (ctk.ctkRangeWidget, ctk.ctkDoubleRangeSlider, slicer.qMRMLRangeWidget)
    paths = (ctk.ctkPathLineEdit, ctk.ctkDirectoryButton)
    of_class = kind if isinstance(kind, type) else type(None)
    table = [
        (kind is bool and exact in boxes, CheckedConnector),
        (kind is int and exact in (qt.QSlider, qt.QSpinBox), NumberConnector),
        (kind in (int, float) and exact in real, NumberConnector),
        (kind in (int, float, str, bool) and exact in combos, ChoiceConnector),
        (issubclass(of_class, enum.Enum) and exact in combos, EnumConnector),
        (kind is str and exact is qt.QLineEdit, TextConnector),
        (kind is str and exact is qt.QLabel, LabelConnector),
        (kind is str and exact is qt.QTextEdit, PlainTextConnector),
        (kind is FloatRange and exact in ranges, RangeConnector),
        (issubclass(of_class, pathlib.PurePath) and exact in paths, PathConnector),
        (bool(_node_types(kind)) and exact is slicer.qMRMLNodeComboBox, NodeConnector),
    ]
    return next((connector for fits, connector in table if fits), None)


def createGuiConnector(widget, datatype) -> GuiConnector:
    """Bind a widget to a type.

    Raises
    ------
    RuntimeError
        If that widget class can not show that type.
    """
    kind, notes = split_annotations(datatype)
    connector = _connector_class(widget, kind)
    if connector is None:
        raise RuntimeError(f"{type(widget).__name__} can not show a parameter of type {datatype}")
    return connector(widget, kind, notes)


def find_bound_widgets(gui, key: str) -> dict:
    """Return parameter name -> widget of a widget tree or of ``childWidgetVariables``."""
    widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else list(vars(gui).values())
    return {widget.property(key): widget for widget in widgets if widget.property(key)}


def findChildWidgetForParameter(widget, parameter):
    """Return the widget bound to a parameter, or None."""
    return find_bound_widgets(widget, "SlicerParameterName").get(parameter)
