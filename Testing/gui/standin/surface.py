"""What CTK and Slicer classes offer to Python: the list in ``qt-surface.json``, parsed."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path

SURFACE_FILE = Path(__file__).resolve().parent.parent / "qt-surface.json"


@dataclass(frozen=True)
class Method:
    """One overload of a signal, slot or invokable method."""

    name: str
    types: tuple[str, ...]
    returns: str

    @property
    def signature(self) -> str:
        """The normalized signature, for example ``valueChanged(double)``."""
        return f"{self.name}({','.join(self.types)})"


@dataclass(frozen=True)
class ClassSurface:
    """What one class adds to its base."""

    name: str
    base: str
    properties: dict[str, str]  # name -> C++ type
    read_only: frozenset[str]
    signals: tuple[Method, ...]
    methods: tuple[Method, ...]
    enums: dict[str, tuple[str, ...]]


def normalize_type(name: str) -> str:
    """Return a C++ type as Qt normalizes it: no ``const``, no reference, no spaces."""
    name = name.strip()
    if name.startswith("const ") and not name.endswith("*"):
        name = name[len("const ") :]
    return name.rstrip("&").replace(" *", "*").strip()


def split_types(text: str) -> tuple[str, ...]:
    """Split an argument list at its commas outside ``<>``."""
    parts = re.findall(r"(?:[^,<>]|<[^<>]*>)+", text)
    return tuple(normalize_type(part) for part in parts if part.strip())


def parse_method(text: str) -> Method:
    """Parse ``name(type,type) -> type``."""
    match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*(?:->\s*(.*))?", text)
    if not match:
        raise ValueError(f"not a signature: {text!r}")
    return Method(match[1], split_types(match[2]), (match[3] or "").strip())


@functools.lru_cache(maxsize=1)
def surface() -> dict[str, ClassSurface]:
    """Return all carried classes."""
    classes = {}
    for name, entry in json.loads(SURFACE_FILE.read_text())["classes"].items():
        kinds = entry["properties"]
        classes[name] = ClassSurface(
            name=name,
            base=entry["base"],
            properties={key: kind.replace("(read-only)", "").strip() for key, kind in kinds.items()},
            read_only=frozenset(key for key, kind in kinds.items() if kind.endswith("(read-only)")),
            signals=tuple(parse_method(text) for text in entry["signals"]),
            methods=tuple(parse_method(text) for text in entry["slots"] + entry["invokables"]),
            enums={key: tuple(values) for key, values in entry["enums"].items()},
        )
    return classes


def chain(name: str) -> list[ClassSurface]:
    """Return the class and its bases up to the first class of Qt itself."""
    classes = surface()
    found = []
    while name in classes:
        found.append(classes[name])
        name = classes[name].base
    return found


def public_names(name: str) -> set[str]:
    """Return every name that the class ``name`` and its CTK and Slicer bases list."""
    names: set[str] = set()
    for entry in chain(name):
        names.update(entry.properties)
        names.update(method.name for method in entry.signals + entry.methods)
        for key, values in entry.enums.items():
            names.update(values)
            if key:
                names.add(key)
    return names
