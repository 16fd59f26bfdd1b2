"""What is wrong with the description of a network, said before anything is built from it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

MOST_LEVELS, WIDEST = 10, 4096
"""Of a U-Net: more would fill the memory before the weights are even compared."""
TEXTS = ("name", "version", "task", "weights_sha256", "licence")
SWITCHES = ("mirrored", "ct_optional")
TABLES = ("labels", "log_odds", "statistics", "training")


def require_description(content: Mapping[str, Any], channels: tuple[str, ...]) -> None:
    """Raise where a complete description (every entry there) cannot be worked with.

    Parameters
    ----------
    content : mapping
        The fields of ``networks.NetworkDescription``.
    channels : tuple of str
        The inputs that are known.

    Raises
    ------
    ValueError
        Names the entry and what is expected.
    """
    for key in TEXTS:
        _require(isinstance(content[key], str), key, "a text", content)
    for key in SWITCHES:
        _require(isinstance(content[key], bool), key, "true or false", content)
    for key in TABLES:
        _require(isinstance(content[key], Mapping), key, "a table", content)
    _require_labels(content)
    _require_architecture(content, channels)
    sizes = _listed(content["spacing_mm"])
    good = len(sizes) == 3 and all(_is_number(size) and size > 0 for size in sizes)
    _require(good, "spacing_mm", "three numbers above 0", content)
    _require_numbers_of_classes(content)


def _require(good: bool, key: str, expected: str, content: Mapping[str, Any]) -> None:
    if not good:
        raise ValueError(f"{key} must be {expected}, not {content[key]!r:.60}")


def _require_labels(content: Mapping[str, Any]) -> None:
    labels = content["labels"]
    numbered = bool(labels) and set(labels) == {str(number) for number in range(1, len(labels) + 1)}
    _require(numbered, "labels", "numbered from 1", content)
    named = all(isinstance(name, str) and name for name in labels.values())
    _require(
        named and len(set(labels.values())) == len(labels), "labels", "different names of structures", content
    )


def _require_architecture(content: Mapping[str, Any], channels: tuple[str, ...]) -> None:
    inputs, features, patch = (_listed(content[key]) for key in ("channels", "features", "patch"))
    known = bool(inputs) and all(name in channels for name in inputs) and len(set(inputs)) == len(inputs)
    _require(known, "channels", f"some of {', '.join(channels)}", content)
    widths = all(_is_count(width) and 0 < width <= WIDEST for width in features)
    levels = f"2 to {MOST_LEVELS} whole numbers from 1 to {WIDEST}"
    _require(widths and 2 <= len(features) <= MOST_LEVELS, "features", levels, content)
    factor = 2 ** (len(features) - 2)
    sides = all(_is_count(side) and side > 0 and side % factor == 0 for side in patch)
    _require(sides and len(patch) == 3, "patch", f"three multiples of {factor}", content)
    for key in ("residual_units", "refinement"):
        count = _is_count(content[key]) and 0 <= content[key] <= WIDEST
        _require(count, key, f"a whole number from 0 to {WIDEST}", content)


def _require_numbers_of_classes(content: Mapping[str, Any]) -> None:
    """Check what is counted in output channels or input channels: both must exist."""
    classes = {str(number) for number in range(len(content["labels"]) + 1)}
    for channel, added in content["log_odds"].items():
        good = channel in classes and _is_number(added)
        _require(good, "log_odds", f"numbers of the classes 0 to {len(classes) - 1}", content)
    for name, values in content["statistics"].items():
        found, pair = re.fullmatch(r"channel (\d{1,3}) \S.*", name), _listed(values)
        good = found is not None and int(found[1]) < len(content["channels"])
        good = good and len(pair) == 2 and all(map(_is_number, pair))
        _require(good, "statistics", "a mean and a standard deviation of numbers of each channel", content)


def _listed(value: Any) -> list[Any]:
    """Return the entries of a list; none where it is something else, which no check lets pass."""
    return list(value) if isinstance(value, (list, tuple)) else []


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (_is_count(value) or isinstance(value, float)) and abs(value) < 1e300 and math.isfinite(value)
