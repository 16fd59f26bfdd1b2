"""Settings of the curve and voxel fits."""

from __future__ import annotations

from dataclasses import dataclass

from TheranosticDoseLib.settings import Settings

MODELS = (
    "physical",
    "mono",
    "mono_uptake",
    "bi_physical",
    "bi",
    "bi_uptake",
    "tri",
    "tri_uptake",
)
TRAPEZOIDS = ("trapezoid_physical", "trapezoid_slope")
METHODS = ("fit", "haenscheid", "madsen", "mean_half_life", "bayes", "learned")


@dataclass(frozen=True)
class FitSettings(Settings):
    """How a time-activity curve is fitted and integrated.

    Attributes
    ----------
    model : str
        ``auto`` (the candidate with the lowest AICc), ``average`` (AICc weights) or the name of one
        of ``MODELS`` or ``TRAPEZOIDS``. Below three points the first two are method ``bayes``.
    candidates : tuple of str
        Models that ``auto`` and ``average`` choose from; ``bi_physical`` (activity that stays) only on request,
        because AICc prefers it to ``bi`` for its fewer parameters and it is the larger TIA.
    method : str
        ``fit``; or one for fewer points than parameters: ``haenscheid``, ``madsen``,
        ``mean_half_life``, ``bayes`` (population prior), ``learned``.
    prior : str
        Key of the population prior, ``radiopharmaceutical/tissue``, for example
        ``177Lu-DOTATATE/kidney``, or the path of a fitted one (``.json``); needed by the single-time-point
        methods. ``bayes`` takes ``generic`` (wide) where none is named; a run names that of the VOI's tissue
        where it knows the radiopharmaceutical. The uncertainty of ``auto`` and ``average`` is over it too.
    allow_slower_than_physical : bool
        Lets the effective decay be slower than the physical one (ongoing uptake).
    relative_uncertainty : float
        Assumed per point (k=1) where no uncertainty is given; recorded as a finding.
    minimum_relative_uncertainty : float
        No point is weighted as if it were better than this.
    max_extrapolated_fraction : float
        A larger part of the TIA after the last point is a warning.
    before_first : str
        Trapezoids only, 0 to the first point: ``constant``, ``zero`` (linear rise) or ``decay``.
    administered_activity_mbq : float or None
        If known, more activity than was given is an error (wrong unit).
    voxel_models : str
        ``mono`` or ``average`` (AIC weights of mono, mono_uptake and bi) per voxel.
    voxel_prior_width : float
        Standard deviation of the logarithm of a voxel's effective rate about that of its
        neighborhood (or VOI); 0 takes no prior.
    voxel_smoothing : int
        Edge, in voxels, of the neighborhood that the prior comes from.
    minimum_signal_to_noise : float
        Voxels below it take the shape of their neighborhood or VOI instead of an own decay.
    """

    model: str = "auto"
    candidates: tuple[str, ...] = ("mono", "mono_uptake", "bi", "bi_uptake", "tri", "tri_uptake")
    method: str = "fit"
    prior: str = ""
    allow_slower_than_physical: bool = False
    relative_uncertainty: float = 0.05
    minimum_relative_uncertainty: float = 0.001
    max_extrapolated_fraction: float = 0.3
    before_first: str = "constant"
    administered_activity_mbq: float | None = None
    voxel_models: str = "mono"
    voxel_prior_width: float = 0.2
    voxel_smoothing: int = 3
    minimum_signal_to_noise: float = 2.0

    def validate(self) -> None:
        """Check names and ranges."""
        names = ("auto", "average", *MODELS, *TRAPEZOIDS)
        self.require(self.model in names, "model", f"one of {', '.join(names)}")
        known = bool(self.candidates) and all(name in MODELS for name in self.candidates)
        self.require(known, "candidates", f"names from {', '.join(MODELS)}")
        self.require(self.method in METHODS, "method", f"one of {', '.join(METHODS)}")
        self.require(0 < self.relative_uncertainty < 1, "relative_uncertainty", "a fraction between 0 and 1")
        floor = 0 < self.minimum_relative_uncertainty < 1
        self.require(floor, "minimum_relative_uncertainty", "a fraction between 0 and 1")
        fraction = 0 < self.max_extrapolated_fraction <= 1
        self.require(fraction, "max_extrapolated_fraction", "a fraction between 0 and 1")
        begins = ("constant", "zero", "decay")
        self.require(self.before_first in begins, "before_first", f"one of {', '.join(begins)}")
        given = self.administered_activity_mbq is None or self.administered_activity_mbq > 0
        self.require(given, "administered_activity_mbq", "a positive activity in MBq or none")
        self.require(self.voxel_models in ("mono", "average"), "voxel_models", "mono or average")
        self.require(0 <= self.voxel_prior_width <= 5, "voxel_prior_width", "between 0 and 5")
        odd = 1 <= self.voxel_smoothing <= 15 and self.voxel_smoothing % 2 == 1
        self.require(odd, "voxel_smoothing", "an odd number of voxels, 1 to 15")
        self.require(self.minimum_signal_to_noise >= 0, "minimum_signal_to_noise", "0 or more")
