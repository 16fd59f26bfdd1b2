"""Backends of the project's own networks: organs on CT, lesions on SPECT/CT, and any folder of that kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.inputs import AIR_HU, Inputs, body_of, region_of, resampled, working_grid
from DoseSegmentationLib.lesion_split import split_touching
from DoseSegmentationLib.networks import (
    CARD,
    TISSUE_HU,
    NetworkDescription,
    load,
    normalized_channels,
    read_description,
)
from DoseSegmentationLib.quality import statistics_of, unusual
from DoseSegmentationLib.resources import resource_path
from DoseSegmentationLib.segmentation import (
    Progress,
    Segmentation,
    StructureRecord,
    origin_of,
    part_of,
    record_of,
    report,
    wanted,
)
from DoseSegmentationLib.weights import packages_missing

if TYPE_CHECKING:
    import SimpleITK as sitk

    from DoseSegmentationLib.inference import Prediction


class NetworkBackend:
    """A backend around a network's folder.

    Parameters
    ----------
    name, description : str
    folder : str
        Below ``Resources/Models``; empty for the backend whose folder is a setting.
    """

    def __init__(self, name: str, description: str, folder: str = "") -> None:
        self.NAME, self.DESCRIPTION, self._folder = name, description, folder

    @property
    def STRUCTURES(self) -> tuple[str, ...]:  # noqa: N802 - the protocol's name
        """The structures of the shipped network."""
        folder = self._shipped()
        return () if folder is None else tuple(read_description(folder).labels.values())

    def _shipped(self) -> Path | None:
        try:
            return resource_path("Models", self._folder) if self._folder else None
        except FileNotFoundError:
            return None

    def available(self) -> tuple[bool, str]:
        """Return whether the backend can run, and why not."""
        missing = packages_missing()
        if missing:
            return False, missing
        if self._folder and self._shipped() is None:
            return False, (
                f"its weights (Resources/Models/{self._folder}) are not part of this installation; install it again, "
                "train them with `python -m DoseSegmentationLib.training`, or install TotalSegmentator."
            )
        return True, ""

    def card(self) -> str:
        """Return the model card, empty without a shipped network."""
        folder = self._shipped()
        path = None if folder is None else folder / CARD
        return path.read_text(encoding="utf-8") if path is not None and path.is_file() else ""

    def segment(
        self,
        inputs: Inputs,
        structures: Sequence[str] | None = None,
        progress: Progress | None = None,
        *,
        path: str = "",
        device: str = "auto",
        ensemble: bool = True,
        prior: sitk.Image | None = None,
        prior_weight: float = 2.0,
        smallest_ml: float = 0.5,
    ) -> Segmentation:
        """Segment with a network.

        Parameters
        ----------
        inputs : Inputs
        structures, progress
            As ``backends.segment``.
        path : str
            Folder of the network, where none is shipped under this name.
        device : str
            ``auto``, ``cpu``, ``cuda``.
        ensemble : bool
            Add the left-right mirror image; without it there is no confidence.
        prior : SimpleITK.Image, optional
            Probability of a lesion, 0 to 1, from a registered PET or an earlier time point, on any
            grid; 0.5 says nothing.
        prior_weight : float
            What a probability of 1 adds to the logarithm of the network's (0 subtracts it).
        smallest_ml : float
            Smaller lesions are dropped.

        Raises
        ------
        SegmentationError
            As ``networks.load`` and ``inference.predict``, or for a missing image.
        """
        from DoseSegmentationLib.inference import predict

        folder = Path(path) if path else self._shipped()
        if folder is None:
            raise SegmentationError(f"The backend {self.NAME} needs a network's folder: {self.NAME}:FOLDER.")
        report(progress, 0.0, "Loading the network")
        description, network = load(folder)
        names = wanted(structures, description.labels.values(), self.NAME)
        report(progress, 0.05, "Preparing the images")
        grid, channels, notes = network_input(inputs, description)
        found = predict(
            network, channels, description.patch,
            swapped=description.swapped() if ensemble and description.mirrored else None,
            offset=_offset(prior, prior_weight, description, grid),
            device=device, factor=description.factor, progress=part_of(progress, 0.1, 0.9),
        )  # fmt: skip
        report(progress, 0.92, "Structures")
        uptake = channels[description.channels.index("spect")] if "spect" in description.channels else None
        result = segments_of(
            found, description, grid, inputs.reference, names, self.NAME, smallest_ml, uptake
        )
        return dataclasses.replace(result, notes=notes + found.notes)


def network_input(
    inputs: Inputs, description: NetworkDescription
) -> tuple[sitk.Image, np.ndarray, tuple[str, ...]]:
    """Return the grid, the channels ``(channel, z, y, x)`` and notes of what is unusual."""
    import SimpleITK as sitk

    body, note = body_of(inputs)
    grid = working_grid(inputs.reference, description.spacing_mm, body)
    arrays = {
        "ct": None if inputs.ct is None else sitk.GetArrayFromImage(resampled(inputs.ct, grid, AIR_HU)),
        "spect": None if inputs.spect is None else sitk.GetArrayFromImage(resampled(inputs.spect, grid, 0.0)),
    }
    inside = None if body is None else sitk.GetArrayFromImage(resampled(body, grid, 0, nearest=True)) > 0
    if inside is not None and arrays["ct"] is not None:
        # As in the training: the mean of the SPECT and the numbers of the input are those without the lungs.
        inside &= arrays["ct"] > TISSUE_HU
    notes, statistics = (note,) if note else (), description.statistics
    if arrays["ct"] is None and description.ct_optional and arrays["spect"] is not None:
        arrays["ct"] = np.full(arrays["spect"].shape, -1000.0, np.float32)
        statistics = {
            key: value
            for key, value in statistics.items()
            if description.channels[int(key.split()[1])] == "spect"
        }
        notes += ("The network worked on the SPECT alone, for which it was trained less than for SPECT/CT.",)
    channels = normalized_channels(description.channels, arrays["ct"], arrays["spect"], inside)
    return grid, channels, notes + unusual(statistics_of(channels, inside), statistics)


def _offset(
    prior: sitk.Image | None, weight: float, description: NetworkDescription, grid: sitk.Image
) -> np.ndarray | None:
    """Return what the network's own log-odds and the prior add to the logarithm of each class."""
    import SimpleITK as sitk

    if prior is None and not description.log_odds:
        return None
    offset = np.zeros((description.classes, *grid.GetSize()[::-1]), np.float32)
    for channel, added in description.log_odds.items():
        offset[int(channel)] = added
    if prior is None:
        return offset
    values = sitk.GetArrayFromImage(resampled(sitk.Cast(prior, sitk.sitkFloat32), grid, 0.5))
    if not np.isfinite(values).all() or values.min() < -0.01 or values.max() > 1.01:
        raise SegmentationError("The prior is a probability: its values must lie between 0 and 1.")
    for channel, name in description.labels.items():
        if name == "Lesion":
            offset[int(channel)] += weight * (2.0 * np.clip(values, 0.0, 1.0) - 1.0)
    return offset


