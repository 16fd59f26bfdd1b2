"""Training samples for segmentation networks from randomized virtual patients.

``python -m TheranosticDoseLib.segmentation_samples --out DIR --count N`` writes one ``.npz`` per patient
(CT in HU, SPECT in Bq/mL and region labels on the SPECT grid; organ and lesion labels on half its voxels)
and ``samples.json``.  ``python -m DoseSegmentationLib.training`` reads the folder.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from DoseSegmentationLib.training_data import LABEL_FACTOR

from TheranosticDoseLib.phantom import PhantomSettings, VirtualPatient, virtual_patient
from TheranosticDoseLib.progress import Progress, report

SPACING_MM = 4.8
ORGANS = (
    "Body",
    "Lung left",
    "Lung right",
    "Bone",
    "Liver",
    "Spleen",
    "Kidney left",
    "Kidney right",
    "Bladder",
)
LESIONS = ("Lesion", "Physiological uptake")
PHYSIOLOGICAL = (
    "Liver", "Spleen", "Kidney", "Bladder", "Bowel", "Parotid", "Submandibular", "Stomach", "Pancreas",
    "Gallbladder", "Adrenal", "Pituitary", "Thyroid", "Lacrimal",
)  # fmt: skip
BONES = ("Spine_cortical", "Spine_marrow", "Rib", "Pelvis", "Skull", "Femur")


def random_settings(seed: int) -> PhantomSettings:
    """Return the settings of one patient: drug, time, field of view, resolution, noise, lesions.

    Parameters
    ----------
    seed : int
        The same seed gives the same settings.
    """
    rng = np.random.default_rng([seed, 77])
    resolution = float(rng.uniform(9.0, 16.0))
    tall = rng.random() < 0.25
    top = 440.0 if tall else float(rng.uniform(20.0, 140.0))
    return PhantomSettings(
        radiopharmaceutical=str(rng.choice(["lu177_dotatate", "lu177_psma"])),
        time_h=(float(rng.choice([4.0, 24.0, 48.0, 96.0, 168.0])),),
        reference=0,
        spect_size=(96, 72, 176 if tall else int(rng.integers(72, 104))),
        spect_spacing_mm=SPACING_MM,
        refinement=LABEL_FACTOR,
        top_mm=top,
        ct_size=(128, 128),
        ct_slice_mm=float(rng.choice([3.0, 4.8])),
        ct_noise_hu=float(rng.uniform(5.0, 40.0)),
        table=bool(rng.random() < 0.7),
        resolution_mm=(resolution,) * 3,
        noise_amplification=float(np.exp(rng.uniform(np.log(10.0), np.log(200.0)))),
        noise_correlation_mm=min(8.0, resolution - 1.0),
        liver_lesions=(0, 4),
        node_lesions=(0, 3),
        bone_lesions=(0, 4),
        heterogeneity=float(rng.uniform(0.0, 0.3)),
        truth_engine="none",
    )


def sample_of(patient: VirtualPatient) -> dict[str, np.ndarray]:
    """Return the arrays ``(z, y, x)`` of a patient.

    Returns
    -------
    dict
        On the SPECT grid ``ct`` int16 HU, ``spect`` float32 Bq/mL, ``spacing_mm``, ``regions`` uint8 (any,
        for synthetic contrast); on voxels smaller by :data:`LABEL_FACTOR` ``organs`` and ``lesions`` uint8
        (numbers as in :data:`ORGANS` and :data:`LESIONS`, from 1), ``instances`` uint8 (each lesion its
        number).
    """
    import SimpleITK as sitk
    from DoseSegmentationLib.inputs import AIR_HU, finer, resampled

    spect = patient.spect[0]
    ct = resampled(patient.ct[0], spect, AIR_HU)
    grid = finer(spect, LABEL_FACTOR)
    labels = sitk.Resample(patient.labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    regions = sitk.GetArrayFromImage(labels).astype(np.uint8)
    organs, instances = organ_labels(patient, regions)
    lesion = np.zeros(256, np.uint8)
    for label, name in patient.names.items():
        lesion[label] = 2 if name.startswith(PHYSIOLOGICAL) else 0
    return {
        "ct": np.clip(sitk.GetArrayFromImage(ct), -1024, 3071).astype(np.int16),
        "spect": sitk.GetArrayFromImage(spect).astype(np.float32),
        "regions": regions[::LABEL_FACTOR, ::LABEL_FACTOR, ::LABEL_FACTOR],
        "organs": organs,
        "lesions": np.where(instances > 0, 1, lesion[regions]).astype(np.uint8),
        "instances": instances,
        "spacing_mm": np.array(spect.GetSpacing(), np.float32),
    }


def organ_labels(patient: VirtualPatient, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return organ labels (from 1, in the order of :data:`ORGANS`) and lesion numbers of region labels.

    Parameters
    ----------
    patient : VirtualPatient
    regions : ndarray of uint8, shape (z, y, x)
        Labels of the patient, on any grid.

    Returns
    -------
    tuple of ndarray of uint8, shape (z, y, x)
        A lesion belongs to the organ around it.
    """
    lesion_names = [voi.name for voi in patient.vois if voi.kind == "lesion"]
    organ, instance = (np.zeros(256, np.uint8) for _ in range(2))
    for label, name in patient.names.items():
        organ[label] = 1 + ORGANS.index(_organ(name, name in lesion_names))
        instance[label] = 1 + lesion_names.index(name) if name in lesion_names else 0
    organs, instances = organ[regions], instance[regions]
    _lesions_to_organs(organs, instances > 0)
    return organs, instances


