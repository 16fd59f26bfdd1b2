"""What a person does to a panel, and what a person sees of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from PySide6 import QtCore, QtGui, QtTest, QtWidgets

from .standin import clock

_LEFT = QtCore.Qt.MouseButton.LeftButton


def _process() -> None:
    QtCore.QCoreApplication.processEvents()


def wait_until(condition, seconds: float = 10.0, what: str = "condition") -> None:
    """Run the event loop until the condition holds; each pass is measured (``clock``)."""
    import slicer

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true within {seconds} s"
        slicer.app.processEvents()
        time.sleep(0.001)


def require_reachable(widget) -> None:
    """Raise AssertionError where the user could not use the widget, and say why."""
    name = widget.objectName or widget.className()
    assert widget.visible, f"{name} is not visible"
    assert widget.enabled, f"{name} is disabled: {widget.toolTip or 'without a reason in its tooltip'}"


def click(widget) -> None:
    """Click a button, check box or section header with the mouse."""
    require_reachable(widget)
    place = widget.rect.center()
    if widget.className() in ("ctkCollapsibleButton", "qMRMLCollapsibleButton"):
        place = QtCore.QPoint(12, 8)
    if isinstance(widget, (QtWidgets.QCheckBox, QtWidgets.QRadioButton)):
        place = QtCore.QPoint(8, widget.height // 2)
    with clock.measure(f"click on {widget.objectName}"):
        QtTest.QTest.mouseClick(widget, _LEFT, QtCore.Qt.KeyboardModifier.NoModifier, place)
    with clock.measure(f"after click on {widget.objectName}"):
        _process()


def type_text(widget, text: str) -> None:
    """Replace the text of a line edit, spin box, editable combo box or stand-in field."""
    require_reachable(widget)
    field = widget if isinstance(widget, QtWidgets.QLineEdit) else _inner_line(widget)
    with clock.measure(f"typing into {widget.objectName}"):
        field.selectAll()
        QtTest.QTest.keyClicks(field, text)
        QtTest.QTest.keyClick(field, QtCore.Qt.Key.Key_Return)
        _process()


def _inner_line(widget):
    lines = [child for child in widget.findChildren(QtWidgets.QLineEdit) if child.visible]
    assert lines, f"{widget.objectName or widget.className()} has no field to type into"
    return lines[0]


def choose(combo, text: str) -> None:
    """Choose an entry of a combo box or node selector by its text, as with the keyboard."""
    require_reachable(combo)
    inner = combo if isinstance(combo, QtWidgets.QComboBox) else combo.findChild(QtWidgets.QComboBox)
    index = inner.findText(text)
    entries = [inner.itemText(item) for item in range(inner.count)]
    assert index >= 0, f"{combo.objectName} offers {entries}, not {text!r}"
    with clock.measure(f"choice in {combo.objectName}"):
        inner.setCurrentIndex(index)
        inner.activated.emit(index)
        _process()


def edit_cell(table, row: int, column: int, text: str) -> None:
    """Type into a cell of a table view."""
    require_reachable(table)
    index = table.model().index(row, column)
    assert index.flags() & QtCore.Qt.ItemFlag.ItemIsEditable, f"cell {row}, {column} can not be edited"
    with clock.measure(f"cell {row}, {column} of {table.objectName}"):
        table.model().setData(index, text, QtCore.Qt.ItemDataRole.EditRole)
        _process()


def check_cell(table, row: int, column: int, checked: bool) -> None:
    """Tick or untick the box in a cell of a table view."""
    require_reachable(table)
    index = table.model().index(row, column)
    assert index.flags() & QtCore.Qt.ItemFlag.ItemIsUserCheckable, f"cell {row}, {column} has no check box"
    state = QtCore.Qt.CheckState.Checked if checked else QtCore.Qt.CheckState.Unchecked
    with clock.measure(f"check box {row}, {column} of {table.objectName}"):
        table.model().setData(index, int(state), QtCore.Qt.ItemDataRole.CheckStateRole)
        _process()


def tab_order(panel) -> list:
    """Return the widgets that the Tab key reaches, in its order."""
    found, widget = [], panel.nextInFocusChain()
    while widget is not None and widget is not panel and len(found) < 2000:
        policy = QtCore.Qt.FocusPolicy.TabFocus
        if (
            panel.isAncestorOf(widget)
            and widget.visible
            and widget.enabled
            and int(widget.focusPolicy) & int(policy)
        ):
            found.append(widget)
        widget = widget.nextInFocusChain()
    return found


# --------------------------------------------------------------------------- pictures


def dark_palette() -> QtGui.QPalette:
    """Return a palette like that of Slicer's dark style."""
    role, palette = QtGui.QPalette.ColorRole, QtGui.QPalette()
    colors = {
        role.Window: "#353535", role.WindowText: "#ffffff", role.Base: "#2a2a2a", role.AlternateBase: "#424242",
        role.Text: "#ffffff", role.Button: "#454545", role.ButtonText: "#ffffff", role.BrightText: "#ff5050",
        role.ToolTipBase: "#353535", role.ToolTipText: "#ffffff", role.Highlight: "#2a82da",
        role.HighlightedText: "#000000", role.Link: "#5aa9f0", role.PlaceholderText: "#9a9a9a",
        role.Mid: "#303030", role.Dark: "#232323", role.Light: "#5a5a5a",
    }  # fmt: skip
    for key, color in colors.items():
        palette.setColor(key, QtGui.QColor(color))
    disabled = QtGui.QPalette.ColorGroup.Disabled
    for key in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(disabled, key, QtGui.QColor("#8a8a8a"))
    return palette


