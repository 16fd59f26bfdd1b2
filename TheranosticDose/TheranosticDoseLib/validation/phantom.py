"""Figures of the virtual patient: is it physical, balanced, repeatable and fast."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np

from TheranosticDoseLib.geometry import array_of, total_activity_mbq, voxel_volume_ml
from TheranosticDoseLib.phantom import PhantomSettings, VirtualPatient, virtual_patient
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.validation.figure import Figure, at_most, reported

QUICK = PhantomSettings(
    spect_size=(96, 72, 96), refinement=1, ct=False, spect_noise=False, truth_engine="none"
)
GY_PER_MBQ_H_PER_G = 1e6 * 3600.0 * 147.9e3 * 1.602176634e-19 * 1e3
"""Electron energy of 177Lu (ICRP 107) absorbed where it is emitted."""


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Measure the virtual patient.

    Parameters
    ----------
    out : pathlib.Path
        Not used; figures have no files.
    progress : callable, optional
    quick : bool
        Fewer seeds, no full-size patient.

    Returns
    -------
    list of Figure
    """
    patients = []
    seeds = range(3 if quick else 10)
    for seed in seeds:
        report(progress, 0.7 * seed / len(seeds), f"Virtual patient {seed}")
        patients.append(virtual_patient(seed, QUICK))
    found = [_balance(patients), _conservation(patients), *_displacement(patients), *_kidneys(patients)]
    report(progress, 0.7, "Repeatability")
    found.append(_repeatability(patients[0]))
    if not quick:
        started = time.process_time()
        virtual_patient(0)
        seconds = time.process_time() - started
        found.append(at_most("CPU time of one full-size virtual patient in memory", seconds, 60.0, "s"))
    report(progress, 1.0, "Virtual patient measured")
    return found


def _balance(patients: list[VirtualPatient]) -> Figure:
    """Body and excretion together are what was administered, and the excretion never comes back."""
    time_h = np.linspace(0.0, 500.0, 501)
    worst = 0.0
    for patient in patients:
        kinetics = patient.kinetics
        excreted = kinetics.excreted_mbq(time_h) / kinetics.administered.activity_mbq(time_h)
        worst = max(worst, float(-np.diff(excreted, prepend=0.0).min()), float(excreted.max() - 1.0))
    return at_most(
        "Virtual patient: activity that comes back from the excretion", 100 * worst, 1e-6, "% of administered"
    )


def _conservation(patients: list[VirtualPatient]) -> Figure:
    """The liver's activity before and after breathing and posture."""
    from TheranosticDoseLib.geometry import image_like
    from TheranosticDoseLib.phantom.acquisition import moved_activity

    changes = []
    for patient in patients:
        liver = image_like(patient.mask(patient.voi("Liver")).astype(np.float32), patient.labels)
        before = total_activity_mbq(liver)
        changes += [abs(total_activity_mbq(moved_activity(liver, m)) / before - 1) for m in patient.motions]
    return at_most(
        "Virtual patient: liver activity changed by its motion, worst", 100 * max(changes), 1.0, "%"
    )


def _displacement(patients: list[VirtualPatient]) -> list[Figure]:
    """Inversion error, folding and size of the known displacement."""
    import SimpleITK as sitk

    moved = [motion for patient in patients for motion in patient.motions if motion.parameters]
    lowest, sizes = 1.0, []
    for motion in moved:
        jacobian = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(motion.forward))
        lowest = min(lowest, float(jacobian.min()))
        sizes.append(float(np.linalg.norm(array_of(motion.forward), axis=-1).max()))
    error = max(motion.inversion_error_mm for motion in moved)
    return [
        at_most("Virtual patient: inversion error of the known displacement, worst", error, 0.1, "mm"),
        Figure("Virtual patient: lowest Jacobian of the known displacement", lowest, "", "> 0", lowest > 0),
        reported("Virtual patient: largest displacement", max(sizes), "mm"),
    ]


def _kidneys(patients: list[VirtualPatient]) -> list[Figure]:
    """Kidney dose per administered activity against published 177Lu-DOTATATE patients."""
    doses = []
    for patient in patients:
        for side in "LR":
            voi = patient.voi(f"Kidney_{side}")
            mask = patient.mask(voi)
            mass = float(array_of(patient.density_g_cm3)[mask].sum()) * voxel_volume_ml(patient.labels)
            tia = patient.voi_kinetics(voi).tia_mbq_h
            doses.append(tia / mass * GY_PER_MBQ_H_PER_G / (patient.settings.activity_mbq / 1000.0))
    mean = float(np.mean(doses))
    return [
        Figure(
            "Virtual patient: mean kidney dose per activity (177Lu-DOTATATE)",
            mean,
            "Gy/GBq",
            "0.3 to 0.6 Gy/GBq",
            0.3 <= mean <= 0.6,
            "0.43 +- 0.13 (Santoro 2018, doi:10.1186/s13550-018-0459-4), median 0.47 (doi:10.1186/s40658-021-00422-2)",
            f"{min(doses):.2f} to {max(doses):.2f} over {len(doses)} kidneys; electrons only",
        )
    ]


def _repeatability(patient: VirtualPatient) -> Figure:
    """The same seed again: voxels that differ."""
    again = virtual_patient(patient.seed, dataclasses.replace(patient.settings))
    different = np.count_nonzero(array_of(again.labels) != array_of(patient.labels))
    different += np.count_nonzero(array_of(again.spect[0]) != array_of(patient.spect[0]))
    return at_most("Virtual patient: voxels that differ when made again", float(different), 0.0, "voxels")
