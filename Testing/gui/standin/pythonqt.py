"""Make PySide6 objects behave in Python as PythonQt makes Qt objects behave in Slicer.

Under PythonQt a Qt property is an attribute, read and written; a misspelt attribute is an error;
signals are connected by their C++ signature; children are attributes by their object name.
The rules are those of ``PythonQtInstanceWrapper`` and ``PythonQtClassInfo``.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import weakref

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from .surface import Method, parse_method

QObject = QtCore.QObject

# Connections by signature, per sender: {id: [(signature, receiver, wrapper, signal)]}
_connections: dict[int, list] = {}
_saved: dict[type, dict] = {}
_native_get = QObject.__getattribute__


def qobject_classes() -> list[type]:
    """Return every class of the Qt modules used that derives from QObject."""
    found = []
    for module in (QtCore, QtGui, QtWidgets, QtUiTools):
        for name in dir(module):
            candidate = getattr(module, name, None)
            if isinstance(candidate, type) and issubclass(candidate, QObject):
                found.append(candidate)
    return found


# --------------------------------------------------------------------------- properties


@functools.cache
def qt_class(cls: type) -> type:
    """Return the first class of Qt itself in the bases of ``cls``."""
    return next(base for base in cls.__mro__ if base.__module__.startswith("PySide6."))


@dataclasses.dataclass(frozen=True)
class QtProperty:
    """What matters here of a Qt meta-property."""

    writable: bool
    enum: bool


@functools.cache
def _native_properties(native: type) -> dict[str, QtProperty]:
    # Read once for every class, before any object lives: PySide6 invalidates staticMetaObject when an
    # object whose metaObject() was asked for dies.
    meta = native.staticMetaObject
    items = [meta.property(index) for index in range(meta.propertyCount())]
    return {item.name(): QtProperty(item.isWritable(), item.isEnumType()) for item in items}


@functools.cache
def qt_properties(cls: type) -> dict[str, QtProperty]:
    """Return the meta-properties of ``cls``, except those that a Python class redefines."""
    native = qt_class(cls)
    own = cls.__mro__[: cls.__mro__.index(native)]
    redefined = {name for base in own for name in vars(base)}
    return {name: item for name, item in _native_properties(native).items() if name not in redefined}


def _getter(native: type, name: str):
    for candidate in (name, "is" + name[:1].upper() + name[1:]):
        method = getattr(native, candidate, None)
        if callable(method) and not isinstance(method, type):
            return method
    return None


@functools.cache
def _readers(cls: type) -> dict:
    native = qt_class(cls)
    readers = {}
    for name in qt_properties(cls):
        # The singleShot property of QTimer shares its name with a static function.
        method = None if name == "singleShot" else _getter(native, name)
        readers[name] = method or (lambda self, key=name: QObject.property(self, key))
    readers["name"] = QObject.objectName
    for base in cls.__mro__[: cls.__mro__.index(native)]:
        if "name" in vars(base):
            readers.pop("name")
            break
    return readers


def _get(self, name):
    if name[:1] == "_":
        return _native_get(self, name)
    added = _methods.get(name)
    if added is not None:
        return types.MethodType(added, self)
    cls = type(self)
    reader = _readers(cls).get(name)
    if reader is not None:
        try:
            return reader(self)
        except TypeError:
            return QObject.property(self, name)
    try:
        return _native_get(self, name)
    except AttributeError:
        pass
    if name.encode() in [bytes(key) for key in QObject.dynamicPropertyNames(self)]:
        return QObject.property(self, name)
    for child in QObject.children(self):
        if QObject.objectName(child) == name:
            return child
    raise AttributeError(f"'{cls.__name__}' object has no attribute '{name}'")


def _python_derived(cls: type) -> bool:
    """Tell a class that a module derives in Python from one that wraps a C++ class."""
    return not cls.__module__.startswith("PySide6.") and "_surface" not in vars(cls)


def _write_property(self, cls, name, value):
    item = qt_properties(cls)[name]
    if not item.writable:
        raise AttributeError(f"property '{name}' of '{cls.__name__}' is read-only")
    setter = getattr(qt_class(cls), "set" + name[:1].upper() + name[1:], None)
    if setter is not None:
        try:
            setter(self, value)
            return
        except TypeError:
            if not (item.enum and isinstance(value, int)):
                raise
    if not QObject.setProperty(self, name, value):
        raise AttributeError(f"property '{name}' of '{cls.__name__}' does not take {value!r}")


loading = False  # while a .ui file is loaded, PySide6 sets each child as attribute of the root


def _set(self, name, value):
    cls = type(self)
    if loading and isinstance(value, QObject) and QObject.objectName(value) == name:
        return
    if isinstance(value, QtCore.SignalInstance):  # PySide6 keeps a signal in its object on first use
        vars(self)[name] = value
        return
    if name[:1] == "_" and (hasattr(cls, "_surface") or _python_derived(cls)):
        vars(self)[name] = value
        return
    if name == "name":
        name = "objectName"
    if name in qt_properties(cls):
        _write_property(self, cls, name, value)
        return
    existing = inspect.getattr_static(cls, name, None)
    if isinstance(existing, property):
        if existing.fset is None:
            raise AttributeError(f"property '{name}' of '{cls.__name__}' is read-only")
        existing.fset(self, value)
        return
    if _python_derived(cls):
        vars(self)[name] = value
        return
    if existing is not None:
        raise AttributeError(f"'{name}' of '{cls.__name__}' is a method or signal and can not be overwritten")
    if name.encode() in [bytes(key) for key in QObject.dynamicPropertyNames(self)]:
        QObject.setProperty(self, name, value)
        return
    raise AttributeError(f"attribute '{name}' does not exist on '{cls.__name__}'")


# --------------------------------------------------------------------------- signals


def _qt_signal(sender: QObject, method: Method):
    """Return ``(signal, number of arguments)`` of a signal of Qt itself, or None."""
    meta = QObject.metaObject(sender)
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(method.signature)).decode()
    if meta.indexOfSignal(normalized) < 0:
        return None
    signal = getattr(sender, method.name)
    if not isinstance(signal, QtCore.SignalInstance):
        # A property of the same name hides the signal.
        signal = _native_get(sender, method.name)
    return signal, len(method.types)


def find_signal(sender: QObject, text: str):
    """Return the signal of ``sender`` with the C++ signature ``text`` and its number of arguments.

    Raises
    ------
    AttributeError
        If the class does not have that signal with those types.
    """
    method = parse_method(text)
    declared = getattr(type(sender), "_surface_signals", {})
    if method.signature in declared:
        signal, kinds = declared[method.signature]
        instance = _native_get(sender, signal)
        return (instance[kinds] if kinds else instance), len(method.types)
    if method.name not in {key.split("(")[0] for key in declared}:
        found = _qt_signal(sender, method)
        if found is not None:
            return found
    raise AttributeError(f"{type(sender).__name__} has no signal '{text}'")


def accepted_arguments(slot) -> int | None:
    """Return how many positional arguments ``slot`` takes, None for any number."""
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(item.kind == item.VAR_POSITIONAL for item in parameters):
        return None
    return sum(item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD) for item in parameters)


def _wrap(slot, count: int):
    limit = accepted_arguments(slot)
    count = count if limit is None else min(count, limit)

    def call(*arguments):
        slot(*arguments[:count])

    return call


def connect(sender, signal, *receiver):
    """PythonQt: ``obj.connect('signal(type)', callable)`` or ``(..., receiver, 'slot(type)')``."""
    if isinstance(signal, QObject):  # static form: connect(sender, 'signal()', callable)
        return connect(signal, *receiver)
    if signal[:1] == "2":  # Qt's own code, such as QTimer.singleShot, with the SIGNAL macro applied
        return QObject.connect(sender, signal, *receiver)
    if len(receiver) == 2:
        target = getattr(receiver[0], parse_method(receiver[1]).name)
    else:
        (target,) = receiver
    if not callable(target):
        raise TypeError(f"{target!r} is not callable")
    instance, count = find_signal(sender, signal)
    wrapper = _wrap(target, count)
    key = id(sender)
    if key not in _connections:
        _connections[key] = []
        with_guard = weakref.finalize(sender, _connections.pop, key, None)
        with_guard.atexit = False
    _connections[key].append((parse_method(signal).signature, target, wrapper, instance))
    instance.connect(wrapper)
    return True


def disconnect(sender, signal=None, *receiver):
    """Undo :func:`connect`; return whether something was connected."""
    if isinstance(signal, QObject):
        return disconnect(signal, *receiver)
    wanted = parse_method(signal).signature if signal else None
    if signal:
        find_signal(sender, signal)
    if len(receiver) == 2:
        receiver = (getattr(receiver[0], parse_method(receiver[1]).name),)
    kept, found = [], False
    for entry in _connections.get(id(sender), []):
        signature, target, wrapper, instance = entry
        if (wanted in (None, signature)) and (not receiver or target == receiver[0]):
            instance.disconnect(wrapper)
            found = True
        else:
            kept.append(entry)
    if id(sender) in _connections:
        _connections[id(sender)] = kept
    return found


# --------------------------------------------------------------------------- methods that PythonQt adds


def class_name(self) -> str:
    """Return the name of the C++ class."""
    return QObject.metaObject(self).className()


def _matches(child, kind) -> bool:
    if kind is None:
        return True
    return QObject.inherits(child, kind) if isinstance(kind, str) else isinstance(child, kind)


def find_children(self, kind=None, name=None) -> list:
    """Return all descendants of a class (given as class or by name) and object name."""
    everything = _native_find(self, QObject)
    return [
        child for child in everything if _matches(child, kind) and name in (None, QObject.objectName(child))
    ]


def find_child(self, kind=None, name=None):
    """Return the first of :func:`find_children`, or None."""
    return next(iter(find_children(self, kind, name)), None)


def read_property(self, name: str):
    """Return a property by name, also one that a stand-in keeps; None where there is none."""
    if isinstance(inspect.getattr_static(type(self), name, None), property):
        return getattr(self, name)
    return QObject.property(self, name)


def write_property(self, name: str, value) -> bool:
    """Set a property by name; an unknown name makes a dynamic property, as in Qt."""
    if isinstance(inspect.getattr_static(type(self), name, None), property):
        setattr(self, name, value)
        return True
    return QObject.setProperty(self, name, value)


def delete(self) -> None:
    """Destroy the C++ object at once."""
    shiboken6.delete(self)


_native_find = QObject.findChildren

# Found before anything else: Shiboken answers some of these names ahead of the class dictionary.
_methods = {
    "connect": connect,
    "disconnect": disconnect,
    "className": class_name,
    "findChildren": find_children,
    "findChild": find_child,
    "property": read_property,
    "setProperty": write_property,
    "delete": delete,
}


def _patch(cls: type, name: str, value) -> None:
    _saved.setdefault(cls, {}).setdefault(name, vars(cls).get(name, _saved))
    setattr(cls, name, value)


def install() -> None:
    """Change PySide6 in this process; :func:`uninstall` changes it back."""
    if _saved:
        return
    for cls in qobject_classes():
        _native_properties(cls)
    for cls in qobject_classes():
        _patch(cls, "__setattr__", _set)
        if "exec" in vars(cls) and cls is not QtWidgets.QDialog:
            _patch(cls, "exec_", vars(cls)["exec"])
    _patch(QObject, "__getattribute__", _get)


def uninstall() -> None:
    """Give PySide6 back as it was."""
    for cls, names in reversed(list(_saved.items())):
        for name, value in names.items():
            if value is _saved:
                type.__delattr__(cls, name)
            else:
                setattr(cls, name, value)
    _saved.clear()
    _connections.clear()
