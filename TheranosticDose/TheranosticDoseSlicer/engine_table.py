"""The dose engines: which are there, how long they take, what they found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import tables

if TYPE_CHECKING:
    from TheranosticDoseSlicer.case import Case

TITLES = {
    "led": "Local energy deposition",
    "vsv": "Voxel S values, water",
    "vsv_density": "Voxel S values, density and tissue",
    "mc": "Monte Carlo",
    "gate": "GATE 10",
    "cnn": "Neural network",
    "cnn_pvc": "Neural network, recovered activity",
}
SHORT_TITLES = {
    "led": "LED",
    "vsv": "VSV water",
    "vsv_density": "VSV density",
    "mc": "Monte Carlo",
    "gate": "GATE",
    "cnn": "Network",
    "cnn_pvc": "Network, recovered",
}
OUTDATED = "TheranosticDose.Outdated"


def title(engine: str) -> str:
    """Return what the user reads."""
    return TITLES.get(engine, engine)


def short_title(engine: str) -> str:
    """Return what the user reads in tables, plots and sentences."""
    return SHORT_TITLES.get(engine, engine)


def availability() -> dict[str, dict[str, Any]]:
    """Return the engines of the library with their availability and the reason where they are not."""
    from TheranosticDoseLib.dose import engines

    return engines()


def estimate(case: Case | None, engine: str, histories: int) -> str:
    """Return the time an engine took the last time, for the chosen number of histories."""
    record = case.record(f"dose/{engine}") if case is not None else None
    if not record or not record.get("seconds"):
        return ""
    seconds = float(record["seconds"])
    before = record.get("histories")
    if engine == "mc" and before:
        seconds *= histories / float(before)
    if seconds < 90:
        return f"about {max(seconds, 1):.0f} s"
    return f"about {seconds / 60:.0f} min"


def outdated(case: Case) -> list[str]:
    """Return the engines whose dose belongs to earlier curves or outlines."""
    if case is None:
        return []
    found = []
    for engine in case.labels(roles.DOSE):
        if case.get(roles.DOSE + engine).GetAttribute(OUTDATED):
            found.append(engine)
    return found


def write(case: Case) -> None:
    """Write the table of the engines that were run."""
    rows = []
    for engine in case.record("engineOrder", []):
        record = case.record(f"dose/{engine}", {})
        absorbed = record.get("energy_absorbed_fraction")
        rows.append(
            (
                title(engine),
                float(f"{float(record.get('seconds') or 0.0):.2g}"),
                round(100 * absorbed, 1) if absorbed is not None else float("nan"),
                str(record.get("histories") or ""),
                str(record.get("device") or "CPU"),
                str(record.get("version") or ""),
            )
        )
    names = ("engine", "time (s)", "energy absorbed (%)", "histories", "device", "version")
    columns = [tables.Column(name, [row[i] for row in rows]) for i, name in enumerate(names)]
    case.set(roles.ENGINES, tables.table_from(columns, "Engines", case.get(roles.ENGINES)))
