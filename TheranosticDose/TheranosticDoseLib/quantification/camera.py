"""From counts to Bq/mL: camera factor, dead time, decay during the acquisition."""

from __future__ import annotations

import dataclasses

import numpy as np

from TheranosticDoseLib.errors import InputError, UnitsError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import array_of, image_like, voxel_volume_ml
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.quantification.settings import QuantificationSettings
from TheranosticDoseLib.study import Acquisition, Correction, Study


def quantify(
    study: Study, settings: QuantificationSettings | None = None, progress: Progress | None = None
) -> Study:
    """Return the study with every SPECT in Bq/mL at the start of its acquisition.

    Counts become ``counts / duration x dead time x decay / camera factor / voxel volume``; volumes in
    Bq/mL pass unchanged, with the uncertainty of their calibration as an assumption. Each factor is a
    ``Correction`` of the acquisition.

    Parameters
    ----------
    study : Study
    settings : QuantificationSettings, optional
    progress : callable, optional

    Raises
    ------
    InputError
        For counts without a camera factor or duration, or a count rate past the dead-time maximum.
    UnitsError
        For another unit than ``BQML`` or ``CNTS``.

    References
    ----------
    Dewaraja et al. 2013, MIRD 24/26 (doi:10.2967/jnumed.112.113266); Ljungberg et al. 2016, MIRD 26
    (doi:10.2967/jnumed.115.159012).
    """
    settings = QuantificationSettings() if settings is None else settings
    rates = settings.observed_count_rate_cps
    if rates and len(rates) != len(study.acquisitions):
        msg = f"observed_count_rate_cps has {len(rates)} rates for {len(study.acquisitions)} acquisitions."
        raise InputError(msg)
    acquisitions, findings = [], []
    for i, acquisition in enumerate(study.acquisitions):
        report(progress, i / len(study.acquisitions), f"Quantification: {acquisition.label}")
        rate = rates[i] if rates else None
        chosen = _with_factor_of_study(settings, study, acquisition.label)
        done, found = _quantified(acquisition, study.administration.nuclide, rate, chosen)
        acquisitions.append(done)
        findings += found
    report(progress, 1.0, "Quantification: done")
    return dataclasses.replace(
        study, acquisitions=tuple(acquisitions), findings=study.findings + tuple(findings)
    )


def _with_factor_of_study(
    settings: QuantificationSettings, study: Study, label: str
) -> QuantificationSettings:
    """Return the settings with the camera factor that the manifest or the shell gave for a scan."""
    given = study.dicom.get("camera_factors", {}).get(label)
    if settings.camera_factor_cps_per_mbq is not None or given is None:
        return settings
    return dataclasses.replace(settings, camera_factor_cps_per_mbq=float(given))


def _quantified(
    acquisition: Acquisition, nuclide_name: str, rate_cps: float | None, settings: QuantificationSettings
) -> tuple[Acquisition, list[Finding]]:
    if acquisition.unit == "BQML":
        return _as_delivered(acquisition, settings)
    if acquisition.unit != "CNTS":
        msg = f"The SPECT {acquisition.label} is in {acquisition.unit!r}; only BQML and CNTS can become activity."
        raise UnitsError(msg)
    factor = settings.camera_factor_cps_per_mbq
    if factor is None:
        msg = (
            f"The SPECT {acquisition.label} holds counts and no camera factor was given; "
            "set quantification.camera_factor_cps_per_mbq (measured with a known activity)."
        )
        raise InputError(msg)
    if not acquisition.duration_s:
        msg = (
            f"The SPECT {acquisition.label} holds counts and its duration is unknown "
            "(DICOM ActualFrameDuration (0018,1242) x frames); give duration_s in the manifest."
        )
        raise InputError(msg)
    from TheranosticDoseLib.nuclides import nuclide

    half_life_h = nuclide(nuclide_name).half_life_h
    counts = array_of(acquisition.spect).astype(np.float64)
    rate, findings = _count_rate(acquisition, counts, rate_cps, settings)
    corrections = []
    dead = 1.0
    if settings.dead_time_s > 0:
        dead, relative = _dead_time(acquisition.label, rate, settings)
        corrections.append(
            Correction(
                "dead time", dead, relative, f"paralysable, {settings.dead_time_s:g} s at {rate:g} cps"
            )
        )
    decay = decay_during_scan(acquisition.duration_s, half_life_h)
    corrections.append(
        Correction(
            "decay during the scan", decay, 0.0, f"{acquisition.duration_s:g} s, half-life {half_life_h:g} h"
        )
    )
    scale = 1e6 / (acquisition.duration_s * factor * voxel_volume_ml(acquisition.spect))
    corrections.append(
        Correction(
            "camera factor",
            scale,
            settings.camera_factor_relative_uncertainty,
            f"{factor:g} cps/MBq, counts to Bq/mL",
        )
    )
    image = image_like(counts * (dead * decay * scale), acquisition.spect)
    done = dataclasses.replace(
        acquisition, spect=image, unit="BQML", corrections=acquisition.corrections + tuple(corrections)
    )
    return done, findings


