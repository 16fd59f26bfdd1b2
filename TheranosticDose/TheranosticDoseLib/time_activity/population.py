"""Population of time-activity shapes of a tissue: the prior of the methods for few scans.

Shape, without the height: ``f(t) = [a exp(-k_fast t) + (1-a) exp(-k_slow t) - exp(-(k_fast + k_uptake) t)]
exp(-lambda t)`` with ``k = ln2/T`` and biological half-lives ``T``, so that nothing is slower than physical
decay; the step ``k_uptake`` beyond the fast clearance keeps it positive. Between
patients ``(ln T_uptake, logit a, ln T_fast, ln T_slow)`` is normal; effective half-lives are close to
log-normal in patients (Hou et al. 2021, PMC8882881).
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from TheranosticDoseLib.errors import InputError

LATENT = ("ln_uptake_half_life_h", "logit_fast_share", "ln_fast_half_life_h", "ln_slow_half_life_h")


@dataclass(frozen=True)
class Population:
    """Distribution of the shape between patients.

    Attributes
    ----------
    key : str
        ``radiopharmaceutical/tissue``.
    mean : ndarray (4,)
        Of ``LATENT``.
    covariance : ndarray (4, 4)
    source : str
        Where it comes from, in words.
    """

    key: str
    mean: np.ndarray
    covariance: np.ndarray
    source: str

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return latent parameters (n, 4)."""
        return rng.multivariate_normal(self.mean, self.covariance, size=n, method="cholesky")

    def log_density(self, latent: np.ndarray) -> np.ndarray:
        """Return the logarithm of the density (n,) up to a constant."""
        delta = latent - self.mean
        return -0.5 * np.einsum("ni,ij,nj->n", delta, np.linalg.inv(self.covariance), delta)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return {
            "key": self.key,
            "latent": list(LATENT),
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
            "source": self.source,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Population:
        """Build from ``to_dict()`` or from an entry of the resource file (medians and widths)."""
        if "mean" in values:
            mean, covariance = np.array(values["mean"], float), np.array(values["covariance"], float)
        else:
            median = [values[name] for name in ("uptake_half_life_h", "fast_half_life_h", "slow_half_life_h")]
            share, width = values["fast_share"], values["log_width"]
            mean = np.array([np.log(median[0]), np.log(share / (1 - share)), *np.log(median[1:])])
            covariance = np.diag(np.square([width["uptake"], width["share"], width["fast"], width["slow"]]))
        if mean.shape != (4,) or covariance.shape != (4, 4):
            raise InputError(
                "A prior needs four means and a 4 x 4 covariance; see 'theranostic-dose priors'."
            )
        if np.linalg.eigvalsh(covariance).min() <= 0:
            raise InputError(f"The covariance of the prior {values.get('key', '')} is not positive definite.")
        return cls(str(values.get("key", "")), mean, covariance, str(values.get("source", "")))


def terms(latent: np.ndarray, decay_per_h: float) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients and effective rates (n, 3) per h of shapes with latent parameters (n, 4)."""
    share = 1.0 / (1.0 + np.exp(-latent[:, 1]))
    coefficients = np.stack([share, 1.0 - share, -np.ones(len(latent))], axis=1)
    rates = np.log(2) * np.exp(-latent[:, [2, 3, 0]])
    rates[:, 2] += np.maximum(rates[:, 0], rates[:, 1])
    rates += decay_per_h
    return coefficients, rates


def shape(latent: np.ndarray, time_h: np.ndarray, decay_per_h: float) -> np.ndarray:
    """Return the activity (n, T) of shapes of unit height."""
    coefficients, rates = terms(latent, decay_per_h)
    values = np.einsum("nr,nrt->nt", coefficients, np.exp(-rates[:, :, None] * np.asarray(time_h, float)))
    return np.maximum(values, 1e-12)


def area(latent: np.ndarray, decay_per_h: float, start_h: float = 0.0) -> np.ndarray:
    """Return the integral (n,) from ``start_h`` to infinity of shapes of unit height, h."""
    coefficients, rates = terms(latent, decay_per_h)
    return np.sum(coefficients * np.exp(-rates * start_h) / rates, axis=1)


def effective_half_life_h(
    latent: np.ndarray, decay_per_h: float, window_h: tuple[float, float] = (24.0, 168.0)
) -> np.ndarray:
    """Return the mono-exponential effective half-life (n,) between two times."""
    values = shape(latent, np.array(window_h), decay_per_h)
    return np.log(2) * (window_h[1] - window_h[0]) / np.log(values[:, 0] / values[:, 1])


def prior_key(radiopharmaceutical: str, name: str, kind: str = "organ") -> str:
    """Return the key of the prior of a VOI, ``generic`` where there is none.

    Parameters
    ----------
    radiopharmaceutical : str
        As the files name it, for example ``177Lu-DOTATATE``.
    name, kind : str
        Of the VOI; ``kind="lesion"`` is a lesion whatever its name.
    """
    table = _table()
    agent = _match(table["agents"], radiopharmaceutical)
    tissue = "lesion" if kind == "lesion" else _match(table["tissues"], name)
    key = f"{agent}/{tissue}"
    return key if any(entry["key"] == key for entry in table["priors"]) else "generic"


def _match(table: list[dict[str, Any]], text: str) -> str:
    lowered = text.lower()
    return next((row["name"] for row in table if any(word in lowered for word in row["matches"])), "")


@functools.cache
def _table() -> dict[str, Any]:
    from DoseSegmentationLib.resources import resource_path

    return json.loads(resource_path("Kinetics", "priors.json").read_text(encoding="utf-8"))


def populations() -> dict[str, Population]:
    """Return the priors of the resource file by key."""
    return dict(_populations())


@functools.cache
def _populations() -> dict[str, Population]:
    table = _table()
    sources = {source["id"]: source for source in table["sources"]}
    out = {}
    for entry in table["priors"]:
        cited = "; ".join(f"{i}: {sources[i]['gives']} ({sources[i]['read']})" for i in entry["sources"])
        out[entry["key"]] = Population.from_dict({**entry, "source": cited})
    return out


def population(key: str) -> Population:
    """Return one prior of the resource file, or of a JSON file written by ``fit_priors``.

    Parameters
    ----------
    key : str
        ``radiopharmaceutical/tissue``, or the path of a file that ends in ``.json``.

    Raises
    ------
    InputError
        If there is none; the text lists what there is.
    """
    if key.endswith(".json"):
        try:
            with open(key, encoding="utf-8") as file:
                return Population.from_dict(json.load(file))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"The prior file {key} cannot be read: {error}.") from None
    known = _populations()
    if key not in known:
        msg = f"There is no kinetic prior {key!r}; known: {', '.join(known)}; or the path of a fitted prior (.json)."
        raise InputError(msg)
    return known[key]
