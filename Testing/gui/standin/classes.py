"""Build the stand-ins of CTK and Slicer classes from the list of what they offer.

Each class of ``qt-surface.json`` becomes a Python class on its real Qt base, with exactly the
properties, signals, slots and enums listed. A *behavior* (a plain Python class registered with
:func:`behavior`) fills in what they do; a public name in it that is not listed is an error here.
What has no behavior keeps its state (properties) and records its calls (slots).
"""

from __future__ import annotations

import enum
import functools

from PySide6 import QtCore, QtGui, QtWidgets

from .surface import ClassSurface, Method, chain, public_names, surface

_behaviors: dict[str, type] = {}
_enum_values: dict[str, dict[str, int]] = {}

_SIMPLE = {"bool": bool, "int": int, "double": float, "QString": str, "QStringList": list}
_DEFAULTS = {"bool": False, "int": 0, "double": 0.0, "QString": "", "QStringList": ()}
_TAKES = {
    "bool": (bool, int),
    "int": (int,),
    "double": (int, float),
    "QString": (str,),
    "QStringList": (list, tuple),
}


def behavior(name: str, enums: dict[str, int] | None = None):
    """Register the decorated plain class as what the stand-in ``name`` does."""

    def register(cls):
        _behaviors[name] = cls
        _enum_values[name] = enums or {}
        return cls

    return register


def calls(widget) -> list[tuple]:
    """Return the calls recorded by slots without a behavior: ``(name, arguments)``."""
    return vars(widget).setdefault("_calls", [])


def _stored(widget) -> dict:
    return vars(widget).setdefault("_values", {})


def check_value(owner: str, name: str, kind: str, value):
    """Return ``value`` as the C++ type ``kind`` takes it, or raise TypeError."""
    if kind in _TAKES and not isinstance(value, _TAKES[kind]):
        raise TypeError(f"property '{name}' of '{owner}' is a {kind} and does not take {value!r}")
    return _SIMPLE[kind](value) if kind in ("bool", "int", "double", "QString") else value


def _default(owner: str, name: str, kind: str):
    for entry in chain(owner):
        preset = getattr(_behaviors.get(entry.name), "_defaults", {})
        if name in preset:
            return preset[name]
    return _DEFAULTS.get(kind)


def _generic_property(owner: str, name: str, kind: str, read_only: bool) -> property:
    def read(self):
        return _stored(self).get(name, _default(type(self).__name__, name, kind))

    def write(self, value):
        value = check_value(owner, name, kind, value)
        before = read(self)
        _stored(self)[name] = value
        changed = getattr(self, "_property_changed", None)
        if changed is not None:
            changed(name, value)
        if value != before and f"{name}Changed" in {key.split("(")[0] for key in type(self)._surface_signals}:
            getattr(self, f"{name}Changed").emit(value)

    return property(read, None if read_only else write)


def _generic_method(name: str, overloads: list[Method], properties: dict[str, str]):
    target = name[3:4].lower() + name[4:] if name.startswith("set") else None
    most = max(len(method.types) for method in overloads)
    least = min(len(method.types) for method in overloads)

    def call(self, *arguments):
        if not least <= len(arguments) <= most:
            raise TypeError(
                f"{type(self).__name__}.{name} takes {least} to {most} arguments, not {len(arguments)}"
            )
        calls(self).append((name, arguments))
        if target in properties and len(arguments) == 1:
            setattr(self, target, arguments[0])

    call.__name__ = name
    return call


def _python_type(kind: str) -> type:
    return {"bool": bool, "int": int, "double": float, "QString": str}.get(kind, object)


def _signals(entry: ClassSurface) -> tuple[dict, dict]:
    """Return the class attributes and the table signature -> (attribute, overload key)."""
    by_name: dict[str, list[Method]] = {}
    for method in entry.signals:
        by_name.setdefault(method.name, []).append(method)
    attributes, table = {}, {}
    for name, overloads in by_name.items():
        keys = [tuple(_python_type(kind) for kind in method.types) for method in overloads]
        attributes[name] = QtCore.Signal(*keys) if any(keys) else QtCore.Signal()
        for method, key in zip(overloads, keys, strict=True):
            table[method.signature] = (
                name,
                (key if len(key) > 1 else key[0]) if len(keys) > 1 and key else None,
            )
    return attributes, table


