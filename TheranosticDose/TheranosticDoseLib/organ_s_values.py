"""Organ-level dose beside the voxel-level one: the MIRD sum over source organs with S values of the user.

The table is a CSV: first column the target organ, then one column per source organ with S in
mGy/(MBq s); a column ``mass_g`` with the mass of the target in the phantom scales self dose to the
patient's mass (MIRD 11 and 21: the charged-particle self dose goes with the inverse of the mass).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from TheranosticDoseLib.errors import InputError

MASS_COLUMNS = ("mass_g", "mass", "mass (g)")
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class OrganSValues:
    """S values of a phantom.

    Attributes
    ----------
    s_mgy_per_mbq_s : dict
        Target to source to S, mGy/(MBq s).
    mass_g : dict
        Target to its mass in the phantom; empty where the table has none.
    source : str
        File name.
    """

    s_mgy_per_mbq_s: dict[str, dict[str, float]]
    mass_g: dict[str, float]
    source: str = ""


def read_organ_s_values(path: str | Path) -> OrganSValues:
    """Read a table of S values.

    Raises
    ------
    InputError
        For a file that is no such table; the text names the line and column.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The S-value table {path.name} cannot be read: {error}.") from error
    if len(rows) < 2 or len(rows[0]) < 2:
        raise InputError(
            f"{path.name} is no S-value table: a header with source organs and a row per target."
        )
    header = [cell.strip() for cell in rows[0]]
    values: dict[str, dict[str, float]] = {}
    masses: dict[str, float] = {}
    for number, row in enumerate(rows[1:], start=2):
        target = row[0].strip()
        if target in values:
            raise InputError(f"{path.name}, line {number}: the target {target!r} is there twice.")
        values[target] = {}
        for column, name in enumerate(header[1:], start=1):
            if column >= len(row) or not row[column].strip():
                continue
            value = _number(row[column], path.name, number, name)
            if name.lower() in MASS_COLUMNS:
                masses[target] = value
            else:
                values[target][name] = value
    return OrganSValues(values, masses, path.name)


def organ_doses(
    tia_mbq_h: Mapping[str, float], table: OrganSValues, mass_g: Mapping[str, float] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the mean dose of every target organ of the table.

    Parameters
    ----------
    tia_mbq_h : mapping
        Time-integrated activity of source organs, MBq h; each must be a source of the table.
    table : OrganSValues
    mass_g : mapping, optional
        The patient's organ masses; self dose scales with phantom mass over patient mass.

    Returns
    -------
    dict
        Target to ``dose_gy``, ``self_gy``, ``cross_gy``, ``mass_scaling``.

    Raises
    ------
    InputError
        For a source that the table does not have, or a mass or activity that is not positive.
    """
    mass_g = {} if mass_g is None else mass_g
    known = {source for row in table.s_mgy_per_mbq_s.values() for source in row}
    unknown = sorted(set(tia_mbq_h) - known)
    if unknown:
        raise InputError(
            f"{table.source} has no source organ {', '.join(unknown)}; known: {', '.join(sorted(known))}."
        )
    for name, value in tia_mbq_h.items():
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"The activity of {name} is {value} MBq h; zero or a positive number is needed.")
    for name, value in mass_g.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"The mass of {name} is {value} g; a positive number is needed.")
    result = {}
    for target, row in table.s_mgy_per_mbq_s.items():
        scaling = 1.0
        if target in mass_g and target in table.mass_g:
            scaling = table.mass_g[target] / mass_g[target]
        parts = {
            source: 1e-3 * SECONDS_PER_HOUR * tia * row.get(source, 0.0) for source, tia in tia_mbq_h.items()
        }
        own = parts.pop(target, 0.0) * scaling
        cross = sum(parts.values())
        result[target] = {"dose_gy": own + cross, "self_gy": own, "cross_gy": cross, "mass_scaling": scaling}
    return result


def _number(text: str, file: str, line: int, column: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"{file}, line {line}, column {column!r}: {text!r} is no number.") from error
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{file}, line {line}, column {column!r}: {text!r} is negative or not finite.")
    return value
