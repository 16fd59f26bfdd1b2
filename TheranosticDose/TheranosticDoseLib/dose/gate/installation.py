"""What of GATE is installed, found out without importing it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path


def core_folder() -> Path | None:
    """Return the folder of the compiled part of opengate, or ``None`` where it is not installed."""
    for name in ("opengate", "opengate_core"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            return None
    return Path(spec.origin).parent


def missing() -> str | None:
    """Return what has to be installed before GATE can run, or ``None``."""
    core = core_folder()
    if core is None:
        return "GATE 10 is not installed: pip install opengate, then run opengate_info once to get its Geant4 data."
    data = core / "geant4_data"
    absent = [name for name in required_data(core) if not (data / name).is_dir()]
    if not data.is_dir() or absent:
        what = ", ".join(absent) if data.is_dir() else "all of it"
        return (
            f"GATE 10 is installed but its Geant4 data are not complete in {data} (missing: {what}). "
            "Run opengate_info once on a machine with a network (several gigabytes), or copy the folder."
        )
    return None


def required_data(core: Path) -> list[str]:
    """Return the names of the data folders that this version of opengate would download where absent."""
    try:
        text = (core / "g4DataSetup.py").read_text(encoding="utf-8")
    except OSError:
        return []
    return re.findall(r'"G4\w+": *data_location */ *"([^"]+)"', text)
