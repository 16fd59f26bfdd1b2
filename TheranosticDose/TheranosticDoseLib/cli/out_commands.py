"""The commands around a run: check it, compare it, many of them, several cycles, calibration, acceptance."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from TheranosticDoseLib.cli.console import progress_of, say, show_table
from TheranosticDoseLib.errors import InputError

if TYPE_CHECKING:
    from TheranosticDoseLib.audit import Difference

SHOWN = 40
"""Rows of a comparison on the terminal; the file holds all."""


def replay(options: argparse.Namespace) -> None:
    """Compute a result again from its record; exit status 1 where it differs."""
    from TheranosticDoseLib.audit import replay as run_replay

    with progress_of(options.progress) as progress:
        difference = run_replay(
            options.results, options.path, options.out, options.voi or (), options.tolerance, progress
        )
    _show_difference(difference, options)


def diff(options: argparse.Namespace) -> None:
    """Compare two results; exit status 1 where they differ."""
    from TheranosticDoseLib.audit import diff as compare
    from TheranosticDoseLib.audit import read_results

    a, b = read_results(options.a), read_results(options.b)
    _show_difference(compare(a, b, options.tolerance), options)


def _show_difference(difference: Difference, options: argparse.Namespace) -> None:
    from TheranosticDoseLib.files import to_json, write_whole

    if options.json:
        write_whole(options.json, to_json(difference.to_dict()))
    if difference.identical:
        within = f" within {difference.relative_tolerance:g}" if difference.relative_tolerance else ""
        say(f"Identical{within}: {difference.compared} values compared.")
        return
    rows = [
        [c.path, _short(c.a), _short(c.b), c.kind if c.relative is None else f"{100 * c.relative:+.3g} %"]
        for c in difference.changes[:SHOWN]
    ]
    title = f"{len(difference.changes)} of {difference.compared} values differ"
    show_table(title, ["value", "A", "B", "difference"], rows)
    if len(difference.changes) > SHOWN:
        say(f"{len(difference.changes) - SHOWN} smaller differences are not shown; --json FILE holds all.")
    for note in difference.notes:
        say(f"Note: {note}.")
    raise SystemExit(1)


def _short(value: object) -> str:
    text = f"{value:.7g}" if isinstance(value, float) else "-" if value is None else str(value)
    return text if len(text) <= 48 else text[:45] + "..."


def batch(options: argparse.Namespace) -> None:
    """Many patients; exit status 1 where one failed."""
    from TheranosticDoseLib.cohort import batch as run_batch

    with progress_of(options.progress) as progress:
        result = run_batch(options.manifest_file, options.out, options.workers, options.scheduler, progress)
    rows = [[p["id"], p["status"], f"{p['seconds']:.1f}", p["message"]] for p in result.patients]
    show_table(f"{len(rows)} patients in {result.seconds:.0f} s", ["patient", "status", "s", "message"], rows)
    say(f"Table: {options.out / 'cohort.csv'}")
    say(f"Page: {options.out / 'cohort.html'}")
    if result.count("failed"):
        raise SystemExit(1)


def calibrate(options: argparse.Namespace) -> None:
    """One phantom scan into the site file."""
    from TheranosticDoseLib import calibration

    scan = calibration.load_phantom_scan(
        options.path, options.activity_at, options.nuclide, options.duration, options.delay, options.unit
    )
    if options.kind == "cylinder":
        if options.activity is None:
            raise InputError("The activity of the cylinder is needed: --activity MBQ.")
        found = calibration.calibrate_cylinder(scan, options.activity, volume_ml=options.volume)
    elif options.kind == "spheres":
        factor = options.camera_factor or calibration.camera_factor_of(options.out)
        found = calibration.calibrate_spheres(scan, options.concentration, factor, options.phantom)
    else:
        found = calibration.measure_resolution(scan)
    site = calibration.update_site(options.out, found, scan)
    show_table(
        f"Calibration from {options.path.name}",
        ["setting", "value"],
        [[key, _short(value)] for key, value in site["quantification"].items() if key != "recovery_curve"],
    )
    if options.kind == "spheres":
        rows = [
            [f"{s['diameter_mm']:g}", f"{s['recovery']:.3f}", f"{s['u_recovery']:.3f}", f"{s['curve']:.3f}"]
            for s in found.spheres
        ]
        show_table("Recovery", ["sphere, mm", "measured", "u (k=1)", "curve"], rows)
    for finding in getattr(found, "findings", ()):
        say(f"{finding.severity}: {finding.message} {finding.remedy}")
    say(f"Site file: {options.out} (theranostic-dose run PATH --out DIR --settings {options.out})")


def cycles(options: argparse.Namespace) -> None:
    """The account over the cycles."""
    import dataclasses

    from TheranosticDoseLib.cli.commands import read_json
    from TheranosticDoseLib.cycles import CycleSettings, account
    from TheranosticDoseLib.report.html import number

    settings = CycleSettings.from_dict(read_json(options.settings) if options.settings else None)
    if options.no_voxels:
        settings = dataclasses.replace(settings, voxels=False)
    with progress_of(options.progress) as progress:
        document = account(options.results, options.out, settings, options.ct or (), progress)
    rows = [
        [
            v["name"],
            number(v["dose_gy"]),
            number(v["bed_gy"]),
            number(v["forecast"]["gy_per_gbq"] if v["forecast"] else None),
        ]
        for v in document["vois"]
    ]
    show_table(f"{len(document['cycles'])} cycles", ["VOI", "dose, Gy", "BED, Gy", "next, Gy/GBq"], rows)
    for row in document["next_activity_gbq"][:5]:
        expected, safe = number(row["expected"]), number(row["safe"])
        say(f"{row['voi']}, {row['limit']}: next activity {expected} GBq expected, {safe} GBq safe")
    say(f"Page: {options.out / 'cycles.html'}")


def commission(options: argparse.Namespace) -> None:
    """The acceptance test; exit status 1 where it is not passed."""
    from TheranosticDoseLib.commission import commission as run_commission

    parts = tuple(options.part) if options.part else ("kinetics", "physics", "patients")
    with progress_of(options.progress) as progress:
        result = run_commission(options.out, options.quick, parts, options.case or (), progress)
    words = {True: "within", False: "OUTSIDE", None: "reported"}
    rows = [
        [f"{c.group}: {c.name}", f"{c.measured:.5g}", f"{c.expected:.5g}", c.unit, words[c.passed]]
        for c in result.checks
    ]
    show_table("Acceptance", ["check", "measured", "expected", "unit", "limit"], rows)
    for failure in result.failures:
        say(f"Not run: {failure}")
    say(f"{'Passed' if result.passed else 'NOT passed'} in {result.seconds:.0f} s")
    say(f"Page: {options.out / 'acceptance.html'}")
    if not result.passed:
        raise SystemExit(1)
