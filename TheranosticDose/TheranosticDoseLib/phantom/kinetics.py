"""Kinetics of the virtual patient: sums of exponentials per region, drawn from published distributions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from TheranosticDoseLib.errors import InputError


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
    used = sum(k.amplitude_mbq[0] + k.amplitude_mbq[1] for k in by_label.values()) / activity_mbq
    remainder, drawn = _remainder(table["remainder"], activity_mbq, decay, used, rng)
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


def _remainder(entry: dict[str, Any], activity_mbq: float, decay: float, used: float, rng):
    """Return the kinetics of blood and the rest of the body: everything at first, then what is left.

    The fast phase is the uptake into the organs and the excretion together; where the organs take
    up so much that less would be excreted than nothing, the fast phase keeps more.
    """
    share = float(np.clip(rng.normal(entry["fast_share"], entry["fast_share_sd"]), used, 0.99))
    half_lives = [_lognormal(h, entry["half_life_cv"], rng) for h in entry["biological_half_life_h"]]
    rates = tuple(float(np.log(2) / half_life + decay) for half_life in half_lives)
    drawn = {"fast_share": share, "biological_half_life_h": half_lives}
    return Kinetics((share * activity_mbq, (1 - share) * activity_mbq), rates), drawn


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
