"""The backend of nnU-Net v2: a folder of a trained model (``dataset.json``, ``plans.json``, ``fold_*``).

The checkpoint is read with ``weights_only=True``; nnU-Net, which reads more freely, gets a copy made of that.
Isensee et al., Nat Methods 2021;18:203, doi:10.1038/s41592-020-01008-z
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DoseSegmentationLib.backend_classical import painted
from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.inputs import AIR_HU, Inputs
from DoseSegmentationLib.segmentation import Progress, Segmentation, report, wanted
from DoseSegmentationLib.weights import load_checkpoint, packages_missing, sha256

NAME = "nnunet"
STRUCTURES: tuple[str, ...] = ()
DESCRIPTION = (
    "A model trained with nnU-Net v2: nnunet:FOLDER of the trained model (with plans.json and fold_0)."
)


def available() -> tuple[bool, str]:
    """Return whether the backend can run, and why not."""
    missing = packages_missing(("torch", "nnunetv2"))
    if missing:
        return False, "the package nnunetv2 (with torch) is not installed: pip install nnunetv2."
    return True, ""


def segment(
    inputs: Inputs,
    structures: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    path: str = "",
    fold: str = "",
    checkpoint: str = "checkpoint_final.pth",
    device: str = "auto",
    mirroring: bool = False,
) -> Segmentation:
    """Segment with an nnU-Net.

    Parameters
    ----------
    inputs : Inputs
    structures, progress
        As ``backends.segment``; the names are those of the model's ``dataset.json``.
    path : str
        Folder with ``plans.json``.
    fold : str
        ``0`` to ``4`` or ``all``; the first that is there where it is empty.
    checkpoint : str
        File name in the fold's folder.
    device : str
        ``auto``, ``cpu``, ``cuda``.
    mirroring : bool
        nnU-Net's test-time mirroring; eight times the work.

    Raises
    ------
    SegmentationError
        If the folder is no model, wants input that is missing, or its checkpoint holds code.
    """
    if not path:
        raise SegmentationError(f"The backend {NAME} needs a model: {NAME}:FOLDER.")
    dataset, plans, file = read_folder(Path(path), fold, checkpoint)
    names = class_names(dataset, Path(path))
    chosen = wanted(structures, names.values(), NAME)
    report(progress, 0.05, "Loading the network")
    predictor = _predictor(dataset, plans, file, device, mirroring)
    report(progress, 0.15, "Segmenting (nnU-Net reports no progress)")
    image, spacing = _image(inputs, dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        labels = predictor.predict_single_npy_array(image, {"spacing": spacing}, None, None, False)
    report(progress, 0.95, "Structures")
    found = [(name, np.asarray(labels) == value) for value, name in names.items() if name in chosen]
    return painted(found, inputs.reference, NAME, f"{Path(path).name} {sha256(file)[:12]}")


def read_folder(folder: Path, fold: str, checkpoint: str) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """Return ``dataset.json``, ``plans.json`` and the checkpoint's path of a trained model."""
    contents = []
    for name in ("dataset.json", "plans.json"):
        try:
            contents.append(json.loads((folder / name).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise SegmentationError(
                f"{folder}: {name} is missing or damaged; this is no nnU-Net v2 model."
            ) from error
    folds = [f"fold_{fold}"] if fold else sorted(p.name for p in folder.glob("fold_*"))
    files = [folder / name / checkpoint for name in folds if (folder / name / checkpoint).is_file()]
    if not files:
        raise SegmentationError(f"{folder}: no fold has a {checkpoint}.")
    return contents[0], contents[1], files[0]


def class_names(dataset: dict[str, Any], folder: Path) -> dict[int, str]:
    """Return label to structure, without the background; regions (overlapping labels) are refused."""
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not all(isinstance(value, int) for value in labels.values()):
        raise SegmentationError(f"{folder}: only models whose labels do not overlap are supported.")
    return {value: name.replace("_", " ") for name, value in labels.items() if value > 0 and name != "ignore"}


def _image(inputs: Inputs, dataset: dict[str, Any]) -> tuple[np.ndarray, list[float]]:
    """Return ``(channel, z, y, x)`` and the spacing ``(z, y, x)``."""
    import SimpleITK as sitk

    channels = dataset.get("channel_names") or {"0": "CT"}
    arrays = []
    for number in sorted(channels, key=int):
        nuclear = any(word in str(channels[number]).lower() for word in ("spect", "pet", "nm"))
        image = inputs.spect if nuclear else inputs.ct
        if image is None:
            raise SegmentationError(f"The model needs a {'SPECT' if nuclear else 'CT'}; none was given.")
        outside = 0.0 if nuclear else AIR_HU
        on_grid = sitk.Resample(image, inputs.reference, sitk.Transform(), sitk.sitkLinear, outside)
        arrays.append(sitk.GetArrayFromImage(on_grid).astype(np.float32))
    return np.stack(arrays), [float(s) for s in inputs.reference.GetSpacing()[::-1]]


def _predictor(
    dataset: dict[str, Any], plans: dict[str, Any], file: Path, device: str, mirroring: bool
) -> Any:
    """Return nnU-Net's predictor with weights that were read as numbers only.

    nnU-Net itself reads checkpoints freely, so it is given a copy that was written here from numbers.
    """
    # nnU-Net warns on import about folders that are needed for training only.
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, "")
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from DoseSegmentationLib.inference import device_of

    content = load_checkpoint(file)
    needed = ("trainer_name", "init_args", "network_weights")
    missing = [key for key in needed if not isinstance(content, dict) or key not in content]
    if missing:
        raise SegmentationError(f"{file}: this is no checkpoint of nnU-Net v2 ({missing[0]} is missing).")
    kept = {key: content[key] for key in (*needed, "inference_allowed_mirroring_axes") if key in content}
    # nnU-Net prints; a library does not.
    with (
        contextlib.redirect_stdout(io.StringIO()),
        tempfile.TemporaryDirectory(prefix="nnunet-") as temporary,
    ):
        folder = Path(temporary)
        (folder / "fold_0").mkdir()
        torch.save(kept, folder / "fold_0" / "weights.pth")
        for name, table in (("dataset.json", dataset), ("plans.json", plans)):
            (folder / name).write_text(json.dumps(table), encoding="utf-8")
        predictor = nnUNetPredictor(
            use_mirroring=mirroring, device=torch.device(device_of(device)), allow_tqdm=False
        )
        try:
            predictor.initialize_from_trained_model_folder(temporary, (0,), "weights.pth")
        except (KeyError, RuntimeError, TypeError, AttributeError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise SegmentationError(f"{file}: nnU-Net cannot build this model ({reason}).") from error
    return predictor
