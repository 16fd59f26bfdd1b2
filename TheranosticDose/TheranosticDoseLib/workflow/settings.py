"""Settings of a run: those of every step in one table."""

from __future__ import annotations

import dataclasses
from typing import Any

from TheranosticDoseLib.dosiomics import DosiomicsSettings
from TheranosticDoseLib.quantification import QuantificationSettings
from TheranosticDoseLib.registration import RegistrationSettings
from TheranosticDoseLib.settings import Settings
from TheranosticDoseLib.time_activity import FitSettings
from TheranosticDoseLib.uncertainty import UncertaintySettings


@dataclasses.dataclass(frozen=True)
class RunSettings(Settings):
    """What ``theranostic-dose run --settings FILE`` reads.

    Attributes
    ----------
    quantification, registration, fit, uncertainty : Settings
        Of the steps.
    engine_settings : dict
        Engine name to a table of its settings, for example ``{"mc": {"histories": 1000000}}``.
    tia_map : {"voxel", "voi"}
        ``voxel``: the map of time-integrated activity is the voxel-wise fit.  ``voi``: within each
        VOI it is scaled to the VOI's own time-integrated activity (recovery-corrected, fitted to the
        VOI's curve); every factor is recorded.
    dvh_levels_gy : tuple of float
        Doses at which the volume is reported (V10, ...).
    body_voi : bool
        Whether to add the body outline as a VOI where there is none.
    compare : bool
        Whether to compare the engines where there are several.
    dosiomics : DosiomicsSettings or None
        Whether to compute IBSI features of dose, SPECT and CT per VOI (``tables/features.csv``), and how.
    calibration : dict
        Where the numbers of ``quantification`` came from (``theranostic-dose calibrate``); only recorded.
    """

    quantification: QuantificationSettings = dataclasses.field(default_factory=QuantificationSettings)
    registration: RegistrationSettings = dataclasses.field(default_factory=RegistrationSettings)
    fit: FitSettings = dataclasses.field(default_factory=FitSettings)
    uncertainty: UncertaintySettings = dataclasses.field(default_factory=UncertaintySettings)
    engine_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    tia_map: str = "voi"
    dvh_levels_gy: tuple[float, ...] = (10.0, 20.0, 40.0)
    body_voi: bool = True
    compare: bool = True
    dosiomics: DosiomicsSettings | None = None
    calibration: dict[str, Any] = dataclasses.field(default_factory=dict)

    def validate(self) -> None:
        """Check what the steps' own settings do not."""
        self.require(self.tia_map in ("voxel", "voi"), "tia_map", "'voxel' or 'voi'")
        self.require(all(level > 0 for level in self.dvh_levels_gy), "dvh_levels_gy", "positive doses in Gy")
        from TheranosticDoseLib.dose.engines import ENGINES

        for name, values in self.engine_settings.items():
            self.require(name in ENGINES, "engine_settings", f"the engines {', '.join(ENGINES)} as keys")
            self.require(isinstance(values, dict), "engine_settings", f"a table for the engine {name!r}")

    def budget(self) -> UncertaintySettings:
        """Return the settings of the uncertainty budget, with the SPECT resolution where it is known."""
        fwhm_mm = self.quantification.fwhm_mm
        return dataclasses.replace(self.uncertainty, spect_fwhm_mm=fwhm_mm) if fwhm_mm else self.uncertainty