def _as_delivered(acquisition, settings) -> tuple[Acquisition, list[Finding]]:
    relative = settings.bqml_relative_uncertainty
    finding = Finding(
        "assumption",
        f"acquisition[{acquisition.label}].calibration",
        f"The SPECT {acquisition.label} arrived in Bq/mL; its calibration is taken as it is, with an assumed "
        f"uncertainty of {100 * relative:g} %.",
        relative,
        "QuantificationSettings.bqml_relative_uncertainty",
        "Give the uncertainty of the site's calibration.",
    )
    correction = Correction("calibration as delivered", 1.0, relative, "BQML")
    return dataclasses.replace(acquisition, corrections=(*acquisition.corrections, correction)), [finding]


def _count_rate(acquisition, counts, rate_cps, settings) -> tuple[float, list[Finding]]:
    if rate_cps is not None:
        return rate_cps, []
    rate = float(counts.sum()) / acquisition.duration_s
    if settings.dead_time_s == 0:
        return rate, []
    finding = Finding(
        "assumption",
        f"acquisition[{acquisition.label}].observed_count_rate_cps",
        f"The count rate for the dead time of {acquisition.label} is taken from the reconstructed counts "
        f"({rate:.0f} cps); the camera sees more (scatter and other windows).",
        rate,
        "counts / duration",
        "Give observed_count_rate_cps from the projections.",
    )
    return rate, [finding]


def _dead_time(label: str, rate: float, settings: QuantificationSettings) -> tuple[float, float]:
    """Return the factor and its relative uncertainty from that of the dead time."""
    tau = settings.dead_time_s
    try:
        factor = dead_time_factor(rate, tau)
    except InputError as error:
        raise InputError(f"SPECT {label}: {error}") from None
    # d ln(factor) / d ln(tau) of n = m exp(n tau) is n tau / (1 - n tau).
    load = rate * factor * tau
    return factor, load / max(1 - load, 1e-3) * settings.dead_time_relative_uncertainty


def dead_time_factor(observed_cps: float, dead_time_s: float) -> float:
    """Return true/observed count rate of a paralysable camera on its rising branch.

    Solves ``m = n exp(-n tau)`` by the principal branch of the Lambert W function,
    ``n = -W0(-m tau) / tau``.

    Parameters
    ----------
    observed_cps : float
        Observed rate ``m``, counts per second.
    dead_time_s : float
        ``tau``, s.

    Raises
    ------
    InputError
        If the rate is above the largest that such a camera can show, ``1/(e tau)``.

    References
    ----------
    Sorenson 1975, J Nucl Med 16:284; Knoll, Radiation Detection and Measurement, ch. 4.
    """
    from scipy.special import lambertw

    if dead_time_s == 0 or observed_cps == 0:
        return 1.0
    load = observed_cps * dead_time_s
    if load > np.exp(-1.0):
        msg = (
            f"an observed rate of {observed_cps:g} cps is above the maximum of {np.exp(-1) / dead_time_s:g} cps "
            f"of a paralysable camera with a dead time of {dead_time_s:g} s; check the rate and the dead time."
        )
        raise InputError(msg)
    return float(-lambertw(-load, 0).real / load)


def decay_during_scan(duration_s: float, half_life_h: float) -> float:
    """Return activity at the start over mean activity during the acquisition, ``x / (1 - exp(-x))``."""
    x = np.log(2) * duration_s / 3600.0 / half_life_h
    return float(x / -np.expm1(-x)) if x > 0 else 1.0
