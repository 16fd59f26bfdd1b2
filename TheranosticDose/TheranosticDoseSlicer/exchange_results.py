"""The later steps of a case as files: registered scans, VOIs on the dose grid, voxel fits, doses."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.study import Study, Voi

from TheranosticDoseSlicer import exchange
from TheranosticDoseSlicer.beside import last

if TYPE_CHECKING:
    import SimpleITK as sitk
    from TheranosticDoseLib.dose import Anatomy, DoseResult
    from TheranosticDoseLib.registration import RegisteredStudy
    from TheranosticDoseLib.time_activity import VoxelFit

REGISTERED_FILE, VOIS_FILE, ANATOMY_FILE = "registered.json", "vois.json", "anatomy.json"
VOXELS_FILE, DOSES_FILE = "voxels.json", "doses.json"
_VOXEL_IMAGES = ("tia_mbq_h_ml", "relative_uncertainty", "flags", "effective_half_life_h")


def write_registered(registered: RegisteredStudy, folder: Path) -> Iterator[str]:
    """Write a registered study (with its quantified study), one file each step."""
    folder = Path(folder)
    yield from exchange.write_study(registered.study, folder)
    files = []
    for number, spect in enumerate(registered.spect):
        files.append(exchange.write_image(spect, folder, f"registered{number}"))
        yield files[-1]
    record = {
        "reference": registered.reference,
        "spect_files": files,
        "ct_file": None,
        "transforms": [],
        "quality": list(registered.quality),
        "findings": [finding.to_dict() for finding in registered.findings],
    }
    if registered.ct is not None:
        record["ct_file"] = exchange.write_image(registered.ct, folder, "registered_ct")
        yield record["ct_file"]
    for number, transform in enumerate(registered.transforms):
        record["transforms"].append(write_transform(transform, folder, f"transform{number}"))
        yield f"transform{number}"
    exchange.write_json(folder / REGISTERED_FILE, record)


def read_registered(folder: Path) -> RegisteredStudy:
    """Read what :func:`write_registered` wrote."""
    return last(registered_reading(folder))


def registered_reading(folder: Path) -> Generator[str, None, RegisteredStudy]:
    """Do :func:`read_registered`, one file each step."""
    folder = Path(folder)
    record = exchange.read_json(folder / REGISTERED_FILE)
    study = yield from exchange.study_reading(folder)
    spect = tuple(exchange.read_image(folder / name) for name in record["spect_files"])
    yield "registered"
    ct = exchange.read_image(folder / record["ct_file"]) if record["ct_file"] else None
    transforms = tuple(read_transform(parts, folder) for parts in record["transforms"])
    return registered_of(study, record, spect, ct, transforms)


def registered_of(
    study: Study, record: dict[str, Any], spect: tuple, ct: sitk.Image | None, transforms: tuple
) -> RegisteredStudy:
    """Return the registered study of its record and images."""
    from TheranosticDoseLib.registration import RegisteredStudy

    labels = [acquisition.label for acquisition in study.acquisitions]
    return RegisteredStudy(
        study=study,
        reference=record["reference"],
        grid=spect[labels.index(record["reference"])],
        ct=ct,
        spect=tuple(spect),
        transforms=tuple(transforms),
        quality=tuple(record["quality"]),
        findings=tuple(Finding(**values) for values in record["findings"]),
    )


def write_transform(transform: sitk.Transform, folder: Path, name: str) -> list[dict[str, Any]]:
    """Return a transform as a list of matrices and displacement field files, first part first."""
    import SimpleITK as sitk

    from TheranosticDoseSlicer import transforms

    parts = []
    for number, part in enumerate(transforms.parts_of(transform)):
        matrix = transforms.matrix_of(part)
        if matrix is not None:
            parts.append({"matrix": matrix.tolist()})
            continue
        field = sitk.DisplacementFieldTransform(part).GetDisplacementField()
        parts.append({"field": exchange.write_image(field, folder, f"{name}_{number}")})
    return parts


def read_transform(parts: list[dict[str, Any]], folder: Path) -> sitk.Transform:
    """Return the transform of :func:`write_transform`."""
    import SimpleITK as sitk

    from TheranosticDoseSlicer import transforms

    single = []
    for part in parts:
        if "matrix" in part:
            single.append(transforms.affine_of(np.array(part["matrix"])))
        else:
            field = sitk.Cast(exchange.read_image(Path(folder) / part["field"]), sitk.sitkVectorFloat64)
            single.append(sitk.DisplacementFieldTransform(field))
    return transforms.composite_of(single)


def write_vois(vois: tuple[Voi, ...], folder: Path) -> Iterator[str]:
    """Write VOIs on the dose grid, one file each step."""
    records = []
    for number, voi in enumerate(vois):
        file = exchange.write_image(voi.weights, Path(folder), f"weights{number}")
        records.append({**exchange.voi_record(voi), "file": file})
        yield voi.name
    exchange.write_json(Path(folder) / VOIS_FILE, records)


def read_vois(folder: Path) -> tuple[Voi, ...]:
    """Read what :func:`write_vois` wrote."""
    folder = Path(folder)
    return tuple(
        Voi(
            name=record["name"],
            weights=exchange.read_image(folder / record["file"]),
            acquisition=record["acquisition"],
            kind=record["kind"],
            code=record["code"],
            origin=record["origin"],
        )
        for record in exchange.read_json(folder / VOIS_FILE)
    )


def write_anatomy(anatomy: Anatomy, folder: Path) -> Iterator[str]:
    """Write density and tissue."""
    folder = Path(folder)
    record: dict[str, Any] = {
        "density_file": exchange.write_image(anatomy.density, folder, "density"),
        "material_file": None,
        "hu_table": anatomy.hu_table,
        "findings": [finding.to_dict() for finding in anatomy.findings],
    }
    yield record["density_file"]
    if anatomy.material is not None:
        record["material_file"] = exchange.write_image(anatomy.material, folder, "material")
        yield record["material_file"]
    exchange.write_json(folder / ANATOMY_FILE, record)


def read_anatomy(folder: Path) -> Anatomy:
    """Read what :func:`write_anatomy` wrote."""
    folder = Path(folder)
    record = exchange.read_json(folder / ANATOMY_FILE)
    material = exchange.read_image(folder / record["material_file"]) if record["material_file"] else None
    return anatomy_of(record, exchange.read_image(folder / record["density_file"]), material)


def anatomy_of(record: dict[str, Any], density: sitk.Image, material: sitk.Image | None) -> Anatomy:
    """Return the anatomy of its record and images."""
    from TheranosticDoseLib.dose import Anatomy

    findings = tuple(Finding(**values) for values in record["findings"])
    return Anatomy(density, material, record["hu_table"], findings)


def write_voxels(voxels: VoxelFit, folder: Path) -> Iterator[str]:
    """Write the voxel fits."""
    record: dict[str, Any] = {
        "noise_factor_bq_ml": voxels.noise_factor_bq_ml,
        "findings": [finding.to_dict() for finding in voxels.findings],
    }
    for name in _VOXEL_IMAGES:
        record[name] = exchange.write_image(getattr(voxels, name), Path(folder), f"voxel_{name}")
        yield record[name]
    exchange.write_json(Path(folder) / VOXELS_FILE, record)


def read_voxels(folder: Path) -> VoxelFit:
    """Read what :func:`write_voxels` wrote."""
    folder = Path(folder)
    record = exchange.read_json(folder / VOXELS_FILE)
    return voxels_of(record, {name: exchange.read_image(folder / record[name]) for name in _VOXEL_IMAGES})


def voxels_of(record: dict[str, Any], images: dict[str, Any]) -> VoxelFit:
    """Return the voxel fits of their record and images."""
    from TheranosticDoseLib.time_activity import VoxelFit

    return VoxelFit(
        **{name: images[name] for name in _VOXEL_IMAGES},
        findings=tuple(Finding(**values) for values in record["findings"]),
        noise_factor_bq_ml=float(record["noise_factor_bq_ml"] or 0.0),
    )


def write_doses(doses: dict[str, DoseResult], folder: Path) -> Iterator[str]:
    """Write the doses of all engines with their records."""
    folder = Path(folder)
    records = {}
    for engine, result in doses.items():
        records[engine] = {
            "dose_file": exchange.write_image(result.dose, folder, f"dose_{engine}"),
            "uncertainty_file": None,
            "record": exchange.plain(result.record),
        }
        yield engine
        if result.uncertainty is not None:
            file = exchange.write_image(result.uncertainty, folder, f"dose_u_{engine}")
            records[engine]["uncertainty_file"] = file
            yield file
    exchange.write_json(folder / DOSES_FILE, records)


def read_doses(folder: Path) -> dict[str, DoseResult]:
    """Read what :func:`write_doses` wrote, in the same order."""
    from TheranosticDoseLib.dose import DoseResult

    folder = Path(folder)
    doses = {}
    for engine, entry in exchange.read_json(folder / DOSES_FILE).items():
        uncertainty = None
        if entry["uncertainty_file"]:
            uncertainty = exchange.read_image(folder / entry["uncertainty_file"])
        doses[engine] = DoseResult(
            exchange.read_image(folder / entry["dose_file"]), uncertainty, entry["record"]
        )
    return doses


def findings_of(values: list[dict[str, Any]]) -> tuple[Finding, ...]:
    """Return findings of their dictionaries."""
    return tuple(Finding(**value) for value in values)
