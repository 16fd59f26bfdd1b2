"""The account of a patient over the cycles: computed, and written as a page, a table and maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib import DISCLAIMER, __version__
from TheranosticDoseLib.cycles.ct_dose import ct_doses
from TheranosticDoseLib.cycles.organs import organ_accounts
from TheranosticDoseLib.cycles.read import Cycle, read_cycles
from TheranosticDoseLib.cycles.voxels import accumulated_maps, mean_in, register_cycles, track
from TheranosticDoseLib.errors import CancelledError, TheranosticDoseError
from TheranosticDoseLib.files import staged, to_json, write_image
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.progress import Progress, part_of, report
from TheranosticDoseLib.registration import RegistrationSettings
from TheranosticDoseLib.settings import Settings

if TYPE_CHECKING:
    import SimpleITK as sitk

SCHEMA = "theranostic-dose/cycles/1"


@dataclasses.dataclass(frozen=True)
class CycleSettings(Settings):
    """How cycles are added up.

    Attributes
    ----------
    engine : str or None
        Whose doses; default: the first that all cycles have.
    between_cycles : float
        Assumed relative standard deviation of the dose per activity from cycle to cycle.
    confidence : float
        With which the next activity stays within a limit.
    voxels : bool
        Whether to register the cycles and add up voxel by voxel.
    registration : RegistrationSettings
    """

    engine: str | None = None
    between_cycles: float = 0.2
    confidence: float = 0.95
    voxels: bool = True
    registration: RegistrationSettings = dataclasses.field(default_factory=RegistrationSettings)

    def validate(self) -> None:
        """Check ranges."""
        self.require(0 < self.between_cycles < 2, "between_cycles", "a fraction above 0")
        self.require(0.5 <= self.confidence < 1, "confidence", "0.5 to below 1")


def account(
    folders: Sequence[str | Path],
    out: str | Path | None = None,
    settings: CycleSettings | None = None,
    ct_paths: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Add up the cycles of one patient.

    Parameters
    ----------
    folders : sequence of Path
        Result folders of ``run``, in any order.
    out : Path, optional
        Gets ``cycles.json``, ``cycles.html``, ``cycles.csv`` and the accumulated maps.
    settings : CycleSettings, optional
    ct_paths : sequence of Path
        DICOM of the CTs, or their dose reports.
    progress : callable, optional

    Returns
    -------
    dict
        The content of ``cycles.json``: ``cycles``, ``vois`` (per cycle, sums, ``limits`` with what remains,
        ``forecast``), ``next_activity_gbq``, ``ct``, ``voxels``, ``findings``.

    Raises
    ------
    InputError
        For mixed patients, one cycle given twice, or a result that was changed.
    """
    settings = CycleSettings() if settings is None else settings
    cycles, findings = read_cycles(folders, settings.engine)
    ct, ct_findings = ct_doses(ct_paths, cycles[0].document.get("patient_id") or "")
    transforms, quality, more = _transforms(cycles, settings, part_of(progress, 0.05, 0.8))
    names, tracked = track(cycles, transforms)
    vois, missing = organ_accounts(cycles, names, settings)
    report(progress, 0.85, "Adding up the voxels")
    maps = accumulated_maps(cycles, transforms) if transforms is not None else None
    assumed = Finding(
        "assumption",
        "cycles.between_cycles",
        f"The dose per activity is assumed to vary by {100 * settings.between_cycles:g} % from cycle to cycle, "
        "pooled with what the patient's own cycles show.",
        settings.between_cycles,
        "CycleSettings.between_cycles",
    )
    document = {
        "schema": SCHEMA,
        "software": {"name": "theranostic-dosimetry", "version": __version__},
        "disclaimer": DISCLAIMER,
        "patient_id": cycles[0].document.get("patient_id") or "",
        "engine": cycles[0].engine,
        "cycles": [_cycle(cycle) for cycle in cycles],
        "vois": vois,
        "next_activity_gbq": next_activity(vois),
        "ct": ct,
        "registration": quality,
        "voxels": _check(maps, cycles, vois),
        "findings": [f.to_dict() for f in (*findings, *more, *tracked, *missing, *ct_findings, assumed)],
        "settings": settings.to_dict(),
    }
    if out is not None:
        _write(document, maps, Path(out))
    report(progress, 1.0, "Done")
    return document


def _cycle(cycle: Cycle) -> dict[str, Any]:
    return {
        "label": cycle.label,
        "datetime": cycle.document["administration"]["datetime"],
        "activity_gbq": cycle.activity_gbq,
        "nuclide": cycle.document["administration"]["nuclide"],
        "folder": str(cycle.folder),
        "results_sha256": cycle.document["integrity"]["sha256"],
    }


def _transforms(
    cycles: Sequence[Cycle], settings: CycleSettings, progress: Progress | None
) -> tuple[tuple[sitk.Transform, ...] | None, list[Any], list[Finding]]:
    """Register; where that fails only organs are added up, and it is said."""
    if not settings.voxels:
        return None, [], []
    try:
        registered = register_cycles(cycles, settings.registration, progress)
    except CancelledError:
        raise
    except TheranosticDoseError as error:
        message = (
            f"The cycles could not be registered, so voxels were not added up and lesions go by name: {error}"
        )
        return None, [], [Finding("missing", "cycles.registration", message)]
    return tuple(registered.transforms), list(registered.quality), list(registered.findings)


def next_activity(vois: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each limit the activity that stays within it, the smallest first."""
    listed = [
        {
            "voi": voi["name"],
            "limit": f"{limit['quantity']} {limit['limit_gy']:g} Gy, {limit['meaning']}",
            "expected": limit["activity_expected_gbq"],
            "safe": limit["activity_safe_gbq"],
        }
        for voi in vois
        for limit in voi["limits"]
        if "activity_safe_gbq" in limit
    ]
    return sorted(listed, key=lambda row: row["safe"])


def _check(maps: Any, cycles: Sequence[Cycle], vois: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hold the mean of the accumulated map against the sum of the means: what registration costs."""
    if maps is None:
        return []
    rows = []
    for voi in vois:
        name = next((row["name"] for row in voi["cycles"] if row["cycle"] == cycles[0].label), None)
        mean = mean_in(maps[0], cycles[0], name) if name and voi["complete"] else None
        if mean is not None and voi["dose_gy"] > 0:
            bed = mean_in(maps[1], cycles[0], name)
            rows.append(
                {
                    "name": voi["name"],
                    "dose_gy": mean,
                    "bed_gy": bed,
                    "relative_to_sum": mean / voi["dose_gy"] - 1,
                }
            )
    return rows


def _write(document: dict[str, Any], maps: Any, out: Path) -> None:
    from TheranosticDoseLib.cycles.page import account_page, account_table

    with staged(out) as folder:
        (folder / "cycles.json").write_text(to_json(document), encoding="utf-8")
        (folder / "cycles.csv").write_text(account_table(document), encoding="utf-8", newline="")
        (folder / "cycles.html").write_text(account_page(document), encoding="utf-8")
        if maps is not None:
            write_image(maps[0], folder / "accumulated_dose.nii.gz")
            write_image(maps[1], folder / "accumulated_bed.nii.gz")
