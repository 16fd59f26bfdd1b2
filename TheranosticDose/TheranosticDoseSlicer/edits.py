"""What the user changed about the curves: points moved or left out, the model of a VOI.

The same function serves the panel (at once) and the worker (for the report), so both give the same numbers.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding

if TYPE_CHECKING:
    from TheranosticDoseLib.workflow import RunSettings, VoiResult

SAME_MODEL = ""


@dataclasses.dataclass(frozen=True)
class CurveEdit:
    """Changes to the curve of one VOI.

    Attributes
    ----------
    model : str
        A model of ``FitSettings``; empty: that of the settings.
    used : tuple of bool
        Per time point; empty: all.
    moved_mbq : dict
        Time point (its position as text, for JSON) to the activity set by hand, MBq.
    """

    model: str = SAME_MODEL
    used: tuple[bool, ...] = ()
    moved_mbq: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether nothing was changed."""
        return not self.model and all(self.used) and not self.moved_mbq

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CurveEdit:
        """Return the edit of :meth:`to_dict`."""
        return cls(values.get("model", ""), tuple(values.get("used", ())), dict(values.get("moved_mbq", {})))


def with_edit(
    result: VoiResult,
    edit: CurveEdit | None,
    time_h: tuple[float, ...],
    half_life_h: float,
    settings: RunSettings,
) -> tuple[VoiResult, tuple[Finding, ...]]:
    """Return a VOI's result with its curve fitted to the changed points, and a finding per change.

    Raises
    ------
    InputError
        If no point is left.
    """
    from TheranosticDoseLib.workflow import steps

    if edit is None or edit.empty:
        return result, ()
    used = edit.used or (True,) * len(time_h)
    if not any(used):
        raise InputError(f"{result.name}: all time points are left out; use at least one.")
    activity, u_activity = list(result.activity_mbq), list(result.u_activity_mbq)
    for position, value in edit.moved_mbq.items():
        scale = value / activity[int(position)] if activity[int(position)] else 1.0
        activity[int(position)] = float(value)
        u_activity[int(position)] *= abs(scale)
    fit_settings = settings.fit
    if edit.model:
        fit_settings = dataclasses.replace(settings.fit, model=edit.model)

    def kept(values):
        return tuple(value for value, use in zip(values, used, strict=True) if use)

    fit = steps.fit_voi(
        kept(time_h), kept(activity), kept(u_activity), half_life_h, fit_settings, result.prior
    )
    changed = dataclasses.replace(
        result, activity_mbq=tuple(activity), u_activity_mbq=tuple(u_activity), fit=fit
    )
    return changed, _findings(result, edit, used, time_h)


def corrections_of(study) -> tuple:
    """Return the corrections of all time points, as the uncertainty budget of a run takes them."""
    return tuple(correction for acquisition in study.acquisitions for correction in acquisition.corrections)


def _findings(result, edit: CurveEdit, used, time_h) -> tuple[Finding, ...]:
    findings = []
    field = f"voi[{result.name}].curve"
    for position, use in enumerate(used):
        if not use:
            text = (
                f"{result.name}: the point at {time_h[position]:.4g} h was left out of the fit by the user."
            )
            findings.append(Finding("info", field, text, result.activity_mbq[position], "panel"))
    for position, value in edit.moved_mbq.items():
        measured = result.activity_mbq[int(position)]
        text = (
            f"{result.name}: the activity at {time_h[int(position)]:.4g} h was set by the user to "
            f"{value:.5g} MBq; measured {measured:.5g} MBq."
        )
        findings.append(Finding("warning", field, text, value, "panel", "Undo it in the kinetics step."))
    if edit.model:
        text = f"{result.name}: the model {edit.model!r} was chosen by the user."
        findings.append(Finding("info", field, text, edit.model, "panel"))
    return tuple(findings)
