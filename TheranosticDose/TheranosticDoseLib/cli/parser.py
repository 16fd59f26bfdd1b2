"""The commands and their options."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from TheranosticDoseLib import DISCLAIMER, __version__
from TheranosticDoseLib.cli import commands, kinetic_commands, out_commands


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"theranostic-dose: {message}. See '{self.prog} --help'.\n")
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``theranostic-dose``."""
    top = _Parser(
        prog="theranostic-dose",
        description="Voxel dosimetry for radiopharmaceutical therapy: from SPECT/CT to absorbed dose.",
        epilog=DISCLAIMER,
    )
    top.add_argument("--version", action="version", version=f"theranostic-dose {__version__}")
    table = top.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    _virtual_patient(table)
    _study(table)
    _single_steps(table)
    _quality(table)
    _audit(table)
    _cohort(table)
    _calibrate(table)
    _kinetics(table)
    _cycles(table)
    _commission(table)
    return top


def _command(table, name: str, function, text: str) -> argparse.ArgumentParser:
    command = table.add_parser(name, help=text, description=text, epilog=DISCLAIMER)
    command.set_defaults(function=function)
    command.add_argument(
        "--progress",
        choices=("bar", "json", "none"),
        default="bar",
        help="a bar on stderr, JSON lines on stdout, or nothing (default: bar)",
    )
    return command


def _virtual_patient(table) -> None:
    demo = _command(table, "demo", commands.demo, "the whole way on a virtual patient: truth against result")
    demo.add_argument(
        "--out", type=Path, default=Path("demo-output"), metavar="DIR", help="default: demo-output"
    )
    demo.add_argument("--seed", type=int, default=1, metavar="N", help="of the virtual patient (default: 1)")
    demo.add_argument("--engine", action="append", metavar="NAME", help="dose engine, may be repeated")
    phantom = _command(table, "phantom", commands.phantom, "write a virtual patient as DICOM, and its truth")
    phantom.add_argument("--out", type=Path, required=True, metavar="DIR")
    phantom.add_argument("--seed", type=int, default=1, metavar="N")


def _overrides(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("values that replace what the files say (each becomes a finding)")
    group.add_argument("--activity", type=float, metavar="MBQ", help="activity that reached the patient, MBq")
    group.add_argument(
        "--injected-at", metavar="TIME", help="time of the injection, ISO 8601 (2026-03-01T09:30)"
    )
    group.add_argument("--nuclide", metavar="NAME", help="for example Lu-177")
    group.add_argument("--camera-factor", type=float, metavar="CPS_PER_MBQ", help="for SPECT in counts")
    group.add_argument(
        "--manifest", type=Path, metavar="FILE", help="JSON with these and more (see the user guide)"
    )


def _study(table) -> None:
    inspect = _command(
        table, "inspect", commands.inspect, "what is in these files, each value with its source"
    )
    inspect.add_argument("path", type=Path, metavar="PATH")
    inspect.add_argument("--json", action="store_true", help="as JSON on stdout")
    _overrides(inspect)
    run = _command(table, "run", commands.run, "from a folder of DICOM to absorbed dose and a report")
    run.add_argument("path", type=Path, metavar="PATH")
    run.add_argument("--out", type=Path, required=True, metavar="DIR")
    run.add_argument("--settings", type=Path, metavar="FILE", help="JSON with the settings of the steps")
    run.add_argument("--engine", action="append", metavar="NAME", help="dose engine, may be repeated")
    run.add_argument("--voi", action="append", type=Path, metavar="FILE", help="RTSTRUCT, SEG or label map")
    run.add_argument(
        "--features", action="store_true", help="dosiomics: IBSI features per VOI (tables/features.csv)"
    )
    run.add_argument("--dicom", action="store_true", help="write the results as DICOM too (dicom_results)")
    run.add_argument(
        "--deidentify",
        action="store_true",
        help="the same, and nothing that is written names the patient (PS3.15)",
    )
    _overrides(run)


def _single_steps(table) -> None:
    dose = _command(table, "dose", commands.dose, "absorbed dose of a map of time-integrated activity")
    dose.add_argument("--tia", type=Path, required=True, metavar="FILE", help="MBq h per mL")
    anatomy = dose.add_mutually_exclusive_group(required=True)
    anatomy.add_argument("--ct", type=Path, metavar="FILE", help="Hounsfield units")
    anatomy.add_argument("--density", type=Path, metavar="FILE", help="g/cm3")
    dose.add_argument("--material", type=Path, metavar="FILE", help="tissue indices, with --density")
    dose.add_argument("--engine", default="vsv", metavar="NAME", help="default: vsv")
    dose.add_argument("--nuclide", default="Lu-177", metavar="NAME")
    dose.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="dose in Gy; its record beside it"
    )
    dose.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the engine"
    )
    segment = _command(table, "segment", commands.segment, "organs and lesions on CT and SPECT")
    segment.add_argument("--ct", type=Path, metavar="FILE", help="or --spect alone, or both")
    segment.add_argument("--spect", type=Path, metavar="FILE")
    segment.add_argument("--out", type=Path, required=True, metavar="FILE", help="label map; names beside it")
    segment.add_argument("--backend", metavar="NAME")
    segment.add_argument("--pet", type=Path, metavar="FILE", help="diagnostic PET as a prior for lesions")
    segment.add_argument("--pet-ct", type=Path, metavar="FILE", help="its CT, to register it by")
    segment.add_argument("--structure", action="append", metavar="NAME", help="may be repeated")
    segment.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the backend"
    )


