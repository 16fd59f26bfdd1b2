"""Samples for the training of dose networks: activity, body and the Monte Carlo dose with its noise.

A folder holds ``.npz`` files with arrays ``(z, y, x)``: ``tia`` (MBq h per mL), ``density`` (g/cm3),
``dose`` (Gy), ``noise`` (its standard uncertainty, Gy) and ``spacing_mm`` (x, y, z); what only the
de-blurring network needs, ``blurred`` (the TIA of the SPECT) and ``resolution_mm``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.dose.training.fields import Case, random_activity, random_field
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.progress import Progress, report

if TYPE_CHECKING:
    import SimpleITK as sitk

NUCLIDE = "Lu-177"
NOISE = 0.02
"""Wanted standard uncertainty of the median voxel above a tenth of the largest dose."""
KINDS = ("fields", "patients", "ct", "blurred")


def image_of(array: np.ndarray, spacing_mm: Iterable[float]) -> sitk.Image:
    """Return an array ``(z, y, x)`` as an image with a spacing ``(x, y, z)``."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=np.float32))
    image.SetSpacing([float(s) for s in spacing_mm])
    return image


def with_truth(
    case: Case, histories: int, seed: int, noise: float = NOISE, threads: int | None = None
) -> dict:
    """Return the arrays of a sample: the case and its Monte Carlo dose."""
    from TheranosticDoseLib.dose import Anatomy, absorbed_dose
    from TheranosticDoseLib.geometry import array_of

    tia, anatomy = image_of(case.tia, case.spacing_mm), Anatomy(image_of(case.density, case.spacing_mm))
    kernel = array_of(absorbed_dose(tia, anatomy, "led", NUCLIDE).dose)
    region = image_of(kernel > 0.1 * kernel.max(), case.spacing_mm)
    result = absorbed_dose(
        tia, anatomy, "mc", NUCLIDE, histories=histories, seed=seed, threads=threads, device="auto",
        target_relative_uncertainty=noise, regions=(region,),
    )  # fmt: skip
    return {
        "tia": case.tia,
        "density": case.density,
        "dose": np.array(array_of(result.dose)),
        "noise": np.array(array_of(result.uncertainty)),
        "spacing_mm": np.array(case.spacing_mm, np.float32),
    }


def patient_case(seed: int, size: tuple[int, int, int] = (56, 56, 56)) -> Case:
    """Return a virtual patient, cut to a box (z, y, x) around a place of high activity."""
    from TheranosticDoseLib.geometry import array_of
    from TheranosticDoseLib.phantom import virtual_patient

    rng = np.random.default_rng([seed, 45])
    spacing = float(rng.uniform(3.0, 4.8))
    patient = virtual_patient(seed, patient_settings(rng, spacing))
    density, tia = array_of(patient.density_g_cm3), array_of(patient.tia_mbq_h_ml)
    hot = np.argwhere(tia > 0.1 * tia.max())
    center = hot[rng.integers(len(hot))]
    start = [
        int(np.clip(c - n // 2, 0, max(m - n, 0))) for c, n, m in zip(center, size, tia.shape, strict=True)
    ]
    box = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
    return Case(f"patient_{seed:05d}", np.array(tia[box]), np.array(density[box]), (spacing,) * 3)


def patient_settings(rng: np.random.Generator, spacing_mm: float, **more: Any) -> Any:
    """Return the settings of a virtual patient without images: drug, lesions and texture vary."""
    from TheranosticDoseLib.phantom import PhantomSettings

    options = {
        "radiopharmaceutical": str(rng.choice(["lu177_dotatate", "lu177_psma"])),
        "time_h": (24.0,),
        "reference": 0,
        "spect_size": (96, 72, int(400 / spacing_mm)),
        "spect_spacing_mm": spacing_mm,
        "refinement": 1,
        "top_mm": float(rng.uniform(20.0, 120.0)),
        "ct": False,
        "spect_noise": False,
        "liver_lesions": (1, 4),
        "node_lesions": (0, 3),
        "bone_lesions": (1, 4),
        "heterogeneity": float(rng.uniform(0.0, 0.3)),
        "truth_engine": "none",
    }
    return PhantomSettings(**{**options, **more})


def ct_case(seed: int, ct: sitk.Image, size: tuple[int, int, int] = (56, 56, 56)) -> Case:
    """Return a box of a real CT, strongly deformed and scaled, with random activity in it."""
    from scipy import ndimage

    from TheranosticDoseLib import tissues
    from TheranosticDoseLib.geometry import array_of

    rng = np.random.default_rng([seed, 47])
    spacing = np.full(3, rng.uniform(2.5, 5.0))
    step = spacing / np.array(ct.GetSpacing())[::-1]
    offsets = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in size], indexing="ij"))
    matrix = np.diag(step * rng.uniform(0.75, 1.3, 3) * rng.choice([-1, 1], 3))
    shear = np.eye(3) + 0.2 * rng.standard_normal((3, 3)) * (1 - np.eye(3))
    hu = array_of(ct)
    half = np.array(size) / 2 * step
    center = np.array(
        [rng.uniform(min(h, n / 2), max(n - h, n / 2)) for h, n in zip(half, hu.shape, strict=True)]
    )
    bend = np.stack(
        [ndimage.zoom(f, [n / 5 for n in size], order=1) for f in rng.normal(0, 2.0, (3, 5, 5, 5))]
    )
    points = np.tensordot(matrix @ shear, offsets, 1) + center.reshape(3, 1, 1, 1) + bend
    moved = ndimage.map_coordinates(np.asarray(hu, np.float32), points, order=1, cval=-1000.0)
    density = tissues.density_from_hu(moved)
    tia = random_activity(seed, density, tuple(spacing[::-1]))
    return Case(f"ct_{seed:05d}", tia, density, tuple(map(float, spacing[::-1])))


