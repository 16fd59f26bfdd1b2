"""Dose and BED of each VOI over the cycles, the budget to each limit and the forecast."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.cycles.forecast import activity_within, forecast
from TheranosticDoseLib.cycles.read import Cycle
from TheranosticDoseLib.findings import Finding

if TYPE_CHECKING:
    from TheranosticDoseLib.cycles.account import CycleSettings


def organ_accounts(
    cycles: Sequence[Cycle], names: dict[str, list[str | None]], settings: CycleSettings
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Return one account a VOI.

    Doses add up; so do BEDs, because sublethal damage is repaired in the weeks between cycles.  The
    standard uncertainties of the cycles are added linearly: camera factor, outline and recovery are common.

    Parameters
    ----------
    cycles : sequence of Cycle
    names : dict
        Name in the account to the VOI's name in each cycle (``None`` where it has none).
    settings : CycleSettings
    """
    accounts, findings = [], []
    for name, per_cycle in names.items():
        entries = [cycle.vois.get(n) if n else None for cycle, n in zip(cycles, per_cycle, strict=True)]
        present = [(cycle, entry) for cycle, entry in zip(cycles, entries, strict=True) if entry is not None]
        rows = [_row(cycle, entry) for cycle, entry in present]
        account = {
            "name": name,
            "kind": present[0][1].get("kind", "organ"),
            "cycles": rows,
            "dose_gy": sum(row["dose_gy"] for row in rows),
            "u_dose_gy": _sum(row["u_dose_gy"] for row in rows),
            "bed_gy": _sum(row["bed_gy"] for row in rows),
            "u_bed_gy": _sum(row["u_bed_gy"] for row in rows),
            "complete": len(rows) == len(cycles),
        }
        if not account["complete"] and account["kind"] != "lesion":
            missing = [c.label for c, entry in zip(cycles, entries, strict=True) if entry is None]
            message = f"{name} was not outlined in {', '.join(missing)}; its sum lacks that dose."
            findings.append(Finding("missing", f"cycles.{name}", message, remedy="Outline it there."))
        rates = [row["gy_per_gbq"] for row in rows if row["gy_per_gbq"] is not None]
        relative = [
            row["u_dose_gy"] / row["dose_gy"] if row["u_dose_gy"] and row["dose_gy"] else None for row in rows
        ]
        account["forecast"] = forecast(rates, relative, settings.between_cycles)
        limits = present[-1][1].get("radiobiology", {}).get("limits", [])
        account["limits"] = [_budget(account, limit, settings) for limit in limits]
        accounts.append(account)
    return accounts, findings


def _row(cycle: Cycle, entry: dict[str, Any]) -> dict[str, Any]:
    dose = entry["dose"][cycle.engine]
    mean, u, bed = dose["mean_gy"], dose.get("u_mean_gy"), entry.get("bed_gy")
    # bed_gy is that of the first engine of the run: its factor is kept for the engine that is added up.
    first = next(iter(entry["dose"].values()))["mean_gy"]
    factor = (bed / first - 1) / first if bed is not None and first > 0 else None
    own = mean * (1 + factor * mean) if factor is not None else None
    return {
        "cycle": cycle.label,
        "name": entry["name"],
        "volume_ml": entry["volume_ml"],
        "mass_g": entry["mass_g"],
        "tia_mbq_h": entry["tia_mbq_h"],
        "dose_gy": mean,
        "u_dose_gy": u,
        "gy_per_gbq": mean / cycle.activity_gbq if cycle.activity_gbq else None,
        "bed_gy": own,
        "u_bed_gy": u * (1 + 2 * factor * mean) if u is not None and factor is not None else None,
        "bed_per_gy2": factor,
    }


def _sum(values: Any) -> float | None:
    """Return the sum, ``None`` where one is not known."""
    listed = list(values)
    return None if any(value is None for value in listed) else sum(listed)


def _budget(account: dict[str, Any], limit: dict[str, Any], settings: CycleSettings) -> dict[str, Any]:
    """Return what is left to a limit and the activity that stays within it."""
    used, u = (account[f"{prefix}{limit['quantity']}_gy"] for prefix in ("", "u_"))
    budget = {**limit, "used_gy": used, "u_used_gy": u}
    if used is None:
        return {**budget, "remaining_gy": None, "fraction_used": None}
    remaining = limit["limit_gy"] - used
    budget |= {"remaining_gy": remaining, "fraction_used": used / limit["limit_gy"]}
    if u:
        budget["probability_above"] = NormalDist(used, u).cdf(float("inf")) - NormalDist(used, u).cdf(
            limit["limit_gy"]
        )
    if account["forecast"]:
        rate, relative = account["forecast"]["gy_per_gbq"], account["forecast"]["relative_u"]
        factors = [row["bed_per_gy2"] for row in account["cycles"] if row["bed_per_gy2"] is not None]
        factor = sum(factors) / len(factors) if factors and limit["quantity"] == "bed" else 0.0
        z = NormalDist().inv_cdf(settings.confidence)
        safe = remaining - z * (u or 0.0)
        budget["activity_expected_gbq"] = activity_within(remaining, rate, 0.0, 0.5, factor)
        budget["activity_safe_gbq"] = activity_within(safe, rate, relative, settings.confidence, factor)
    return budget
