"""Commands about kinetics: schedules before a patient is scanned, priors from a cohort."""

from __future__ import annotations

import argparse

from TheranosticDoseLib.cli.console import progress_of, say, show_table
from TheranosticDoseLib.errors import InputError


def schedule(options: argparse.Namespace) -> None:
    """Compare schedules of scans by simulated patients of a population."""
    from TheranosticDoseLib.nuclides import nuclide
    from TheranosticDoseLib.time_activity.schedules import METHODS, compare_schedules

    with progress_of(options.progress) as progress:
        found = compare_schedules(
            [_hours(text) for text in options.times],
            options.prior,
            half_life_h=nuclide(options.nuclide).half_life_h,
            relative_noise=options.noise,
            methods=tuple(options.method or METHODS),
            patients=options.patients,
            seed=options.seed,
            progress=progress,
        )
    header = [
        "scans, h",
        "method",
        "bias, %",
        "95 % of patients, %",
        "median error, %",
        "over 10 %, % of patients",
    ]
    rows = [
        [
            ", ".join(f"{time:g}" for time in result.schedule_h),
            result.method,
            f"{100 * result.bias:+.1f}",
            f"{100 * result.low:+.0f} to {100 * result.high:+.0f}",
            f"{100 * result.median_absolute:.1f}",
            f"{100 * result.over_10_percent:.0f}",
        ]
        for result in found
    ]
    show_table(f"Error of the TIA, {options.prior}, {options.patients} simulated patients", header, rows)


def priors(options: argparse.Namespace) -> None:
    """Fit the population of a tissue to the curves of a cohort."""
    from TheranosticDoseLib.cli.commands import read_json
    from TheranosticDoseLib.nuclides import nuclide
    from TheranosticDoseLib.time_activity.priors import fit_priors

    curves = read_json(options.curves).get("curves")
    if not isinstance(curves, list):
        raise InputError(f"{options.curves}: a list 'curves' of {{time_h, activity_mbq}} was expected.")
    with progress_of(options.progress) as progress:
        population = fit_priors(
            curves,
            options.name,
            half_life_h=nuclide(options.nuclide).half_life_h,
            start=options.start,
            out=options.out,
            progress=progress,
        )
    say(f"{population.key} from {len(curves)} patients: {population.source}")
    say(f'Prior: {options.out} (settings: {{"fit": {{"method": "bayes", "prior": "{options.out}"}}}})')


def _hours(text: str) -> list[float]:
    try:
        return [float(value) for value in text.split(",")]
    except ValueError:
        raise InputError(
            f"--times {text!r}: hours with commas between were expected, for example 24,96,168."
        ) from None
