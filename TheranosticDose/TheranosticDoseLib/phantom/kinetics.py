"""Kinetics of the virtual patient: sums of exponentials per region, drawn from published distributions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from TheranosticDoseLib.errors import InputError

LARGEST_UPTAKE = 0.75
"""Largest share of the administered activity that all regions and lesions take up together."""


@dataclass(frozen=True)
class Kinetics:
    """Activity of a region as a sum of exponentials.

    Attributes
    ----------
    amplitude_mbq : tuple of float
        One per exponential; negative for the uptake.
    rate_per_h : tuple of float
        Effective rates, physical decay included, 1/h.
    """

    amplitude_mbq: tuple[float, ...]
    rate_per_h: tuple[float, ...]

    def activity_mbq(self, time_h: float | np.ndarray) -> Any:
        """Return the activity at ``time_h`` after the administration, MBq."""
        time = np.asarray(time_h, dtype=np.float64)
        total = sum(a * np.exp(-k * time) for a, k in zip(self.amplitude_mbq, self.rate_per_h, strict=True))
        return float(total) if time.ndim == 0 else total

    @property
    def tia_mbq_h(self) -> float:
        """Time-integrated activity from 0 to infinity, MBq h."""
        return float(sum(a / k for a, k in zip(self.amplitude_mbq, self.rate_per_h, strict=True)))

    def scaled(self, factor: float) -> Kinetics:
        """Return the kinetics of a part of the region."""
        return Kinetics(tuple(factor * a for a in self.amplitude_mbq), self.rate_per_h)

    def to_dict(self) -> dict[str, list[float]]:
        """Return a JSON-serialisable dictionary."""
        return {"amplitude_mbq": list(self.amplitude_mbq), "rate_per_h": list(self.rate_per_h)}


@dataclass(frozen=True)
class BodyKinetics:
    """Kinetics of all regions of a patient.

    Attributes
    ----------
    by_label : dict
        Label to the kinetics of all its voxels together.
    outside : Kinetics
        The part of the body that is not on the grid.
    administered : Kinetics
        The administered activity with physical decay alone.
    groups : dict
        Name of a group of the table to its drawn parameters.
    """

    by_label: dict[int, Kinetics]
    outside: Kinetics
    administered: Kinetics
    groups: dict[str, dict[str, Any]]

    def excreted_mbq(self, time_h: np.ndarray) -> np.ndarray:
        """Return the activity that has left the body (not decayed yet) at ``time_h``, MBq."""
        inside = sum(kinetics.activity_mbq(time_h) for kinetics in self.by_label.values())
        return self.administered.activity_mbq(time_h) - inside - self.outside.activity_mbq(time_h)


def kinetics_table(name: str) -> dict[str, Any]:
    """Return a table of ``Resources/Kinetics``, for example ``lu177_dotatate``."""
    from DoseSegmentationLib.resources import resource_path

    try:
        path = resource_path("Kinetics", f"{name}.json")
    except FileNotFoundError as error:
        known = sorted(file.stem for file in resource_path("Kinetics").glob("lu177_*.json"))
        raise InputError(f"There is no kinetics table {name!r}; known: {', '.join(known)}.") from error
    return json.loads(path.read_text(encoding="utf-8"))


def draw_kinetics(
    table: dict[str, Any],
    volume_ml: dict[int, float],
    density_g_cm3: dict[int, float],
    labels: dict[str, int],
    lesions: dict[str, str],
    activity_mbq: float,
    rng: np.random.Generator,
) -> BodyKinetics:
    """Draw the kinetics of a patient.

    Parameters
    ----------
    table : dict
        See :func:`kinetics_table`.
    volume_ml, density_g_cm3 : dict
        Of each label.
    labels : dict
        Region or lesion name to label.
    lesions : dict
        Lesion name to kind.
    activity_mbq : float
        Administered.

    Returns
    -------
    BodyKinetics
        What the body holds and what it excreted add up to the administered activity at all times;
        the excreted part never decreases but by decay.
    """
    from TheranosticDoseLib.nuclides import nuclide

    decay = nuclide(table["nuclide"]).decay_constant_per_h
    by_label: dict[int, Kinetics] = {}
    groups: dict[str, dict[str, Any]] = {}
    for entry in table["regions"]:
        drawn = _draw(entry, rng)
        groups[entry["name"]] = drawn
        present = [labels[name] for name in entry["labels"] if name in labels]
        relative = {labels[n]: v for n, v in entry.get("relative_concentration", {}).items() if n in labels}
        whole = _kinetics(drawn, activity_mbq, decay)
        by_label.update(_shared(whole, present, relative, volume_ml))
    for name, kind in lesions.items():
        drawn = _draw(table["lesions"][kind], rng)
        groups[name] = drawn
        by_label[labels[name]] = _kinetics(drawn, activity_mbq * volume_ml[labels[name]], decay)
    by_label, sink = _limited(by_label, activity_mbq)
    remainder, drawn = _remainder(table["remainder"], activity_mbq, decay, by_label, rng)
    groups["Tumour sink"] = {"scale_of_all_uptakes": sink}
    groups["Remainder"] = drawn
    mass = {label: volume_ml[label] * density_g_cm3[label] / 1000.0 for label in volume_ml}
    inside, outside = _spread(remainder, table["remainder"], by_label, labels, mass)
    by_label.update(inside)
    administered = Kinetics((activity_mbq,), (decay,))
    return BodyKinetics(by_label, outside, administered, groups)


def _lognormal(mean: float, cv: float, rng: np.random.Generator) -> float:
    sigma = np.sqrt(np.log1p(cv**2))
    return float(mean * np.exp(sigma * np.clip(rng.standard_normal(), -2.2, 2.2) - sigma**2 / 2))


def _draw(entry: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Draw the parameters of one region from its log-normal distributions."""
    return {
        "uptake": _lognormal(entry["uptake"], entry["uptake_cv"], rng),
        "uptake_half_life_h": entry["uptake_half_life_h"],
        "biological_half_life_h": [
            _lognormal(half_life, entry["half_life_cv"], rng) for half_life in entry["biological_half_life_h"]
        ],
        "fast_share": entry["fast_share"],
    }


