"""The trail of a run: every step with its time and a hash of what it gave."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.geometry import array_of

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.workflow.results import Results


def audit_trail(results: Results) -> list[dict[str, Any]]:
    """Return one entry a product: ``step``, ``product``, ``by`` (method, model or who drew it), ``sha256``,
    ``finished`` (UTC).

    A replay that gives other numbers is led to the first step whose hash differs.
    """
    registered, finished = results.registered, results.finished
    entries = [("load", "files", "", _text_hash(sorted(results.study.inputs.items())))]
    for acquisition in results.study.acquisitions:
        names = ", ".join(correction.name for correction in acquisition.corrections)
        entries.append(("quantify", f"SPECT {acquisition.label}", names, image_hash(acquisition.spect)))
    pairs = zip(results.study.acquisitions, registered.spect, registered.quality, strict=True)
    for acquisition, spect, quality in pairs:
        entries.append(("register", f"SPECT {acquisition.label}", str(quality["method"]), image_hash(spect)))
    entries.append(("vois", "density", "", image_hash(results.anatomy.density)))
    for result in results.vois:
        entries.append(("vois", result.name, result.voi.origin, image_hash(result.voi.weights)))
    for result in results.vois:
        if result.fit is not None:
            values = [result.fit.tia_mbq_h, sorted(result.fit.parameters.items())]
            entries.append(("fit", result.name, result.fit.model, _text_hash(values)))
    entries.append(("fit", "TIA map", results.settings.tia_map, image_hash(results.tia)))
    for engine, dose in results.doses.items():
        by = f"{engine} {dose.record['version']}"
        entries.append(("dose", f"dose {engine}", by, image_hash(dose.dose)))
    if results.features:
        values = [(row["voi"], row["image"], row["feature"], row["value"]) for row in results.features]
        entries.append(("dosiomics", "features", "mirp", _text_hash(values)))
    keys = ("step", "product", "by", "sha256")
    return [{**dict(zip(keys, row, strict=True)), "finished": finished.get(row[0])} for row in entries]


def image_hash(image: sitk.Image) -> str:
    """Return the SHA-256 of an image: its grid and its voxels."""
    array = np.ascontiguousarray(array_of(image))
    grid = [image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection(), str(array.dtype)]
    digest = hashlib.sha256(repr(grid).encode("ascii"))
    digest.update(array.tobytes())
    return digest.hexdigest()


def _text_hash(values: Any) -> str:
    return hashlib.sha256(repr(values).encode("utf-8")).hexdigest()
