"""Registered scans, VOIs, TIA and doses in the scene, and the library's objects from those nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import same_grid
from TheranosticDoseLib.study import Voi

from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import (
    codes,
    display,
    exchange,
    exchange_results,
    images,
    segments,
    sequences,
    study_nodes,
    tables,
    transforms,
    weights,
)
from TheranosticDoseSlicer.beside import last
from TheranosticDoseSlicer.case import Case

if TYPE_CHECKING:
    import SimpleITK as sitk
    from TheranosticDoseLib.dose import Anatomy, DoseResult
    from TheranosticDoseLib.registration import RegisteredStudy
    from TheranosticDoseLib.time_activity import VoxelFit

REGISTERED_RECORD, ANATOMY_RECORD, VOXELS_RECORD, DOSE_RECORD = "registered", "anatomy", "voxels", "dose/"
_VOXEL_NAMES = {
    "tia_mbq_h_ml": "TIA (voxel fit)",
    "relative_uncertainty": "TIA relative uncertainty",
    "flags": "Fit flags",
    "effective_half_life_h": "Effective half-life",
}
_QUALITY_COLUMNS = (
    ("from", ""),
    ("to", ""),
    ("method", ""),
    ("similarity_before", ""),
    ("similarity_rigid", ""),
    ("similarity_deformable", ""),
    ("displacement_mean_mm", "mm"),
    ("displacement_max_mm", "mm"),
    ("jacobian_min", ""),
    ("jacobian_max", ""),
    ("folded_fraction", ""),
    ("inverse_consistency_mm", "mm"),
    ("activity_relative_change", ""),
)


def load_registered(case: Case, registered: RegisteredStudy, raw_units: dict[str, str]) -> Iterator[str]:
    """Put a registered study into the scene, one node each step."""
    study = registered.study
    case.remove_all(roles.QUANTIFIED)
    for label in case.labels(roles.TRANSFORM):
        _remove_chain(case, label)
    for acquisition in study.acquisitions:
        if acquisition.unit != raw_units.get(acquisition.label) or acquisition.corrections:
            name = f"SPECT {acquisition.label} Bq/mL"
            node = yield from images.showing(acquisition.spect, name, "spect_bq_ml")
            case.set(roles.QUANTIFIED + acquisition.label, node)
            yield name
    yield from _load_series(case, registered)
    for acquisition, transform in zip(study.acquisitions, registered.transforms, strict=True):
        if acquisition.label == registered.reference:
            continue
        name = f"{registered.reference} to {acquisition.label}"
        chain = yield from transforms.adding(transform, name, registered.grid)
        case.set(roles.TRANSFORM + acquisition.label, chain[-1])
        yield name
    if registered.ct is not None:
        before = case.get(roles.REFERENCE_CT)
        node = yield from images.showing(registered.ct, "CT on the dose grid", "ct_hu", before)
        case.set(roles.REFERENCE_CT, node)
    else:
        case.remove(roles.REFERENCE_CT)
    case.set_record(
        REGISTERED_RECORD,
        {
            "reference": registered.reference,
            "quality": list(registered.quality),
            "findings": [finding.to_dict() for finding in registered.findings],
            "study": exchange.study_record(study),
        },
    )
    # A measure that no moved scan has (no registration was asked for) would be a column of blanks.
    moved = [quality for quality in registered.quality if quality.get("method") != "reference"]
    columns = [
        tables.Column(
            _header(name, unit), [_number(quality.get(name)) for quality in registered.quality], unit
        )
        for name, unit in _QUALITY_COLUMNS
        if any(quality.get(name) is not None for quality in moved or registered.quality)
    ]
    case.set(roles.QUALITY, tables.table_from(columns, "Registration quality", case.get(roles.QUALITY)))
    yield "quality"


def _header(name: str, unit: str) -> str:
    """Return ``displacement mean (mm)`` for ``displacement_mean_mm``."""
    text = name.removesuffix(f"_{unit}").replace("_", " ")
    return f"{text} ({unit})" if unit else text


def _number(value: Any) -> Any:
    return float("nan") if value is None else value


def _remove_chain(case: Case, label: str) -> None:
    node = case.get(roles.TRANSFORM + label)
    case.node.SetNodeReferenceID(roles.TRANSFORM + label, None)
    while node is not None:
        parent = node.GetParentTransformNode()
        roles.remove_node(node)
        node = parent


def _load_series(case: Case, registered: RegisteredStudy) -> Iterator[str]:
    nodes = []
    try:
        for acquisition, spect in zip(registered.study.acquisitions, registered.spect, strict=True):
            name = f"SPECT {acquisition.label} registered"
            nodes.append((yield from images.showing(spect, name, "spect_bq_ml")))
        times = [acquisition.time_h for acquisition in registered.study.acquisitions]
        series = sequences.time_series("SPECT registered", nodes, times, case.get(roles.SERIES))
        case.set(roles.SERIES, series)
    finally:
        # The series has copies; and nothing is left where this is stopped.
        for node in nodes:
            roles.remove_node(node)
    case.set(roles.BROWSER, sequences.browser([series], case.get(roles.BROWSER)))
    yield "series"


def registered_of(case: Case) -> RegisteredStudy:
    """Return the registered study from the nodes of the scene."""
    return last(registered_steps(case))


def registered_steps(case: Case) -> Generator[str, None, RegisteredStudy]:
    """Read the nodes of the registered study, one volume each step, and return it at the end."""
    record = case.record(REGISTERED_RECORD)
    if record is None:
        raise InputError("The time points are not registered yet; run the registration step.")
    series = case.require(roles.SERIES, "The registered series was deleted; run the registration again.")
    study_record = dict(record["study"], vois=[])
    labels = [entry["label"] for entry in study_record["acquisitions"]]
    if series.GetNumberOfDataNodes() != len(labels):
        raise InputError("The registered series does not hold all time points any more; register again.")
    spect, found = [], {}
    for number, label in enumerate(labels):
        spect.append((yield from images.reading(series.GetNthDataNode(number))))
        yield label
    for label in labels:
        node = case.get(roles.QUANTIFIED + label) or case.require(
            roles.SPECT + label, f"The SPECT of {label!r} was deleted; load the study again."
        )
        ct = case.get(roles.CT + label)
        found[label] = (
            (yield from images.reading(node)),
            (yield from images.reading(ct)) if ct is not None else None,
        )
        yield label
    study = exchange.study_of(study_record, found)
    study = dataclasses.replace(study, vois=(yield from study_nodes.drawn_vois(case, set(labels))))
    chains = []
    for label in labels:
        chains.append((yield from _transform(case, label, record["reference"])))
    ct_node = case.get(roles.REFERENCE_CT)
    ct = (yield from images.reading(ct_node)) if ct_node is not None else None
    return exchange_results.registered_of(study, record, tuple(spect), ct, tuple(chains))


def _transform(case: Case, label: str, reference: str) -> Generator[str, None, Any]:
    import SimpleITK as sitk

    if label == reference:
        return sitk.Transform(3, sitk.sitkIdentity)
    node = case.require(
        roles.TRANSFORM + label, f"The transform of {label!r} was deleted; run the registration again."
    )
    chain = [node]
    while chain[0].GetParentTransformNode() is not None:
        chain.insert(0, chain[0].GetParentTransformNode())
    return (yield from transforms.reading(chain))


def load_anatomy(case: Case, anatomy: Anatomy) -> None:
    """Keep density and tissue on the dose grid with the case."""
    node = images.volume_from(anatomy.density, "Density", None, case.get(roles.DENSITY), hidden=True)
    node.SetAttribute(codes.UNIT_ATTRIBUTE, "g/cm3")
    case.set(roles.DENSITY, node)
    if anatomy.material is not None:
        material = images.volume_from(anatomy.material, "Tissue", None, case.get(roles.MATERIAL), hidden=True)
        case.set(roles.MATERIAL, material)
    else:
        case.remove(roles.MATERIAL)
    record = {"hu_table": anatomy.hu_table, "findings": [finding.to_dict() for finding in anatomy.findings]}
    case.set_record(ANATOMY_RECORD, record)


def anatomy_of(case: Case) -> Anatomy:
    """Return the anatomy on the dose grid."""
    record = case.record(ANATOMY_RECORD)
    if record is None:
        raise InputError("The time points are not registered yet; run the registration step.")
    density = case.require(roles.DENSITY, "The density map was deleted; run the registration again.")
    material = case.get(roles.MATERIAL)
    image = images.image_of(material) if material is not None else None
    return exchange_results.anatomy_of(record, images.image_of(density), image)


def load_vois(case: Case, vois: tuple[Voi, ...], segmentation=None) -> Iterator[str]:
    """Put VOIs on the dose grid into the segmentation of the case, one each step.

    The exact weights are kept beside it, tied to the segment by a fingerprint: who edits the
    segment uses the edited mask from then on, and a segment edited by hand is never replaced.
    """
    node = segmentation or case.get(roles.SEGMENTATION)
    if node is None:
        reference = case.get(roles.REFERENCE_CT) or case.get(roles.SPECT + case.labels(roles.SPECT)[0])
        node = segments.new_segmentation("VOIs", reference)
    case.set(roles.SEGMENTATION, node)
    for voi in vois:
        if _edited_by_hand(case, node, voi.name):
            continue
        segment_id = segments.set_segment(
            node, voi.name, voi.weights, kind=voi.kind, code=voi.code, origin=voi.origin
        )
        yield from keeping_weights(case, node, segment_id, voi)
        if voi.kind == "body" and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetSegmentVisibility(segment_id, False)
        yield voi.name


def without_edited(
    case: Case, registered: RegisteredStudy, segmentation, digests: dict[str, str]
) -> RegisteredStudy:
    """Return the study without the outlines of the files whose segment was edited or removed.

    ``digests`` are the fingerprints of the segments by their id; one that is not among them counts as removed.
    An outline that was drawn on several scans is measured on each of them; one that was changed here counts
    as it is now, for all time points.
    """
    names = set()
    for segment_id in segments.segment_ids(segmentation):
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        if segment_id in digests and not _weights_outdated(case, segment_id, digests[segment_id]):
            names.add(segment.GetName())
    kept = tuple(voi for voi in registered.study.vois if voi.name in names)
    return dataclasses.replace(registered, study=dataclasses.replace(registered.study, vois=kept))


def segments_by_hand(case: Case, digests: dict[str, str]) -> list[str]:
    """Return the names of the segments, given by id with their fingerprints, that were drawn or edited here."""
    node = case.get(roles.SEGMENTATION)
    if node is None:
        return []
    edited = [found for found in digests if _weights_outdated(case, found, digests[found])]
    return [node.GetSegmentation().GetSegment(found).GetName() for found in edited]


def _edited_by_hand(case: Case, segmentation, name: str) -> bool:
    segment_id = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
    if not segment_id:
        return False
    segment = segments.read_segment(segmentation, segment_id)
    return segment is not None and _weights_outdated(case, segment_id, segment.digest)


def _weights_outdated(case: Case, segment_id: str, digest: str) -> bool:
    kept = case.get(roles.WEIGHTS + segment_id)
    return kept is None or kept.GetAttribute(weights.DIGEST) != digest


def keeping_weights(case: Case, segmentation, segment_id: str, voi: Voi) -> Iterator[str]:
    """Keep the exact weights of a VOI beside its segment, in steps."""
    segment = segments.read_segment(segmentation, segment_id)
    role = roles.WEIGHTS + segment_id
    node = None
    if segment is not None:
        node = yield from weights.keeping(voi, segment.digest, case.get(role))
    if node is None:
        case.remove(role)
    else:
        case.set(role, node)


def voi_of(case: Case, segmentation, segment_id: str, registered: RegisteredStudy) -> Voi | None:
    """Return a segment as VOI on the dose grid; ``None`` where it is empty.

    The exact weights that it was imported with count as long as it was not edited.
    """
    import SimpleITK as sitk
    from TheranosticDoseLib.voi_tools import vois_on_reference

    segment = segments.read_segment(segmentation, segment_id)
    if segment is None:
        return None
    kept = case.get(roles.WEIGHTS + segment_id)
    if kept is not None and kept.GetAttribute(weights.DIGEST) == segment.digest:
        voi = weights.voi_of(kept)
        if same_grid(voi.weights, registered.grid):
            return dataclasses.replace(voi, name=segment.name, kind=segment.kind, code=segment.code)
    voi = Voi(
        name=segment.name,
        weights=sitk.Cast(segment.mask, sitk.sitkFloat32),
        kind=segment.kind,
        code=segment.code,
        origin=segment.origin if kept is None else f"{segment.origin}, edited in 3D Slicer",
    )
    study = dataclasses.replace(registered.study, vois=(voi,))
    vois = vois_on_reference(dataclasses.replace(registered, study=study))
    return vois[0] if vois else None


def load_voxels(case: Case, voxels: VoxelFit) -> Iterator[str]:
    """Keep the voxel fits with the case."""
    for name, title in _VOXEL_NAMES.items():
        role = roles.VOXEL + name
        quantity = "tia_mbq_h_ml" if name == "tia_mbq_h_ml" else None
        hidden = name == "flags"
        node = yield from images.showing(
            getattr(voxels, name), title, quantity, case.get(role), hidden=hidden
        )
        case.set(role, node)
        yield title
    findings = [finding.to_dict() for finding in voxels.findings]
    case.set_record(VOXELS_RECORD, {"noise_factor_bq_ml": voxels.noise_factor_bq_ml, "findings": findings})


def voxels_of(case: Case) -> VoxelFit:
    """Return the voxel fits."""
    record = case.record(VOXELS_RECORD)
    if record is None:
        raise InputError("There is no dose yet; run the dose step.")
    found = {}
    for name, title in _VOXEL_NAMES.items():
        node = case.require(roles.VOXEL + name, f"{title!r} was deleted; run the dose step again.")
        found[name] = images.image_of(node, dtype=np.uint8 if name == "flags" else np.float32)
    return exchange_results.voxels_of(record, found)


def load_doses(case: Case, doses: dict[str, DoseResult], tia: sitk.Image) -> Iterator[str]:
    """Put TIA map and doses into the scene with their units and the dose colour table."""
    case.set(roles.TIA, (yield from images.showing(tia, "TIA", "tia_mbq_h_ml", case.get(roles.TIA))))
    # A window of its own: Slicer would look for one in all voxels again with every edit.
    display.show_as_activity(case.get(roles.TIA))
    yield "TIA"
    for role in (roles.DOSE, roles.DOSE_U):
        for engine in case.labels(role):
            if engine not in doses:
                case.remove(role + engine)
    for engine, result in doses.items():
        role = roles.DOSE + engine
        node = yield from images.showing(result.dose, f"Dose {engine}", "dose_gy", case.get(role))
        case.set(role, node)
        case.set_record(DOSE_RECORD + engine, result.record)
        yield engine
        if result.uncertainty is not None:
            role = roles.DOSE_U + engine
            name = f"Dose uncertainty {engine}"
            node_u = yield from images.showing(result.uncertainty, name, "dose_u_gy", case.get(role))
            case.set(role, node_u)
            yield name
        else:
            case.remove(roles.DOSE_U + engine)
        node.SetAttribute(roles.OUTDATED, None)
        display.show_as_dose(node)
    case.set_record("engineOrder", list(doses))


def doses_of(case: Case) -> dict[str, DoseResult]:
    """Return the doses in the order in which they were computed."""
    from TheranosticDoseLib.dose import DoseResult

    order = [engine for engine in case.record("engineOrder", []) if case.get(roles.DOSE + engine) is not None]
    if not order:
        raise InputError("There is no dose yet; run the dose step.")
    doses = {}
    for engine in order:
        uncertainty = case.get(roles.DOSE_U + engine)
        doses[engine] = DoseResult(
            images.image_of(case.get(roles.DOSE + engine)),
            images.image_of(uncertainty) if uncertainty is not None else None,
            case.record(DOSE_RECORD + engine, {}),
        )
    return doses


def tia_of(case: Case) -> sitk.Image:
    """Return the TIA map."""
    return images.image_of(case.require(roles.TIA, "The TIA map was deleted; run the dose step again."))
