"""Python packages on demand: asked for when a step needs them, never at start, never without asking."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import itertools
import logging
import subprocess
from pathlib import Path

from TheranosticDoseLib.errors import EngineUnavailableError

REQUESTER = "TheranosticDose"
# A pip that fails, for example without internet, raises CalledProcessError.
FAILURES = (RuntimeError, OSError, subprocess.SubprocessError)
# Step or engine to the sections of requirements.txt that it needs; torch is not among them.
_BASE = ("load", "phantom", "export", "led", "vsv", "vsv_density", "mc")
_NETWORKS = ("cnn", "cnn_pvc", "organs_ct", "lesions_spect_ct", "network", "monai_bundle")
_SECTIONS = {**dict.fromkeys(_BASE, "base"), "gate": "gate", **dict.fromkeys(_NETWORKS, "networks")}
_TORCH = _NETWORKS
# Backends whose packages another extension installs, because plain pip would replace parts of Slicer:
# the extension, the module with its installer, the installer's class in it, the Python package.
_EXTENSIONS = {
    "totalsegmentator": ("TotalSegmentator", "TotalSegmentator", "TotalSegmentatorLogic", "totalsegmentator"),
    "nnunet": ("NNUNet", "SlicerNNUNetLib", "InstallLogic", "nnunetv2"),
}


def requirements_file() -> Path:
    """Return the file with the packages."""
    return Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"


def requirements_of(step: str) -> list[str]:
    """Return the requirements of a step or engine, for example ``["numba>=0.60"]``."""
    wanted, section, found = _SECTIONS.get(step), "", []
    for line in requirements_file().read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if line.startswith("# [") and line.endswith("]"):
            section = line[3:-1]
        elif line and not line.startswith("#") and section == wanted:
            found.append(line)
    return found + (["torch"] if step in _TORCH else [])


def missing(step: str) -> list[str]:
    """Return the requirements of a step that are not installed."""
    return [text for text in requirements_of(step) if not _satisfied(text)]


def ensure(step: str) -> bool:
    """Install what a step needs after asking; return whether it is there.

    ``slicer.packaging`` asks and installs (Slicer 5.11 and later); older versions ask here and use pip.
    torch comes through the PyTorch extension, which chooses the build for the machine's GPU.
    """
    if step in _EXTENSIONS:
        return _ensure_by_extension(*_EXTENSIONS[step])
    wanted = missing(step)
    if "torch" in wanted:
        # torch first: pip would otherwise bring its own choice of it with the packages that need it.
        if not _ensure_torch():
            return False
        wanted = [text for text in missing(step) if text != "torch"]
    if not wanted:
        return True
    import slicer

    packaging = _slicer_packaging()
    if packaging is None:
        return _ensure_with_pip(slicer, wanted)
    known = packaging.load_requirements(requirements_file())
    names = [_name(text) for text in wanted]
    try:
        packaging.pip_ensure([item for item in known if item.name in names], requester=REQUESTER)
    except FAILURES as error:
        if "declined" in str(error):
            return False
        logging.warning("Installation failed: %s", error)
        raise EngineUnavailableError(_how(wanted, error)) from error
    return not missing(step)


def how(step: str) -> str:
    """Return how the packages of a step are installed, as a sentence; empty where there are none."""
    if step in _EXTENSIONS:
        extension = _EXTENSIONS[step][0]
        return (
            f"The {extension} extension installs it: get it in the Extensions Manager and restart Slicer; "
            "this button then starts its installation."
        )
    needed = requirements_of(step)
    return f"Installs {', '.join(needed)}, after asking." if needed else ""


def _ensure_by_extension(extension: str, module: str, installer: str, package: str) -> bool:
    """Let another extension install its own package."""
    if importlib.util.find_spec(package) is not None:
        return True
    try:
        logic = getattr(importlib.import_module(module), installer)()
    except (ImportError, AttributeError) as error:
        msg = (
            f"{package} is installed by the {extension} extension: get it in the Extensions Manager, restart Slicer "
            "and try again. The other backends work without it."
        )
        raise EngineUnavailableError(msg) from error
    try:
        logic.setupPythonRequirements()
    except Exception as error:  # noqa: BLE001 the installers have error classes of their own
        raise EngineUnavailableError(
            f"The {extension} extension could not install {package}: {error}"
        ) from error
    importlib.invalidate_caches()
    return importlib.util.find_spec(package) is not None


def _slicer_packaging():
    """Return Slicer's own module for packages (5.11 and later); ``None`` where there is none."""
    for name in ("slicer.packaging", "slicer.pydeps"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _ensure_with_pip(slicer, wanted: list[str]) -> bool:
    text = f"This step needs Python packages that are not installed: {', '.join(wanted)}. Install them now?"
    if not slicer.util.confirmOkCancelDisplay(text):
        return False
    try:
        slicer.util.pip_install(wanted)
    except FAILURES as error:
        raise EngineUnavailableError(_how(wanted, error)) from error
    return True


def _ensure_torch() -> bool:
    try:
        utils = importlib.import_module("PyTorchUtils")
    except ImportError as error:
        msg = (
            "The neural network needs torch: install the PyTorch extension in the Extensions Manager and restart "
            "Slicer. All other engines work without it."
        )
        raise EngineUnavailableError(msg) from error
    logic = utils.PyTorchUtilsLogic()
    try:
        return logic.torchInstalled() or logic.installTorch(askConfirmation=True) is not None
    except FAILURES as error:
        raise EngineUnavailableError(f"The PyTorch extension could not install torch: {error}") from error


def _how(wanted: list[str], error: Exception) -> str:
    return (
        f"The packages {', '.join(wanted)} could not be installed ({error}). Without internet, download their wheels "
        "elsewhere and install them with slicer.util.pip_install from the folder."
    )


def _satisfied(requirement: str) -> bool:
    """Return whether a requirement of the form ``name>=1.2`` is installed; older is not enough."""
    try:
        version = importlib.metadata.version(_name(requirement))
    except importlib.metadata.PackageNotFoundError:
        return False
    lowest = requirement.partition(">=")[2]
    return _numbers(version) >= _numbers(lowest)


def _numbers(version: str) -> tuple[int, ...]:
    found = []
    for part in version.split("."):
        digits = "".join(itertools.takewhile(str.isdigit, part.strip()))
        if not digits:
            break
        found.append(int(digits))
    return tuple(found)


def _name(requirement: str) -> str:
    """Return the name in a requirement such as ``numba>=0.60``."""
    name = requirement
    for mark in "<>=!~[; ":
        name = name.split(mark)[0]
    return name.strip()
