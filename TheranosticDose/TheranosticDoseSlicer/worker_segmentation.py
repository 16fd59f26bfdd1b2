"""Steps of the worker that make or judge segments; see ``worker.py``."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from TheranosticDoseSlicer import exchange

TOOLS_VERSION = "1"
FINE_MM = 2.5
CLICK_TOOLS = {
    "adaptive_threshold": "adaptive threshold",
    "watershed": "gradient (watershed)",
    "fuzzy_c_means": "fuzzy c-means",
    "region_growing": "region growing",
}


def segment(request: dict[str, Any], folder: Path, progress) -> dict[str, Any]:
    """Run one of the simple tools."""
    from DoseSegmentationLib.quality import with_quality
    from DoseSegmentationLib.segmentation import Segmentation, origin_of, record_of

    progress(0.1, request["name"])
    image, tool = exchange.read_image(folder / "image.nrrd"), request["tool"]
    mask, detail = _tool(tool, image, request)
    record = record_of(request["name"], 1, origin_of(detail, TOOLS_VERSION))
    if record.kind == "other" and (tool == "percent_of_maximum" or tool in CLICK_TOOLS):
        record = dataclasses.replace(record, kind="lesion")
    nuclear = tool not in ("body_outline", "fixed_threshold_ct")
    judged = with_quality(Segmentation(mask, (record,)), image if nuclear else None)
    return {"segments": _written(judged, folder), "notes": []}


def _tool(tool: str, image, request: dict[str, Any]) -> tuple[Any, str]:
    """Return the mask of a simple tool, and what it was as text."""
    from DoseSegmentationLib import classical, classical_lesions

    seed, radius = request["seed_mm"], request["radius_mm"]
    if tool in CLICK_TOOLS:
        return getattr(classical_lesions, tool)(image, seed, radius_mm=radius), CLICK_TOOLS[tool]
    if tool == "percent_of_maximum":
        mask = classical.percent_of_maximum(image, request["percent"], seed_mm=seed, radius_mm=radius)
        return mask, f"{request['percent']:g} % of the maximum"
    if tool.startswith("fixed_threshold"):
        level = request["threshold"]
        return classical.fixed_threshold(image, level, seed_mm=seed), f"threshold {level:g}"
    if tool == "body_outline":
        return classical.body_outline(image), "body outline of the CT"
    if tool == "body_outline_spect":
        return classical.body_outline_spect(image), "body outline of the SPECT"
    raise ValueError(f"There is no segmentation tool {tool!r}.")


def model(request: dict[str, Any], _folder: Path, progress) -> dict[str, Any]:
    """Read what a model says of itself."""
    from DoseSegmentationLib.models import model_of

    progress(0.1, "Reading the model")
    return dataclasses.asdict(model_of(request["backend"], request["path"]))


def backend(request: dict[str, Any], folder: Path, progress) -> dict[str, Any]:
    """Segment with a backend."""
    from DoseSegmentationLib.backends import segment as segmented
    from DoseSegmentationLib.models import folder_of

    ct, spect = _images(folder)
    settings = dict(request.get("settings", {}))
    if settings.get("path"):
        settings["path"] = str(folder_of(settings["path"]))
    notes: list[str] = []
    pet, pet_ct = _images(folder, "pet", "pet_ct")
    if pet is not None:
        from TheranosticDoseLib.lesion_prior import prior_of_pet

        progress(0.0, "Preparing the PET")
        settings["prior"], notes = prior_of_pet(pet, pet_ct, ct, spect)
    found = segmented(request["backend"], ct, spect, request["structures"], progress, **settings)
    return {"segments": _written(found, folder), "notes": [*notes, *found.notes]}


def check(request: dict[str, Any], folder: Path, progress) -> dict[str, Any]:
    """Judge segments that are there: volume, side, border, edge shift."""
    from DoseSegmentationLib.quality import with_quality

    ct, spect = _images(folder)
    progress(0.2, "Checking the segments")
    found = joined(request["segments"], folder, spect if ct is None else ct)
    return {"records": [record.to_dict() for record in with_quality(found, spect).records]}


def propagate(request: dict[str, Any], folder: Path, progress) -> dict[str, Any]:
    """Carry segments to the other time points; draw them again on their SPECT where that is asked for."""
    from DoseSegmentationLib import propagation
    from DoseSegmentationLib.lesion_matching import renamed
    from TheranosticDoseLib.progress import part_of

    from TheranosticDoseSlicer import exchange_results

    grid = exchange.read_image(folder / "grid.nrrd")
    source = joined(request["segments"], folder, _fine(grid))
    drawn, transforms, rows = {}, {}, []
    for number, entry in enumerate(request["times"]):
        share = part_of(progress, number / len(request["times"]), (number + 1) / len(request["times"]))
        share(0.0, entry["label"])
        spect = exchange.read_image(folder / entry["file"])
        transform = exchange_results.read_transform(entry["transform"], folder)
        back = propagation.inverse_of(transform, spect)
        moved = propagation.propagate(source, _fine(spect), back)
        before, after = source, moved
        if request["redraw"]:
            before, after = moved, propagation.resegment(moved, spect, part_of(share, 0.5, 1.0))
        drawn[entry["label"]], transforms[entry["label"]] = after, transform
        notes = {record.name: " ".join(record.checks) for record in after.records}
        for row in propagation.changes(before, after):
            rows.append({"label": entry["label"], **row, "note": notes.get(row["name"], "")})
    found, names = _matched(request, source, drawn, transforms, grid)
    times = [
        {"label": label, "segments": _written(renamed(one, names[label]), folder, f"time{number}_")}
        for number, (label, one) in enumerate(drawn.items())
    ]
    return {"times": times, "changes": rows, "matching": found.table}


def match(request: dict[str, Any], folder: Path, progress) -> dict[str, Any]:
    """Find which lesion of the other time points is which of the reference."""
    from TheranosticDoseSlicer import exchange_results

    grid = exchange.read_image(folder / "grid.nrrd")
    source = joined(request["segments"], folder, _fine(grid))
    drawn, transforms = {}, {}
    for number, entry in enumerate(request["times"]):
        progress(number / len(request["times"]), entry["label"])
        spect = exchange.read_image(folder / entry["file"])
        drawn[entry["label"]] = joined(entry["segments"], folder, _fine(spect))
        transforms[entry["label"]] = exchange_results.read_transform(entry["transform"], folder)
    found, names = _matched(request, source, drawn, transforms, grid)
    return {"names": names, "matching": found.table}


def _matched(request: dict[str, Any], source, drawn, transforms, grid) -> tuple[Any, dict[str, dict]]:
    """Return which lesion is which, and the new names of each time point's lesions by its label."""
    from DoseSegmentationLib.lesion_matching import matched

    labels = [label for label in request["order"] if label in drawn or label == request["reference"]]
    found = matched(
        [drawn.get(label, source) for label in labels],
        [transforms.get(label) for label in labels],
        labels,
        labels.index(request["reference"]),
        grid,
    )
    return found, dict(zip(labels, found.names, strict=True))


