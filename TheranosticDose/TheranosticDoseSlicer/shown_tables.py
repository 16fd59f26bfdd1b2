"""How numbers of tables are shown and typed: few digits, an uncertainty with two, units understood.

The numbers of the table nodes stay as they are; ``TheranosticDosePanels.table_view`` shows them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from TheranosticDoseLib.errors import InputError

from TheranosticDoseSlicer import tables
from TheranosticDoseSlicer.tables import Column

DIGITS, U_DIGITS = 4, 2


def number(value: float | None, digits: int = DIGITS) -> str:
    """Return a number with so many significant digits, without an exponent where it can be read; NaN is empty."""
    if value is None or not math.isfinite(value):
        return "" if value is None or math.isnan(value) else str(value)
    rounded = float(f"{value:.{digits}g}")
    if rounded == 0 or not 1e-4 <= abs(rounded) < 1e7:
        return f"{rounded:g}"
    decimals = max(digits - 1 - math.floor(math.log10(abs(rounded))), 0)
    text = f"{rounded:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def pair(value: float | None, u: float | None) -> str:
    """Return ``2.38 ± 0.17``: the uncertainty with two digits, the value as far as it is known (GUM 7.2.6)."""
    if value is None or u is None or not math.isfinite(value) or not math.isfinite(u) or u <= 0:
        return number(value)
    decimals = U_DIGITS - 1 - math.floor(math.log10(u))
    # 0.0996 rounds to 0.10: one decimal less than its exponent says.
    decimals = U_DIGITS - 1 - math.floor(math.log10(round(u, decimals)))
    if decimals > 6:
        return f"{value:.{DIGITS}g} ± {u:.{U_DIGITS}g}"
    shown = max(decimals, 0)
    return f"{round(value, decimals):.{shown}f} ± {round(u, decimals):.{shown}f}"


def parsed(text: str, column: str) -> float:
    """Return the number that a user typed into a cell; a unit behind it and a decimal comma are understood.

    Raises
    ------
    InputError
        Where it is none.
    """
    words = text.split()
    first = words[0] if words else ""
    head, comma, tail = first.partition(",")
    if comma and len(tail) == 3 and tail.isdigit():
        raise InputError(f"{column}: {first!r} can be read in two ways; write {head}{tail} or {head}.{tail}.")
    try:
        value = float(first.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{column}: {text.strip()!r} is not a number; the earlier value is kept.")
    return value


def columns_of(node) -> list[Column]:
    """Return the columns of a table node as they are shown."""
    table = node.GetTable()
    found = []
    for index in range(table.GetNumberOfColumns()):
        array = table.GetColumn(index)
        name = array.GetName()
        values: Sequence[Any] = tables.values_of(array)
        if not (array.IsA("vtkStringArray") or array.IsA("vtkBitArray")):
            digits = U_DIGITS if name.startswith("u ") else DIGITS
            values = [number(value, digits) for value in values]
        found.append(Column(name, values, node.GetColumnUnitLabel(name), node.GetColumnDescription(name)))
    return found
