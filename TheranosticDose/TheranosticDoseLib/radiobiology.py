"""BED, EQD2, EUD, EUBED, NTCP and TCP: models on top of the absorbed dose, never measurements.

The dose rate is a sum of exponentials, so the Lea-Catcheside factor for repair during
the decay is a closed sum.  Parameters are data with their source
(``Resources/Radiobiology/parameters.json``).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of, image_like, require_same_grid, voxel_volume_ml

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.time_activity import CurveFit

Terms = Sequence[tuple[float, float]]
"""Dose rate as a sum of exponentials: (amplitude, rate in 1/h); only the ratios of amplitudes matter."""


@dataclasses.dataclass(frozen=True)
class Biology:
    """Linear-quadratic parameters of a tissue.

    Attributes
    ----------
    tissue : str
    alpha_beta_gy : float
        Gy.
    repair_half_time_h : float
        Of sublethal damage, h.
    alpha_per_gy : float or None
        1/Gy, for EUD, EUBED and TCP; ``None`` where no value is agreed on.
    status : str
        ``published`` for data of this tissue, ``convention`` for a customary value.
    checked : bool
        Whether a second source was seen to state the same values.
    source : str
    """

    tissue: str
    alpha_beta_gy: float
    repair_half_time_h: float
    alpha_per_gy: float | None = None
    status: str = ""
    checked: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        _positive("alpha/beta", self.alpha_beta_gy, "Gy")
        _positive("repair half-time", self.repair_half_time_h, "h")
        if self.alpha_per_gy is not None:
            _positive("alpha", self.alpha_per_gy, "1/Gy")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return dataclasses.asdict(self)


def biology_of(name: str, kind: str = "organ") -> Biology:
    """Return the parameters for a VOI by its name (``kind="lesion"`` is a tumor); late tissue where none fits."""
    table = _tables()["tissues"]
    lowered = name.lower()
    chosen = next((row for row in table if any(word in lowered for word in row["matches"])), None)
    if kind == "lesion":
        chosen = next(row for row in table if row["name"] == "tumor")
    if chosen is None:
        chosen = next(row for row in table if row["name"] == "late")
    values = {key: value for key, value in chosen.items() if key not in ("name", "matches")}
    return Biology(chosen["name"], **values)


def limits_of(tissue: str) -> list[dict[str, Any]]:
    """Return the organ limits of a tissue: ``{quantity, limit_gy, meaning, source}``."""
    return [dict(row) for row in _tables()["limits"] if row["tissue"] == tissue]


def dose_rate_terms(fit: CurveFit | Terms) -> list[tuple[float, float]]:
    """Return (amplitude, rate in 1/h) of a fitted time-activity curve or of a list of such pairs.

    The dose rate of an organ is taken to follow its own activity (self dose).  A
    trapezoid has no terms; its effective half-life stands for it.
    """
    if not hasattr(fit, "parameters"):
        terms = [(float(amplitude), float(rate)) for amplitude, rate in fit]
    else:
        values = fit.parameters
        phases = range(1, 1 + sum(key.startswith("amplitude_") for key in values))
        terms = [
            (values[f"amplitude_{i}_mbq"], math.log(2) / values[f"effective_half_life_{i}_h"]) for i in phases
        ]
        if "uptake_half_life_h" in values:
            total = sum(amplitude for amplitude, _ in terms)
            terms.append((-total, math.log(2) / values["uptake_half_life_h"]))
        if not terms:
            terms = [(1.0, math.log(2) / fit.effective_half_life_h)]
    if not terms or any(not (math.isfinite(a) and math.isfinite(r) and r > 0) for a, r in terms):
        raise InputError(f"The dose rate needs finite amplitudes and rates above 0 per hour; got {terms}.")
    if sum(amplitude / rate for amplitude, rate in terms) <= 0:
        raise InputError("The dose rate integrates to nothing; the time-activity curve is zero or negative.")
    return terms


def lea_catcheside(fit: CurveFit | Terms, repair_half_time_h: float) -> float:
    """Return the dose-protraction factor G (0 to 1) of a dose rate that decays to zero.

    For ``R(t) = sum a_i exp(-l_i t)`` and repair rate ``mu``::

        G = 2 sum_ij a_i a_j / ((l_i + l_j) (l_i + mu)) / (sum_i a_i / l_i)^2

    which is ``T_rep / (T_rep + T_eff)`` for one exponential.

    References
    ----------
    Lea and Catcheside 1942, J Genet 44:216; Dale 1985, Br J Radiol 58:515,
    doi:10.1259/0007-1285-58-690-515.
    """
    _positive("repair half-time", repair_half_time_h, "h")
    terms = np.array(dose_rate_terms(fit))
    amplitude, rate = terms[:, 0], terms[:, 1]
    mu = math.log(2) / repair_half_time_h
    pairs = np.outer(amplitude, amplitude) / np.add.outer(rate, rate) / (rate[:, None] + mu)
    return float(2 * pairs.sum() / np.sum(amplitude / rate) ** 2)


def bed(
    dose_gy: float | np.ndarray, fit: CurveFit | Terms, alpha_beta_gy: float, repair_half_time_h: float
) -> float | np.ndarray:
    """Return the biologically effective dose, Gy: ``D (1 + G D / (alpha/beta))``.

    Parameters
    ----------
    dose_gy : float or ndarray
        Total absorbed dose, Gy.
    fit : CurveFit or sequence of (amplitude, rate)
        The course of the dose rate; rates in 1/h, only ratios of amplitudes matter.
    alpha_beta_gy : float
    repair_half_time_h : float

    References
    ----------
    MIRD Pamphlet 20, doi:10.2967/jnumed.108.053173.
    """
    _positive("alpha/beta", alpha_beta_gy, "Gy")
    if not np.all(np.isfinite(dose_gy)) or np.any(np.asarray(dose_gy) < 0):
        raise InputError("A BED needs absorbed doses that are finite and not negative.")
    return dose_gy * (1 + lea_catcheside(fit, repair_half_time_h) * dose_gy / alpha_beta_gy)


def eqd2(bed_gy: float | np.ndarray, alpha_beta_gy: float) -> float | np.ndarray:
    """Return the equieffective dose in 2 Gy fractions, Gy: ``BED / (1 + 2 / (alpha/beta))``."""
    _positive("alpha/beta", alpha_beta_gy, "Gy")
    return bed_gy / (1 + 2.0 / alpha_beta_gy)


def eud(dose_gy: np.ndarray, weights: np.ndarray, alpha_per_gy: float) -> float:
    """Return the equivalent uniform dose, Gy, of equal cell survival: ``-ln(mean(exp(-alpha D))) / alpha``.

    With BED in place of ``dose_gy`` it is the EUBED (Jones and Hoban 2000,
    doi:10.1118/1.1287054).  Source: O'Donoghue 1999, J Nucl Med 40:1337.
    """
    _positive("alpha", alpha_per_gy, "1/Gy")
    dose, weight = _inside(dose_gy, weights)
    lowest = dose.min()  # keeps the exponentials in range
    survival = np.average(np.exp(-alpha_per_gy * (dose - lowest)), weights=weight)
    return float(lowest - np.log(survival) / alpha_per_gy)


def geud(dose_gy: np.ndarray, weights: np.ndarray, a: float) -> float:
    """Return the generalized EUD, Gy: ``mean(D^a)^(1/a)`` (Niemierko 1999; ``a = 1/n`` of LKB)."""
    if a == 0 or not math.isfinite(a):
        raise InputError("The generalized EUD needs an exponent that is finite and not zero.")
    dose, weight = _inside(dose_gy, weights)
    highest = dose.max()
    if highest == 0 or (a < 0 and dose.min() == 0):
        return 0.0
    return float(highest * np.average((dose / highest) ** a, weights=weight) ** (1 / a))


def ntcp(dose_gy: np.ndarray, weights: np.ndarray, tissue: str) -> dict[str, Any] | None:
    """Return the Lyman-Kutcher-Burman complication probability of EQD2 doses; ``None`` without parameters.

    ``Phi((gEUD - TD50) / (m TD50))`` with ``a = 1/n``; a model of external-beam data.
    """
    row = next((row for row in _tables()["ntcp"] if row["tissue"] == tissue), None)
    if row is None:
        return None
    t = (geud(dose_gy, weights, 1 / row["n"]) - row["td50_gy"]) / (row["m"] * row["td50_gy"])
    return {"model": "LKB", "probability": 0.5 * math.erfc(-t / math.sqrt(2)), **row}


def tcp(bed_gy: np.ndarray, weights: np.ndarray, voxel_ml: float, biology: Biology) -> dict[str, Any] | None:
    """Return the Poisson tumor control probability ``exp(-sum rho v exp(-alpha BED))``; ``None`` without alpha."""
    row = next((row for row in _tables()["tcp"] if row["tissue"] == biology.tissue), None)
    if row is None or biology.alpha_per_gy is None:
        return None
    values, weight = _inside(bed_gy, weights)
    survivors = row["clonogens_per_ml"] * voxel_ml * np.sum(weight * np.exp(-biology.alpha_per_gy * values))
    return {"model": "Poisson", "probability": float(np.exp(-survivors)), **row}


def evaluate(
    dose: sitk.Image,
    weights: sitk.Image,
    fit: CurveFit | Terms,
    biology: Biology,
    u_mean_gy: float | None = None,
) -> dict[str, Any]:
    """Return BED, EQD2, EUD, EUBED, limits and model probabilities of one VOI.

    Parameters
    ----------
    dose, weights : SimpleITK.Image
        Gy, and the fraction of each voxel inside, on the same grid.
    fit : CurveFit or sequence of (amplitude, rate)
        Course of the dose rate in the VOI.
    biology : Biology
    u_mean_gy : float, optional
        Standard uncertainty of the mean dose; carried to ``u_bed_gy`` (parameters taken as exact).

    Returns
    -------
    dict
        ``bed_gy`` and ``eqd2_gy`` of the mean dose; ``mean_voxel_bed_gy``, ``eud_gy`` and ``eubed_gy``
        of the voxel doses; ``limits`` with the fraction used; ``ntcp`` and ``tcp`` marked as models.
    """
    require_same_grid(dose, weights, "The dose map and the VOI")
    voxels, weight = _inside(array_of(dose), array_of(weights))
    g = lea_catcheside(fit, biology.repair_half_time_h)
    mean = float(np.average(voxels, weights=weight))
    voxel_bed = voxels * (1 + g * voxels / biology.alpha_beta_gy)
    mean_bed = mean * (1 + g * mean / biology.alpha_beta_gy)
    alpha = biology.alpha_per_gy
    used = {"dose": mean, "bed": mean_bed}
    return {
        "bed_gy": mean_bed,
        "u_bed_gy": None if u_mean_gy is None else u_mean_gy * (1 + 2 * g * mean / biology.alpha_beta_gy),
        "eqd2_gy": eqd2(mean_bed, biology.alpha_beta_gy),
        "mean_voxel_bed_gy": float(np.average(voxel_bed, weights=weight)),
        "eud_gy": eud(voxels, weight, alpha) if alpha else None,
        "eubed_gy": eud(voxel_bed, weight, alpha) if alpha else None,
        "lea_catcheside": g,
        "biology": biology.to_dict(),
        "limits": [
            {**row, "fraction_used": used[row["quantity"]] / row["limit_gy"]}
            for row in limits_of(biology.tissue)
        ],
        "ntcp": ntcp(eqd2(voxel_bed, biology.alpha_beta_gy), weight, biology.tissue),
        "tcp": tcp(voxel_bed, weight, voxel_volume_ml(dose), biology),
        "note": "BED, EQD2, EUD, EUBED, NTCP and TCP are models; their parameters come mostly from external beam.",
    }


def bed_map(
    dose: sitk.Image,
    regions: Sequence[tuple[sitk.Image, CurveFit | Terms, Biology]],
    background: tuple[CurveFit | Terms, Biology],
) -> tuple[sitk.Image, sitk.Image]:
    """Return the BED and the EQD2 of each voxel, Gy.

    Parameters
    ----------
    dose : SimpleITK.Image
        Gy.
    regions : sequence of (weights, fit, biology)
        A voxel belongs to the region with the largest weight, of at least one half.
    background : (fit, biology)
        For all other voxels.
    """
    values = np.asarray(array_of(dose), np.float64)
    fit, biology = background
    protraction = np.full(values.shape, lea_catcheside(fit, biology.repair_half_time_h))
    alpha_beta_gy = np.full(values.shape, biology.alpha_beta_gy)
    largest = np.full(values.shape, 0.5)
    for weights, fit, biology in regions:
        require_same_grid(dose, weights, "The dose map and the VOI")
        weight = array_of(weights)
        mine = (weight >= largest) & (weight > 0)
        protraction[mine] = lea_catcheside(fit, biology.repair_half_time_h)
        alpha_beta_gy[mine] = biology.alpha_beta_gy
        largest[mine] = weight[mine]
    bed_gy = values * (1 + protraction * values / alpha_beta_gy)
    return image_like(bed_gy, dose), image_like(bed_gy / (1 + 2 / alpha_beta_gy), dose)


def _inside(dose: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = np.asarray(weights).ravel()
    inside = np.flatnonzero(flat > 0)
    if not inside.size:
        raise InputError("The VOI holds no voxel of the dose grid; it is empty or lies outside the image.")
    weight = flat[inside].astype(np.float64)
    values = np.asarray(dose).ravel()[inside].astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0:
        raise InputError("The dose inside the VOI holds NaN, infinite or negative voxels.")
    return values, weight


def _positive(what: str, value: float, unit: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"The {what} is {value} {unit}; a finite number above zero is needed.")


@functools.cache
def _tables() -> dict[str, Any]:
    from DoseSegmentationLib.resources import resource_path

    return json.loads(resource_path("Radiobiology", "parameters.json").read_text(encoding="utf-8"))
