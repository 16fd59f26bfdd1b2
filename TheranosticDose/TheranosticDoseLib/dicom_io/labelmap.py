"""Label maps (NRRD with Slicer's segment names, NIfTI, any format SimpleITK reads) as VOIs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.overrides import read_json
from TheranosticDoseLib.dicom_io.rtstruct import kind_of_name
from TheranosticDoseLib.dicom_io.targets import Target, on_target
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.study import Voi

if TYPE_CHECKING:
    import SimpleITK as sitk

MAX_LABELS = 500


def vois_of_labelmap(
    path: Path, targets: list[Target], journal: Journal | None = None, names: dict[str, str] | None = None
) -> list[Voi]:
    """Return the labels of an image as VOIs.

    Parameters
    ----------
    path : Path
        Whole numbers are labels; values between 0 and 1 are the weights of one VOI.
    targets : list of Target
        The labels are put on the grid of the first target that has it, else of the first
        CT or SPECT that they overlap.
    journal : Journal, optional
        What was doubtful.
    names : dict, optional
        Label value (as text) to name; else the names in the file, or in ``NAME.json`` beside it.

    Raises
    ------
    InputError
        If the file cannot be read, has no label or does not overlap the study.
    """
    journal = journal or Journal(strict=True)
    parts = _parts(path, names)
    if not parts:
        raise InputError(f"{path.name}: no voxel is above zero; there is no VOI in it.")
    vois = []
    for name, code, weights in parts:
        placed = _place(path, name, weights, targets, journal)
        if placed is not None:
            image, label = placed
            vois.append(Voi(name, image, label, kind_of_name(name), code, f"file {path.name}"))
    if not vois:
        raise InputError(f"{path.name}: no label overlaps the images of this study; check its position.")
    return vois


def _place(
    path: Path, name: str, weights: sitk.Image, targets: list[Target], journal: Journal
) -> tuple[sitk.Image, str] | None:
    """Return the weights on the grid of an image of the study and the label of its acquisition."""
    from TheranosticDoseLib.geometry import same_grid

    for target in targets:
        if same_grid(weights, target.image):
            return weights, target.label
    for target in sorted(targets, key=lambda one: one.kind != "CT"):
        image = on_target(weights, target, path.name, name, journal)
        if image is not None:
            return image, target.label
    text = f"{path.name}: {name!r} lies outside all images; it was left out."
    journal.find("missing", f"vois.{name}", text, source=path.name, section="VOIs", item=name)
    return None


def _parts(path: Path, names: dict[str, str] | None) -> list[tuple[str, dict[str, str] | None, sitk.Image]]:
    """Return name, code and weights of each label."""
    import SimpleITK as sitk

    image = read_image(path)
    if image.GetNumberOfComponentsPerPixel() == 1 and _is_fraction(image):
        name = (names or {}).get("1") or _stem(path)
        return [(name, None, sitk.Cast(image, sitk.sitkFloat32))]
    layers = [image]
    if image.GetNumberOfComponentsPerPixel() > 1:
        layers = [
            sitk.VectorIndexSelectionCast(image, i) for i in range(image.GetNumberOfComponentsPerPixel())
        ]
    segments = _slicer_segments(image)
    if not segments:
        segments = _numbered(path, layers, names)
    parts = []
    for layer, value, name, code in segments:
        if layer < len(layers):
            weights = sitk.Cast(
                sitk.Equal(sitk.Cast(layers[layer], sitk.sitkFloat64), float(value)), sitk.sitkFloat32
            )
            if sitk.GetArrayViewFromImage(weights).any():
                parts.append((name, code, weights))
    return parts


def read_image(path: Path) -> sitk.Image:
    """Return a three-dimensional image of any format that SimpleITK reads.

    Raises
    ------
    InputError
        If it cannot be read or is not three-dimensional.
    """
    import SimpleITK as sitk

    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    _check_whole(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise InputError(f"{path.name}: cannot be read as an image (NRRD, NIfTI, MetaImage).") from None
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise InputError(f"{path.name}: has {image.GetDimension()} dimensions; a volume has three.")
    return image


def not_finite_in_nifti(path: Path) -> int:
    """Return how many values of a NIfTI file are not finite; its reader turns them into zeros in silence."""
    header = _nifti(path)
    if header is None:
        return 0
    data, order, offset = header
    # NIfTI-1: datatype (16: float32, 64: float64) at 70.
    kind = {16: "f4", 64: "f8"}.get(int(np.frombuffer(data, f"{order}i2", 1, 70)[0]))
    if kind is None:
        return 0
    count = (len(data) - offset) // np.dtype(kind).itemsize
    values = np.frombuffer(data, order + kind, max(count, 0), min(offset, len(data)))
    return int(np.count_nonzero(~np.isfinite(values)))


def _check_whole(path: Path) -> None:
    """Raise where a NIfTI file ends early; its reader fills up with zeros in silence."""
    header = _nifti(path)
    if header is None:
        return
    data, order, offset = header
    # NIfTI-1: number of dimensions and their sizes at 40, bits per voxel at 72.
    dimensions = np.frombuffer(data, f"{order}i2", 8, 40).astype(np.int64)
    voxels = int(np.prod(dimensions[1 : 1 + max(0, min(int(dimensions[0]), 7))]))
    wanted = offset + voxels * int(np.frombuffer(data, f"{order}i2", 1, 72)[0]) // 8
    if len(data) < wanted:
        raise InputError(f"{path.name}: ends after {len(data)} of {wanted} bytes; copy the file again.")


def _nifti(path: Path) -> tuple[bytes, str, int] | None:
    """Return bytes, byte order and offset of the voxels of a single-file NIfTI-1, ``None`` for other formats.

    Raises
    ------
    InputError
        Where the compressed file ends early or is damaged.
    """
    import gzip
    import zlib

    if not re.search(r"\.nii(\.gz)?$", path.name, re.IGNORECASE):
        return None
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as stream:
            data = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path.name}: the compressed file is damaged or ends early ({error}); copy it again."
        ) from None
    # sizeof_hdr is 348, vox_offset at 108.
    for order in "<>":
        if len(data) >= 352 and int(np.frombuffer(data, f"{order}i4", 1)[0]) == 348:
            return data, order, max(int(np.frombuffer(data, f"{order}f4", 1, 108)[0]), 352)
    return None


def _is_fraction(image: sitk.Image) -> bool:
    """Whether the values are fractions of one VOI and not labels."""
    import SimpleITK as sitk

    values = sitk.GetArrayViewFromImage(image)
    if values.dtype.kind != "f" or not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        return False
    return bool((values != np.round(values)).any())


def _stem(path: Path) -> str:
    """Return the name of a file without ``.nii.gz``, ``.seg.nrrd`` and the like."""
    return re.sub(r"(\.seg)?\.(nii|nrrd|nhdr|mha|mhd)(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def _slicer_segments(image: sitk.Image) -> list[tuple[int, int, str, dict[str, str] | None]]:
    """Return layer, label value, name and code of the segments that 3D Slicer wrote into the header."""
    keys = set(image.GetMetaDataKeys())
    segments = []
    for key in sorted(keys, key=lambda text: int("0" + re.sub(r"\D", "", text)[:6])):
        match = re.fullmatch(r"Segment(\d+)_(LabelValue|ID)", key)
        if not match or (match[2] == "ID" and f"Segment{match[1]}_LabelValue" in keys):
            continue
        prefix = f"Segment{match[1]}_"

        def entry(name: str, default: str, prefix: str = prefix) -> str:
            return image.GetMetaData(prefix + name).strip() if prefix + name in keys else default

        number = int(match[1])
        value, layer = entry("LabelValue", str(number + 1)), entry("Layer", "0")
        if value.isdigit() and layer.isdigit():
            name = entry("Name", f"label {value}")
            segments.append((int(layer), int(value), name, _slicer_code(entry("Tags", ""))))
    return segments


def _slicer_code(tags: str) -> dict[str, str] | None:
    """Return the type code of Slicer's terminology entry (``...~SCT^code^meaning~...``)."""
    match = re.search(r"TerminologyEntry:([^|]*)", tags)
    parts = match[1].split("~") if match else []
    fields = parts[2].split("^") if len(parts) > 2 else []
    if len(fields) != 3 or not fields[1]:
        return None
    return {"scheme": fields[0], "value": fields[1], "meaning": fields[2]}


def _numbered(
    path: Path, layers: list[sitk.Image], names: dict[str, str] | None
) -> list[tuple[int, int, str, dict[str, str] | None]]:
    """Return the labels of an image without names, named by ``names`` or the JSON beside it."""
    import SimpleITK as sitk

    if names is None:
        beside = path.with_name(_stem(path) + ".json")
        names = {str(key): str(value) for key, value in read_json(beside).items()} if beside.is_file() else {}
    segments = []
    for layer, image in enumerate(layers):
        values = sitk.GetArrayViewFromImage(image)
        if values.dtype.kind == "f" and not (
            np.isfinite(values).all() and np.array_equal(values, np.round(values))
        ):
            raise InputError(f"{path.name}: holds values that are neither labels nor fractions from 0 to 1.")
        found = [int(value) for value in np.unique(values) if value > 0]
        if len(found) > MAX_LABELS:
            raise InputError(
                f"{path.name}: {len(found)} different values; this is an image, not a label map."
            )
        for value in found:
            segments.append((layer, value, names.get(str(value)) or f"label {value}", None))
    return segments