def _kinetics(drawn: dict[str, Any], activity_mbq: float, decay_per_h: float) -> Kinetics:
    """Return two clearing exponentials with an uptake phase; zero at the administration."""
    total = drawn["uptake"] * activity_mbq
    fast = drawn["fast_share"]
    half_lives = [*drawn["biological_half_life_h"], drawn["uptake_half_life_h"]]
    rates = tuple(float(np.log(2) / half_life + decay_per_h) for half_life in half_lives)
    return Kinetics((total * fast, total * (1 - fast), -total), rates)


def _shared(whole: Kinetics, present: list[int], relative: dict[int, float], volume_ml: dict[int, float]):
    """Share the activity of a group among its labels by volume times relative concentration."""
    weights = {label: volume_ml[label] * relative.get(label, 1.0) for label in present}
    total = sum(weights.values())
    return {label: whole.scaled(weight / total) for label, weight in weights.items() if total > 0}


def _limited(by_label: dict[int, Kinetics], activity_mbq: float) -> tuple[dict[int, Kinetics], float]:
    """Scale all uptakes down where they would take more than there is (the tumour sink effect)."""
    taken = -sum(kinetics.amplitude_mbq[-1] for kinetics in by_label.values()) / activity_mbq
    scale = min(1.0, LARGEST_UPTAKE / max(taken, 1e-12))
    return {label: kinetics.scaled(scale) for label, kinetics in by_label.items()}, scale


def _remainder(entry: dict[str, Any], activity_mbq: float, decay: float, by_label: dict[int, Kinetics], rng):
    """Return the kinetics of blood and the rest of the body.

    It holds what the regions will take up, until they have it; what is excreted fast; and what stays.
    So the sum of body and excretion is the administered activity, and the excretion never goes backwards.
    """
    uptake: dict[float, float] = {}
    for kinetics in by_label.values():
        rate = kinetics.rate_per_h[-1]
        uptake[rate] = uptake.get(rate, 0.0) - kinetics.amplitude_mbq[-1]
    free = activity_mbq - sum(uptake.values())
    share = float(np.clip(rng.normal(entry["fast_share"], entry["fast_share_sd"]), 0.5, 0.99))
    half_lives = [_lognormal(h, entry["half_life_cv"], rng) for h in entry["biological_half_life_h"]]
    rates = tuple(float(np.log(2) / half_life + decay) for half_life in half_lives)
    drawn = {"fast_share": share, "biological_half_life_h": half_lives}
    amplitudes = (share * free, (1 - share) * free, *uptake.values())
    return Kinetics(amplitudes, (*rates, *uptake)), drawn


def _spread(remainder: Kinetics, entry: dict[str, Any], taken: dict[int, Kinetics], labels, mass_kg):
    """Share the remainder by mass times relative concentration, on the grid and outside of it."""
    names = {label: name for name, label in labels.items()}
    relative = entry["relative_concentration"]
    weights = {
        label: mass_kg[label] * relative.get(names[label], 1.0) for label in mass_kg if label not in taken
    }
    rest_kg = max(entry["body_mass_kg"] - sum(mass_kg.values()), 0.0)
    # Outside the field of view: muscle, fat and bone of the reference adult in equal parts of the mean.
    mean = sum(weights.values()) / max(sum(mass_kg[label] for label in weights), 1e-9)
    total = sum(weights.values()) + rest_kg * mean
    inside = {label: remainder.scaled(weight / total) for label, weight in weights.items()}
    return inside, remainder.scaled(rest_kg * mean / total)
