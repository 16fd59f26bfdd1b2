"""Names and half-lives of radionuclides as DICOM objects write them."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from DoseSegmentationLib.resources import resource_path


@functools.lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return json.loads(resource_path("Dicom", "radionuclides.json").read_text(encoding="utf-8"))


def half_life_s(nuclide: str) -> float | None:
    """Return the half-life in seconds (ICRP 107), ``None`` for a nuclide that is not listed."""
    return _table()["half_life_s"].get(nuclide)


def known_nuclides() -> tuple[str, ...]:
    """Return the names of all listed nuclides."""
    return tuple(_table()["half_life_s"])


def nuclide_of_code(value: str) -> str | None:
    """Return the nuclide of a code value of CID 18 or CID 4020."""
    return _table()["codes"].get(value.strip())


def nuclide_of_text(text: str) -> str | None:
    """Return the nuclide that a text names: ``177 Lutetium``, ``^177^Lutetium``, ``Lu-177``, ``177Lu-DOTATATE``."""
    elements = _table()["elements"]
    names = "|".join([*elements, *elements.values()])
    plain = text.replace("^", " ")
    mass = r"(\d{1,3})\s*(m)?"
    for pattern in (
        rf"(?<!\d){mass}[\s\-_]*({names})(?![a-z])",
        rf"(?<![A-Za-z])({names})[\s\-_]*{mass}(?![A-Za-z\d])",
    ):
        for match in re.finditer(pattern, plain, re.IGNORECASE):
            number, isomer, word = match.groups() if match[1].isdigit() else (match[2], match[3], match[1])
            symbol = elements.get(word.capitalize(), word.capitalize())
            name = f"{symbol}-{number}{'m' if isomer else ''}"
            if name in known_nuclides():
                return name
    return None


def nuclide_of_half_life(seconds: float) -> str | None:
    """Return the nuclide whose half-life lies within 0.5 %, ``None`` where none or several do."""
    near = [name for name, value in _table()["half_life_s"].items() if abs(seconds / value - 1) < 0.005]
    return near[0] if len(near) == 1 else None
