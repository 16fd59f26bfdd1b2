"""One measured number beside the number that it is held against."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A measured number, what it should be, and whether it is.

    Attributes
    ----------
    name : str
        What was measured, in words.
    measured : float
        The number, in ``unit``.
    unit : str
        For example ``%`` or ``mGy/(MBq s)``; empty for a pure number.
    limit : str
        The acceptance in words, for example ``<= 1 %``; empty where a number is only reported.
    passed : bool or None
        ``None`` where there is no limit.
    reference : str
        What it was compared with, with its source.
    detail : str
        Whatever helps to judge it: uncertainty, number of cases, what a miss comes from.
    """

    name: str
    measured: float
    unit: str = ""
    limit: str = ""
    passed: bool | None = None
    reference: str = ""
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return asdict(self)


def at_most(name: str, measured: float, limit: float, unit: str = "", **more: str) -> Figure:
    """Return a figure that passes where ``measured <= limit``."""
    return Figure(
        name, float(measured), unit, f"<= {limit:g} {unit}".strip(), bool(measured <= limit), **more
    )


def at_least(name: str, measured: float, limit: float, unit: str = "", **more: str) -> Figure:
    """Return a figure that passes where ``measured >= limit``."""
    return Figure(
        name, float(measured), unit, f">= {limit:g} {unit}".strip(), bool(measured >= limit), **more
    )


def reported(name: str, measured: float, unit: str = "", **more: str) -> Figure:
    """Return a figure without a limit."""
    return Figure(name, float(measured), unit, **more)
