"""Recovery coefficient as a fitted function of volume, and its application per region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of, voxel_volume_ml
from TheranosticDoseLib.quantification.settings import QuantificationSettings
from TheranosticDoseLib.study import Voi

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.quantification.gtm import KeptRegions


@dataclass(frozen=True)
class RecoveryCurve:
    """``RC(v) = plateau / (1 + (b/v)^c)`` with the covariance of its parameters.

    Attributes
    ----------
    half_volume_ml : float
        ``b``: volume with half the recovery, mL.
    exponent : float
        ``c``.
    covariance : tuple of tuple of float
        Of ``(ln b, ln c)``.

    References
    ----------
    Dewaraja et al. 2012, MIRD 23 (doi:10.2967/jnumed.111.100123); Gear et al. 2018
    (doi:10.1007/s00259-018-4136-7), eq. 13.
    """

    half_volume_ml: float
    exponent: float
    covariance: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))

    @classmethod
    def fit(cls, volume_ml: Any, rc: Any, u_rc: Any = None) -> RecoveryCurve:
        """Fit to measured spheres.

        Parameters
        ----------
        volume_ml : array_like (N,)
            Volumes, mL, N >= 3.
        rc : array_like (N,)
            Measured over true activity, 0 to about 1.
        u_rc : array_like (N,) or float, optional
            Uncertainty (k=1); default: from the residuals.
        """
        from scipy.optimize import curve_fit

        volume, values = np.asarray(volume_ml, float), np.asarray(rc, float)
        good = np.isfinite(volume) & np.isfinite(values) & (volume > 0) & (values > 0)
        if volume.shape != values.shape or good.sum() < 3 or not good.all():
            msg = "A recovery curve needs at least three volumes (mL, positive) with one coefficient each."
            raise InputError(msg)
        sigma = None if u_rc is None else np.broadcast_to(np.asarray(u_rc, float), values.shape)
        optimum, covariance = curve_fit(
            _recovery,
            volume,
            values,
            p0=(0.0, 0.0),
            sigma=sigma,
            absolute_sigma=sigma is not None,
            maxfev=5000,
        )
        return cls(
            float(np.exp(optimum[0])), float(np.exp(optimum[1])), tuple(map(tuple, covariance.tolist()))
        )

    def __call__(self, volume_ml: float) -> tuple[float, float]:
        """Return the recovery coefficient of a volume and its relative uncertainty (k=1)."""
        if not volume_ml > 0:
            raise InputError(f"A recovery coefficient needs a positive volume, not {volume_ml} mL.")
        logs = np.log([self.half_volume_ml, self.exponent])
        rc = float(_recovery(volume_ml, *logs))
        x = logs[0] - np.log(volume_ml)
        # d ln RC / d (ln b, ln c) = -(1 - RC) c (1, ln(b/v))
        gradient = -(1 - rc) * self.exponent * np.array([1.0, x])
        return rc, float(np.sqrt(max(gradient @ np.array(self.covariance) @ gradient, 0.0)))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        covariance = [list(row) for row in self.covariance]
        return {"half_volume_ml": self.half_volume_ml, "exponent": self.exponent, "covariance": covariance}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RecoveryCurve:
        """Build from ``to_dict()``."""
        unknown = set(values) - {"half_volume_ml", "exponent", "covariance"}
        if unknown or not {"half_volume_ml", "exponent"} <= set(values):
            msg = "A recovery curve has half_volume_ml, exponent and covariance, nothing else."
            raise InputError(msg)
        covariance = values.get("covariance") or ((0.0, 0.0), (0.0, 0.0))
        b, c = float(values["half_volume_ml"]), float(values["exponent"])
        if not (b > 0 and c > 0):
            raise InputError("half_volume_ml and exponent of a recovery curve are positive.")
        return cls(b, c, tuple(tuple(float(x) for x in row) for row in covariance))


def _recovery(volume_ml, log_b, log_c):
    return 1.0 / (1.0 + np.exp(np.exp(log_c) * (log_b - np.log(volume_ml))))


def recovery_factors(
    spect_on_grid: sitk.Image,
    vois_on_grid: Mapping[str, sitk.Image] | Iterable[Voi],
    settings: QuantificationSettings,
) -> dict[str, tuple[float, float]]:
    """Return :func:`recovery_of_scans` of one scan that was not moved."""
    return recovery_of_scans([spect_on_grid], vois_on_grid, settings)[0]


def recovery_of_scans(
    spects_on_grid: Sequence[sitk.Image],
    vois_on_grid: Mapping[str, sitk.Image] | Iterable[Voi],
    settings: QuantificationSettings,
    interpolated: Sequence[bool] = (),
    kept: KeptRegions | None = None,
) -> list[dict[str, tuple[float, float]]]:
    """Return per scan and VOI the recovery (measured over true mean activity) and its relative uncertainty.

    Divide the activity measured in the VOI by the first number.

    Parameters
    ----------
    spects_on_grid : sequence of SimpleITK.Image
        Bq/mL.
    vois_on_grid : mapping of name to weight image, or iterable of Voi
        On the grid of the SPECTs. VOIs of kind ``body`` are not corrected.
    settings : QuantificationSettings
        ``recovery`` chooses ``none``, ``curve`` or ``gtm``.
    interpolated : sequence of bool, optional
        Whether each scan was moved onto this grid, which blurs it further (``gtm``); default: none.
    kept : KeptRegions, optional
        What ``gtm`` made of the regions before.
    """
    vois = _by_name(vois_on_grid)
    if settings.recovery == "none":
        return [dict.fromkeys(vois, (1.0, 0.0)) for _ in spects_on_grid]
    inner = {name: w for name, (w, kind) in vois.items() if kind != "body"}
    if settings.recovery == "curve":
        curve = RecoveryCurve.from_dict(settings.recovery_curve or {})
        volumes = {
            name: float(np.sum(array_of(w), dtype=np.float64)) * voxel_volume_ml(w)
            for name, w in inner.items()
        }
        found = [
            {name: curve(volume) for name, volume in volumes.items() if volume > 0} for _ in spects_on_grid
        ]
    else:
        from TheranosticDoseLib.quantification.gtm import gtm_factors, interpolated_fwhm_mm

        moved = interpolated_fwhm_mm(settings.fwhm_mm, spects_on_grid[0].GetSpacing())
        blurred = tuple(interpolated) or (False,) * len(spects_on_grid)
        widths = [moved if one else settings.fwhm_mm for one in blurred]
        found = gtm_factors(spects_on_grid, inner, widths, settings.fwhm_relative_uncertainty, kept)
    return [{name: factors.get(name, (1.0, 0.0)) for name in vois} for factors in found]


def _by_name(vois: Any) -> dict[str, tuple[Any, str]]:
    if isinstance(vois, Mapping):
        return {name: (getattr(w, "weights", w), getattr(w, "kind", "organ")) for name, w in vois.items()}
    return {voi.name: (voi.weights, voi.kind) for voi in vois}