def _enums(entry: ClassSurface) -> dict:
    values = _enum_values.get(entry.name, {})
    attributes: dict = {}
    for key, names in entry.enums.items():
        members = {name: values.get(name, index) for index, name in enumerate(names)}
        kind = enum.IntFlag if values else enum.IntEnum
        built = kind(key or "Anonymous", members, module=__name__)
        if key:
            attributes[key] = built
        attributes.update({name: built[name] for name in names})
    return attributes


def _base_class(entry: ClassSurface) -> type:
    if entry.base in surface():
        return standin(entry.base)
    base = {"QVTKWidget": "QWidget"}.get(entry.base, entry.base)
    for module in (QtWidgets, QtGui, QtCore):
        if hasattr(module, base):
            return getattr(module, base)
    raise LookupError(f"no Qt class {entry.base} below {entry.name}")


def _initializer(behavior_class, base: type):
    """Constructors take what the Qt base takes; ``_build`` of the behavior then makes the inside."""
    build = vars(behavior_class).get("_build") if behavior_class else None

    def __init__(self, *arguments):
        text = None
        if base is QtWidgets.QAbstractButton and arguments and isinstance(arguments[0], str):
            text, arguments = arguments[0], arguments[1:]
        base.__init__(self, *arguments)
        if text is not None:
            self.text = text
        if build is not None:
            build(self)

    return __init__


def _namespace(entry: ClassSurface, base: type) -> dict:
    behavior_class = _behaviors.get(entry.name)
    own: dict = {}
    for cls in reversed(behavior_class.__mro__[:-1] if behavior_class else ()):
        own.update(vars(cls))
    allowed = public_names(entry.name)
    names: dict = {"_surface": entry.name, "__module__": __name__, **_enums(entry)}
    signals, table = _signals(entry)
    names.update(signals)
    names["_surface_signals"] = {**getattr(base, "_surface_signals", {}), **table}
    for name, kind in entry.properties.items():
        names[name] = _generic_property(entry.name, name, kind, name in entry.read_only)
    by_name: dict[str, list[Method]] = {}
    for method in entry.methods:
        by_name.setdefault(method.name, []).append(method)
    known = {key: kind for item in chain(entry.name) for key, kind in item.properties.items()}
    for name, overloads in by_name.items():
        # A getter that shares its name with a property is hidden by it, as under PythonQt.
        if name not in entry.properties and not (name not in own and _implemented(base, name)):
            names[name] = _generic_method(name, overloads, known)
    for name, value in own.items():
        if name.startswith("__") or name in ("_build", "_defaults"):
            continue
        if not name.startswith("_") and name not in allowed and not hasattr(base, name):
            raise AttributeError(
                f"behavior of {entry.name} offers '{name}', which the real class does not list"
            )
        names[name] = value
    names["__init__"] = _initializer(behavior_class, base)
    return names


def _implemented(base: type, name: str) -> bool:
    """Tell whether a stand-in base already does ``name``, so that a re-listing does not blank it."""
    return any(name in vars(cls) for cls in base.__mro__ if "_surface" in vars(cls))


@functools.cache
def standin(name: str) -> type:
    """Return the stand-in of the CTK or Slicer class ``name``.

    Raises
    ------
    AttributeError
        If ``qt-surface.json`` does not list that class.
    """
    if name not in surface():
        raise AttributeError(f"no class {name} in qt-surface.json")
    entry = surface()[name]
    base = _base_class(entry)
    return type(base)(name, (base,), _namespace(entry, base))


def standins(prefix: str) -> list[str]:
    """Return the names of all carried classes that begin with ``prefix``."""
    return [name for name in surface() if name.startswith(prefix)]