def _organ(name: str, is_lesion: bool) -> str:
    if is_lesion:
        return "Body"
    for side, word in (("L", "left"), ("R", "right")):
        if name.startswith(f"Lung_{side}"):
            return f"Lung {word}"
        if name.startswith(f"Kidney_{side}"):
            return f"Kidney {word}"
    for organ in ("Liver", "Spleen", "Bladder"):
        if name.startswith(organ):
            return organ
    return "Bone" if name.startswith(BONES) else "Body"


def _lesions_to_organs(organs: np.ndarray, lesion: np.ndarray) -> None:
    """Give the voxels of lesions to the organ around them: a liver with metastases is a liver."""
    from scipy import ndimage

    pieces, _ = ndimage.label(lesion)
    for box in ndimage.find_objects(pieces):
        # The nearest voxel of another kind lies in the piece's box or right beside it.
        wider = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
        inside, around = lesion[wider], organs[wider]
        nearest = ndimage.distance_transform_edt(inside, return_distances=False, return_indices=True)
        around[inside] = around[tuple(nearest)][inside]


def write_samples(out: Path, count: int, seed: int = 0, progress: Progress | None = None) -> list[Path]:
    """Write samples; those that are there already are kept, so that an interrupted run goes on.

    Parameters
    ----------
    out : Path
    count : int
    seed : int
        Of the first patient; the others follow.
    progress : callable, optional

    Returns
    -------
    list of Path
    """
    out.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {
        "source": "Virtual patients of TheranosticDoseLib.phantom; no data of persons.",
        "licence": "Apache-2.0",
        "tasks": {
            "organs": {str(i): name for i, name in enumerate(ORGANS, start=1)},
            "lesions": {str(i): name for i, name in enumerate(LESIONS, start=1)},
        },
    }
    (out / "samples.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    paths = []
    for number in range(count):
        report(progress, number / count, f"Virtual patient {seed + number}")
        path = out / f"patient_{seed + number:05d}.npz"
        paths.append(path)
        if path.is_file():
            continue
        sample = sample_of(virtual_patient(seed + number, random_settings(seed + number)))
        part = out / f".part-{path.name}"
        np.savez_compressed(part, **sample)
        os.replace(part, path)
    report(progress, 1.0, "Samples written")
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Write samples from the shell."""
    import sys

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first patient")
    options = parser.parse_args(arguments)

    def show(fraction: float, message: str) -> bool:
        sys.stderr.write(f"{100 * fraction:5.1f} %  {message}\n")
        return True

    write_samples(options.out, options.count, options.seed, show)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
