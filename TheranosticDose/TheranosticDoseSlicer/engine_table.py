"""The dose engines: which are there, how long they take, what they found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import shown_tables, tables

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
FAILED = "failedEngines"
S_PER_VOXEL = {"led": 6e-8, "vsv": 4e-7, "vsv_density": 1.5e-6, "cnn": 1.5e-6, "cnn_pvc": 1.5e-6}
START_S = {"cnn": 4.0, "cnn_pvc": 4.0}
MC_S_PER_HISTORY = 1.5e-6
"""Before an engine ran here: seconds on two cores, measured on 64^3 and 128^3 voxels of 4 mm, Lu-177."""


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
    """Return how long an engine will take: as the last time, else as measured on two cores; empty where not known."""
    voxels = _voxels(case, roles.DENSITY)
    if case is None or not voxels:
        return ""
    # The same cycle first: its grid and tissue are the same.
    for known in sorted(roles.cases(), key=lambda other: other.node is not case.node):
        record, size = known.record(f"dose/{engine}"), _voxels(known, roles.DOSE + engine)
        if record and record.get("seconds") and size:
            before = float(record.get("histories") or 0)
            share = histories / before if engine == "mc" and before else voxels / size
            return _about(float(record["seconds"]) * share)
    if engine == "mc":
        return _about(MC_S_PER_HISTORY * histories)
    if engine not in S_PER_VOXEL:
        return ""
    return _about(START_S.get(engine, 0.0) + S_PER_VOXEL[engine] * voxels)


def _about(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(seconds, 1):.0f} s"
    return f"about {seconds / 60:.0f} min"


def _voxels(case: Case | None, role: str) -> int:
    node = case.get(role) if case is not None else None
    image = node.GetImageData() if node is not None else None
    return image.GetNumberOfPoints() if image is not None else 0


def failures(case: Case | None) -> list[str]:
    """Return why engines of the last computation gave no dose."""
    known = case.record(FAILED, {}) if case is not None else {}
    return [f"{title(engine)}: {reason}" for engine, reason in known.items()]


def outdated(case: Case) -> list[str]:
    """Return the engines whose dose belongs to earlier curves or outlines."""
    if case is None:
        return []
    found = []
    for engine in case.labels(roles.DOSE):
        if case.get(roles.DOSE + engine).GetAttribute(roles.OUTDATED):
            found.append(engine)
    return found


def shown(node) -> list[tables.Column]:
    """Return the engines as the panel shows them: times in whole seconds or two digits."""
    found = []
    for column in shown_tables.columns_of(node):
        if column.name == "time (s)":
            values = [shown_tables.number(row[column.name], 2) for row in tables.rows_of(node)]
            column = tables.Column(column.name, values, "s", column.description)
        elif column.name == "energy absorbed (%)":
            values = [shown_tables.number(row[column.name], 3) for row in tables.rows_of(node)]
            column = tables.Column(column.name, values, "%", column.description)
        found.append(column)
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
                float(record.get("seconds") or 0.0),
                100 * absorbed if absorbed is not None else float("nan"),
                f"{int(record['histories']):,}" if record.get("histories") else "",
                str(record.get("device") or "CPU"),
                str(record.get("version") or ""),
            )
        )
    about = {"energy absorbed (%)": "of the energy that the decays emit; the rest leaves the image"}
    names = ("engine", "time (s)", "energy absorbed (%)", "histories", "device", "version")
    columns = [
        tables.Column(name, [row[i] for row in rows], description=about.get(name, ""))
        for i, name in enumerate(names)
    ]
    case.set(roles.ENGINES, tables.table_from(columns, "Engines", case.get(roles.ENGINES)))