def use_palette(dark: bool) -> None:
    """Switch the application between a light and a dark palette."""
    application = QtWidgets.QApplication.instance()
    QtWidgets.QApplication.setStyle("Fusion")
    style = QtWidgets.QApplication.style()
    application.setPalette(dark_palette() if dark else light_palette(style))
    _process()


def light_palette(style) -> QtGui.QPalette:
    """Return the light palette, whatever the desktop of the tester prefers."""
    role, palette = QtGui.QPalette.ColorRole, style.standardPalette()
    for key, color in {role.Window: "#f0f0f0", role.WindowText: "#000000", role.Base: "#ffffff",
                       role.Text: "#000000", role.Button: "#e4e4e4", role.ButtonText: "#000000"}.items():  # fmt: skip
        palette.setColor(key, QtGui.QColor(color))
    for key in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, key, QtGui.QColor("#8c8c8c"))
    return palette


def _luminance(color) -> float:
    parts = []
    for value in (color.redF(), color.greenF(), color.blueF()):
        parts.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(widget) -> float:
    """Return the contrast (WCAG 2) between the text and the ground of a widget, as drawn.

    The ground is the most frequent color of its picture, the text the color farthest from it.
    """
    image = widget.grab().toImage()
    counts: dict[int, int] = {}
    for y in range(image.height()):
        for x in range(image.width()):
            counts[image.pixel(x, y)] = counts.get(image.pixel(x, y), 0) + 1
    ground = _luminance(QtGui.QColor(max(counts, key=counts.get)))
    found = [_luminance(QtGui.QColor(value)) for value in counts]
    return max((max(item, ground) + 0.05) / (min(item, ground) + 0.05) for item in found)


def full_size(widget, width: int) -> QtCore.QSize:
    """Return the size at which the widget shows everything at the given width."""
    layout = widget.layout()
    height = widget.sizeHint.height()
    if layout is not None and layout.hasHeightForWidth():
        height = max(height, layout.heightForWidth(width))
    return QtCore.QSize(width, max(height, widget.minimumSizeHint.height()))


def needed_width(widget) -> int:
    """Return the least width at which the widget needs no horizontal scrolling."""
    layout = widget.layout()
    return max(widget.minimumSizeHint.width(), layout.minimumSize().width() if layout is not None else 0)


def screenshot(widget, folder: Path, name: str, dark: bool = False, width: int = 480) -> Path:
    """Write a picture of the whole widget at the given width and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    use_palette(dark)
    before = QtCore.QSize(widget.size)
    _process()
    widget.resize(full_size(widget, width))
    _process()
    path = folder / f"{name}{'-dark' if dark else ''}.png"
    assert widget.grab().save(str(path)), f"{path} could not be written"
    widget.resize(before)
    if dark:
        use_palette(False)
    return path


# --------------------------------------------------------------------------- watchdog


def overloaded() -> bool:
    """Whether more programs want to run than there are processors for."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1)


class Watchdog:
    """Remember the stretches during which the event loop stood still.

    Counted is the processor time of the GUI thread, so that other programs on a busy machine do not
    matter, and the waiting (wall time) against a wider limit.
    """

    def __init__(self, limit: float = 0.2, waiting_limit: float = 2.0):
        self.limit, self.waiting_limit = limit, waiting_limit
        self.passes: list[clock.Pass] = []

    def _remember(self, item: clock.Pass) -> None:
        self.passes.append(item)

    def start(self) -> None:
        clock.listen(self._remember)

    def stop(self) -> None:
        clock.ignore(self._remember)

    @property
    def longest(self) -> clock.Pass | None:
        """The stretch that took most processor time."""
        return max(self.passes, key=lambda item: item.cpu_s, default=None)

    def check(self) -> None:
        """Raise AssertionError where a stretch was too long."""
        # On a machine with more work than processors everything waits: the clock on the wall says nothing there.
        waiting_limit = float("inf") if overloaded() else self.waiting_limit
        slow = [item for item in self.passes if item.cpu_s > self.limit or item.wall_s > waiting_limit]
        assert not slow, "the event loop stood still: " + "; ".join(
            f"{item.what} {item.cpu_s:.2f} s ({item.wall_s:.2f} s on the clock)" for item in slow
        )