def segments_of(
    found: Prediction,
    description: NetworkDescription,
    grid: sitk.Image,
    reference: sitk.Image,
    names: Sequence[str],
    backend: str,
    smallest_ml: float,
    uptake: np.ndarray | None = None,
) -> Segmentation:
    """Return the structures of a prediction on the grid of the reference image.

    An organ is the largest component of its class (bone and body: all components); each component of
    the class Lesion is a lesion of its own, or several where ``uptake`` (the network's SPECT channel)
    has a valley in it.
    """
    from scipy import ndimage

    origin = origin_of(backend, f"{description.name} {description.version} {description.weights_sha256[:12]}")
    voxel_ml = float(np.prod(grid.GetSpacing())) / 1000.0
    labels = np.zeros(found.labels.shape, np.uint16)
    records: list[StructureRecord] = []
    channels: list[int] = []
    for channel, name in sorted(description.labels.items(), key=lambda item: int(item[0])):
        if name not in names:
            continue
        mask = found.labels == int(channel)
        if name == "Lesion" and uptake is not None:
            # The channel is compressed by a logarithm; a valley is one of the uptake itself.
            parts = split_touching(mask, np.expm1(2.0 * uptake))
            number = int(parts.max())
        else:
            parts, number = ndimage.label(mask, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=number + 1)[1:]
        order = np.argsort(-sizes) + 1
        if name == "Lesion":
            pieces = [parts == p for p in order if sizes[p - 1] * voxel_ml >= smallest_ml]
        elif name in ("Body", "Bone", "Lungs") or number == 0:
            pieces = [parts > 0]
        else:
            pieces = [parts == order[0]]
        for count, piece in enumerate(pieces, start=1):
            shown = f"Lesion {count}" if name == "Lesion" else name
            record = record_of(shown, len(records) + 1, origin)
            labels[piece] = record.label
            channels.append(int(channel))
            records.append(dataclasses.replace(record, confidence=_agreement(piece, found, int(channel))))
    return Segmentation(labels_on(labels, channels, found.probability, grid, reference), tuple(records))


