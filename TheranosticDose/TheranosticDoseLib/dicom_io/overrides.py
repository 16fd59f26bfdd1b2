"""Values that the user gives where the files lack them or are wrong.

They come from the shell, from a manifest, or from a file ``theranostic-dose.json``
that lies in the DICOM folder.  Each one that is used becomes a finding.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any

from TheranosticDoseLib.errors import InputError, SettingsError
from TheranosticDoseLib.settings import Settings

SIDECAR = "theranostic-dose.json"
UNITS = ("BQML", "CNTS")
DECAY_REFERENCES = ("START", "ADMIN", "NONE")


@dataclasses.dataclass(frozen=True)
class AcquisitionOverrides(Settings):
    """Values for one acquisition.

    Attributes
    ----------
    label : str or None
        Name to give to it.
    use : bool
        Whether to load it at all.
    time_h : float or None
        Start of the SPECT acquisition, hours after the administration.
    datetime : str or None
        The same as a date and time (ISO 8601).
    unit : str or None
        ``BQML`` or ``CNTS``: what the voxel values are after the rescale slope of the file.
    decay_reference : str or None
        ``START``, ``ADMIN`` or ``NONE``: the time that the voxel values are decay-corrected to.
    duration_s : float or None
        Real time of the acquisition, s.
    camera_factor_cps_per_mbq : float or None
        Camera factor of this acquisition, counts per second per MBq.
    ct : str or None
        Series Instance UID of the CT that belongs to it, or ``none``.
    """

    label: str | None = None
    use: bool = True
    time_h: float | None = None
    datetime: str | None = None
    unit: str | None = None
    decay_reference: str | None = None
    duration_s: float | None = None
    camera_factor_cps_per_mbq: float | None = None
    ct: str | None = None

    def validate(self) -> None:
        """Check the ranges."""
        _check_common(self)
        self.require(
            self.time_h is None or self.time_h >= 0, "time_h", "hours after the administration, >= 0"
        )
        self.require(
            self.datetime is None or _is_datetime(self.datetime), "datetime", "ISO 8601 date and time"
        )
        self.require(self.duration_s is None or self.duration_s > 0, "duration_s", "seconds > 0")


@dataclasses.dataclass(frozen=True)
class Overrides(Settings):
    """Values that replace what the files say.

    Attributes
    ----------
    injected_activity_mbq : float or None
        Measured activity at ``injection_datetime``, MBq, before the residual is subtracted.
    injection_datetime : str or None
        Start of the administration (ISO 8601, local time of the scans).
    residual_mbq : float or None
        Activity left in syringe and line, decay-corrected to ``injection_datetime``, MBq.
    nuclide : str or None
        For example ``Lu-177``.
    radiopharmaceutical : str or None
        For example ``177Lu-DOTATATE``.
    units, decay_reference : str or None
        As ``unit`` and ``decay_reference`` of :class:`AcquisitionOverrides`, for all acquisitions.
    camera_factor_cps_per_mbq : float or None
        For all acquisitions.
    patient_id : str or None
        Load only the objects of this patient.
    acquisitions : dict
        Label or Series Instance UID to the values of :class:`AcquisitionOverrides`.
    source : str
        Where the values come from; named in the findings.
    """

    injected_activity_mbq: float | None = None
    injection_datetime: str | None = None
    residual_mbq: float | None = None
    nuclide: str | None = None
    radiopharmaceutical: str | None = None
    units: str | None = None
    decay_reference: str | None = None
    camera_factor_cps_per_mbq: float | None = None
    patient_id: str | None = None
    acquisitions: dict[str, Any] = dataclasses.field(default_factory=dict)
    source: str = "command line"

    def validate(self) -> None:
        """Check the ranges, and the keys and values of each acquisition."""
        _check_common(self)
        activity, residual = self.injected_activity_mbq, self.residual_mbq
        self.require(activity is None or 0 < activity < 1e6, "injected_activity_mbq", "MBq, 0 to 1e6")
        self.require(residual is None or residual >= 0, "residual_mbq", "MBq >= 0")
        moment = self.injection_datetime
        self.require(moment is None or _is_datetime(moment), "injection_datetime", "ISO 8601 date and time")
        for key, values in self.acquisitions.items():
            if isinstance(values, AcquisitionOverrides):
                continue
            try:
                AcquisitionOverrides.from_dict(values)
            except SettingsError as error:
                raise SettingsError(f"acquisitions[{key!r}]: {error}") from None

    def for_acquisition(self, *keys: str) -> AcquisitionOverrides:
        """Return the values for the acquisition that is known by any of ``keys``."""
        values: dict[str, Any] = {"unit": self.units, "decay_reference": self.decay_reference}
        values["camera_factor_cps_per_mbq"] = self.camera_factor_cps_per_mbq
        for key in keys:
            own = self.acquisitions.get(key)
            if own is not None:
                own = own if isinstance(own, AcquisitionOverrides) else AcquisitionOverrides.from_dict(own)
                values.update({k: v for k, v in own.to_dict().items() if v is not None})
        return AcquisitionOverrides(**values)

    def over(self, other: Overrides) -> Overrides:
        """Return these values, completed by those of ``other``; ``source`` names both."""
        values = {}
        for field in dataclasses.fields(self):
            own = getattr(self, field.name)
            values[field.name] = getattr(other, field.name) if own is None else own
        values["acquisitions"] = {**other.acquisitions, **self.acquisitions}
        sources = {self.source} if self.is_empty else {self.source, other.source}
        values["source"] = other.source if self.is_empty else " and ".join(sorted(sources))
        return Overrides(**values)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is given."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "source"]
        return not any(getattr(self, name) for name in names)


def _check_common(settings: Overrides | AcquisitionOverrides) -> None:
    """Check what both classes share."""
    unit = "units" if isinstance(settings, Overrides) else "unit"
    settings.require(getattr(settings, unit) in (None, *UNITS), unit, " or ".join(UNITS))
    reference = settings.decay_reference
    settings.require(reference in (None, *DECAY_REFERENCES), "decay_reference", ", ".join(DECAY_REFERENCES))
    factor = settings.camera_factor_cps_per_mbq
    settings.require(factor is None or factor > 0, "camera_factor_cps_per_mbq", "counts/s/MBq > 0")


def _is_datetime(text: str) -> bool:
    """Whether ``text`` is an ISO 8601 date and time."""
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    # A date alone would mean midnight.
    return len(text) > 10


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an :class:`InputError` names the file and the line."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path.name}: not valid JSON (line {error.lineno}: {error.msg}).") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: cannot be read ({error}).") from None
    if not isinstance(values, dict):
        raise InputError(f"{path.name}: expected a JSON object at the top, found {type(values).__name__}.")
    return values


def read_sidecar(folder: Path) -> Overrides | None:
    """Return the values of ``theranostic-dose.json`` in ``folder``, ``None`` where there is none.

    Raises
    ------
    SettingsError
        For an unknown key (with the nearest known one) or a value of the wrong type.
    """
    path = folder / SIDECAR
    if not path.is_file():
        return None
    try:
        return Overrides.from_dict({"source": SIDECAR, **read_json(path)})
    except SettingsError as error:
        raise SettingsError(f"{SIDECAR}: {error}") from None
