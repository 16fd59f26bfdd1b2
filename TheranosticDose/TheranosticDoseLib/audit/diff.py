"""Two result documents against each other, number by number."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

from TheranosticDoseLib.errors import InputError

VOLATILE = (
    "integrity", "files", "timings_s", "software", "seconds", "cpu_seconds", "decays_per_second", "finished",
)  # fmt: skip
"""Entries that differ between two runs of the same computation: clocks, machine, and the seals over them."""
KEYS = ("name", "label", "product", "model", "source", "field")
"""What names an entry of a list, so that an added VOI does not shift all that follow."""


@dataclasses.dataclass(frozen=True)
class Change:
    """One place where two documents differ.

    Attributes
    ----------
    path : str
        For example ``vois[Liver].dose.vsv.mean_gy``.
    a, b : Any
        The values; ``None`` on the side that lacks the entry.
    relative : float or None
        ``(b - a) / max(|a|, |b|)`` of numbers; ``None`` of all else.
    kind : str
        ``number``, ``value``, ``only in A`` or ``only in B``.
    """

    path: str
    a: Any
    b: Any
    relative: float | None
    kind: str


@dataclasses.dataclass(frozen=True)
class Difference:
    """All places where two documents differ, the largest first.

    Attributes
    ----------
    changes : tuple of Change
        Entries that are not numbers first, then numbers by relative size.
    compared : int
        Values that were compared.
    relative_tolerance : float
    notes : tuple of str
        What helps to understand a difference: versions, the first step that differs.
    """

    changes: tuple[Change, ...]
    compared: int
    relative_tolerance: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether nothing differs by more than the tolerance."""
        return not self.changes

    @property
    def largest_relative(self) -> float:
        """Largest relative difference of a number, 0 where none differs."""
        return max((abs(c.relative) for c in self.changes if c.relative is not None), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return {
            "identical": self.identical,
            "largest_relative": self.largest_relative,
            **dataclasses.asdict(self),
        }


def diff(
    a: dict[str, Any],
    b: dict[str, Any],
    relative_tolerance: float = 0.0,
    ignore: tuple[str, ...] = VOLATILE,
) -> Difference:
    """Compare two result documents.

    Parameters
    ----------
    a, b : dict
        Of :func:`read_results`.
    relative_tolerance : float
        Numbers that differ by less of the larger one are taken as equal; 0 takes exact equality.
    ignore : tuple of str
        Names of entries to leave out wherever they are.

    Returns
    -------
    Difference
    """
    if not (math.isfinite(relative_tolerance) and relative_tolerance >= 0):
        raise InputError(f"The relative tolerance is {relative_tolerance}; a number from 0 up is needed.")
    left, right = (dict(_leaves(document, "", ignore)) for document in (a, b))
    changes = []
    for path in [*left, *(path for path in right if path not in left)]:
        change = _change(path, left, right, relative_tolerance)
        if change is not None:
            changes.append(change)
    changes = _whole_entries(changes, left, right)
    # What one side lacks, then numbers by size, then texts and hashes.
    changes.sort(key=lambda c: (2 if c.kind == "value" else c.kind == "number", -abs(c.relative or 0.0)))
    return Difference(tuple(changes), len(left.keys() | right.keys()), relative_tolerance)


def _whole_entries(changes: list[Change], left: dict, right: dict) -> list[Change]:
    """Make one change of an entry that the other side lacks altogether: a VOI, a time point, an engine's finding."""
    heads = {"only in B": {_entry(path) for path in left}, "only in A": {_entry(path) for path in right}}
    kept, counts = [], {}
    for change in changes:
        entry = _entry(change.path)
        if entry and change.kind in heads and entry not in heads[change.kind]:
            counts[entry, change.kind] = counts.get((entry, change.kind), 0) + 1
        else:
            kept.append(change)
    for (entry, kind), count in counts.items():
        values = f"{count} value{'s' if count > 1 else ''}"
        kept.append(Change(entry, *((values, None) if kind == "only in A" else (None, values)), None, kind))
    return kept


def _entry(path: str) -> str:
    """Return the entry of a list that a path is in (``vois[Liver]``), nothing for others."""
    found = re.match(r"[^\[.]+\[[^\]]*\]", path)
    return found.group() if found else ""


def _change(path: str, left: dict, right: dict, tolerance: float) -> Change | None:
    if path not in right:
        return Change(path, left[path], None, None, "only in A")
    if path not in left:
        return Change(path, None, right[path], None, "only in B")
    a, b = left[path], right[path]
    if _is_number(a) and _is_number(b):
        largest = max(abs(a), abs(b))
        relative = (b - a) / largest if largest > 0 else 0.0
        return Change(path, a, b, relative, "number") if abs(relative) > tolerance else None
    return None if type(a) is type(b) and a == b else Change(path, a, b, None, "value")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _leaves(value: Any, path: str, ignore: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Give path and value of everything that holds nothing further; an empty table or list is a value."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            if key not in ignore:
                yield from _leaves(item, f"{path}.{key}" if path else key, ignore)
    elif isinstance(value, list) and value:
        for name, item in zip(_names(value), value, strict=True):
            yield from _leaves(item, f"{path}[{name}]", ignore)
    else:
        yield path, value


def _names(items: list[Any]) -> list[str]:
    """Return a name for each entry of a list: what it is called, else its position."""
    seen: dict[str, int] = {}
    names = []
    for position, item in enumerate(items):
        name = str(position)
        if isinstance(item, dict):
            if "step" in item and "product" in item:
                name = f"{item['step']}: {item['product']}"
            elif "from" in item and "to" in item:
                name = f"{item['from']} to {item['to']}"
            else:
                name = next((str(item[key]) for key in KEYS if item.get(key)), name)
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return names
