"""From Hounsfield units to mass density and tissue.

The density follows Schneider 2000; the tissue (for cross sections and stopping
powers) follows from the density.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping

AIR, LUNG, ADIPOSE, SOFT, BONE, WATER = range(6)
HU_TABLE_NAME = "Schneider 2000"


@dataclass(frozen=True)
class Tissue:
    """A medium of the transport.

    Attributes
    ----------
    index : int
        Value in a tissue image.
    name : str
    density_g_cm3 : float
        Nominal mass density; the density effect is taken there.
    lowest_density_g_cm3 : float or None
        A voxel of this density or more is of this tissue; ``None`` where density never selects it.
    mean_excitation_energy_ev : float
    mass_fraction : mapping of int to float
        By atomic number; sums to 1.
    source : str
    """

    index: int
    name: str
    density_g_cm3: float
    lowest_density_g_cm3: float | None
    mean_excitation_energy_ev: float
    mass_fraction: Mapping[int, float]
    source: str


@functools.lru_cache(maxsize=1)
def tissues() -> tuple[Tissue, ...]:
    """Return the tissues in the order of their indices (AIR, LUNG, ADIPOSE, SOFT, BONE, WATER)."""
    found = []
    for index, entry in enumerate(_table("tissues.json")["tissues"]):
        fractions = {int(z): float(f) for z, f in entry.pop("mass_fraction").items()}
        total = sum(fractions.values())
        mass_fraction = MappingProxyType({z: f / total for z, f in fractions.items()})
        found.append(Tissue(index=index, mass_fraction=mass_fraction, **entry))
    return tuple(found)


def density_from_hu(hu: np.ndarray, findings: list[Finding] | None = None) -> np.ndarray:
    """Return the mass density of Hounsfield units after Schneider 2000.

    Parameters
    ----------
    hu : numpy.ndarray
        Any shape, HU.
    findings : list of Finding, optional
        Receives a finding where values lie outside the table (-1000 to 3000 HU)
        and take the density of its end.

    Returns
    -------
    numpy.ndarray
        float32, g/cm3, same shape.

    Raises
    ------
    InputError
        If a value is not a finite number.

    References
    ----------
    Schneider, Bortfeld and Schlegel, Phys Med Biol 45 (2000) 459, doi:10.1088/0031-9155/45/2/314.
    The step down between 100 and 101 HU is in the original.
    """
    hu = np.asarray(hu)
    if not np.all(np.isfinite(hu)):
        msg = "The CT holds values that are not finite numbers; export the series again."
        raise InputError(msg)
    table = _table("hu_to_density.json")
    nodes = np.asarray(table["hu"], dtype=np.float64)
    if findings is not None and hu.size:
        findings.extend(_outside(hu, nodes[0], nodes[-1]))
    return np.interp(hu, nodes, table["density_g_cm3"]).astype(np.float32)


def _outside(hu: np.ndarray, lowest: float, highest: float) -> list[Finding]:
    # -1024 is what scanners write outside the reconstruction circle: no doubt about air.
    below, above = int(np.sum(hu < lowest - 24)), int(np.sum(hu > highest))
    if below + above == 0:
        return []
    message = (
        f"{below} voxels below {lowest:.0f} HU and {above} above {highest:.0f} HU "
        f"({hu.min():.0f} to {hu.max():.0f}) take the density of the end of the table {HU_TABLE_NAME}."
    )
    severity = "warning" if above else "info"
    remedy = "Check the rescale slope and intercept, and metal in the field of view."
    return [Finding(severity, "anatomy.hu", message, below + above, HU_TABLE_NAME, remedy)]


def tissue_from_density(density_g_cm3: np.ndarray) -> np.ndarray:
    """Return tissue indices (uint8, same shape) of mass densities in g/cm3."""
    chosen = [t for t in tissues() if t.lowest_density_g_cm3 is not None]
    chosen.sort(key=lambda t: t.lowest_density_g_cm3)
    # float32 bounds so that a float32 density on a bound falls on the upper side.
    bounds = np.array([t.lowest_density_g_cm3 for t in chosen[1:]], dtype=np.float32)
    indices = np.array([t.index for t in chosen], dtype=np.uint8)
    return indices[np.searchsorted(bounds, np.asarray(density_g_cm3, dtype=np.float32), side="right")]


@functools.cache
def _read(name: str) -> str:
    from DoseSegmentationLib.resources import resource_path

    return resource_path("Physics", name).read_text(encoding="utf-8")


def _table(name: str) -> dict:
    return json.loads(_read(name))