def _quality(table) -> None:
    validate = _command(table, "validate", commands.validate, "measure the figures of docs/validation again")
    validate.add_argument("--out", type=Path, default=Path("validation"), metavar="DIR")
    validate.add_argument("--topic", action="append", metavar="NAME", help="only this topic, may be repeated")
    validate.add_argument("--quick", action="store_true", help="fewer cases, larger uncertainty")
    own = validate.add_argument_group("acceptance of a dose engine on a site's own cases, against mc")
    own.add_argument("--engine", metavar="NAME", help="with --cases (default: cnn)")
    own.add_argument("--cases", type=Path, metavar="DIR", help="result folders of run, or of tia and density")
    benchmark = _command(table, "benchmark", commands.benchmark, "speed and memory on this machine")
    benchmark.add_argument("--out", type=Path, metavar="FILE", help="as JSON")
    benchmark.add_argument("--quick", action="store_true")
    engines = _command(
        table,
        "engines",
        commands.engines,
        "which dose engines and segmentation backends are installed, and why others are not",
    )
    engines.add_argument("--json", action="store_true")


def _audit(table) -> None:
    replay = _command(
        table, "replay", out_commands.replay, "compute a result again from its record: what differs"
    )
    replay.add_argument("results", type=Path, metavar="RESULTS", help="results.json, or its folder")
    replay.add_argument("path", type=Path, metavar="PATH", help="the folder that the earlier run was given")
    replay.add_argument("--out", type=Path, metavar="DIR", help="write the new result folder too")
    replay.add_argument(
        "--voi", action="append", type=Path, metavar="FILE", help="VOI files of the earlier run"
    )
    diff = _command(table, "diff", out_commands.diff, "two results against each other, number by number")
    diff.add_argument("a", type=Path, metavar="A", help="results.json, or its folder")
    diff.add_argument("b", type=Path, metavar="B")
    for command in (replay, diff):
        command.add_argument(
            "--tolerance", type=float, default=0.0, metavar="X", help="relative; smaller differences are none"
        )
        command.add_argument("--json", type=Path, metavar="FILE", help="all differences as JSON")
        command.epilog = "Exit status 0: identical; 1: there are differences. " + DISCLAIMER


def _cohort(table) -> None:
    batch = _command(
        table, "batch", out_commands.batch, "many patients: resumable, a table and a page at the end"
    )
    batch.add_argument("manifest_file", type=Path, metavar="MANIFEST", help="JSON or CSV list of patients")
    batch.add_argument("--out", type=Path, required=True, metavar="DIR")
    batch.add_argument("--workers", type=int, metavar="N", help="processes (default: half of the processors)")
    batch.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler, tcp://host:8786")
    batch.epilog = "Exit status 0: all patients done; 1: at least one failed. " + DISCLAIMER


