"""Before treatment: dose per activity from one diagnostic PET and the kinetics of the population.

The PET gives the height (fraction of the administered activity in the region, without decay), the
population the shape. What the diagnostic and the therapeutic molecule do not share - affinity, amount of
ligand, saturation - enters as the uncertainty ``ligand_relative_u``, which is the largest part of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.time_activity.population import Population, area, population, shape

_DRAWS = 4000


@dataclass(frozen=True)
class Prediction:
    """Predicted TIA and mean dose per administered activity of a region.

    Attributes
    ----------
    tia_h : float
        TIA per administered activity, MBq h/MBq (median).
    relative_u : float
        k=1.
    interval_95 : (float, float)
        Of ``tia_h``.
    dose_gy_per_gbq : float or None
        Where a mass was given: electrons (and what ``energy_kev`` holds) absorbed in the region.
    findings : tuple of Finding
    """

    tia_h: float
    relative_u: float
    interval_95: tuple[float, float]
    dose_gy_per_gbq: float | None
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return {
            **self.__dict__,
            "interval_95": list(self.interval_95),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def predict_from_pet(
    pet_activity_mbq: float,
    pet_administered_mbq: float,
    pet_time_h: float,
    prior: str | Population,
    *,
    pet_half_life_h: float,
    therapy_half_life_h: float,
    pet_relative_u: float = 0.1,
    ligand_relative_u: float = 0.25,
    mass_g: float | None = None,
    energy_kev: float | None = None,
    seed: int = 0,
) -> Prediction:
    """Predict TIA and dose of a region per administered therapeutic activity.

    Parameters
    ----------
    pet_activity_mbq : float
        In the region at the time of the PET (not decay-corrected), MBq.
    pet_administered_mbq : float
        At the injection, MBq.
    pet_time_h : float
        h after the injection.
    prior : str or Population
        Of the therapeutic radiopharmaceutical, for example ``177Lu-PSMA/kidney``.
    pet_half_life_h, therapy_half_life_h : float
        Physical.
    pet_relative_u, ligand_relative_u : float
        k=1.
    mass_g : float, optional
    energy_kev : float, optional
        Energy per decay absorbed in the region (nuclide's electrons), with ``mass_g``.
    seed : int
    """
    positive = {
        "pet_activity_mbq": pet_activity_mbq,
        "pet_administered_mbq": pet_administered_mbq,
        "pet_time_h": pet_time_h,
        "pet_half_life_h": pet_half_life_h,
        "therapy_half_life_h": therapy_half_life_h,
        "mass_g": 1.0 if mass_g is None else mass_g,
        "energy_kev": 1.0 if energy_kev is None else energy_kev,
    }
    for name, value in positive.items():
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value}; give a positive number.")
    for name, value in (("pet_relative_u", pet_relative_u), ("ligand_relative_u", ligand_relative_u)):
        if not 0 <= value < 2:
            raise InputError(f"{name} is {value}; give a relative uncertainty (k=1) from 0 to 2.")
    left = pet_administered_mbq * np.exp2(-pet_time_h / pet_half_life_h)
    if pet_activity_mbq > 1.05 * left:
        msg = (
            f"The region holds {pet_activity_mbq:g} MBq and only {left:g} MBq are left of the administered "
            "activity at that time; check units and decay correction of the PET."
        )
        raise InputError(msg)
    known = population(prior) if isinstance(prior, str) else prior
    rng = np.random.default_rng(seed)
    latent = known.draw(_DRAWS, rng)
    # A decay constant of nothing is the biological shape alone.
    height = pet_activity_mbq / left / shape(latent, np.array([pet_time_h]), 0.0)[:, 0]
    spread = np.hypot(pet_relative_u, ligand_relative_u)
    tia = height * area(latent, float(np.log(2) / therapy_half_life_h))
    tia = tia * np.exp(spread * rng.standard_normal(_DRAWS))
    low, high = np.quantile(tia, [0.025, 0.975])
    finding = Finding(
        "assumption",
        "pretherapy",
        f"The kinetics of {known.key} and the uptake of the diagnostic PET were taken for the therapy; "
        f"{100 * ligand_relative_u:g} % are assumed for the difference of the molecules and their amounts.",
        ligand_relative_u,
        known.source,
        "Verify with a scan after the first cycle.",
    )
    dose = None
    if mass_g is not None and energy_kev is not None:
        # MBq h per MBq x 1e3 MBq/GBq x 1e6/s x 3600 s x keV x 1.602e-16 J/keV / kg
        dose = float(np.median(tia)) * 1e3 * 3.6e9 * energy_kev * 1.602176634e-16 / (mass_g * 1e-3)
    return Prediction(
        float(np.median(tia)), float(np.std(np.log(tia))), (float(low), float(high)), dose, (finding,)
    )
