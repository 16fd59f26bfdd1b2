"""The backends behind one function: which there are, what each needs, and ``segment``.

A backend is a module (or an object) with ``NAME``, ``DESCRIPTION``, ``STRUCTURES``,
``available() -> (bool, reason)`` and ``segment(inputs, structures, progress, **settings) -> Segmentation``.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.inputs import checked, read_image
from DoseSegmentationLib.quality import with_quality
from DoseSegmentationLib.segmentation import BackendUnavailable, Progress, Segmentation, part_of, report

if TYPE_CHECKING:
    import SimpleITK as sitk

MODULES = {
    "classical": "backend_classical",
    "totalsegmentator": "backend_totalsegmentator",
    "organs_ct": "backend_network:ORGANS",
    "lesions_spect_ct": "backend_network:LESIONS",
    "network": "backend_network:FOLDER",
    "monai_bundle": "backend_bundle",
    "nnunet": "backend_nnunet",
}
DEFAULT = "classical"
NOTICE = "Research software, not a medical device: every segment is to be checked by an expert."


def _module(name: str) -> Any:
    if name not in MODULES:
        raise SegmentationError(f"There is no segmentation backend {name!r}; known: {', '.join(MODULES)}.")
    file, _, attribute = MODULES[name].partition(":")
    module = importlib.import_module(f"DoseSegmentationLib.{file}")
    return getattr(module, attribute) if attribute else module


def backends() -> dict[str, dict[str, Any]]:
    """Return every backend with what it needs.

    Returns
    -------
    dict
        Name to ``{"available": bool, "reason": str, "description": str, "structures": tuple,
        "settings": dict of name to default, "card": str}``.  ``reason`` says what is missing;
        ``structures`` is empty where they depend on the model; ``card`` is the text of the model card.
    """
    listed = {}
    for name in MODULES:
        module = _module(name)
        ready, reason = module.available()
        parameters = list(inspect.signature(module.segment).parameters.values())[3:]
        listed[name] = {
            "available": ready,
            "reason": reason,
            "description": module.DESCRIPTION,
            "structures": tuple(module.STRUCTURES),
            "settings": {p.name: None if p.default is p.empty else p.default for p in parameters},
            "card": module.card() if hasattr(module, "card") else "",
        }
    return listed


def segment(
    backend: str,
    ct: sitk.Image | None,
    spect: sitk.Image | None = None,
    structures: Sequence[str] | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Segmentation:
    """Segment with a backend.

    Parameters
    ----------
    backend : str
        A name of :func:`backends`; ``NAME:FOLDER`` gives a backend that reads a model its ``path``.
    ct : SimpleITK.Image or None
        HU, any orientation.
    spect : SimpleITK.Image, optional
        Bq/mL or any unit proportional to it, on any grid.
    structures : sequence of str, optional
        Only these; all that the backend offers where none is named.
    progress : callable, optional
        ``progress(fraction, message) -> bool``; ``False`` cancels.
    **settings
        Of the backend.

    Returns
    -------
    Segmentation
        On the grid of the CT (of the SPECT where there is no CT), with a record per structure.

    Raises
    ------
    SegmentationError
        For input that cannot be segmented.
    BackendUnavailable
        If a package or model is missing; the text says what to install.
    SegmentationCancelled
        If ``progress`` returned ``False``.
    """
    name, _, path = backend.partition(":")
    module = _module(name)
    ready, reason = module.available()
    if not ready:
        raise BackendUnavailable(f"The backend {name} is not available: {reason}")
    if path:
        settings = {"path": path, **settings}
    _check_settings(name, module, settings)
    report(progress, 0.0, "Checking the images")
    inputs = checked(ct, spect)
    try:
        found = module.segment(inputs, structures, part_of(progress, 0.02, 0.9), **settings)
    except ImportError as error:
        raise BackendUnavailable(f"The backend {name} is installed in part only: {error}.") from error
    report(progress, 0.92, "Checking the segments")
    judged = with_quality(found, inputs.spect)
    report(progress, 1.0, "Segmented")
    return dataclasses.replace(judged, notes=inputs.notes + judged.notes)


def _check_settings(name: str, module: Any, settings: dict[str, Any]) -> None:
    known = {p.name: p.default for p in list(inspect.signature(module.segment).parameters.values())[3:]}
    foreign = [key for key in settings if key not in known]
    if foreign:
        raise SegmentationError(
            f"The backend {name} has no setting {', '.join(foreign)}; it has {', '.join(known) or 'none'}."
        )
    for key, value in settings.items():
        usual = type(known[key])
        allowed = {bool: bool, int: int, float: (int, float)}.get(usual)
        if allowed and (not isinstance(value, allowed) or (usual is not bool and isinstance(value, bool))):
            raise SegmentationError(
                f"The setting {key} of the backend {name} is {value!r}; expected is a {usual.__name__} "
                f"such as {known[key]!r}."
            )


def segment_files(
    ct: str | Path | None,
    spect: str | Path | None,
    out: str | Path,
    backend: str | None = None,
    structures: Sequence[str] | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Segment files and write the label map, and beside it a JSON of its names and checks.

    Parameters
    ----------
    ct, spect : path or None
        Any format that SimpleITK reads, or a folder with one DICOM series.
    out : path
        ``.nii.gz``, ``.nrrd``, ...; ``.seg.nrrd`` opens in Slicer as a segmentation with names and
        colors.  The names go to ``OUT`` with ``.json`` instead of its suffix.
    backend, structures, progress, **settings
        As :func:`segment`; ``None`` is :data:`DEFAULT`.

    Returns
    -------
    list of dict
        The records.  Neither file is there where the work failed or was cancelled.

    Raises
    ------
    SegmentationError
        As :func:`segment`, or if a file cannot be read or written.
    """
    out, backend = Path(out), backend or DEFAULT
    images = [None if path is None else read_image(path) for path in (ct, spect)]
    found = segment(backend, *images, structures, part_of(progress, 0.0, 0.97), **settings)
    write(found, out, {"backend": backend, "ct": _name(ct), "spect": _name(spect)})
    if progress is not None:
        progress(1.0, "Written")  # too late to be cancelled: both files are there
    return [record.to_dict() for record in found.records]


