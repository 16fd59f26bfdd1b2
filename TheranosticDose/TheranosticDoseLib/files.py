"""Files appear whole or not at all, and what was there before is not lost."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from TheranosticDoseLib.errors import OutputError

EARLIER = "earlier"


@contextlib.contextmanager
def staged(out: Path, keep_earlier: bool = True) -> Iterator[Path]:
    """Give a folder to write to; its entries appear in ``out`` together, when all went well.

    Entries of the same name that ``out`` already holds move to ``out/earlier/<time>``.
    An exception inside leaves ``out`` as it was.

    Parameters
    ----------
    out : Path
        Folder for the results; made where it is missing.
    keep_earlier : bool
        ``False`` for what a command can make again: entries of the same name are replaced.

    Raises
    ------
    OutputError
        If ``out`` is a file, cannot be made or cannot be written.
    """
    out = Path(out)
    try:
        existed = out.is_dir()
        out.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".partial-", dir=out))
    except OSError as error:
        raise OutputError(f"Cannot write to {out}: {error.strerror or error}.") from error
    try:
        yield staging
        _publish(staging, out, keep_earlier)
    except OSError as error:
        raise OutputError(
            f"Writing to {out} failed, nothing was changed: {error.strerror or error}."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not existed:
            with contextlib.suppress(OSError):
                out.rmdir()  # only where nothing was written


def require_writable(out: Path) -> None:
    """Raise :class:`OutputError` where ``out`` cannot be written to; said before the work, not after it."""
    with staged(out):
        pass


def _publish(staging: Path, out: Path, keep_earlier: bool) -> None:
    """Move the entries of ``staging`` to ``out``; earlier ones of the same name are kept aside."""
    entries = sorted(staging.iterdir())
    replaced = [entry for entry in entries if (out / entry.name).exists()]
    aside = out / EARLIER / dt.datetime.now().strftime("%Y-%m-%d_%H%M%S_%f")
    if replaced:
        aside.mkdir(parents=True)
    for entry in replaced:
        os.replace(out / entry.name, aside / entry.name)
    for entry in entries:
        os.replace(entry, out / entry.name)
    if replaced and not keep_earlier:
        shutil.rmtree(aside)
        with contextlib.suppress(OSError):
            aside.parent.rmdir()  # only where no other run is kept there


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name beside it and rename it.

    Raises
    ------
    OutputError
        If it cannot be written; the file that was there stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error


def write_image(image: Any, path: Path) -> None:
    """Write a SimpleITK image whole or not at all; the format follows the name (NIfTI, NRRD, MetaImage)."""
    import SimpleITK as sitk

    path = Path(path)
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(temporary), useCompression=True)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        reason = str(error).strip().splitlines()[-1]
        raise OutputError(f"Cannot write the image {path}: {reason}") from error


def to_json(values: Any) -> str:
    """Return JSON text; NaN and infinity become ``null``, numpy numbers plain ones."""
    return json.dumps(plain(values), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    """Return a value with nothing in it but JSON's own types."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    if value is None or isinstance(value, str):
        return value
    return str(value)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