def _calibrate(table) -> None:
    calibrate = _command(
        table,
        "calibrate",
        out_commands.calibrate,
        "the site's own numbers from a phantom scan, as settings of run",
    )
    calibrate.add_argument("kind", choices=("cylinder", "spheres", "source"), help="what was scanned")
    calibrate.add_argument("path", type=Path, metavar="PATH", help="folder of DICOM, or an image")
    calibrate.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="site file; added to where it exists"
    )
    calibrate.add_argument(
        "--activity", type=float, metavar="MBQ", help="cylinder: activity that was filled in"
    )
    calibrate.add_argument("--volume", type=float, metavar="ML", help="cylinder: filled volume, as a check")
    calibrate.add_argument("--concentration", type=float, metavar="MBQ_PER_ML", help="spheres: as filled")
    calibrate.add_argument(
        "--camera-factor", type=float, metavar="CPS_PER_MBQ", help="default: that of the site file"
    )
    calibrate.add_argument(
        "--phantom", default="nema_iec", metavar="NAME", help="spheres (default: nema_iec)"
    )
    calibrate.add_argument("--activity-at", metavar="TIME", help="time of the activity, ISO 8601 (DICOM)")
    calibrate.add_argument(
        "--delay", type=float, metavar="H", help="hours from that time to the scan (images)"
    )
    calibrate.add_argument("--duration", type=float, metavar="S", help="of the acquisition, for counts")
    calibrate.add_argument("--unit", choices=("CNTS", "BQML"), help="of an image (default: CNTS)")
    calibrate.add_argument("--nuclide", default="Lu-177", metavar="NAME")


def _cycles(table) -> None:
    cycles = _command(
        table,
        "cycles",
        out_commands.cycles,
        "several cycles of a patient: sums, what is left to limits, the next one",
    )
    cycles.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="result folders of run")
    cycles.add_argument("--out", type=Path, required=True, metavar="DIR")
    cycles.add_argument("--settings", type=Path, metavar="FILE", help="JSON")
    cycles.add_argument(
        "--ct", action="append", type=Path, metavar="PATH", help="DICOM of CTs or their dose reports"
    )
    cycles.add_argument("--no-voxels", action="store_true", help="organs only, without registration")


def _kinetics(table) -> None:
    schedule = _command(
        table,
        "schedule",
        kinetic_commands.schedule,
        "what a schedule of scans costs in accuracy, before the scans",
    )
    schedule.add_argument(
        "--times",
        action="append",
        required=True,
        metavar="H,H,...",
        help="hours of the scans; may be repeated",
    )
    schedule.add_argument(
        "--prior",
        default="177Lu-DOTATATE/kidney",
        metavar="NAME",
        help="radiopharmaceutical/tissue, or a JSON file",
    )
    schedule.add_argument("--method", action="append", metavar="NAME", help="may be repeated (default: all)")
    schedule.add_argument(
        "--noise", type=float, default=0.05, help="relative, from scan to scan (default: 0.05)"
    )
    schedule.add_argument("--patients", type=int, default=1000, metavar="N")
    schedule.add_argument("--seed", type=int, default=0, metavar="N")
    schedule.add_argument("--nuclide", default="Lu-177", metavar="NAME")
    priors = _command(
        table, "priors", kinetic_commands.priors, "population kinetics from the curves of a cohort"
    )
    priors.add_argument(
        "curves", type=Path, metavar="FILE", help='JSON {"curves": [{"time_h": [], "activity_mbq": []}]}'
    )
    priors.add_argument("--name", required=True, metavar="NAME", help="radiopharmaceutical/tissue")
    priors.add_argument(
        "--start", default="generic", metavar="NAME", help="prior to start from (default: generic)"
    )
    priors.add_argument("--out", type=Path, required=True, metavar="FILE")
    priors.add_argument("--nuclide", default="Lu-177", metavar="NAME")


def _commission(table) -> None:
    commission = _command(
        table,
        "commission",
        out_commands.commission,
        "acceptance test at a site: phantoms and virtual patients",
    )
    commission.add_argument("--out", type=Path, default=Path("acceptance"), metavar="DIR")
    commission.add_argument("--quick", action="store_true", help="a first look, no acceptance")
    commission.add_argument(
        "--part",
        action="append",
        choices=("kinetics", "physics", "patients"),
        help="only this, may be repeated",
    )
    commission.add_argument(
        "--case",
        action="append",
        type=Path,
        metavar="DIR",
        help="data of the site with a reference.json, may be repeated",
    )
    commission.epilog = "Exit status 0: passed; 1: not passed. " + DISCLAIMER
