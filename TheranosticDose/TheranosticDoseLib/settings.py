"""Settings of a step: one frozen dataclass, validated once, JSON in and out.

The Slicer parameter node, the shell and the manifest are three ways to fill it.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from typing import Any, TypeVar

from TheranosticDoseLib.errors import SettingsError

S = TypeVar("S", bound="Settings")


_hints = functools.cache(typing.get_type_hints)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base class.  A subclass is a frozen dataclass; ``validate`` checks ranges."""

    def __post_init__(self) -> None:
        hints = _hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not _matches(value, hints[field.name]):
                msg = f"{type(self).__name__}.{field.name}: {value!r} is not of type {field.type}."
                raise SettingsError(msg)
        self.validate()

    def validate(self) -> None:
        """Raise :class:`SettingsError` where a value is out of range."""

    def require(self, condition: bool, field: str, expected: str) -> None:
        """Raise a :class:`SettingsError` that names the field, its value and what is expected."""
        if not condition:
            msg = f"{type(self).__name__}.{field} is {getattr(self, field)!r}; expected {expected}."
            raise SettingsError(msg)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a JSON-serialisable dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls: type[S], values: dict[str, Any] | None) -> S:
        """Build from a dictionary (nested settings as nested dictionaries).

        Raises
        ------
        SettingsError
            For an unknown key (with the nearest known one) or a value of the wrong type.
        """
        values = {} if values is None else values
        if not isinstance(values, dict):
            msg = f"{cls.__name__}: expected a table of settings, got {type(values).__name__}."
            raise SettingsError(msg)
        hints = _hints(cls)
        names = [field.name for field in dataclasses.fields(cls)]
        arguments = {}
        for key, value in values.items():
            if key not in names:
                near = difflib.get_close_matches(key, names, 1)
                hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(names)}."
                raise SettingsError(f"{cls.__name__}: unknown setting {key!r}.{hint}")
            arguments[key] = _convert(value, hints[key])
        return cls(**arguments)


def _matches(value: Any, hint: Any) -> bool:
    """Whether ``value`` is of the simple type ``hint`` (bool is no number, int is a float)."""
    if hint is Any:
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(_matches(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(
            _matches(item, argument) for item, argument in zip(value, arguments, strict=True)
        )
    if origin is dict:
        return isinstance(value, dict)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint if isinstance(hint, type) else object)


def _convert(value: Any, hint: Any) -> Any:
    """JSON lists become tuples, JSON objects nested settings; other values stay as they are."""
    candidates = (
        typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    )
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, Settings) and isinstance(value, dict):
            return candidate.from_dict(value)
        if typing.get_origin(candidate) is tuple and isinstance(value, list):
            inner = typing.get_args(candidate)
            return tuple(_convert(item, inner[0] if inner else Any) for item in value)
        if candidate is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
    return value
