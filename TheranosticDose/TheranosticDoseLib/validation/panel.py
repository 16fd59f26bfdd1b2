"""The panels: how quickly they open and follow, whether they hold the mouse, and the numbers of the shell.

Measured on the strict stand-in of the tests (PySide6 in the place of the application, with the MRML classes
of Slicer's own wheel), not in the Slicer application.  The stand-in belongs to the source tree and runs in a
process of its own: this library knows nothing of Qt and MRML.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.validation.figure import Figure, at_least, at_most, reported

OPENING_S, HELD_S, UPDATE_S = 0.5, 0.2, 1.0
SAME = 1e-5
WIDTH_PX, CONTRAST = 480, 4.5
STANDIN = "PySide6 stand-in with Slicer's MRML wheel, not the Slicer application"


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return the seconds on the clock, what differs from the shell, and what a saved scene loses."""
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / "Testing" / "gui" / "measure.py").is_file():
        return [_missing("the stand-in is in the folder Testing of a source tree, which is not here.")]
    found = _measured(checkout, progress, quick)
    if "missing" in found:
        return [_missing(found["missing"])]
    return [*_opening(found), *_panels(found), *_way(found), *_live(found)]


def _missing(reason: str) -> Figure:
    return reported("Panels: not measured", 0, "cases", detail=reason)


def _measured(checkout: Path, progress: Progress | None, quick: bool) -> dict[str, Any]:
    """Return what ``python -m gui.measure`` writes."""
    folders = [str(checkout / name) for name in ("Testing", "TheranosticDose", "DoseSegmentation")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, *filter(None, sys.path)])}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "panel.json"
        command = [sys.executable, "-m", "gui.measure", "--out", str(file), *["--quick"] * quick]
        with (
            (Path(folder) / "errors.txt").open("w+", encoding="utf-8") as errors,
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            for line in process.stdout:
                if line.startswith('{"fraction"'):
                    said = json.loads(line)
                    report(progress, said["fraction"], said["message"])
            process.wait()
            errors.seek(0)
            last = errors.read().strip()[-500:]
        if not file.is_file():
            raise TheranosticDoseError(f"The panels could not be measured: {last}")
        return json.loads(file.read_text(encoding="utf-8"))


def _opening(found: dict[str, Any]) -> list[Figure]:
    return [
        at_most(
            f"{name}: from the module file to the shown panel",
            record["wall_s"],
            OPENING_S,
            "s",
            reference=STANDIN,
            detail=f"median of fresh processes; {_cpu(record)}; "
            f"heavy packages imported: {', '.join(record['heavy']) or 'none'}",
        )
        for name, record in found["opening"].items()
    ]


def _panels(found: dict[str, Any]) -> list[Figure]:
    figures = []
    for record in found["panels"]:
        name, silent = record["module"], record["not_reached"]
        figures += [
            at_most(f"{name}: width without horizontal scrolling", record["width_px"], WIDTH_PX, "px"),
            at_least(f"{name}: least contrast of text, light and dark palette", record["contrast"], CONTRAST),
            at_most(
                f"{name}: fields that the Tab key does not reach",
                len(silent),
                0,
                detail=", ".join(silent),
            ),
        ]
    return figures


def _way(found: dict[str, Any]) -> list[Figure]:
    way = found["way"]
    patient = (
        "small virtual patient" if found["quick"] else "virtual patient, SPECT 128^3, CT 512 x 512 x 131"
    )
    steps = (
        f"clicks from an empty scene to the report: {way['method']}, {', '.join(way['engines'])}; {patient}"
    )
    lost = way["lost"]
    return [
        _held("Whole way: longest time that the event loop is held", way["held"], steps),
        at_most(
            "Whole way: largest relative difference of a number from `theranostic-dose run`",
            way["difference"],
            SAME,
            detail=f"{way['numbers']} numbers of results.json; {way['where'] or 'all the same'}",
        ),
        at_most(
            "Saved and opened scene: volumes, tables, segments, links and records lost or changed",
            len(lost),
            0,
            detail=f"of {way['kept']}{': ' + ', '.join(lost[:5]) if lost else ''}",
        ),
        at_most(
            "Saved and opened scene: largest relative difference of a number of the report written again",
            way["again"],
            SAME,
            detail=way["again_where"] or "all the same",
        ),
    ]


def _live(found: dict[str, Any]) -> list[Figure]:
    figures = []
    for case, configurations in found["live"].items():
        for record in configurations:
            name = f"Edit at 128^3, {case}, {record['configuration']}"
            figures += [
                at_most(
                    f"{name}: {edit['edit']}",
                    edit["wall_s"],
                    UPDATE_S,
                    "s",
                    detail=f"median of three; {_cpu(edit)}",
                )
                for edit in record["edits"]
            ]
            figures.append(_held(f"{name}: longest time that the event loop is held", record["held"], ""))
    return figures


def _held(name: str, held: dict[str, Any], what: str) -> Figure:
    detail = (
        f"in '{held['what']}', {_cpu(held)}; {held['over_limit']} of {held['passes']} passes above the limit; "
        f"most processor time of a pass {held['longest_cpu_s']:.3f} s"
    )
    return at_most(
        name, held["wall_s"], HELD_S, "s", reference=STANDIN, detail=f"{what}; {detail}".lstrip("; ")
    )


def _cpu(record: dict[str, Any]) -> str:
    return f"{record['cpu_s']:.3f} s of processor time"
