"""Acceptance of a dose engine on a site's own cases, against the Monte Carlo: JSON, HTML and PDF to be filed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from TheranosticDoseLib import DISCLAIMER, __version__
from TheranosticDoseLib.commission.check import Check
from TheranosticDoseLib.commission.engine_cases import BESIDE, REFERENCE, Measured, measure, read_cases
from TheranosticDoseLib.dose.engines import require_engine
from TheranosticDoseLib.errors import CancelledError, InputError, SettingsError, TheranosticDoseError
from TheranosticDoseLib.files import staged, to_json
from TheranosticDoseLib.progress import Progress, part_of, report
from TheranosticDoseLib.report.page import Section, page

LIMITS = {"mean_absolute": 1.5, "mean": 1.0, "dvh": 1.5, "gamma": 1.0}
"""Percent: voxels, means of VOIs, D95 and D50, part of the voxels that may fail gamma 2 %/2 mm."""
DEBLURRING = "cnn_pvc"
SCHEMA = "theranostic-dose/engine-acceptance/1"


@dataclasses.dataclass(frozen=True)
class Acceptance:
    """What the comparison of an engine with the Monte Carlo found.

    Attributes
    ----------
    passed : bool
        Every case was computed and every number is within its limit.
    verdict : str
        The same in words; it says where it was a quick look.
    rows : list
        A row a case: name, numbers, within their limit, outside, and why it was not computed.
    """

    passed: bool
    verdict: str
    rows: list[list[Any]]


def accept_engine(
    engine: str,
    folder: str | Path,
    out: str | Path,
    quick: bool = False,
    progress: Progress | None = None,
) -> Acceptance:
    """Compare an engine with the Monte Carlo on the cases of a folder and write the report.

    Parameters
    ----------
    engine : str
    folder : str or Path
        See :func:`engine_cases.read_cases`.
    out : str or Path
        Gets ``engine_acceptance.json``, ``.html`` and ``.pdf``.
    quick : bool
        More noise in the Monte Carlo: a first look, no acceptance.
    progress : callable, optional

    Returns
    -------
    Acceptance

    Raises
    ------
    SettingsError
        For an unknown engine, the reference itself, or one that the reference is no truth for.
    EngineUnavailableError, InputError
        Where the engine is not installed or no case can be computed.
    """
    require_engine(engine)
    if engine == REFERENCE:
        raise SettingsError(f"{REFERENCE!r} is what the engine is compared with; name another one.")
    if engine == DEBLURRING:
        raise SettingsError(
            f"{engine!r} gives the dose of an activity that it infers; {REFERENCE!r} of the blurred map is no truth "
            "for it."
        )
    engines = (engine, *(name for name in BESIDE if name != engine))
    cases, measured = read_cases(Path(folder)), []
    failed: dict[str, str] = {}
    for number, case in enumerate(cases):
        part = part_of(progress, number / len(cases), (number + 1) / len(cases))
        report(part, 0.0, f"Case {case.name}")
        try:
            measured.append(measure(case, engines, noise=0.03 if quick else 0.01, progress=part))
        except TheranosticDoseError as error:
            if len(cases) == 1 or isinstance(error, CancelledError):
                raise
            failed[case.name] = str(error)
    failures = [f"{name}: {reason}" for name, reason in failed.items()]
    if not measured:
        raise InputError(f"None of the {len(cases)} cases could be computed. {failures[0]}")
    checks = {m.case.name: checks_of(m, engine) for m in measured}
    with staged(Path(out)) as staging:
        document = _document(engine, measured, checks, failures, quick)
        (staging / "engine_acceptance.json").write_text(to_json(document), encoding="utf-8")
        text = page(
            f"Acceptance of the dose engine {engine}", document["verdict"], sections(document, measured)
        )
        (staging / "engine_acceptance.html").write_text(text, encoding="utf-8")
        (staging / "engine_acceptance.pdf").write_bytes(_pdf(document))
    report(progress, 1.0, "Done")
    rows = [_counts(name, found) for name, found in checks.items()]
    rows += [[name, 0, 0, 0, reason] for name, reason in failed.items()]
    return Acceptance(document["passed"], document["verdict"], rows)


def checks_of(measured: Measured, engine: str) -> list[Check]:
    """Return the numbers of a case with their limits."""
    name, source = measured.case.name, "embedded Monte Carlo"
    errors = measured.voxels[engine]["high"]
    found = [
        Check(name, "voxels above 10 % of the maximum: mean absolute error", 100 * errors["mean_absolute"], 0.0,
              "%", LIMITS["mean_absolute"], u=0.0, absolute=True, source=source),
    ]  # fmt: skip
    gamma = measured.comparison.gamma[engine]
    if "pass_fraction" in gamma:
        found.append(
            Check(name, "gamma 2 %/2 mm passes", 100 * gamma["pass_fraction"], 100.0, "%", LIMITS["gamma"],
                  u=100 * gamma["u_pass_fraction"], absolute=True, source=source)
        )  # fmt: skip
    for voi, dvhs in measured.comparison.dvhs.items():
        own, exact = dvhs[engine], dvhs[REFERENCE]
        if exact.mean_gy <= 0:
            continue
        found.append(
            Check(name, f"{voi}: mean dose", own.mean_gy, exact.mean_gy, "Gy", LIMITS["mean"] / 100,
                  u=exact.u_mean_gy or 0.0, source=source)
        )  # fmt: skip
        for percent in (95, 50):
            if exact.d(percent) > 0:
                found.append(
                    Check(name, f"{voi}: D{percent}", own.d(percent), exact.d(percent), "Gy",
                          LIMITS["dvh"] / 100, source=source)
                )  # fmt: skip
    return found


def _document(
    engine: str,
    measured: Sequence[Measured],
    checks: dict[str, list[Check]],
    failures: list[str],
    quick: bool,
) -> dict[str, Any]:
    every = [check for found in checks.values() for check in found]
    passed = bool(every) and not failures and all(check.passed for check in every)
    verdict = "within the limits" if passed else "NOT within the limits"
    return {
        "schema": SCHEMA,
        "software": {"name": "theranostic-dosimetry", "version": __version__},
        "disclaimer": DISCLAIMER,
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"python": platform.python_version(), "platform": platform.platform()},
        "engine": engine,
        "reference": REFERENCE,
        "passed": passed,
        "verdict": f"{'quick look, no acceptance: ' if quick else ''}{verdict}",
        "failures": failures,
        "cases": [_case(m, engine, checks[m.case.name]) for m in measured],
    }


def _case(measured: Measured, engine: str, checks: list[Check]) -> dict[str, Any]:
    record = measured.results[engine].record
    return {
        "name": measured.case.name,
        "nuclide": measured.case.nuclide,
        "size": list(measured.case.tia.GetSize()),
        "spacing_mm": list(measured.case.tia.GetSpacing()),
        "seconds": {name: measured.seconds(name) for name in measured.results},
        "voxels": measured.voxels,
        "checks": [check.to_dict() for check in checks],
        "table": measured.comparison.table,
        "gamma": measured.comparison.gamma,
        "network": record.get("network"),
        "confidence": record.get("confidence"),
        "findings": record["findings"],
    }


def sections(document: dict[str, Any], measured: Sequence[Measured]) -> list[Section]:
    """Return the parts of the page."""
    from TheranosticDoseLib.comparison.plots import dvh_figure

    identity = [
        ["Software", f"theranostic-dosimetry {__version__}"],
        ["Machine", document["machine"]["platform"]],
        ["Date", document["date"]],
        ["Cases", str(len(document["cases"]))],
        ["Accepted by (name, date, signature)", ""],
    ]
    text = f"{document['engine']} against {document['reference']}: {document['verdict']}."
    text += "".join(f" Not computed: {failure}" for failure in document["failures"])
    found = [Section("Verdict", text, ("What", "Value"), identity, (1,))]
    for case, one in zip(document["cases"], measured, strict=True):
        found += [
            Section(f"{case['name']}: numbers with limits", "", CHECK_HEADER, check_rows(case), (0, 5)),
            Section(f"{case['name']}: voxels and time", "", VOXEL_HEADER, voxel_rows(case), (0,), note=NET),
            Section(
                f"{case['name']}: all engines", "", TABLE_HEADER, table_rows(case), (0, 1),
                dvh_figure(one.comparison) if one.comparison.dvhs else None,
            ),
        ]  # fmt: skip
    return found


CHECK_HEADER = ("Number", "Measured", "Expected", "Deviation", "Limit", "")
VOXEL_HEADER = (
    "Engine",
    "Time, s",
    "Mean error above 10 %, %",
    "Net error at borders, %",
    "Bias, %",
    "Gamma, %",
)
TABLE_HEADER = ("VOI", "Engine", "Mean, Gy", "D98, Gy", "D50, Gy", "D2, Gy", "Difference, %")
NET = (
    "Net error: root mean square with the noise of the Monte Carlo taken off, voxels at tissue borders above 1 % "
    "of the maximum. Gamma 2 %/2 mm, global, above 10 %."
)


def check_rows(case: dict[str, Any]) -> list[list[str]]:
    """Return a row a number with a limit."""
    rows = []
    for check in case["checks"]:
        scale, unit = (1.0, check["unit"]) if check["absolute"] else (100.0, "%")
        rows.append(
            [
                check["name"], f"{check['measured']:.4g} {check['unit']}", f"{check['expected']:.4g}",
                f"{scale * check['deviation']:+.2f} {unit}", f"{scale * check['limit']:g} {unit}",
                "within" if check["passed"] else "OUTSIDE",
            ]
        )  # fmt: skip
    return rows


def voxel_rows(case: dict[str, Any]) -> list[list[str]]:
    """Return a row an engine: time, voxel errors, gamma."""
    rows = []
    for engine, seconds in case["seconds"].items():
        errors, gamma = case["voxels"].get(engine), case["gamma"].get(engine, {})
        numbers = ["-"] * 3
        if errors:
            values = (errors["high"]["mean_absolute"], errors["border_low"]["net"], errors["high"]["bias"])
            numbers = [f"{100 * value:.2f}" for value in values]
        passes = f"{100 * gamma['pass_fraction']:.1f}" if "pass_fraction" in gamma else "-"
        rows.append([engine, f"{seconds:.2f}", *numbers, passes])
    return rows


def table_rows(case: dict[str, Any]) -> list[list[str]]:
    """Return a row a VOI and engine."""
    rows = []
    for row in case["table"]:
        percent = row.get("difference_percent")
        cells = [f"{row[key]:.4g}" for key in ("mean_gy", "d98_gy", "d50_gy", "d2_gy")]
        rows.append([row["voi"], row["engine"], *cells, "" if percent is None else f"{percent:+.2f}"])
    return rows


def _pdf(document: dict[str, Any]) -> bytes:
    """Return the same as A4 pages with a place to sign."""
    from TheranosticDoseLib.commission.pdf import acceptance_pdf

    tables = [
        (f"{case['name']}: {title}", head, rows, widths, words)
        for case in document["cases"]
        for title, head, rows, widths, words in (
            ("numbers with limits", CHECK_HEADER, check_rows(case), (4.2, 1.6, 1.4, 1.5, 1.1, 1.2), (0, 5)),
            ("voxels and time", VOXEL_HEADER, voxel_rows(case), (1.6, 1.2, 2, 2, 1.2, 1.2), (0,)),
            ("all engines", TABLE_HEADER, table_rows(case), (2.4, 1.8, 1.3, 1.3, 1.3, 1.3, 1.5), (0, 1)),
        )
    ]
    verdict = f"Against {document['reference']}: {document['verdict']}."
    failures = [f"Not computed: {failure}" for failure in document["failures"]]
    title = f"Acceptance of the dose engine {document['engine']}"
    return acceptance_pdf(title, document["date"], verdict, failures, tables)


def _counts(name: str, checks: list[Check]) -> list[Any]:
    good = sum(bool(check.passed) for check in checks)
    return [name, len(checks), good, len(checks) - good, ""]
