"""Point kernels: where they come from (shipped, cached, or simulated now) and what they hold."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.dose.kernels import cache
from TheranosticDoseLib.errors import SettingsError

if TYPE_CHECKING:
    from TheranosticDoseLib.nuclides import Nuclide
    from TheranosticDoseLib.progress import Progress

FORMAT = 2
"""Counted up where the meaning of a stored kernel changes."""


@dataclass(frozen=True, eq=False)
class Radial:
    """Energy against distance: ``energy_kev[i]`` per decay between ``edges_mm[i]`` and ``edges_mm[i + 1]``."""

    edges_mm: np.ndarray
    energy_kev: np.ndarray

    @property
    def total_kev(self) -> float:
        """Energy per decay absorbed within the last edge, keV."""
        return float(self.energy_kev.sum())

    def scaled(self, factor: float) -> Radial:
        """Return the kernel with all distances multiplied (another density of the same medium)."""
        return Radial(self.edges_mm * factor, self.energy_kev)


@dataclass(frozen=True, eq=False)
class PointKernel:
    """Energy absorbed around an isotropic point source in an infinite medium, per decay.

    Attributes
    ----------
    nuclide, medium : str
    density_g_cm3 : float
        Of the medium in the simulation; distances scale with its inverse.
    electron, photon : Radial
        What starts as electron (its bremsstrahlung included) and as photon.
    local_kev : float
        Alphas and recoils: absorbed at the source.
    provenance : dict
        How it was made.
    absorption : dict
        ``distance_mm`` and, by name of a tissue, the photon energy absorbed per mass of a little of
        that tissue relative to this medium at these distances; empty but for water.
    """

    nuclide: str
    medium: str
    density_g_cm3: float
    electron: Radial
    photon: Radial
    local_kev: float
    provenance: dict[str, Any] = field(default_factory=dict)
    absorption: dict[str, np.ndarray] = field(default_factory=dict)

    def at_density(self, density_g_cm3: float) -> PointKernel:
        """Return the kernel in the same medium of another density."""
        factor = self.density_g_cm3 / density_g_cm3
        distances = {"distance_mm": factor * self.absorption["distance_mm"]} if self.absorption else {}
        return replace(
            self,
            density_g_cm3=density_g_cm3,
            electron=self.electron.scaled(factor),
            photon=self.photon.scaled(factor),
            absorption={**self.absorption, **distances},
        )

    def to_json(self) -> str:
        """Return the kernel as JSON text (six digits)."""

        def numbers(values: np.ndarray) -> list[float]:
            return [float(f"{value:.6g}") for value in values]

        return json.dumps(
            {
                "format": FORMAT,
                "nuclide": self.nuclide,
                "medium": self.medium,
                "density_g_cm3": self.density_g_cm3,
                "local_kev": self.local_kev,
                **{
                    name: {"edges_mm": numbers(part.edges_mm), "energy_kev": numbers(part.energy_kev)}
                    for name, part in (("electron", self.electron), ("photon", self.photon))
                },
                "absorption": {name: numbers(values) for name, values in self.absorption.items()},
                "provenance": self.provenance,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> PointKernel:
        """Return the kernel of :meth:`to_json`; ``ValueError`` or ``KeyError`` where it is none."""
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise ValueError(f"kernel format {values['format']}, expected {FORMAT}")
        parts = {}
        for name in ("electron", "photon"):
            edges = np.array(values[name]["edges_mm"], float)
            energy = np.array(values[name]["energy_kev"], float)
            if edges.shape != (energy.size + 1,) or not (np.diff(edges) > 0).all() or energy.min() < 0:
                raise ValueError(f"the {name} part is not a radial kernel")
            parts[name] = Radial(edges, energy)
        return cls(
            values["nuclide"],
            values["medium"],
            float(values["density_g_cm3"]),
            parts["electron"],
            parts["photon"],
            float(values["local_kev"]),
            values["provenance"],
            {name: np.array(numbers, float) for name, numbers in values["absorption"].items()},
        )


def media() -> tuple[str, ...]:
    """Return the names of the media that a kernel can be made in."""
    from TheranosticDoseLib import tissues

    return tuple(tissue.name.lower() for tissue in tissues.tissues())


def point_kernel(nuclide: Nuclide, medium: str = "water", progress: Progress | None = None) -> PointKernel:
    """Return the point kernel of a nuclide in a medium.

    Looked for among the shipped ones (``Resources/Kernels``), then in the cache on disk,
    else simulated by the embedded Monte Carlo and cached.

    Raises
    ------
    SettingsError
        For an unknown medium.
    CancelledError
    """
    if medium not in media():
        raise SettingsError(f"There is no medium {medium!r} for a kernel; known: {', '.join(media())}.")
    return _point_kernel(nuclide, medium, _Progress(progress))


class _Progress:
    """A progress callback that does not count in the key of the memory cache."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Progress)


@functools.lru_cache(maxsize=64)
def _point_kernel(nuclide: Nuclide, medium: str, progress: _Progress) -> PointKernel:
    from TheranosticDoseLib.dose.kernels.simulate import simulate

    name = f"{nuclide.name}_{medium}.json".replace(" ", "-")
    shipped = _shipped(name)
    if shipped is not None and shipped.provenance["emission"] == emission_key(nuclide):
        return shipped
    # The emissions are part of the name: an edited nuclide never meets an old kernel.
    name = f"point_{FORMAT}_{emission_key(nuclide)}_{name}"
    text = cache.read(name)
    if text is not None:
        try:
            return PointKernel.from_json(text.decode("utf-8"))
        except (ValueError, KeyError, TypeError):
            cache.forget(name)
    kernel = simulate(nuclide, medium, progress=progress.progress)
    cache.write(name, kernel.to_json().encode("utf-8"))
    return kernel


def emission_key(nuclide: Nuclide) -> str:
    """Return ten hexadecimal digits that change with the emissions of a nuclide."""
    import hashlib

    digest = hashlib.sha256()
    for part in (
        nuclide.beta_edges_kev,
        nuclide.beta_yield,
        nuclide.electron_lines,
        nuclide.photon_lines,
        nuclide.alpha_lines,
        nuclide.recoil_lines,
    ):
        digest.update(np.round(np.asarray(part, np.float64), 9).tobytes())
    digest.update(b"+" if nuclide.positron else b"-")
    return digest.hexdigest()[:10]


def _shipped(name: str) -> PointKernel | None:
    from DoseSegmentationLib.resources import resource_path

    try:
        text = resource_path("Kernels", name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return PointKernel.from_json(text)
