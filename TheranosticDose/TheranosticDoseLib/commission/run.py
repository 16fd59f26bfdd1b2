"""Run the acceptance test and write its report."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from TheranosticDoseLib import DISCLAIMER, __version__
from TheranosticDoseLib.commission import kinetics, patients, physics, site
from TheranosticDoseLib.commission.check import Check
from TheranosticDoseLib.errors import CancelledError, SettingsError, TheranosticDoseError
from TheranosticDoseLib.files import staged, to_json
from TheranosticDoseLib.progress import Progress, part_of, report
from TheranosticDoseLib.report.page import Section, page

SCHEMA = "theranostic-dose/acceptance/1"
PARTS = {"kinetics": (kinetics, 0.05), "physics": (physics, 0.25), "patients": (patients, 0.7)}


@dataclasses.dataclass(frozen=True)
class Acceptance:
    """The outcome.

    Attributes
    ----------
    checks : tuple of Check
    failures : tuple of str
        Parts that could not be run, with the reason.
    seconds, cpu_seconds : float
    parts_s : dict
        Part to its processor time.
    """

    checks: tuple[Check, ...]
    failures: tuple[str, ...]
    seconds: float
    cpu_seconds: float
    parts_s: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every part ran and every check with a limit is within it."""
        return not self.failures and all(check.passed is not False for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return {
            "schema": SCHEMA,
            "software": {"name": "theranostic-dosimetry", "version": __version__},
            "disclaimer": DISCLAIMER,
            "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            "machine": {"python": platform.python_version(), "platform": platform.platform()},
            "passed": self.passed,
            "failures": list(self.failures),
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "parts_cpu_seconds": self.parts_s,
            "checks": [check.to_dict() for check in self.checks],
        }


def commission(
    out: str | Path,
    quick: bool = False,
    parts: Sequence[str] = tuple(PARTS),
    cases: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Acceptance:
    """Run the acceptance test.

    Parameters
    ----------
    out : str or Path
        Gets ``acceptance.json``, ``.html`` and ``.pdf``.
    quick : bool
        Fewer decays and one small virtual patient, in about two minutes.
    parts : sequence of str
        Of ``kinetics``, ``physics`` and ``patients``.
    cases : sequence of Path
        The site's own data with numbers to hold them against, see :func:`site.read_case`.
    progress : callable, optional

    Returns
    -------
    Acceptance
        A part that fails to run is a failure of the test; the others are still run.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise SettingsError(f"Unknown part {unknown[0] if unknown else ''!r}; known: {', '.join(PARTS)}.")
    for case in cases:
        site.read_case(case)  # what is wrong with one is said before any work
    started, cpu = time.perf_counter(), time.process_time()
    checks: list[Check] = []
    failures, parts_s = [], {}
    jobs: list[tuple[str, float, Any]] = [
        (name, PARTS[name][1], functools.partial(PARTS[name][0].checks, quick)) for name in parts
    ]
    jobs += [(f"case {case}", 0.35, functools.partial(site.checks, case)) for case in cases]
    with staged(Path(out)) as folder:
        done, total = 0.0, sum(share for _, share, _ in jobs)
        for name, share, run in jobs:
            begun = time.process_time()
            try:
                checks += run(part_of(progress, done / total, (done + share) / total))
            except CancelledError:
                raise
            except TheranosticDoseError as error:
                failures.append(f"{name}: {error}")
            done += share
            parts_s[name] = time.process_time() - begun
        seconds, used = time.perf_counter() - started, time.process_time() - cpu
        result = Acceptance(tuple(checks), tuple(failures), seconds, used, parts_s)
        (folder / "acceptance.json").write_text(to_json(result.to_dict()), encoding="utf-8")
        title, subtitle, sections = _content(result, quick)
        (folder / "acceptance.html").write_text(page(title, subtitle, sections), encoding="utf-8")
        (folder / "acceptance.pdf").write_bytes(_pdf(title, result.to_dict()["date"], subtitle, sections))
    report(progress, 1.0, "Done")
    return result


def _content(result: Acceptance, quick: bool) -> tuple[str, str, list[Section]]:
    """Return title, subtitle and sections of the page."""
    limited = [check for check in result.checks if check.passed is not None]
    good = sum(bool(check.passed) for check in limited)
    verdict = "passed" if result.passed else "NOT passed"
    kind = "quick test, no acceptance" if quick else "acceptance test"
    text = f"{good} of {len(limited)} numbers within their limits." + "".join(
        f" {f}" for f in result.failures
    )
    when = dt.datetime.now().strftime("%Y-%m-%d %H:%M")
    identity = [
        ["Software", f"theranostic-dosimetry {__version__}"],
        ["Python", platform.python_version()],
        ["Machine", platform.platform()],
        ["Date", when],
        ["Time", f"{result.seconds:.0f} s ({result.cpu_seconds:.0f} s of processor)"],
        ["Accepted by (name, date, signature)", ""],
    ]
    sections = [
        Section("Verdict", f"{verdict.capitalize()}. {text}", ("What", "Value"), identity, (1,)),
        *(_section(group, result) for group in dict.fromkeys(check.group for check in result.checks)),
    ]
    return "Acceptance of the dosimetry software", f"{kind}: {verdict}", sections


def _pdf(title: str, date: str, subtitle: str, sections: Sequence[Section]) -> bytes:
    """Return the same as A4 pages with a place to sign."""
    from TheranosticDoseLib.commission.pdf import acceptance_pdf, text_rows

    verdict, *groups = sections
    remarks = [verdict.text, *(": ".join(row) for row in verdict.rows if row[1])]
    widths = (5.0, 1.3, 1.3, 1.5, 1.3, 0.9, 1.1, 0.8, 1.2)
    tables = [(s.title, s.header, text_rows(s.rows), widths, (0, 8)) for s in groups]
    return acceptance_pdf(title, date, subtitle.capitalize(), remarks, tables)


def _section(group: str, result: Acceptance) -> Section:
    checks = [check for check in result.checks if check.group == group]
    sources = "; ".join(dict.fromkeys(check.source for check in checks if check.source))
    header = ("Check", "Measured", "Expected", "Unit", "Deviation", "Limit", "u (k=1)", "z", "")
    note = f"Expected from: {sources}. z: deviation over its standard uncertainty u." if sources else ""
    return Section(group, header=header, rows=[_row(c) for c in checks], text_columns=(0,), note=note)


def _row(check: Check) -> list[Any]:
    from TheranosticDoseLib.report.html import number
    from TheranosticDoseLib.report.page import tag

    if check.absolute:
        deviation, limit = f"{check.deviation:+.3g}", "-" if check.limit is None else f"{check.limit:g}"
    else:
        deviation = f"{100 * check.deviation:+.2f} %"
        limit = "-" if check.limit is None else f"{100 * check.limit:g} %"
    state = {True: tag("within", "good"), False: tag("outside", "bad"), None: tag("reported", "info")}[
        check.passed
    ]
    if check.limit is None and check.z is None:
        deviation = "-"  # of a number that is only told, a deviation would read as a miss
    u, z = (number(check.u, 2), f"{check.z:+.1f}") if check.z is not None else ("-", "-")
    numbers = (f"{check.measured:.5g}", f"{check.expected:.5g}")
    return [check.name, *numbers, check.unit, deviation, limit, u, z, state]
