"""Segmentation backends on nodes: which there are, what they need, the tasks that ask and run them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from TheranosticDoseLib.errors import InputError

from TheranosticDoseSlicer import exchange, images, origins, segments
from TheranosticDoseSlicer.jobs import Task

NEEDS = {"totalsegmentator": ("ct",), "organs_ct": ("ct",), "lesions_spect_ct": ("spect",)}
"""Images without which a backend cannot work; the others take what there is."""
TAKE_A_PRIOR = ("lesions_spect_ct", "network")
"""Backends whose lesions a diagnostic PET may raise or lower; another network of the user may be one of lesions."""
NOTES_ATTRIBUTE = "TheranosticDose.SegmentationNotes"


def listed() -> dict[str, dict[str, Any]]:
    """Return every backend with what it needs and whether it can run (``backends.backends``)."""
    from DoseSegmentationLib.backends import backends

    return backends()


def reads_a_path(backend: str) -> bool:
    """Whether the user chooses the backend's model."""
    from DoseSegmentationLib.models import READ_FROM_PATH

    return backend in READ_FROM_PATH


def is_shipped(backend: str, entry: dict[str, Any]) -> bool:
    """Whether the backend's weights lie with the program."""
    from DoseSegmentationLib.models import SHIPPED

    return backend in SHIPPED and bool(entry["structures"])


def missing(backend: str, entry: dict[str, Any], ct, spect, path: str) -> str:
    """Return what a backend still needs, as a sentence; empty where nothing."""
    if not entry["available"]:
        return f"Not available: {entry['reason']}"
    if reads_a_path(backend) and not path.strip(". "):
        return "Choose the folder or zip of a model."
    for kind in NEEDS.get(backend, ()):
        if (ct if kind == "ct" else spect) is None:
            return f"Choose a {'CT' if kind == 'ct' else 'SPECT'}."
    return "" if ct is not None or spect is not None else "Choose a CT or a SPECT."


def hint(backend: str, ct, spect) -> str:
    """Return what is to be known before a backend runs on these images; empty where nothing."""
    if backend == "lesions_spect_ct" and ct is None and spect is not None:
        return "Without a CT the network works on the SPECT alone, for which it was trained less."
    return ""


def prior_refused(pet, pet_ct, ct) -> str:
    """Return why a PET and its CT make no prior, as a sentence; empty where they do, or where there are none."""
    from TheranosticDoseLib.lesion_prior import refused

    return refused(pet, pet_ct, ct)


def ask_model(backend: str, path: str) -> Task:
    """Return the task that reads structures, licence, checksum and card of a model."""
    return Task("Reading the model", {"step": "model", "backend": backend, "path": path})


def run(
    backend: str,
    ct,
    spect,
    segmentation,
    structures: list[str] | None = None,
    *,
    keep_edited: bool = True,
    pet=None,
    pet_ct=None,
    **settings: Any,
) -> Task:
    """Return the task that segments with a backend and puts the result into a segmentation node.

    A diagnostic ``pet`` (with ``pet_ct``, by which it is registered) is a prior for the lesions of a network.
    """
    reason = prior_refused(pet, pet_ct, ct)
    if reason:
        raise InputError(reason)
    request = {"step": "backend", "backend": backend, "structures": structures or None, "settings": settings}

    def prepare(folder: Path) -> Iterator[str]:
        yield from _write_images(folder, ct=ct, spect=spect, pet=pet, pet_ct=pet_ct)

    def load(folder: Path, result: dict[str, Any]) -> Iterator[str]:
        _still_there(segmentation)
        kept = []
        for name in origins.take_in(
            segmentation,
            result["segments"],
            lambda file: exchange.read_image(folder / file),
            keep_edited=keep_edited,
        ):
            kept += [name] if name else []
            yield name
        notes = list(result["notes"])
        if kept:
            notes.append(f"Kept as drawn or edited by hand: {', '.join(kept)}.")
        notes += [
            f"{entry['name']}: {' '.join(entry['checks'])}"
            for entry in result["segments"]
            if not entry.get("file")
        ]
        segmentation.SetAttribute(NOTES_ATTRIBUTE, "\n".join(notes))
        origins.write_table(segmentation)
        yield "table"

    return Task(f"Segmenting with {backend}", request, prepare, load)


def check(ct, spect, segmentation) -> Task:
    """Return the task that judges all segments again, those that were drawn too."""
    segments.require_segments(segmentation)
    if ct is None and spect is None:
        raise InputError("Choose the CT or the SPECT on which the segments are to be checked.")
    entries: list[dict[str, Any]] = []
    request = {"step": "check", "segments": entries}

    def prepare(folder: Path) -> Iterator[str]:
        yield from _write_images(folder, ct=ct, spect=spect)
        yield from write_segments(segmentation, folder, entries)

    def load(_folder: Path, result: dict[str, Any]) -> Iterator[str]:
        _still_there(segmentation)
        for entry, record in zip(entries, result["records"], strict=True):
            if segmentation.GetSegmentation().GetSegment(entry["segment_id"]) is not None:
                origins.keep_judgement(segmentation, entry["segment_id"], record)
            yield entry["name"]
        origins.write_table(segmentation)

    return Task("Checking the segments", request, prepare, load)


def write_segments(
    segmentation, folder: Path, entries: list[dict[str, Any]], prefix: str = "segment"
) -> Iterator[str]:
    """Write the masks of a segmentation, one each step, and describe them in ``entries``."""
    for number, segment_id in enumerate(segments.segment_ids(segmentation)):
        segment = segments.read_segment(segmentation, segment_id)
        if segment is None:
            continue
        entries.append(
            {
                "segment_id": segment_id,
                "name": segment.name,
                "kind": segment.kind,
                "code": segment.code,
                "file": exchange.write_image(segment.mask, folder, f"{prefix}{number}"),
                "record": origins.record_of(segmentation, segment_id),
            }
        )
        yield segment.name


def _write_images(folder: Path, **nodes: Any) -> Iterator[str]:
    for name, node in nodes.items():
        if node is not None:
            yield from images.writing(node, folder, name)


def _still_there(segmentation) -> None:
    import slicer

    if segmentation is None or not slicer.mrmlScene.IsNodePresent(segmentation):
        raise InputError("The segmentation was deleted while the segments were made; run it again.")
