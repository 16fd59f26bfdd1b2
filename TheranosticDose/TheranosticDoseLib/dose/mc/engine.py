"""The Monte Carlo as a dose engine: settings, availability, dose with its uncertainty."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.dose.result import DoseResult
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import array_of, image_like, voxel_volume_ml
from TheranosticDoseLib.settings import Settings

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dose.anatomy import Anatomy
    from TheranosticDoseLib.nuclides import Nuclide
    from TheranosticDoseLib.progress import Progress

JOULE_PER_MEV = 1.602176634e-13
SECONDS_PER_HOUR = 3600.0


@dataclasses.dataclass(frozen=True)
class EngineSettings(Settings):
    """Settings of the embedded Monte Carlo.

    Attributes
    ----------
    histories : int
        Decays to simulate; an upper bound where ``max_seconds`` or
        ``target_relative_uncertainty`` stops earlier.
    seed : int
        Same seed, same dose, whatever the number of threads (with ``max_seconds``
        the number of decays depends on the machine).
    max_seconds : float or None
        Wall-clock budget.
    target_relative_uncertainty : float or None
        Stops where the median voxel of each region has this relative standard uncertainty.
    regions : tuple of SimpleITK.Image
        Weight images of the VOIs that the target is for; empty: the voxels of at least
        half the highest energy.
    threads : int or None
        All processors where ``None``.
    photons_per_decay : float
        Photon histories per emitted photon.
    device : str
        ``auto`` (a CUDA device if there is one), ``cpu`` or ``cuda``.
    """

    histories: int = 20_000_000
    seed: int = 1
    max_seconds: float | None = None
    target_relative_uncertainty: float | None = None
    regions: tuple[Any, ...] = ()
    threads: int | None = None
    photons_per_decay: float = 1.0
    device: str = "auto"

    def validate(self) -> None:
        """Check the ranges."""
        self.require(self.histories >= 20, "histories", "at least 20 decays")
        self.require(self.seed >= 0, "seed", "a number that is not negative")
        self.require(self.max_seconds is None or self.max_seconds > 0, "max_seconds", "a positive time")
        target = self.target_relative_uncertainty
        self.require(
            target is None or 0 < target < 1, "target_relative_uncertainty", "a number between 0 and 1"
        )
        self.require(self.threads is None or self.threads >= 1, "threads", "at least 1")
        self.require(0 < self.photons_per_decay <= 100, "photons_per_decay", "a number up to 100")
        self.require(self.device in ("auto", "cpu", "cuda"), "device", "auto, cpu or cuda")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a JSON-serialisable dictionary; regions are counted, not stored."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**values, "regions": len(self.regions)}


def unavailable() -> str | None:
    """Return why the engine cannot run, or ``None``."""
    if importlib.util.find_spec("numba") is None:
        return "The embedded Monte Carlo needs numba: pip install numba."
    return None


def gpu_unavailable() -> str | None:
    """Return why there is no CUDA device to run on, or ``None``."""
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed"
    try:
        from numba import cuda

        if cuda.is_available():
            return None
    except Exception as error:  # noqa: BLE001 - drivers fail in many ways; all mean: no GPU
        return f"CUDA cannot be used: {error}"
    return "there is no CUDA device, or numba-cuda is not installed"


def compute(
    tia: sitk.Image,
    anatomy: Anatomy,
    nuclide: Nuclide,
    settings: EngineSettings,
    progress: Progress | None = None,
) -> DoseResult:
    """Return the absorbed dose to the medium of each voxel.

    Parameters
    ----------
    tia : SimpleITK.Image
        Time-integrated activity concentration, MBq h per mL.
    anatomy : Anatomy
        On the same grid.
    nuclide : Nuclide
    settings : EngineSettings
    progress : callable, optional

    Returns
    -------
    DoseResult
        Dose and its statistical standard uncertainty, Gy.

    Raises
    ------
    InputError, GeometryError, CancelledError
    """
    from TheranosticDoseLib.dose.mc.run import Stop, transport

    source = np.asarray(array_of(tia), dtype=np.float64)
    density = np.asarray(array_of(anatomy.density))
    device, findings = _device(settings.device)
    energy, relative, record = transport(
        density,
        anatomy.tissue_array(),
        tia.GetSpacing(),
        source,
        nuclide,
        settings.histories,
        settings.seed,
        threads=settings.threads,
        stop=Stop(
            settings.max_seconds, settings.target_relative_uncertainty, _regions(settings.regions, tia)
        ),
        photons_per_decay=settings.photons_per_decay,
        device=device,
        progress=progress,
    )
    volume = voxel_volume_ml(tia)
    decays = float(source.sum()) * volume * 1e6 * SECONDS_PER_HOUR
    mass_kg = density.astype(np.float64) * volume * 1e-3
    with np.errstate(invalid="ignore", divide="ignore"):
        dose = np.where(mass_kg > 0, energy * decays * JOULE_PER_MEV / mass_kg, 0.0)
    findings += _doubts(record, settings)
    record = {
        "histories": record["decays"],
        "device": record["device"],
        "monte_carlo": record,
        "findings": [finding.to_dict() for finding in findings],
    }
    return DoseResult(image_like(dose, tia), image_like(dose * relative, tia), record)


def _device(wanted: str) -> tuple[str, list[Finding]]:
    from TheranosticDoseLib.errors import EngineUnavailableError

    if wanted == "cpu":
        return "cpu", []
    reason = gpu_unavailable()
    if reason is None:
        return "cuda", []
    if wanted == "cuda":
        msg = f"The Monte Carlo cannot run on a GPU: {reason}. Use device 'cpu', or install numba-cuda."
        raise EngineUnavailableError(msg)
    return "cpu", []


def _regions(regions: tuple, tia: sitk.Image) -> tuple[np.ndarray, ...]:
    from TheranosticDoseLib.geometry import require_same_grid

    for region in regions:
        require_same_grid(tia, region, "The TIA map and a region of the wanted uncertainty")
    return tuple(np.asarray(array_of(region)) >= 0.5 for region in regions)


def _doubts(record: dict[str, Any], settings: EngineSettings) -> list[Finding]:
    """Return findings on what the run did not reach."""
    found = []
    if abs(record["energy_balance"]) > 1e-3:
        found.append(
            Finding(
                "warning",
                "monte_carlo.energy_balance",
                "Deposited and escaped energy differ from the emitted by more than 0.1 %.",
                record["energy_balance"],
                "energy balance of the run",
                "Report this with the settings.",
            )
        )
    if settings.target_relative_uncertainty is not None and not record["target_reached"]:
        found.append(
            Finding(
                "warning",
                "monte_carlo.uncertainty",
                f"The wanted uncertainty was not reached within {record['decays']:,} decays.",
                settings.target_relative_uncertainty,
                "settings",
                "Raise histories or max_seconds.",
            )
        )
    return found
