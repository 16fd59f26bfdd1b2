"""Compute a result again from its own record and say what differs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.audit.diff import Difference, diff
from TheranosticDoseLib.audit.integrity import read_results
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.files import sha256
from TheranosticDoseLib.progress import Progress, part_of, report

if TYPE_CHECKING:
    from TheranosticDoseLib.findings import Finding
    from TheranosticDoseLib.study import Study


def replay(
    results_json: str | Path,
    inputs_path: str | Path,
    out: str | Path | None = None,
    voi_files: Sequence[str | Path] = (),
    relative_tolerance: float = 0.0,
    progress: Progress | None = None,
) -> Difference:
    """Compute again what ``results.json`` records and compare.

    Parameters
    ----------
    results_json : str or Path
        Of an earlier run; settings, engines and overrides come from it.
    inputs_path : str or Path
        The folder (or manifest) that the earlier run was given.  Every file must have the SHA-256 of the record.
    out : str or Path, optional
        Where to write the new result folder; nothing is written without it.
    voi_files : sequence of Path
        The VOI files that were given beside the folder, where there were any.
    relative_tolerance : float
        As in :func:`diff`.
    progress : callable, optional

    Returns
    -------
    Difference
        Earlier result against new one.

    Raises
    ------
    InputError
        Where the record was changed or an input file is missing or another one.
    """
    from TheranosticDoseLib.report import results_document, write_results
    from TheranosticDoseLib.workflow import RunSettings, evaluate

    earlier = read_results(results_json)
    if earlier.get("deidentified"):
        raise InputError(f"{results_json} was de-identified; a replay needs the original result.")
    settings = dict(earlier["settings"])
    engines = settings.pop("engines")
    report(progress, 0.0, "Checking the input files against their hashes")
    check_inputs(earlier["inputs"], Path(inputs_path))
    study = _study(earlier, Path(inputs_path), voi_files, part_of(progress, 0.05, 0.15))
    results = evaluate(study, RunSettings.from_dict(settings), engines, part_of(progress, 0.15, 0.9))
    results = dataclasses.replace(results, request=earlier.get("request") or {})
    if out is None:
        document = results_document(results)
    else:
        document = write_results(results, Path(out), part_of(progress, 0.9, 1.0))
    report(progress, 1.0, "Done")
    difference = diff(earlier, document, relative_tolerance)
    return dataclasses.replace(difference, notes=_notes(earlier, document, difference))


def check_inputs(inputs: dict[str, str], path: Path) -> None:
    """Raise :class:`InputError` naming the first recorded file that is missing or has another SHA-256."""
    if not path.exists():
        raise InputError(f"There is nothing at {path}; give the folder that the earlier run was given.")
    folder = path if path.is_dir() else path.parent
    missing = [name for name in inputs if not (folder / name).is_file()]
    if missing:
        msg = f"{len(missing)} of {len(inputs)} input files are not in {folder}; the first is {missing[0]}."
        raise InputError(msg)
    other = [name for name, digest in inputs.items() if sha256(folder / name) != digest]
    if other:
        msg = (
            f"{len(other)} of {len(inputs)} input files in {folder} are not those of the record; the first is "
            f"{other[0]} (another SHA-256). Take the original files, or use 'run' and 'diff'."
        )
        raise InputError(msg)


def _study(
    earlier: dict[str, Any], path: Path, voi_files: Sequence[str | Path], progress: Progress | None
) -> Study:
    from TheranosticDoseLib.dicom_io import Overrides, load_study, load_voi_file

    request = earlier.get("request") or {}
    overrides = request.get("overrides")
    study = load_study(path, Overrides.from_dict(overrides) if overrides else None, progress)
    wanted = {entry["sha256"]: entry["name"] for entry in request.get("voi_files", [])}
    given = {sha256(Path(file)): Path(file) for file in voi_files if Path(file).is_file()}
    absent = [name for digest, name in wanted.items() if digest not in given]
    if absent:
        msg = f"The earlier run was given the VOI file {absent[0]} too; give it with --voi (same content)."
        raise InputError(msg)
    findings: list[Finding] = []
    for digest in wanted:
        vois = tuple(load_voi_file(given[digest], study, findings))
        study = dataclasses.replace(study, vois=study.vois + vois)
    return study.with_findings(*findings)


def _notes(earlier: dict[str, Any], document: dict[str, Any], difference: Difference) -> tuple[str, ...]:
    """Name what may have made a difference: the versions that changed and the first step that differs."""
    if difference.identical:
        return ()
    notes = []
    by_hand = (earlier.get("request") or {}).get("by_hand")
    if by_hand:
        what = ", ".join(sorted(by_hand)).replace("_", " ")
        notes.append(f"changed by hand in the panel, which a replay from the files does not repeat: {what}")
    before, now = earlier["software"], document["software"]
    if before["version"] != now["version"]:
        notes.append(f"computed with version {before['version']}, again with {now['version']}")
    changed = [
        f"{name} {version} to {now.get('packages', {}).get(name, 'none')}"
        for name, version in before.get("packages", {}).items()
        if now.get("packages", {}).get(name) != version
    ]
    if changed:
        notes.append("other packages: " + ", ".join(changed))
    hashes = {(entry["step"], entry["product"]): entry["sha256"] for entry in document.get("audit", [])}
    for entry in earlier.get("audit", []):
        if hashes.get((entry["step"], entry["product"])) != entry["sha256"]:
            notes.append(f"the first step that differs is '{entry['step']}' ({entry['product']})")
            break
    return tuple(notes)
