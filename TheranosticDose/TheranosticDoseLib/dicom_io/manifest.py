"""Studies of NRRD or NIfTI images that a manifest lists."""

from __future__ import annotations

from pathlib import Path

NAME = "manifest.json"


def find_manifest(path: Path) -> Path | None:
    """Return the manifest that ``path`` is or holds, ``None`` where there is none."""
    if path.is_file() and path.suffix.lower() == ".json":
        return path
    return path / NAME if path.is_dir() and (path / NAME).is_file() else None
