"""Run the topics and write the pages of ``docs/validation``."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import os
import pkgutil
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib import DISCLAIMER, __version__, validation
from TheranosticDoseLib.errors import SettingsError
from TheranosticDoseLib.files import staged, to_json, write_whole
from TheranosticDoseLib.progress import Progress, part_of, report

if TYPE_CHECKING:
    from TheranosticDoseLib.validation.figure import Figure

NOT_TOPICS = (
    "figure", "run", "patient_coverage", "monte_carlo_checks", "processes", "segmentation_networks",
)  # fmt: skip


def topics() -> list[str]:
    """Return the names of the topics: the files of this package with a function ``figures``."""
    return sorted(m.name for m in pkgutil.iter_modules(validation.__path__) if m.name not in NOT_TOPICS)


def validate(
    out: Path, chosen: Sequence[str] | None = None, quick: bool = False, progress: Progress | None = None
) -> list[list[Any]]:
    """Measure the figures of the chosen topics and write ``TOPIC.md``, ``TOPIC.json`` and plots.

    Parameters
    ----------
    out : Path
        Folder for the pages; pages of other topics stay.
    chosen : sequence of str, optional
        Default: all.
    quick : bool
        Fewer cases; the pages say so.
    progress : callable, optional

    Returns
    -------
    list
        A row a topic: name, figures, within their limit, missed, only reported.
    """
    known = topics()
    names = list(chosen or known)
    for name in names:
        if name not in known:
            raise SettingsError(f"There is no validation topic {name!r}; known: {', '.join(known)}.")
    rows = []
    for number, name in enumerate(names):
        part = part_of(progress, number / len(names), (number + 1) / len(names))
        report(part, 0.0, f"Validation: {name}")
        # Pages are made again by this command, so earlier ones are not kept aside.
        with staged(Path(out), keep_earlier=False) as folder:
            started = time.perf_counter()
            module = importlib.import_module(f"TheranosticDoseLib.validation.{name}")
            figures = module.figures(folder, part, quick)
            seconds = time.perf_counter() - started
            title = (module.__doc__ or name).strip().splitlines()[0].rstrip(".")
            (folder / f"{name}.md").write_text(
                _page(folder, name, title, figures, quick, seconds), encoding="utf-8"
            )
            (folder / f"{name}.json").write_text(to_json([f.to_dict() for f in figures]), encoding="utf-8")
        rows.append(_row(name, figures))
    write_whole(Path(out) / "README.md", _index(Path(out)))
    report(progress, 1.0, "Done")
    return rows


def _index(out: Path) -> str:
    """The front page: every topic that has a page, and every figure that is missed."""
    lines = ["# Validation", "", f"Made by `theranostic-dose validate`; do not edit. {DISCLAIMER}", ""]
    lines += [
        "| topic | figures | within limit | missed | reported only |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    missed = []
    for path in sorted(out.glob("*.json")):
        figures = json.loads(path.read_text(encoding="utf-8"))
        counts = [sum(f["passed"] is state for f in figures) for state in (True, False, None)]
        title = (out / f"{path.stem}.md").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(
            f"| [{title}]({path.stem}.md) | {len(figures)} | {counts[0]} | {counts[1]} | {counts[2]} |"
        )
        missed += [(title, f) for f in figures if f["passed"] is False]
    lines += ["", "## Missed", ""]
    for title, f in missed:
        lines.append(
            f"- {title}: {f['name']}: {f['measured']:.4g} {f['unit']} (limit {f['limit']}). {f['detail']}"
        )
    return "\n".join([*lines, "" if missed else "None.", ""])


def _row(name: str, figures: list[Figure]) -> list[Any]:
    passed = sum(figure.passed is True for figure in figures)
    missed = sum(figure.passed is False for figure in figures)
    return [name, len(figures), passed, missed, len(figures) - passed - missed]


def _page(folder: Path, name: str, title: str, figures: list[Figure], quick: bool, seconds: float) -> str:
    lines = [
        f"# {title}",
        "",
        f"Made by `theranostic-dose validate --topic {name}`; do not edit. {DISCLAIMER}",
        "",
    ]
    if quick:
        lines += ["**Quick run: fewer cases than the full validation.**", ""]
    lines += [
        "| figure | measured | limit | met | reference | detail |",
        "| --- | ---: | --- | --- | --- | --- |",
    ]
    for figure in figures:
        met = {True: "yes", False: "**no**", None: ""}[figure.passed]
        value = f"{figure.measured:.4g} {figure.unit}".strip()
        cells = (figure.name, value, figure.limit, met, figure.reference, figure.detail)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    for picture in sorted(folder.glob("*.png")):
        lines += ["", f"![{picture.stem}]({picture.name})"]
    lines += [
        "",
        f"{dt.date.today().isoformat()}, version {__version__}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} logical processors, Python {platform.python_version()}, {seconds:.0f} s.",
        "",
    ]
    return "\n".join(lines)
