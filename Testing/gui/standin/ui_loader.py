"""Load the real .ui files with stand-ins in place of the CTK and Slicer widgets.

Qt's own loader builds the tree. Properties and connections that involve stand-ins are taken out of
the XML first and applied here, where a name that the real class does not have is an error instead
of a silent dynamic property or a warning on the console.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import pythonqt
from .classes import standin
from .pythonqt import connect, find_children, qt_properties
from .surface import surface

_native_load = QtUiTools.QUiLoader.load


class UiError(AttributeError):
    """A .ui file that names what the class does not have."""


def _scalar(element):
    """Return the Python value of a simple <property> content, or raise UiError."""
    (content,) = list(element)
    text = content.text or ""
    if content.tag == "bool":
        return text == "true"
    if content.tag in ("number", "uint", "longlong"):
        return int(text)
    if content.tag in ("double", "float"):
        return float(text)
    if content.tag in ("string", "cstring"):
        return text
    if content.tag == "stringlist":
        return [item.text or "" for item in content]
    return None


def _enum_value(owner: type, text: str):
    """Return the value of ``Class::Key`` or ``A::X|B::Y`` of a .ui file."""
    value = None
    for part in text.split("|"):
        path = part.strip().split("::")
        holder = {"Qt": QtCore.Qt}.get(path[0]) or getattr(QtWidgets, path[0], None) or owner
        key = getattr(holder, path[-1], None)
        if key is None:
            raise UiError(f"{owner.__name__} has no enum value {part}")
        value = key if value is None else value | key
    return value


def _deferred_value(owner: type, element):
    (content,) = list(element)
    if content.tag in ("enum", "set"):
        return _enum_value(owner, content.text or "")
    return _scalar(element)


class _Document:
    """A .ui file taken apart."""

    def __init__(self, data: bytes):
        self.root = ElementTree.fromstring(data)
        self.properties: list[tuple[str, str, object]] = []  # (object name, property, element)
        self.connections: list[tuple[str, str, str, str]] = []
        self._take_properties()
        self._take_connections()

    def _take_properties(self) -> None:
        for widget in self.root.iter("widget"):
            name, kind = widget.get("name"), widget.get("class")
            if kind in surface():
                self._check(widget, kind)
            else:
                self._check_qt(widget, kind)
            if kind not in surface():
                continue
            listed = {
                key for key in dir(standin(kind)) if isinstance(getattr(standin(kind), key, None), property)
            }
            for element in [item for item in widget.findall("property") if item.get("name") in listed]:
                widget.remove(element)
                self.properties.append((name, element.get("name"), element))

    @staticmethod
    def _check(widget, kind: str) -> None:
        cls = standin(kind)
        for element in widget.findall("property"):
            key = element.get("name")
            known = isinstance(getattr(cls, key, None), property) or key in qt_properties(cls)
            if not known and element.get("stdset") != "0":
                raise UiError(f"{kind} '{widget.get('name')}' in the .ui file has no property '{key}'")

    @staticmethod
    def _check_qt(widget, kind: str) -> None:
        cls = getattr(QtWidgets, kind, None)
        if cls is None:
            if kind not in ("Line",):
                raise UiError(f"widget class {kind} of the .ui file is unknown to Qt and to qt-surface.json")
            return
        for element in widget.findall("property"):
            key = element.get("name")
            if key not in qt_properties(cls) and element.get("stdset") != "0":
                raise UiError(f"{kind} '{widget.get('name')}' in the .ui file has no property '{key}'")

    def _take_connections(self) -> None:
        for group in self.root.findall("connections"):
            for item in group.findall("connection"):
                parts = [item.findtext(tag) for tag in ("sender", "signal", "receiver", "slot")]
                self.connections.append(tuple(parts))
            self.root.remove(group)

    def xml(self) -> bytes:
        return ElementTree.tostring(self.root, encoding="utf-8")


class UiLoader(QtUiTools.QUiLoader):
    """``qt.QUiLoader`` that knows the CTK and Slicer widgets."""

    def createWidget(self, class_name, parent=None, name=""):
        """Make one widget, a stand-in where ``qt-surface.json`` lists the class."""
        if class_name not in surface():
            return QtUiTools.QUiLoader.createWidget(self, class_name, parent, name)
        widget = standin(class_name)(*([parent] if parent is not None else []))
        widget.setObjectName(name)
        return widget

    def load(self, device, parent=None):
        """Return the widget described by an open device or a path."""
        if isinstance(device, str):
            device = QtCore.QFile(device)
            device.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        document = _Document(bytes(device.readAll()))
        buffer = QtCore.QBuffer()
        buffer.setData(document.xml())
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        pythonqt.loading = True
        try:
            root = _native_load(self, buffer, parent)
        finally:
            pythonqt.loading = False
        if root is None:
            return None
        widgets = {widget.objectName: widget for widget in [root, *find_children(root)]}
        for name, key, element in document.properties:
            setattr(widgets[name], key, _deferred_value(type(widgets[name]), element))
        for sender, signal, receiver, slot in document.connections:
            connect(widgets[sender], signal, widgets[receiver], slot)
        vars(root)["_loaded_children"] = widgets  # keeps the Python side of each stand-in alive
        return root