def _name(path: str | Path | None) -> str:
    return "" if path is None else Path(path).name


def names_path(out: str | Path) -> Path:
    """Return where the names of a label map file go."""
    out = Path(out)
    stem = out.name
    for suffix in (".seg.nrrd", ".nii.gz", out.suffix):
        if suffix and stem.endswith(suffix):
            stem = stem[: -len(suffix)]
            break
    return out.with_name(stem + ".json")


def write(found: Segmentation, out: str | Path, about: dict[str, Any] | None = None) -> None:
    """Write a label map and its names, both or neither.

    Raises
    ------
    SegmentationError
        If the folder cannot be written to or the format is not known.
    """
    import SimpleITK as sitk

    out = Path(out)
    image = slicer_segmentation(found) if out.name.endswith(".seg.nrrd") else found.label_map
    names = names_path(out)
    text = json.dumps(
        {
            "notice": NOTICE,
            **(about or {}),
            "records": [record.to_dict() for record in found.records],
            "notes": list(found.notes),
        },
        indent=1,
    )
    part, part_names = (
        out.with_name(f".part-{os.getpid()}-{out.name}"),
        names.with_name(f".part-{os.getpid()}.json"),
    )
    for path in (out, names):
        if path.is_dir():
            raise SegmentationError(f"{path}: the label map could not be written (this is a folder).")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(part), useCompression=True)
        part_names.write_text(text + "\n", encoding="utf-8")
        os.replace(part, out)
        os.replace(part_names, names)
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise SegmentationError(f"{out}: the label map could not be written ({reason}).") from error
    finally:
        part.unlink(missing_ok=True)
        part_names.unlink(missing_ok=True)


def slicer_segmentation(found: Segmentation) -> sitk.Image:
    """Return the label map with the fields by which Slicer reads it as a segmentation."""
    import SimpleITK as sitk

    from DoseSegmentationLib.structures import structure

    image = sitk.Image(found.label_map)
    extent = " ".join(f"0 {n - 1}" for n in image.GetSize())
    image.SetMetaData("Segmentation_MasterRepresentation", "Binary labelmap")
    present = [record for record in found.records if record.label]
    for number, record in enumerate(present):
        known = structure(record.name)
        color = known.color if known else "#d0a060"
        rgb = [int(color[i : i + 2], 16) / 255.0 for i in (1, 3, 5)]
        fields = {
            "ID": f"Segment_{record.label}",
            "Name": record.name,
            "LabelValue": str(record.label),
            "Layer": "0",
            "Extent": extent,
            "Color": " ".join(f"{value:.4f}" for value in rgb),
        }
        for key, value in fields.items():
            image.SetMetaData(f"Segment{number}_{key}", value)
    return image
