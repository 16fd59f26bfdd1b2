"""Settings of the registration."""

from __future__ import annotations

from dataclasses import dataclass

from TheranosticDoseLib.settings import Settings


@dataclass(frozen=True)
class RegistrationSettings(Settings):
    """How the scans are brought onto the reference.

    Attributes
    ----------
    reference : str
        Label of the reference acquisition; ``auto`` takes the one nearest 24 h.
    method : str
        ``none`` (trust the scanner coordinates), ``rigid`` or ``deformable`` (rigid first).
    image : str
        ``ct``, ``spect`` or ``auto`` (CT where both scans have one).
    spect_method : str
        What ``deformable`` means where SPECT is registered to SPECT: ``rigid`` (default: washout
        must not be read as motion) or ``deformable`` (strongly regularised).
    mass_preserving : bool
        Multiply the moved concentration by the Jacobian, so that activity rather than
        concentration is kept where the tissue is compressed or stretched.
    spacing_mm : float
        Voxel size of the finest level of a CT registration, mm.
    spect_spacing_mm : float
        The same for a SPECT registration, mm.
    iterations : tuple of int
        Deformable iterations per level, coarse to fine; each level halves the voxel size.
    smoothing_mm : float
        Standard deviation of the regularisation of the displacement field, mm.
    spect_smoothing_mm : float
        The same for a SPECT registration, mm.
    rigid_iterations : int
        Largest number of optimiser iterations per rigid level.
    activity_tolerance : float
        Largest accepted relative change of the total activity by moving a scan onto the reference.
    seed : int
        Of the sampling of the rigid metric.
    """

    reference: str = "auto"
    method: str = "deformable"
    image: str = "auto"
    spect_method: str = "rigid"
    mass_preserving: bool = False
    spacing_mm: float = 4.0
    spect_spacing_mm: float = 6.0
    iterations: tuple[int, ...] = (60, 30, 15)
    smoothing_mm: float = 8.0
    spect_smoothing_mm: float = 18.0
    rigid_iterations: int = 60
    activity_tolerance: float = 0.1
    seed: int = 20261

    def validate(self) -> None:
        """Check ranges."""
        self.require(self.method in ("none", "rigid", "deformable"), "method", "none, rigid or deformable")
        self.require(self.image in ("auto", "ct", "spect"), "image", "auto, ct or spect")
        self.require(self.spect_method in ("rigid", "deformable"), "spect_method", "rigid or deformable")
        for field in ("spacing_mm", "spect_spacing_mm"):
            self.require(1.0 <= getattr(self, field) <= 20.0, field, "1 to 20 mm")
        for field in ("smoothing_mm", "spect_smoothing_mm"):
            self.require(1.0 <= getattr(self, field) <= 60.0, field, "1 to 60 mm")
        self.require(
            1 <= len(self.iterations) <= 5 and all(0 <= n <= 1000 for n in self.iterations),
            "iterations",
            "1 to 5 levels of 0 to 1000 iterations",
        )
        self.require(1 <= self.rigid_iterations <= 1000, "rigid_iterations", "1 to 1000")
        self.require(0.0 < self.activity_tolerance <= 1.0, "activity_tolerance", "above 0 and at most 1")
        self.require(0 < self.seed < 2**31, "seed", "1 to 2147483647")
