"""What the stand-ins of the CTK widgets do."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets

from .classes import behavior, check_value


def row(widget, *parts, spacing: int = 4) -> QtWidgets.QHBoxLayout:
    """Lay the parts of a compound widget side by side without margins."""
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(spacing)
    for part in parts:
        layout.addWidget(part)
    return layout


@behavior("ctkCollapsibleButton")
class CollapsibleButton:
    """A section header that hides and shows what is laid out below it."""

    _defaults = {"contentsLineWidth": 1}

    def _build(self):
        self._collapsed = False
        self._hidden_children = []
        self.checkable = True
        self.checked = True
        self.focusPolicy = QtCore.Qt.FocusPolicy.StrongFocus
        height = QtWidgets.QAbstractButton.fontMetrics(self).height() + 8
        self._header = height
        self.setContentsMargins(0, height, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.connect("toggled(bool)", lambda checked: self._collapse(not checked))

    @property
    def collapsed(self):
        return self._collapsed

    @collapsed.setter
    def collapsed(self, value):
        self.checked = not check_value("ctkCollapsibleButton", "collapsed", "bool", value)

    def _collapse(self, value):
        if value == self._collapsed:
            return
        self._collapsed = value
        if value:
            self._hidden_children = [
                child
                for child in self.children()
                if isinstance(child, QtWidgets.QWidget) and not QtWidgets.QWidget.isHidden(child)
            ]
        for child in self._hidden_children:
            QtWidgets.QWidget.setVisible(child, not value)
        self.updateGeometry()
        self.contentsCollapsed.emit(value)

    def childEvent(self, event):
        """Hide what is put into a collapsed section."""
        # A child that is still being constructed (event.added) must not be touched from Python.
        if event.type() != QtCore.QEvent.Type.ChildPolished or not vars(self).get("_collapsed"):
            return
        child = event.child()
        if isinstance(child, QtWidgets.QWidget) and child not in self._hidden_children:
            self._hidden_children.append(child)
            QtWidgets.QWidget.setVisible(child, False)

    def sizeHint(self):
        """The header, and the contents where they are shown."""
        width = QtWidgets.QAbstractButton.fontMetrics(self).horizontalAdvance(self.text) + 40
        header = QtCore.QSize(width, self._header)
        layout = self.layout()
        if self._collapsed or layout is None:
            return header
        return layout.sizeHint().expandedTo(header)

    def minimumSizeHint(self):
        """As small as the contents allow."""
        layout = self.layout()
        if self._collapsed or layout is None:
            return QtCore.QSize(40, self._header)
        return layout.minimumSize().expandedTo(QtCore.QSize(40, self._header))

    def hitButton(self, position):
        """Only the header reacts to the mouse."""
        return position.y() <= self._header

    def paintEvent(self, event):
        """Draw the header bar with its arrow and text."""
        painter = QtGui.QPainter(self)
        bar = QtCore.QRect(0, 0, self.width, self._header)
        painter.fillRect(bar.adjusted(0, 1, 0, -1), self.palette.button())
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(4, 0, 14, self._header)
        primitive = QtWidgets.QStyle.PrimitiveElement
        kind = primitive.PE_IndicatorArrowRight if self._collapsed else primitive.PE_IndicatorArrowDown
        self.style().drawPrimitive(kind, arrow, painter, self)
        painter.setPen(self.palette.color(QtGui.QPalette.ColorRole.ButtonText))
        flags = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft
        painter.drawText(bar.adjusted(24, 0, 0, 0), flags, self.text)
        if QtWidgets.QWidget.hasFocus(self):
            painter.setPen(QtGui.QPen(self.palette.highlight().color(), 1, QtCore.Qt.PenStyle.DotLine))
            painter.drawRect(bar.adjusted(1, 1, -2, -2))
        painter.end()


@behavior("ctkSliderWidget")
class SliderWidget:
    """A slider and a spin box with one floating point value."""

    _defaults = {
        "maximum": 99.0,
        "singleStep": 1.0,
        "pageStep": 10.0,
        "decimals": 2,
        "spinBoxVisible": True,
        "tracking": True,
    }
    _STEPS = 1000

    def _build(self):
        self._value = 0.0
        self._busy = False
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._slider.setRange(0, self._STEPS)
        self._spin = QtWidgets.QDoubleSpinBox()
        self._spin.keyboardTracking = False
        row(self, self._slider, self._spin)
        self._sync()
        self._slider.connect("valueChanged(int)", self._on_slider)
        self._spin.connect("valueChanged(double)", self._on_spin)

    def _span(self):
        return self.maximum - self.minimum

    def _on_slider(self, position):
        if not self._busy:
            self.value = self.minimum + self._span() * position / self._STEPS

    def _on_spin(self, value):
        if not self._busy:
            self.value = value

    def _property_changed(self, name, value):
        self._sync()
        self.value = self._value

    def _sync(self):
        self._busy = True
        self._spin.setDecimals(self.decimals)
        self._spin.setRange(self.minimum, self.maximum)
        self._spin.setSingleStep(self.singleStep)
        self._spin.setPrefix(self.prefix)
        self._spin.setSuffix(self.suffix)
        self._spin.setVisible(self.spinBoxVisible)
        self._spin.setValue(self._value)
        share = (self._value - self.minimum) / self._span() if self._span() > 0 else 0.0
        self._slider.setValue(round(share * self._STEPS))
        self._busy = False

    @property
    def value(self):
        return self._value

    @value.setter
    def value(self, value):
        value = check_value("ctkSliderWidget", "value", "double", value)
        value = round(min(max(value, self.minimum), self.maximum), self.decimals)
        changed = value != self._value
        self._value = value
        self._sync()
        if changed:
            self.valueIsChanging.emit(value)
            self.valueChanged.emit(value)

    def reset(self):
        self.value = self.minimum


@behavior("ctkDoubleSpinBox")
class DoubleSpinBox:
    """A spin box for a floating point value."""

    _defaults = {"maximum": 99.99, "singleStep": 1.0, "decimals": 2, "frame": True}

    def _build(self):
        self._spin = QtWidgets.QDoubleSpinBox()
        row(self, self._spin)
        self._spin.connect("valueChanged(double)", lambda value: self._announce(value))
        self._spin.connect("editingFinished()", lambda: self.editingFinished.emit())

    def _announce(self, value):
        self.valueChanged[float].emit(value)
        self.valueChanged[str].emit(self._spin.text)

    def _property_changed(self, name, value):
        spin = self._spin
        spin.setDecimals(self.decimals)
        spin.setRange(max(self.minimum, -1e300), min(self.maximum, 1e300))
        spin.setSingleStep(self.singleStep)
        spin.setPrefix(self.prefix)
        spin.setSuffix(self.suffix)
        spin.setReadOnly(self.readOnly)

    @property
    def value(self):
        return self._spin.value

    @value.setter
    def value(self, value):
        self._spin.setValue(check_value("ctkDoubleSpinBox", "value", "double", value))

    @property
    def cleanText(self):
        return self._spin.cleanText

    def stepUp(self):
        self._spin.stepUp()

    def stepDown(self):
        self._spin.stepDown()

    def setValueIfDifferent(self, value):
        self.value = value

    def setValueAlways(self, value):
        self.value = value


@behavior("ctkRangeWidget")
class RangeWidget:
    """Two values, minimum and maximum, within bounds."""

    _defaults = {"maximum": 99.0, "singleStep": 1.0, "decimals": 2, "tracking": True}

    def _build(self):
        self._low, self._high = 0.0, 99.0
        self._busy = False
        self._spins = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox()
        self._bar = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._bar.enabled = False
        row(self, self._spins[0], self._bar, self._spins[1])
        self._sync()
        for spin in self._spins:
            spin.connect("valueChanged(double)", self._on_spin)

    def _on_spin(self):
        if not self._busy:
            self.setValues(self._spins[0].value, self._spins[1].value)

    def _property_changed(self, name, value):
        self._sync()

    def _sync(self):
        self._busy = True
        for spin, value in zip(self._spins, (self._low, self._high), strict=True):
            spin.setDecimals(self.decimals)
            spin.setRange(self.minimum, self.maximum)
            spin.setSingleStep(self.singleStep)
            spin.setSuffix(self.suffix)
            spin.setValue(value)
        self._busy = False

    def setRange(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum
        self.rangeChanged.emit(minimum, maximum)
        self.setValues(self._low, self._high)

    def setValues(self, low, high):
        low, high = (min(max(float(value), self.minimum), self.maximum) for value in sorted((low, high)))
        before = self._low, self._high
        self._low, self._high = low, high
        self._sync()
        if low != before[0]:
            self.minimumValueChanged.emit(low)
        if high != before[1]:
            self.maximumValueChanged.emit(high)
        if (low, high) != before:
            self.valuesChanged.emit(low, high)

    @property
    def minimumValue(self):
        return self._low

    @minimumValue.setter
    def minimumValue(self, value):
        self.setValues(value, max(value, self._high))

    @property
    def maximumValue(self):
        return self._high

    @maximumValue.setter
    def maximumValue(self, value):
        self.setValues(min(value, self._low), value)

    def setMinimumValue(self, value):
        self.minimumValue = value

    def setMaximumValue(self, value):
        self.maximumValue = value

    def reset(self):
        self.setValues(self.minimum, self.maximum)


@behavior("ctkCollapsibleGroupBox")
class CollapsibleGroupBox:
    """A group box that hides its contents when collapsed."""

    def _build(self):
        self.checkable = True
        self.connect("toggled(bool)", self._show_contents)

    def _show_contents(self, shown):
        for child in self.findChildren(QtWidgets.QWidget):
            if child.parent() is self:
                QtWidgets.QWidget.setVisible(child, shown)

    @property
    def collapsed(self):
        return not self.checked

    @collapsed.setter
    def collapsed(self, value):
        self.checked = not value


@behavior("ctkColorPickerButton")
class ColorPickerButton:
    """A button that shows a color."""

    _defaults = {"displayColorName": True}

    def _build(self):
        self._color = QtGui.QColor("black")

    @property
    def color(self):
        return self._color

    @color.setter
    def color(self, value):
        changed = value != self._color
        self._color = QtGui.QColor(value)
        self.text = self._color.name()
        if changed:
            self.colorChanged.emit(self._color)

    def setColor(self, value):
        self.color = value


@behavior("ctkComboBox")
class ComboBox:
    """A combo box with a text for "nothing chosen"."""

    def _property_changed(self, name, value):
        if name == "defaultText":
            self.placeholderText = value