def blurred_case(seed: int) -> dict:
    """Return a virtual patient's true dose with the TIA that a blurred, noisy SPECT shows.

    The target is ``vsv_density`` on the true TIA: where the dose is high it is the Monte Carlo's
    within its statistics, and it has no noise.
    """
    from TheranosticDoseLib.dose import Anatomy, absorbed_dose
    from TheranosticDoseLib.geometry import array_of, image_like
    from TheranosticDoseLib.phantom import virtual_patient
    from TheranosticDoseLib.phantom.acquisition import spect_of

    rng = np.random.default_rng([seed, 49])
    resolution = float(rng.uniform(9.0, 15.0))
    patient = virtual_patient(
        seed,
        patient_settings(
            rng, 4.8, spect_size=(96, 72, 80), spect_noise=True, resolution_mm=(resolution,) * 3,
            noise_amplification=float(np.exp(rng.uniform(np.log(10.0), np.log(100.0)))),
        ),
    )  # fmt: skip
    # The map of several scans has the noise of about one of them at the concentrations of a day after.
    scale = float(array_of(patient.concentration_bq_ml(24.0)).sum() / array_of(patient.tia_mbq_h_ml).sum())
    tia = patient.tia_mbq_h_ml
    shown = spect_of(tia * scale, tia, (resolution,) * 3, patient.settings, rng) / scale
    true = absorbed_dose(tia, Anatomy(patient.density_g_cm3), "vsv_density", NUCLIDE)
    dose = np.array(array_of(true.dose))
    return {
        "tia": np.array(array_of(tia)),
        "blurred": np.array(array_of(image_like(array_of(shown), tia))),
        "density": np.array(array_of(patient.density_g_cm3)),
        "dose": dose,
        "noise": np.zeros_like(dose),
        "labels": np.array(array_of(patient.labels)),
        "resolution_mm": np.array([resolution] * 3, np.float32),
        "spacing_mm": np.array(tia.GetSpacing(), np.float32),
    }


def write_samples(
    out: Path,
    kind: str,
    count: int,
    seed: int = 0,
    *,
    ct: Path | None = None,
    histories: int = 30_000_000,
    noise: float = NOISE,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Write samples; those that are there already are kept, so that an interrupted run goes on.

    Parameters
    ----------
    out : Path
    kind : {"fields", "patients", "ct", "blurred"}
    count : int
    seed : int
        Of the first sample; the others follow.
    ct : Path, optional
        The CT in Hounsfield units that ``kind="ct"`` deforms.
    histories : int
        Most decays of a Monte Carlo run.
    noise : float
        Wanted relative uncertainty, see :data:`NOISE`.
    threads : int, optional
        Of the Monte Carlo.
    progress : callable, optional

    Raises
    ------
    InputError
        For an unknown kind, or ``ct`` without a file.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    make = _maker(kind, ct, lambda case, s: with_truth(case, histories, s, noise, threads))
    paths = []
    for number in range(seed, seed + count):
        report(progress, (number - seed) / count, f"{kind} {number}")
        path = out / f"{kind}_{number:05d}.npz"
        paths.append(path)
        if not path.is_file():
            part = out / f".part-{path.name}"
            np.savez_compressed(part, **make(number))
            os.replace(part, path)
    report(progress, 1.0, "Samples written")
    return paths


def _maker(kind: str, ct: Path | None, truth: Callable[[Case, int], dict]) -> Callable[[int], dict]:
    if kind not in KINDS:
        raise InputError(f"There are no samples of the kind {kind!r}; known: {', '.join(KINDS)}.")
    if kind == "blurred":
        return blurred_case
    if kind == "ct":
        if ct is None:
            raise InputError("Samples of the kind 'ct' need the file of a CT (--ct FILE).")
        from TheranosticDoseLib.dicom_io.labelmap import read_image

        image = read_image(Path(ct))
        return lambda seed: truth(ct_case(seed, image), seed)
    return lambda seed: truth(random_field(seed) if kind == "fields" else patient_case(seed), seed)