def _agreement(piece: np.ndarray, found: Prediction, channel: int) -> float | None:
    """Return the mean Dice of the members with a piece, near it; ``None`` without an ensemble."""
    from scipy import ndimage

    if len(found.members) < 2 or not piece.any():
        return None
    box = ndimage.find_objects(piece.astype(np.uint8))[0]
    box = tuple(slice(max(0, s.start - 4), s.stop + 4) for s in box)
    inside = piece[box]
    near = ndimage.binary_dilation(inside, iterations=3)
    scores = []
    for member in found.members:
        mask = (member[box] == channel) & near
        scores.append(2.0 * float((mask & inside).sum()) / max(1.0, float(mask.sum() + inside.sum())))
    return float(np.mean(scores))


def labels_on(
    labels: np.ndarray,
    channels: Sequence[int],
    probability: np.ndarray,
    grid: sitk.Image,
    reference: sitk.Image,
) -> sitk.Image:
    """Return the pieces of a prediction on the grid of an image, finer than the voxels of the prediction.

    Each voxel takes the piece whose lead over the other classes, linearly interpolated, is largest there;
    piece by piece in its box, so that a large CT needs little memory.

    Parameters
    ----------
    labels : ndarray of int, shape (z, y, x)
        Pieces, numbered from 1, on ``grid``.
    channels : sequence of int
        The class of each piece.
    probability : ndarray, shape (class, z, y, x)
    grid, reference : SimpleITK.Image
    """
    import SimpleITK as sitk
    from scipy import ndimage

    size = reference.GetSize()
    kind = np.uint16 if labels.max(initial=0) > 255 else np.uint8
    out, best = np.zeros(size[::-1], kind), np.zeros(size[::-1], np.float16)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        ranges = region_of(box, grid, reference)
        wider = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
        lead = sitk.GetImageFromArray(
            _lead(labels[wider] == label, probability[(slice(None), *wider)], channels[label - 1])
        )
        lead.SetSpacing(grid.GetSpacing())
        lead.SetOrigin(grid.TransformIndexToPhysicalPoint([s.start for s in wider[::-1]]))
        # Continued beyond the last voxel centres, or the outermost slices of the image would stay empty.
        target, identity = reference[ranges], sitk.Transform()
        found = sitk.Resample(lead, target, identity, sitk.sitkLinear, -1.0, lead.GetPixelID(), True)
        share = sitk.GetArrayFromImage(found)
        region = ranges[::-1]
        wins = share > best[region]
        out[region][wins], best[region][wins] = label, share[wins]
    image = sitk.GetImageFromArray(out)
    image.CopyInformation(reference)
    return image


def _lead(piece: np.ndarray, probability: np.ndarray, channel: int) -> np.ndarray:
    """Return by how much the class of a piece is ahead of the others in and beside it; -1 elsewhere."""
    from scipy import ndimage

    mine = probability[channel].astype(np.float32)
    lead = mine - np.delete(probability, channel, 0).max(0)
    lead[piece] = np.maximum(lead[piece], 1e-3)  # a tie that the piece has won
    # Another piece of the same class, or the rest of the image, is not this one.
    beside = ndimage.binary_dilation(piece, np.ones((3, 3, 3)))
    lead[~piece & ((lead > 0) | ~beside)] = -1.0
    return lead


ORGANS = NetworkBackend(
    "organs_ct",
    "Shipped network: body, lungs, bone, liver, spleen, kidneys, bladder on low-dose CT. A start for correction "
    "without the internet; TotalSegmentator is recommended where it can be installed.",
    "organs_ct",
)
LESIONS = NetworkBackend(
    "lesions_spect_ct",
    "Shipped network: lesions on 177Lu SPECT/CT, each as a segment of its own.",
    "lesions_spect_ct",
)
FOLDER = NetworkBackend("network", "A network trained with this program's own command: network:FOLDER.")
