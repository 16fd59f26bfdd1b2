"""The backend of MONAI bundles: a local folder or zip with the standard metadata.

A bundle's configuration can run Python.  Here only classes of MONAI and PyTorch are made from it; what
else it asks for is refused unless the user says that the source is trusted.  Its weights are read as
numbers only.  Format: https://docs.monai.io/en/stable/mb_specification.html
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from DoseSegmentationLib.backend_classical import painted
from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.inputs import Inputs
from DoseSegmentationLib.segmentation import Progress, Segmentation, part_of, report, wanted
from DoseSegmentationLib.weights import fill, load_weights, packages_missing, sha256

if TYPE_CHECKING:
    import SimpleITK as sitk

NAME = "monai_bundle"
STRUCTURES: tuple[str, ...] = ()
DESCRIPTION = (
    "A MONAI bundle from a local folder or zip (monai_bundle:PATH), for example of the MONAI model zoo."
)
CONFIGS = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
# A reference to another part of the configuration, alone or with an index.
HARMLESS = re.compile(r"^\$?@[\w#:.\-]+(\[-?\d+\])?$")
OWN = ("monai.", "torch.nn.", "ignite.")
SKIPPED = (
    "LoadImage", "SaveImage", "EnsureType", "EnsureChannelFirst", "AddChannel", "Orientation", "ToDevice",
    "CopyItems", "DeleteItems",
)  # fmt: skip


def available() -> tuple[bool, str]:
    """Return whether the backend can run, and why not."""
    missing = packages_missing()
    return not missing, missing


def segment(
    inputs: Inputs,
    structures: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    path: str = "",
    device: str = "auto",
    trusted: bool = False,
) -> Segmentation:
    """Segment with a bundle.

    Parameters
    ----------
    inputs : Inputs
        A bundle of one channel gets the CT where its metadata name it (or nothing), the SPECT or PET
        where they name that; one of two channels gets both in the order of its metadata.
    structures, progress
        As ``backends.segment``; the names are those of the bundle's metadata.
    path : str
        Folder or zip.
    device : str
        ``auto``, ``cpu``, ``cuda``.
    trusted : bool
        Let the bundle's configuration run Python of its own.

    Raises
    ------
    SegmentationError
        If the bundle is not understood, wants to run code, or its weights do not fit.
    """
    if not path:
        raise SegmentationError(f"The backend {NAME} needs a bundle: {NAME}:FOLDER or {NAME}:FILE.zip.")
    with tempfile.TemporaryDirectory(prefix="bundle-") as temporary:
        root = opened(Path(path), Path(temporary))
        report(progress, 0.0, "Reading the bundle")
        metadata = read_metadata(root)
        names = class_names(metadata)
        chosen = wanted(structures, names.values(), NAME)
        parser, network, weights = _network(root, trusted)
        report(progress, 0.1, "Preparing the images")
        labels, retried = _run(parser, network, metadata, inputs, device, part_of(progress, 0.1, 0.95))
        version = f"{metadata.get('name') or root.name} {metadata.get('version', '?')} {sha256(weights)[:12]}"
    found = [(name, labels == channel) for channel, name in names.items() if name in chosen]
    return painted(found, _reference(inputs, metadata), NAME, version, notes=_about(metadata) + retried)


def opened(path: Path, temporary: Path) -> Path:
    """Return the folder of a bundle; a zip is unpacked into ``temporary``, never outside of it."""
    if path.is_dir():
        return _root_in(path)
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise SegmentationError(f"{path}: this is neither a folder nor a zip with a MONAI bundle.")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.startswith(("/", "\\")) or ".." in Path(name).parts for name in names):
            raise SegmentationError(f"{path}: the zip names files outside of itself; it was not unpacked.")
        archive.extractall(temporary)
    return _root_in(temporary)


def _root_in(folder: Path) -> Path:
    for candidate in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
        if (candidate / "configs" / "metadata.json").is_file():
            return candidate
    raise SegmentationError(f"{folder}: there is no configs/metadata.json; this is no MONAI bundle.")


def read_metadata(root: Path) -> dict[str, Any]:
    """Return the metadata of a bundle."""
    path = root / "configs" / "metadata.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["network_data_format"]["outputs"]["pred"]["channel_def"].items()
        found["network_data_format"]["inputs"]["image"]["num_channels"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SegmentationError(
            f"{path}: the metadata lack network_data_format with inputs.image and outputs.pred.channel_def."
        ) from error
    return found


def class_names(metadata: Mapping[str, Any]) -> dict[int, str]:
    """Return output channel to structure, without the background."""
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    return {int(k): str(v).replace("_", " ") for k, v in channels.items() if str(v).lower() != "background"}


def weights_of(root: Path) -> Path:
    """Return the file with the weights of an opened bundle."""
    names = ("model.safetensors", "model.pt", "model.pth")
    weights = next((root / "models" / n for n in names if (root / "models" / n).is_file()), None)
    if weights is None:
        raise SegmentationError(f"{root}: the bundle has no models/model.safetensors or models/model.pt.")
    return weights


def _about(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return licence and purpose, which the user is shown."""
    rights = metadata.get("copyright") or metadata.get("license") or "not stated"
    use = metadata.get("intended_use") or metadata.get("description") or "not stated"
    return (f"Bundle's rights: {rights}. Intended use: {use}",)


