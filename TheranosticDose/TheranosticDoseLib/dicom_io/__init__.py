"""DICOM in and out: studies, VOIs, the DICOM doctor, and writers."""

from __future__ import annotations

from typing import Any

_WHERE = {
    "load_study": "load",
    "load_voi_file": "vois",
    "inspect_path": "doctor",
    "Inspection": "doctor",
    "Overrides": "overrides",
    "AcquisitionOverrides": "overrides",
    "export_dicom": "out_export",
    "ExportSettings": "out_export",
    "read_rtdose": "out_dose",
    "read_parametric_map": "out_parametric",
    "read_spatial_registration": "out_registration",
    "read_sr": "out_report",
    "Measurement": "out_report",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    """Import a room on first use, so that importing the library stays fast."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
