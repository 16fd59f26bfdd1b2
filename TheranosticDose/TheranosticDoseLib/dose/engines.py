"""The engines by name, and the one way into them.

An engine is a module or package ``TheranosticDoseLib.dose.<name>`` with

* ``EngineSettings``: a frozen ``Settings`` dataclass,
* ``unavailable() -> str | None``: what is missing and how to install it,
* ``compute(tia, anatomy, nuclide, settings, progress) -> DoseResult``; its record holds
  only what the engine adds.

:func:`absorbed_dose` checks the input once, for all of them, and completes the record.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib import __version__
from TheranosticDoseLib.dose.anatomy import Anatomy
from TheranosticDoseLib.dose.result import DoseResult
from TheranosticDoseLib.errors import EngineUnavailableError, InputError, SettingsError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import array_of, require_same_grid, voxel_volume_ml
from TheranosticDoseLib.progress import Progress, report

if TYPE_CHECKING:
    import types

    import SimpleITK as sitk

    from TheranosticDoseLib.nuclides import Nuclide
    from TheranosticDoseLib.settings import Settings

ENGINES = {
    "led": "Local energy deposition: electrons and alphas stop in their voxel, photons are left out",
    "vsv": "Voxel S values in water: convolution with kernels of the embedded Monte Carlo",
    "vsv_density": "Voxel S values with correction for density and tissue",
    "mc": "Embedded Monte Carlo: coupled photon-electron transport in the patient's tissues",
    "gate": "GATE 10 (Geant4) in its own process",
    "cnn": "Convolutional network trained on Monte Carlo doses, with an uncertainty",
    "cnn_pvc": "The same for the activity behind a blurred SPECT; shown beside cnn, never alone",
}
JOULE_PER_KEV = 1.602176634e-16
SECONDS_PER_HOUR = 3600.0
AIR_LIMIT_G_CM3 = 0.1
"""Below this a voxel holds gas, not tissue (the limit that REFERENCES B0's patient case uses too)."""


def engines() -> dict[str, dict[str, Any]]:
    """Return the engines: name to ``{"available", "reason", "description"}``.

    ``reason`` is empty where the engine is available, else it says what to install.
    """
    listed = {}
    for name, description in ENGINES.items():
        try:
            reason = _module(name).unavailable() or ""
        except EngineUnavailableError as error:
            reason = str(error)
        listed[name] = {"available": not reason, "reason": reason, "description": description}
    return listed


def require_engine(name: str, settings: dict[str, Any] | None = None) -> types.ModuleType:
    """Return an engine's module; only that one is imported.

    Parameters
    ----------
    name : str
    settings : dict, optional
        Of the engine; checked.

    Raises
    ------
    SettingsError
        For an unknown name or setting.
    EngineUnavailableError
        Where something must be installed first; the text says what.
    """
    module = _module(name)
    _require_available(module, module.EngineSettings.from_dict(settings))
    return module


def absorbed_dose(
    tia: sitk.Image,
    anatomy: Anatomy,
    engine: str = "vsv",
    nuclide: str | Nuclide = "Lu-177",
    progress: Progress | None = None,
    **settings: Any,
) -> DoseResult:
    """Return the absorbed dose of a time-integrated activity in an anatomy.

    Parameters
    ----------
    tia : SimpleITK.Image
        Time-integrated activity concentration, MBq h per mL, 3D.
    anatomy : Anatomy
        On the grid of ``tia`` (``anatomy.on_grid(tia)`` brings it there).
    engine : str
        A name of :func:`engines`.
    nuclide : str or Nuclide
        For example ``"Lu-177"``.
    progress : callable, optional
        ``progress(fraction, message) -> bool``; ``False`` cancels.
    **settings
        Of the engine's ``EngineSettings``.

    Returns
    -------
    DoseResult
        Dose in Gy on the same grid, its statistical uncertainty, the record.

    Raises
    ------
    InputError, GeometryError
        For negative, NaN or no activity, activity in voxels without mass, different grids, unknown nuclide.
    SettingsError
        For an unknown engine or setting.
    EngineUnavailableError
        Where something must be installed first; the text says what.
    """
    module = _module(engine)
    configured = module.EngineSettings.from_dict(settings)
    nuclide = _nuclide(nuclide)
    findings = anatomy.findings + _checked(tia, anatomy)
    _require_available(module, configured)
    report(progress, 0.0, f"Dose: {engine}")
    started, cpu = time.perf_counter(), time.process_time()
    result = module.compute(tia, anatomy, nuclide, configured, progress)
    used = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    _check_result(result, tia, engine)
    record = {
        "engine": engine,
        "version": __version__,
        "nuclide": nuclide.name,
        "settings": configured.to_dict(),
        "hu_table": anatomy.hu_table,
        **used,
        **_energy(tia, anatomy, nuclide, result),
        **{key: value for key, value in result.record.items() if key != "findings"},
        "findings": [f.to_dict() for f in findings] + list(result.record.get("findings", [])),
    }
    return DoseResult(result.dose, result.uncertainty, record)


def decays_per_voxel(tia: sitk.Image) -> np.ndarray:
    """Return the decays in each voxel, ``(z, y, x)`` float64, of a map in MBq h per mL."""
    per_unit = 1e6 * SECONDS_PER_HOUR * voxel_volume_ml(tia)
    return np.asarray(array_of(tia), np.float64) * per_unit


def charged_energy_kev(nuclide: Nuclide) -> float:
    """Return the kinetic energy per decay of electrons, positrons, alphas and recoil nuclei, keV."""
    return nuclide.electron_energy_kev + nuclide.alpha_energy_kev + nuclide.recoil_energy_kev


def _module(name: str) -> types.ModuleType:
    """Import an engine; the error says which names there are."""
    if name not in ENGINES:
        raise SettingsError(f"There is no dose engine {name!r}; known: {', '.join(ENGINES)}.")
    path = f"TheranosticDoseLib.dose.{name}"
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and path.startswith(error.name):
            message = f"The dose engine {name!r} is not part of this installation."
        else:
            message = (
                f"The dose engine {name!r} needs the Python package {error.name!r}; install it with pip."
            )
        raise EngineUnavailableError(message) from error


def _require_available(module: types.ModuleType, settings: Settings) -> None:
    """Raise where something must be installed; settings that name files of their own know better."""
    reason = getattr(settings, "unavailable", module.unavailable)()
    if reason:
        raise EngineUnavailableError(reason)


def _nuclide(nuclide: str | Nuclide) -> Nuclide:
    from TheranosticDoseLib import nuclides

    return nuclides.nuclide(nuclide) if isinstance(nuclide, str) else nuclide


def _checked(tia: sitk.Image, anatomy: Anatomy) -> tuple[Finding, ...]:
    """Raise where the input cannot give a dose; return what is doubtful about it."""
    if tia.GetDimension() != 3:
        raise InputError(f"The TIA map has {tia.GetDimension()} dimensions; a volume is needed.")
    require_same_grid(tia, anatomy.density, "The TIA map and the anatomy")
    activity = array_of(tia)
    if not np.isfinite(activity).all():
        count = int(np.count_nonzero(~np.isfinite(activity)))
        raise InputError(
            f"The TIA map holds {count} NaN or infinite voxels; repair the fit or set them to zero."
        )
    if activity.min() < 0:
        count = int(np.count_nonzero(activity < 0))
        msg = f"The TIA map holds {count} negative voxels (lowest {activity.min():.4g} MBq h/mL); clip them to zero."
        raise InputError(msg)
    total = float(activity.sum(dtype=np.float64))
    if total == 0:
        raise InputError("The TIA map is zero everywhere; there is no activity to compute a dose of.")
    density = array_of(anatomy.density)
    empty = (density == 0) & (activity > 0)
    if empty.any():
        share = float(activity[empty].sum(dtype=np.float64)) / total
        msg = (
            f"{int(empty.sum())} voxels have activity ({100 * share:.2g} % of the total) but zero density; "
            "give them the density of air (0.0012 g/cm3) or tissue, or set their activity to zero."
        )
        raise InputError(msg)
    in_gas = float(activity[density < AIR_LIMIT_G_CM3].sum(dtype=np.float64)) / total
    if in_gas < 1e-4:
        return ()
    return (
        Finding(
            "warning" if in_gas > 0.01 else "info",
            "tia.outside_body",
            f"{100 * in_gas:.2g} % of the time-integrated activity lies in air (density below "
            f"{AIR_LIMIT_G_CM3:g} g/cm3), outside the body or in gas.",
            value=in_gas,
            source="TIA map and density",
            remedy="Check the registration of SPECT and CT, and noise outside the body.",
        ),
    )


def _check_result(result: DoseResult, tia: sitk.Image, engine: str) -> None:
    """Raise where an engine broke its promise: another grid, or a dose that is no dose."""
    require_same_grid(tia, result.dose, f"The TIA map and the dose of {engine}")
    dose = array_of(result.dose)
    if not np.isfinite(dose).all() or dose.min() < 0:
        raise InputError(
            f"The engine {engine!r} gave NaN or negative doses; its input is beyond what it can do."
        )


def _energy(tia: sitk.Image, anatomy: Anatomy, nuclide: Nuclide, result: DoseResult) -> dict[str, float]:
    """Return decays, and the energy emitted and absorbed on the grid, J."""
    decays = float(decays_per_voxel(tia).sum())
    emitted = decays * (charged_energy_kev(nuclide) + nuclide.photon_energy_kev) * JOULE_PER_KEV
    absorbed = float(np.sum(np.asarray(array_of(result.dose), np.float64) * anatomy.mass_g())) * 1e-3
    return {
        "decays": decays,
        "energy_emitted_j": emitted,
        "energy_absorbed_j": absorbed,
        "energy_absorbed_fraction": absorbed / emitted,
    }
