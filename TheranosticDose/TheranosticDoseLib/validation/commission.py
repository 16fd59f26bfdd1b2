"""Acceptance test of a site (`theranostic-dose commission`): how long it takes and what it says."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from TheranosticDoseLib.commission import Acceptance
from TheranosticDoseLib.progress import Progress
from TheranosticDoseLib.validation.figure import Figure, at_least, at_most, reported

LONGEST_S, CORES = 900.0, 2


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return duration and outcome of the acceptance test; the quick one has no limit of time."""
    from TheranosticDoseLib.commission import commission

    with tempfile.TemporaryDirectory() as folder:
        return figures_of(commission(folder, quick, progress=progress), quick)


def figures_of(result: Acceptance, quick: bool) -> list[Figure]:
    """Return the figures of an acceptance test."""
    limited = [check for check in result.checks if check.passed is not None]
    scores = [abs(check.z) for check in result.checks if check.z is not None]
    outside = [f"{c.group}: {c.name}" for c in limited if not c.passed] + list(result.failures)
    parts = ", ".join(f"{part} {seconds:.0f} s" for part, seconds in result.parts_s.items())
    detail = f"{parts}; {result.cpu_seconds:.0f} s of processor time, {os.cpu_count()} processors"
    name = f"{'Quick' if quick else 'Whole'} acceptance test: duration"
    return [
        reported(name, result.seconds, "s", detail=detail)
        if quick
        else at_most(name, result.seconds, LONGEST_S, "s", reference=f"{CORES} cores", detail=detail),
        at_least(
            "Acceptance test: numbers within their limits",
            100 * sum(bool(c.passed) for c in limited) / max(len(limited), 1),
            100,
            "%",
            reference="analytic, ICRP 107, published S values, truth of virtual patients",
            detail=f"{len(limited)} numbers; outside or not run: {', '.join(outside) or 'none'}",
        ),
        reported("Acceptance test: largest |z|", max(scores, default=0.0), detail=f"{len(scores)} z-scores"),
    ]
