"""The result folders of one patient's cycles, in their order."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.files import sha256
from TheranosticDoseLib.findings import Finding

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclasses.dataclass(frozen=True)
class Cycle:
    """One cycle as its result folder holds it.

    Attributes
    ----------
    label : str
        ``cycle 1``, ``cycle 2`` ... in the order of the injections.
    folder : Path
    document : dict
        ``results.json``.
    engine : str
        The engine whose doses are added up.
    """

    label: str
    folder: Path
    document: dict[str, Any]
    engine: str

    @property
    def activity_gbq(self) -> float | None:
        """Administered activity, GBq."""
        activity = self.document["administration"]["activity_mbq"]
        return activity / 1000 if activity else None

    @property
    def datetime(self) -> dt.datetime | None:
        """Time of the injection."""
        text = self.document["administration"]["datetime"]
        return dt.datetime.fromisoformat(text) if text else None

    @property
    def vois(self) -> dict[str, dict[str, Any]]:
        """Name to entry of the document, of VOIs with a dose by the engine."""
        return {v["name"]: v for v in self.document["vois"] if self.engine in v["dose"]}

    def image(self, name: str) -> sitk.Image:
        """Return an image of the result folder; :class:`InputError` where it is missing."""
        import SimpleITK as sitk

        path = self._unchanged(f"images/{name}.nii.gz")
        try:
            return sitk.ReadImage(str(path))
        except RuntimeError as error:
            raise InputError(f"{self.label}: {path} cannot be read; compute the cycle again.") from error

    def _unchanged(self, name: str) -> Path:
        """Return the path of a file of the folder; :class:`InputError` where it is not the one that was written."""
        path, recorded = self.folder / name, self.document.get("files", {}).get(name)
        if recorded and path.is_file() and sha256(path) != recorded:
            raise InputError(
                f"{self.label}: {path} was changed after it was written; compute the cycle again."
            )
        return path

    def labels(self) -> dict[str, int]:
        """Return VOI name to number in the label map."""
        path = self._unchanged("images/vois.json")
        try:
            return json.loads(path.read_text(encoding="utf-8"))["labels"]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{self.label}: {path}: {error}.") from error


def read_cycles(
    folders: Sequence[str | Path], engine: str | None = None
) -> tuple[tuple[Cycle, ...], tuple[Finding, ...]]:
    """Read the cycles and check that they are of one patient and each is another.

    Parameters
    ----------
    folders : sequence of Path
        Result folders (or their ``results.json``).
    engine : str, optional
        Default: the first engine that all of them have.

    Raises
    ------
    InputError
        For mixed patients, one cycle given twice, no common engine, or a file that was changed.
    """
    from TheranosticDoseLib.audit import read_results

    if not folders:
        raise InputError("No cycle was given.")
    paths = [Path(folder) if Path(folder).is_dir() else Path(folder).parent for folder in folders]
    documents = [read_results(folder) for folder in folders]
    findings = _require_one_patient(documents, paths)
    _require_distinct(documents, paths)
    chosen = _engine(documents, engine)
    times = [document["administration"]["datetime"] for document in documents]
    order = list(range(len(documents)))
    if all(times):
        try:
            order.sort(key=lambda i: dt.datetime.fromisoformat(times[i]).replace(tzinfo=None))
        except ValueError as error:
            raise InputError(f"The time of an injection is not a date: {error}.") from error
    else:
        message = "The time of an injection is not known; the cycles are taken in the order in which they were given."
        findings.append(Finding("assumption", "cycles.order", message, remedy="Compute with --injected-at."))
    cycles = [Cycle(f"cycle {n}", paths[i], documents[i], chosen) for n, i in enumerate(order, start=1)]
    return tuple(cycles), tuple(findings)


def _require_one_patient(documents: list[dict[str, Any]], paths: list[Path]) -> list[Finding]:
    names = [document.get("patient_id") or "" for document in documents]
    if len(set(names)) > 1:
        listed = ", ".join(f"{name or 'unknown'} ({path})" for name, path in zip(names, paths, strict=True))
        raise InputError(f"The cycles are of different patients: {listed}. Give the results of one patient.")
    if names[0]:
        return []
    message = "The results name no patient; that all cycles are of the same one could not be checked."
    return [Finding("warning", "cycles.patient_id", message, remedy="Check the folders that were given.")]


def _require_distinct(documents: list[dict[str, Any]], paths: list[Path]) -> None:
    seen: dict[str, Path] = {}
    for document, path in zip(documents, paths, strict=True):
        inputs = json.dumps(sorted(document["inputs"].values()))
        keys = [document["integrity"]["sha256"], inputs if document["inputs"] else ""]
        time = document["administration"]["datetime"]
        keys += [f"injection {time}"] if time else []
        for key in filter(None, keys):
            if key in seen:
                raise InputError(f"{path} and {seen[key]} are the same cycle (same input or same injection).")
            seen[key] = path


def _engine(documents: list[dict[str, Any]], engine: str | None) -> str:
    common = [name for name in documents[0]["engines"] if all(name in d["engines"] for d in documents)]
    if engine is not None and engine not in common:
        raise InputError(
            f"Not every cycle was computed with {engine!r}; all have: {', '.join(common) or 'none'}."
        )
    if not common:
        raise InputError("The cycles have no dose engine in common; compute them with the same one.")
    return engine or common[0]
