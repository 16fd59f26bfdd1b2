"""A case of four decaying balls, as the steps of the panel leave it; nothing is read from files."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from TheranosticDoseLib.dose import Anatomy, absorbed_dose
from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.registration import RegisteredStudy
from TheranosticDoseLib.study import Acquisition, Administration, Study, Voi
from TheranosticDoseLib.time_activity import VoxelFit
from TheranosticDoseLib.workflow import RunSettings, steps
from TheranosticDoseSlicer import dose_nodes, study_nodes
from TheranosticDoseSlicer.case import Case
from TheranosticDoseSlicer.live import Live

TIMES_H = (4.0, 24.0, 96.0, 168.0)
HALF_LIFE_H = 50.0


def ball(shape, centre, radius, grid) -> sitk.Image:
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    inside = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2
    return image_like(inside.astype(np.float32), grid)


def lung_and_bone(grid) -> Anatomy:
    """Water with a slab of lung and a slab of bone through the balls."""
    size = grid.GetSize()[0]
    density = np.ones((size, size, size), np.float32)
    density[:, : size // 3] = 0.26
    density[:, size // 2 : size // 2 + 3] = 1.6
    return Anatomy(image_like(density, grid))


def made_case(size: int, engines: tuple[str, ...], made_anatomy=Anatomy.water) -> tuple[Case, RunSettings]:
    """A case with four balls that decay, as the steps of the panel leave it."""
    shape = (size, size, size)
    grid = sitk.Image(shape, sitk.sitkFloat32)
    grid.SetSpacing((4.8, 4.8, 4.8))
    vois, start = [], np.full(shape, 500.0, np.float32)
    for number in range(4):
        centre = [size * (0.3 + 0.13 * number)] * 3
        voi = Voi(f"VOI {number}", ball(shape, centre, size * 0.09, grid), kind="lesion", origin="test")
        start += array_of(voi.weights) * 2e5 * (number + 1)
        vois.append(voi)
    rate = np.log(2) / HALF_LIFE_H
    scans = tuple(image_like(start * np.exp(-rate * time), grid) for time in TIMES_H)
    acquisitions = tuple(
        Acquisition(f"{time:g}h", time, scan) for time, scan in zip(TIMES_H, scans, strict=True)
    )
    study = Study(Administration(activity_mbq=7400.0), acquisitions)
    quality = tuple({"from": f"{time:g}h", "to": "24h", "method": "none"} for time in TIMES_H)
    identity = tuple(sitk.Transform(3, sitk.sitkIdentity) for _ in TIMES_H)
    registered = RegisteredStudy(study, "24h", scans[1], None, scans, identity, quality)
    case, settings = Case.create(), RunSettings()
    exhaust(study_nodes.load(case, study))
    exhaust(dose_nodes.load_registered(case, registered, {a.label: "BQML" for a in acquisitions}))
    anatomy = made_anatomy(grid)
    dose_nodes.load_anatomy(case, anatomy)
    exhaust(dose_nodes.load_vois(case, tuple(vois)))
    tia = image_like(start * 1e-6 / rate, grid)
    voxels = VoxelFit(tia, image_like(np.zeros(shape), grid), sitk.Cast(grid, sitk.sitkUInt8), tia, (), 0.0)
    exhaust(dose_nodes.load_voxels(case, voxels))
    live = Live(case, settings)
    exhaust(live.update())
    scaled, _ = steps.tia_map(voxels, live.results, settings)
    doses = {engine: absorbed_dose(scaled, anatomy, engine) for engine in engines}
    exhaust(dose_nodes.load_doses(case, doses, scaled))
    return case, settings


def exhaust(iterator) -> None:
    for _ in iterator:
        pass
