"""Names, codes and colors of anatomic structures: what a VOI's name means."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass

from DoseSegmentationLib.resources import resource_path


@dataclass(frozen=True)
class Structure:
    """A known structure.

    Attributes
    ----------
    name : str
        As it is shown.
    kind : str
        ``organ``, ``lesion``, ``body`` or ``other``.
    code : dict
        DICOM code ``{"scheme", "value", "meaning"}``.
    color : str
        ``#rrggbb``.
    """

    name: str
    kind: str
    code: dict[str, str]
    color: str


def normalized(name: str) -> str:
    """Return a name in lower case, with separators as single blanks and a trailing number dropped."""
    words = re.sub(r"[\s_\-.,;:()/]+", " ", name).strip().lower()
    return re.sub(r"\s*\d+$", "", words)


@functools.lru_cache(maxsize=1)
def _table() -> dict[str, Structure]:
    entries = json.loads(resource_path("Anatomy", "structures.json").read_text(encoding="utf-8"))[
        "structures"
    ]
    table = {}
    for entry in entries:
        structure = Structure(entry["name"], entry["kind"], entry["code"], entry["color"])
        for name in (entry["name"], *entry["synonyms"]):
            table[normalized(name)] = structure
    return table


def structure(name: str) -> Structure | None:
    """Return the structure that a VOI's name means, ``None`` where it is not known.

    Any name that begins with ``lesion``, ``tumor`` or ``metastasis`` is a lesion.

    Parameters
    ----------
    name : str
        For example ``kidney_left``, ``Left Kidney``, ``Lesion 2 (liver)``.
    """
    table, key = _table(), normalized(name)
    if key in table:
        return table[key]
    if re.match(r"(lesion|tumou?r|metastas|les\b|gtv|ptv|t\d)", key):
        return table["lesion"]
    return None


def structures() -> tuple[Structure, ...]:
    """Return all known structures, each once."""
    return tuple({entry.name: entry for entry in _table().values()}.values())
