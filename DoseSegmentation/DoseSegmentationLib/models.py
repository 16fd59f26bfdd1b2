"""What is known of a backend's model before it runs: structures, licence, checksum, card."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.resources import resource_path
from DoseSegmentationLib.weights import sha256

SHIPPED = ("organs_ct", "lesions_spect_ct")
READ_FROM_PATH = ("network", "monai_bundle", "nnunet")
"""Backends whose model the user chooses."""
CARDS = ("card.md", "README.md", "docs/README.md", "MODEL_CARD.md")


@dataclasses.dataclass(frozen=True)
class Model:
    """A backend's model.

    Attributes
    ----------
    structures : tuple of str
        Names it can be asked for.
    licence : str
        As its maker states it; empty where nothing is stated.
    sha256 : str
        Of the weights, hexadecimal; empty where they are not a file of this computer yet.
    card : str
        Text (Markdown) on data, intended use and limits; empty where there is none.
    """

    structures: tuple[str, ...]
    licence: str = ""
    sha256: str = ""
    card: str = ""


def model_of(backend: str, path: str | Path = "") -> Model:
    """Return what a backend's model says of itself; nothing of it is run.

    Parameters
    ----------
    backend : str
        A name of ``backends.MODULES``.
    path : path
        Folder or zip, for :data:`READ_FROM_PATH`.

    Raises
    ------
    SegmentationError
        If there is no such model, or it is not understood.
    """
    from DoseSegmentationLib.backends import backends

    listed = backends()
    if backend not in listed:
        raise SegmentationError(f"There is no segmentation backend {backend!r}; known: {', '.join(listed)}.")
    if backend in READ_FROM_PATH:
        if not str(path).strip(". "):
            raise SegmentationError(f"The backend {backend} needs the folder of a model.")
        reader = {"network": _network, "monai_bundle": _bundle, "nnunet": _nnunet}[backend]
        return reader(folder_of(path))
    if backend in SHIPPED and listed[backend]["structures"]:
        return _network(resource_path("Models", backend))
    licence = "" if backend in SHIPPED else "Apache-2.0"
    return Model(listed[backend]["structures"], licence, "", listed[backend]["card"])


def folder_of(path: str | Path) -> Path:
    """Return the folder of a model of which one of its describing files was chosen; else the path."""
    path = Path(path)
    if path.name == "metadata.json" and path.parent.name == "configs":
        return path.parent.parent
    return path.parent if path.name in ("network.json", "plans.json", "dataset.json") else path


def _network(folder: Path) -> Model:
    from DoseSegmentationLib.networks import WEIGHTS, read_description

    description = read_description(folder)
    if not (folder / WEIGHTS).is_file():
        raise SegmentationError(f"{folder / WEIGHTS}: the weights are missing.")
    structures = tuple(description.labels.values())
    return Model(structures, description.licence, sha256(folder / WEIGHTS), _card(folder))


def _bundle(path: Path) -> Model:
    from DoseSegmentationLib.backend_bundle import class_names, opened, read_metadata, weights_of

    with tempfile.TemporaryDirectory(prefix="bundle-") as temporary:
        root = opened(path, Path(temporary))
        metadata = read_metadata(root)
        names = tuple(class_names(metadata).values())
        licence = str(metadata.get("license") or metadata.get("copyright") or "")
        for file in ("LICENSE", "docs/LICENSE"):
            if not licence and (root / file).is_file():
                licence = (root / file).read_text(encoding="utf-8", errors="replace").strip().splitlines()[0]
        use = metadata.get("intended_use") or metadata.get("description") or ""
        return Model(names, licence, sha256(weights_of(root)), _card(root) or str(use))


def _nnunet(folder: Path) -> Model:
    from DoseSegmentationLib.backend_nnunet import class_names, read_folder

    dataset, _plans, checkpoint = read_folder(folder, "", "checkpoint_final.pth")
    licence = str(dataset.get("licence") or dataset.get("license") or "")
    about = str(dataset.get("description") or "")
    names = tuple(class_names(dataset, folder).values())
    return Model(names, licence, sha256(checkpoint), _card(folder) or about)


def _card(folder: Path) -> str:
    found = next((folder / name for name in CARDS if (folder / name).is_file()), None)
    return "" if found is None else found.read_text(encoding="utf-8", errors="replace")