def _fine(grid):
    """Return a grid over the same space whose voxels are small enough to keep an outline's shape."""
    import SimpleITK as sitk

    factors = [max(1, math.ceil(spacing / FINE_MM)) for spacing in grid.GetSpacing()]
    return sitk.Expand(sitk.Cast(grid, sitk.sitkFloat32), factors, sitk.sitkNearestNeighbor)


def joined(entries: list[dict[str, Any]], folder: Path, grid):
    """Return masks of files as one segmentation on a grid; the body is the ground, later ones lie on top."""
    import numpy as np
    import SimpleITK as sitk
    from DoseSegmentationLib.segmentation import Segmentation, origin_of, record_of
    from TheranosticDoseLib.geometry import array_of

    labels = np.zeros(grid.GetSize()[::-1], np.uint16)
    records: list[Any] = [None] * len(entries)
    for number in sorted(range(len(entries)), key=lambda i: entries[i]["kind"] != "body"):
        entry = entries[number]
        mask = exchange.read_image(folder / entry["file"])
        there = sitk.Resample(mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        labels[array_of(there) > 0] = number + 1
        record = record_of(entry["name"], number + 1, origin_of("drawn by hand", ""))
        changed = {"kind": entry["kind"], "code": entry["code"] or {}}
        records[number] = dataclasses.replace(record, name=entry["name"], **changed)
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(grid)
    return Segmentation(image, tuple(records))


def _images(folder: Path, *names: str) -> tuple[Any, Any]:
    """Return two images of the request, by default CT and SPECT; ``None`` for one that was not chosen."""
    paths = [folder / f"{name}.nrrd" for name in names or ("ct", "spect")]
    return tuple(exchange.read_image(path) if path.is_file() else None for path in paths)


def _written(found, folder: Path, prefix: str = "mask") -> list[dict[str, Any]]:
    """Write the structures of a segmentation, each in its box; return their records with file names."""
    import numpy as np
    import SimpleITK as sitk
    from scipy import ndimage
    from TheranosticDoseLib.geometry import array_of

    boxes = ndimage.find_objects(np.asarray(array_of(found.label_map)))
    entries = []
    for record in found.records:
        entry = record.to_dict()
        box = boxes[record.label - 1] if 0 < record.label <= len(boxes) else None
        if box is not None:
            part = found.label_map[tuple(slice(s.start, s.stop) for s in box[::-1])]
            mask = sitk.Cast(part == record.label, sitk.sitkUInt8)
            entry["file"] = exchange.write_image(mask, folder, f"{prefix}{record.label}")
        entries.append(entry)
    return entries


STEPS = {
    "segment": segment,
    "model": model,
    "backend": backend,
    "check": check,
    "propagate": propagate,
    "match": match,
}
