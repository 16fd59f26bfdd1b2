"""One number of the acceptance test."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Check:
    """A measured number, what is expected, and how far apart they may be.

    Attributes
    ----------
    group, name : str
    measured, expected : float
    unit : str
    limit : float or None
        Largest accepted deviation, as a fraction of ``expected``; of ``unit`` where ``absolute``;
        ``None`` where the number is only reported.
    u : float
        Combined standard uncertainty of the deviation, in ``unit``; 0 where both are exact.
    absolute : bool
    source : str
        Where the expected number comes from.
    """

    group: str
    name: str
    measured: float
    expected: float
    unit: str
    limit: float | None
    u: float = 0.0
    absolute: bool = False
    source: str = ""

    @property
    def deviation(self) -> float:
        """Relative deviation; in ``unit`` where ``absolute``."""
        difference = self.measured - self.expected
        return difference if self.absolute else difference / self.expected

    @property
    def z(self) -> float | None:
        """Deviation over its standard uncertainty."""
        return (self.measured - self.expected) / self.u if self.u > 0 else None

    @property
    def passed(self) -> bool | None:
        """Whether the deviation is within the limit; NaN never is."""
        return None if self.limit is None else bool(abs(self.deviation) <= self.limit)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return {**dataclasses.asdict(self), "deviation": self.deviation, "z": self.z, "passed": self.passed}
