"""Network dose: the kernel dose of ``vsv_density`` times a correction learned from the Monte Carlo.

The network sees ratios of doses and depths of matter only, so the dose scales with the activity and
an untrained network is the kernel.  Each voxel has a predicted uncertainty, each case a score of how
far it lies from the training; where they are beyond their thresholds the engine says so and, where
``handover`` asks for it, the embedded Monte Carlo takes over for these voxels or for all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from TheranosticDoseLib.dose.anatomy import Anatomy
from TheranosticDoseLib.dose.result import DoseResult
from TheranosticDoseLib.errors import EngineUnavailableError
from TheranosticDoseLib.progress import Progress
from TheranosticDoseLib.settings import Settings

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.nuclides import Nuclide

NAME = "cnn"


@dataclasses.dataclass(frozen=True)
class EngineSettings(Settings):
    """Settings of the network.

    Attributes
    ----------
    flips : int
        Mirror images that are averaged (each takes as long as the first); their scatter adds to the uncertainty.
    device : str
        ``auto`` (a CUDA device if there is one), ``cpu`` or ``cuda``.
    half_precision : bool
        On a CUDA device.
    memory_mb : float
        Bound for the activations of the network; larger grids go in tiles.
    doubt : float
        Relative uncertainty (k=1) above which a voxel is doubtful.
    handover : str
        ``none``: doubts are only stated.  ``region``: the doubtful voxels get the dose of the Monte
        Carlo.  ``all``: where anything is doubtful, all voxels do.
    handover_histories : int
        Decays of that Monte Carlo.
    handover_seed : int
    model : str
        Folder of another network; empty: the one that is shipped.
    """

    flips: int = 1
    device: str = "auto"
    half_precision: bool = True
    memory_mb: float = 3000.0
    doubt: float = 0.05
    handover: str = "none"
    handover_histories: int = 20_000_000
    handover_seed: int = 1
    model: str = ""

    def validate(self) -> None:
        """Check the ranges."""
        self.require(self.flips in (1, 2, 4, 8), "flips", "1, 2, 4 or 8")
        self.require(self.device in ("auto", "cpu", "cuda"), "device", "auto, cpu or cuda")
        self.require(self.memory_mb >= 50, "memory_mb", "at least 50 MB")
        self.require(0 < self.doubt <= 1, "doubt", "above 0, at most 1")
        self.require(self.handover in ("none", "region", "all"), "handover", "none, region or all")
        self.require(self.handover_histories >= 20, "handover_histories", "at least 20 decays")
        self.require(self.handover_seed >= 0, "handover_seed", "a number that is not negative")

    def folder(self) -> Path:
        """Return the folder of the network."""
        return Path(self.model) if self.model else model_folder(NAME)

    def unavailable(self) -> str | None:
        """Return what is missing for the network that was chosen."""
        return network_missing(NAME, self.folder)


def unavailable() -> str | None:
    """Return what is missing: packages, or the trained network."""
    return network_missing(NAME, lambda: model_folder(NAME))


def compute(
    tia: sitk.Image,
    anatomy: Anatomy,
    nuclide: Nuclide,
    settings: EngineSettings,
    progress: Progress | None = None,
) -> DoseResult:
    """Return the corrected dose with its predicted uncertainty; see ``absorbed_dose``.

    Raises
    ------
    InputError
        For a nuclide or a voxel size that the network was not trained for.
    EngineUnavailableError
        If the weights are missing, damaged or foreign, or a CUDA device is asked for and there is none.
    """
    from TheranosticDoseLib.dose.cnn.engine import run

    return run(settings.folder(), tia, anatomy, nuclide, settings, None, progress)


def model_folder(name: str) -> Path:
    """Return the folder of a shipped network, ``dose_<name>``.

    Raises
    ------
    EngineUnavailableError
        If it is not part of this installation.
    """
    from DoseSegmentationLib.resources import resource_path

    try:
        return resource_path("Models", f"dose_{name}")
    except FileNotFoundError as error:
        raise EngineUnavailableError(f"{error} Use the engine 'vsv_density' or 'mc' instead.") from error


def network_missing(name: str, folder_of: Callable[[], Path]) -> str | None:
    """Return why a network cannot run, or ``None``; torch is looked for, not imported."""
    from DoseSegmentationLib.weights import packages_missing, sha256

    from TheranosticDoseLib.dose.cnn.network import FALLBACK, WEIGHTS, read_description

    if missing := packages_missing():
        return f"The dose engine {name!r} cannot run: {missing} {FALLBACK}"
    try:
        folder = folder_of()
        description = read_description(folder)
        if sha256(folder / WEIGHTS) != description.weights_sha256:
            return f"{folder / WEIGHTS}: the checksum is not the one of its card. {FALLBACK}"
    except EngineUnavailableError as error:
        return str(error)
    except OSError:
        return f"{folder / WEIGHTS}: the weights are missing. {FALLBACK}"
    return None