def _network(root: Path, trusted: bool) -> tuple[Any, Any, Path]:
    """Return the configuration's parser, the network with its weights, and the weights' path."""
    from monai.bundle import ConfigParser

    config = next((root / name for name in CONFIGS if (root / name).is_file()), None)
    if config is None:
        raise SegmentationError(f"{root}: the bundle has none of {', '.join(CONFIGS)}.")
    try:
        content = ConfigParser.load_config_file(str(config))
    except (ValueError, OSError) as error:
        raise SegmentationError(f"{config}: the configuration cannot be read ({error}).") from error
    key = next((k for k in ("network_def", "network", "net") if isinstance(content.get(k), dict)), None)
    if key is None:
        raise SegmentationError(f"{config}: the configuration defines no network_def.")
    content = {**content, "bundle_root": str(root)}
    if not trusted:
        content = _harmless(content, key, config)
    parser = ConfigParser(content)
    parser.parse()
    network = _made(parser, key, config)
    weights = weights_of(root)
    fill(network, load_weights(weights), weights)
    return parser, network.eval(), weights


def _harmless(content: dict[str, Any], key: str, config: Path) -> dict[str, Any]:
    """Return the parts that are used, after a look that none of them runs Python of its own."""
    kept = {"network_def": content[key], key: content[key]}
    for part in ("preprocessing", "inferer", "bundle_root"):
        if part in content:
            kept[part] = content[part]
    # What those parts refer to comes along, and is looked at as well.
    while True:
        names = {n for _, text in _texts(kept) for n in re.findall(r"@(\w+)", text)} - kept.keys()
        if not names & content.keys():
            break
        kept.update({name: content[name] for name in names if name in content})
    for place, text in _texts(kept):
        if place == "_target_":
            if "." in text and not text.startswith(OWN):
                raise SegmentationError(_refusal(config, text))
        elif text.startswith("$") and not HARMLESS.match(text):
            raise SegmentationError(_refusal(config, text))
    return kept


def _refusal(config: Path, text: str) -> str:
    return (
        f"{config}: the bundle wants to run Python of its own ({text[:80]!r}); it was not loaded. "
        "Set trusted=True if you trust its source."
    )


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _texts(entry, str(key))
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _texts(entry, place)
    elif isinstance(value, str):
        yield place, value


def _made(parser: Any, key: str, config: Path) -> Any:
    """Return an object of the configuration; whatever a foreign class raises becomes one sentence."""
    try:
        return parser.get_parsed_content(key)
    except Exception as error:  # noqa: BLE001
        reason = str(error.__cause__ or error).strip().splitlines()[0][:200]
        raise SegmentationError(
            f"{config}: {key} cannot be made from the configuration ({reason})."
        ) from error


def _reference(inputs: Inputs, metadata: Mapping[str, Any]) -> sitk.Image:
    return _images(inputs, metadata)[0]


def _images(inputs: Inputs, metadata: Mapping[str, Any]) -> list[sitk.Image]:
    """Return the images of the bundle's channels."""
    entry = metadata["network_data_format"]["inputs"]["image"]
    count = int(entry["num_channels"])
    channels = entry.get("channel_def") or {}
    said = [str(channels.get(str(i), entry.get("modality", ""))).lower() for i in range(count)]
    images = []
    for text in said:
        nuclear = any(word in text for word in ("spect", "pet", "nm", "suv"))
        image = inputs.spect if nuclear else inputs.ct
        if image is None:
            raise SegmentationError(f"The bundle needs a {'SPECT' if nuclear else 'CT'}; none was given.")
        images.append(image)
    if not images:
        raise SegmentationError("The bundle's metadata state no input channel.")
    return images


