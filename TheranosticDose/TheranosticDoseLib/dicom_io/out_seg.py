"""Write VOIs as a DICOM segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib import __version__
from TheranosticDoseLib.dicom_io.out_common import (
    Place,
    as_volume,
    digest,
    instance_arguments,
    stamp,
    stand_ins,
)
from TheranosticDoseLib.dicom_io.out_save import save_result
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of, require_same_grid
from TheranosticDoseLib.study import Voi

if TYPE_CHECKING:
    import SimpleITK as sitk

FRACTIONS = 255


def write_seg(
    vois: Sequence[Voi],
    grid: sitk.Image,
    path: Path,
    place: Place,
    *,
    description: str = "Volumes of interest",
    number: int = 9020,
    deidentify: bool = False,
) -> Path:
    """Write VOIs as one SEG: binary where all weights are 0 or 1, else fractional in steps of 1/255.

    Parameters
    ----------
    vois : sequence of Voi
        Weights on ``grid``; they may overlap.
    grid : SimpleITK.Image
    path : pathlib.Path
    place : Place
    description : str
    number : int
        Series number.
    deidentify : bool

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        Without a VOI, for weights outside 0 to 1, or an empty VOI.
    GeometryError
        If a VOI is on another grid.
    OutputError
        If the file cannot be written.
    """
    import highdicom as hd

    if not vois:
        raise InputError("A segmentation needs at least one VOI.")
    for voi in vois:
        require_same_grid(voi.weights, grid, f"VOI {voi.name!r} and the grid of the segmentation")
    weights = np.stack([array_of(voi.weights) for voi in vois], axis=-1)
    if not np.isfinite(weights).all() or weights.min() < 0 or weights.max() > 1:
        raise InputError("VOI weights must lie between 0 and 1.")
    empty = [voi.name for index, voi in enumerate(vois) if not weights[..., index].any()]
    if empty:
        raise InputError(f"Empty VOIs cannot be written: {', '.join(empty)}.")
    binary = bool(np.isin(weights, (0.0, 1.0)).all())
    parts = ("SEG", number, description, *(f"{voi.name} {digest(voi.weights)}" for voi in vois))
    dataset = hd.seg.Segmentation(
        stand_ins(place, grid),
        as_volume(grid, weights.astype(np.uint8) if binary else weights.astype(np.float32), place),
        segmentation_type="BINARY" if binary else "FRACTIONAL",
        segment_descriptions=[_description(index, voi, place) for index, voi in enumerate(vois, 1)],
        **instance_arguments(place, number, *parts),
        max_fractional_value=FRACTIONS,
        fractional_type="OCCUPANCY",
        content_label="VOIS",
        content_description=description[:64],
    )
    stamp(dataset, place)
    dataset.SeriesDescription = description[:64]
    return save_result(dataset, Path(path), deidentify)


def _description(number: int, voi: Voi, place: Place) -> Any:
    """Return the description of a segment; a VOI without a code gets the general one of its kind."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    category = (
        codes.SCT.MorphologicallyAbnormalStructure if voi.kind == "lesion" else codes.SCT.AnatomicalStructure
    )
    algorithm = hd.AlgorithmIdentificationSequence(
        name=(voi.origin or "theranostic-dose")[:64],
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
    )
    return hd.seg.SegmentDescription(
        number,
        voi.name[:64],
        category,
        voi_code(voi),
        hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=tracking_uid(voi, place),
        tracking_id=voi.name[:64],
    )


def tracking_uid(voi: Voi, place: Place) -> str:
    """Return the identifier that a VOI has in all objects of a study."""
    return place.uid("tracking", voi.name)


def voi_code(voi: Voi) -> Any:
    """Return the type of a VOI as a coded concept."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    if voi.code and voi.code.get("value") and voi.code.get("scheme"):
        return hd.sr.CodedConcept(
            voi.code["value"], voi.code["scheme"], (voi.code.get("meaning") or voi.name)[:64]
        )
    if voi.kind == "lesion":
        return codes.SCT.Lesion
    if voi.kind == "body":
        return hd.sr.CodedConcept("38266002", "SCT", "Entire body")
    return hd.sr.CodedConcept("91723000", "SCT", "Anatomical structure")
