"""The parameter node of the panel and the settings of a run: one table between them."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import SettingsError

if TYPE_CHECKING:
    from TheranosticDoseLib.workflow import RunSettings

SETTING_OF_PARAMETER = {
    "registrationMethod": ("registration", "method"),
    "registrationReference": ("registration", "reference"),
    "registrationImage": ("registration", "image"),
    "massPreserving": ("registration", "mass_preserving"),
    "recovery": ("quantification", "recovery"),
    "spectFwhmMm": ("quantification", "fwhm_mm"),
    "cameraFactorCpsPerMbq": ("quantification", "camera_factor_cps_per_mbq"),
    "fitModel": ("fit", "model"),
    "fitMethod": ("fit", "method"),
    "tiaMap": (None, "tia_map"),
}
BEST_FIRST = ("gate", "mc", "vsv_density", "vsv", "cnn", "cnn_pvc", "led")
"""The most complete physics first: BED is of the first engine."""
ZERO_IS_UNKNOWN = ("spectFwhmMm", "cameraFactorCpsPerMbq")


def run_settings(parameters) -> RunSettings:
    """Return the validated settings of a parameter node.

    Raises
    ------
    SettingsError
        With the field, its value and what is expected.
    """
    from TheranosticDoseLib.workflow import RunSettings

    values: dict[str, Any] = {"registration": {}, "quantification": {}, "fit": {}, "engine_settings": {}}
    for parameter, (group, field) in SETTING_OF_PARAMETER.items():
        value = getattr(parameters, parameter)
        value = value.value if isinstance(value, enum.Enum) else value
        if parameter in ZERO_IS_UNKNOWN and value == 0:
            value = None
        (values if group is None else values[group])[field] = value
    values["engine_settings"] = engine_settings(parameters)
    quantification = values["quantification"]
    if quantification["recovery"] == "gtm" and quantification["fwhm_mm"] is None:
        raise SettingsError(
            "The geometric transfer matrix needs the resolution of the SPECT: enter its FWHM in mm (step 2), "
            "or choose no recovery."
        )
    return RunSettings.from_dict(values)


def engine_settings(parameters) -> dict[str, dict[str, Any]]:
    """Return the settings of the engines that the panel offers, by engine."""
    return {
        "mc": {"histories": int(parameters.mcHistories)},
        "cnn": {"handover": parameters.cnnHandover.value, "doubt": parameters.cnnDoubtPercent / 100.0},
    }


def chosen_engines(parameters) -> list[str]:
    """Return the engines that are ticked, in the order of :func:`best_first`."""
    return best_first(parameters.engines.split(","))


def best_first(engines: Iterable[str]) -> list[str]:
    """Return engines in the order of :data:`BEST_FIRST`; one that it does not know comes last."""
    names = [name.strip() for name in engines if name.strip()]
    rank = {name: number for number, name in enumerate(BEST_FIRST)}
    return sorted(names, key=lambda name: rank.get(name, len(rank)))


def levels_gy(text: str) -> list[float]:
    """Return the doses of ``"10, 20, 40"``.

    Raises
    ------
    SettingsError
        Where the text holds something else than positive numbers.
    """
    found = []
    for part in text.replace(";", ",").split(","):
        if not part.strip():
            continue
        try:
            value = float(part)
        except ValueError:
            raise SettingsError(
                f"Isodoses: {part.strip()!r} is not a dose in Gy; write for example 10, 20, 40."
            ) from None
        if not 0 < value < 1e6:
            raise SettingsError(f"Isodoses: {value:g} Gy is not a positive dose.")
        found.append(value)
    return sorted(set(found))