def _run(
    parser: Any,
    network: Any,
    metadata: Mapping[str, Any],
    inputs: Inputs,
    device: str,
    progress: Progress | None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels ``(z, y, x)`` on the grid of the first channel's image, and what was done for memory's sake."""
    import SimpleITK as sitk
    import torch
    from monai.transforms import Compose, Invertd

    from DoseSegmentationLib.inference import device_of, out_of_memory

    preprocessing, order = _preprocessing(parser)
    images = _images(inputs, metadata)
    # Turned here: MONAI turns images with a package of its own that need not be installed.
    turned = sitk.DICOMOrient(images[0], order) if order else images[0]
    data = preprocessing({"image": _meta_tensor([turned, *images[1:]])})
    inferer, device = _inferer(parser, metadata), device_of(device)
    count, notes = [0], ()

    def tile(patch: Any, *more: Any, **named: Any) -> Any:
        count[0] += 1
        report(progress, 1.0 - 1.0 / (1.0 + 0.1 * count[0]), f"Tile {count[0]}")
        return network(patch)

    with torch.inference_mode():
        while True:
            try:
                network.to(device)
                logits = inferer(data["image"][None].to(device), tile)
                break
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or device == "cpu":
                    raise SegmentationError(
                        f"The bundle's network failed: {str(error).splitlines()[0]}"
                    ) from error
                notes = (f"Memory ran out on {device}: repeated on the CPU.",)
                device = "cpu"
        logits = logits[0] if isinstance(logits, (tuple, list)) else logits
        labels = _labels(logits[0], metadata)
    data["pred"] = _like(labels, data["image"])
    undo = Invertd("pred", transform=preprocessing, orig_keys="image", nearest_interp=True, to_tensor=True)
    inverted = Compose([undo])(data)["pred"]
    label = sitk.GetImageFromArray(np.asarray(inverted)[0].transpose(2, 1, 0).round().astype(np.uint8))
    label.CopyInformation(turned)
    back = sitk.Resample(label, images[0], sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(back), notes


def _like(labels: Any, image: Any) -> Any:
    from monai.data import MetaTensor

    return MetaTensor(
        labels[None].float().cpu(), meta=image.meta, applied_operations=image.applied_operations
    )


def _labels(logits: Any, metadata: Mapping[str, Any]) -> Any:
    """Return the label of each voxel; overlapping classes (a sigmoid) take the strongest above one half."""
    import torch

    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    has_background = any(str(v).lower() == "background" for v in channels.values())
    if has_background and logits.shape[0] > 1:
        return logits.argmax(0)
    # One channel beside a background means the foreground alone.
    numbers = sorted(int(k) for k, v in channels.items() if str(v).lower() != "background")
    strength, index = logits.max(0)
    return (strength > 0) * torch.as_tensor(numbers, device=index.device)[index]


def _meta_tensor(images: Sequence[sitk.Image]) -> Any:
    """Return the images as MONAI has them: ``(channel, x, y, z)`` with an affine in RAS."""
    import SimpleITK as sitk
    import torch
    from monai.data import MetaTensor

    reference = images[0]
    arrays = [
        sitk.GetArrayFromImage(sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, 0.0))
        if number
        else sitk.GetArrayFromImage(image)
        for number, image in enumerate(images)
    ]
    affine = np.eye(4)
    affine[:3, :3] = np.array(reference.GetDirection()).reshape(3, 3) * np.array(reference.GetSpacing())
    affine[:3, 3] = reference.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    values = np.stack(arrays).transpose(0, 3, 2, 1)
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(values)), affine=torch.from_numpy(affine))


def _preprocessing(parser: Any) -> tuple[Any, str]:
    """Return the bundle's preprocessing and the orientation it wants, ``RAS`` for example.

    Left out: the reading of files, which was done, and the turning, which is done by SimpleITK.
    """
    from monai.transforms import Compose

    if not parser.get("preprocessing"):
        return Compose([]), ""
    made = _made(parser, "preprocessing", Path("preprocessing"))
    steps, order = list(made.transforms) if hasattr(made, "transforms") else [made], ""
    for step in steps:
        if type(step).__name__.startswith("Orientation"):
            inner = getattr(step, "ornt_transform", step)
            order = (
                "RAS" if getattr(inner, "as_closest_canonical", False) else "".join(inner.axcodes or "RAS")
            )
    return Compose([s for s in steps if not type(s).__name__.startswith(SKIPPED)]), order


def _inferer(parser: Any, metadata: Mapping[str, Any]) -> Any:
    from monai.inferers import SlidingWindowInferer

    if parser.get("inferer"):
        return _made(parser, "inferer", Path("inferer"))
    shape = metadata["network_data_format"]["inputs"]["image"].get("spatial_shape") or [96, 96, 96]
    tile = [int(n) if str(n).isdigit() else 96 for n in shape]
    return SlidingWindowInferer(roi_size=tile, sw_batch_size=1, overlap=0.25, mode="gaussian", device="cpu")
