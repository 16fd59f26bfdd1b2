"""A folder of files that can be made again: written whole, checked on reading, never in the way.

``THERANOSTIC_DOSE_CACHE`` names another folder.  A file that was damaged is not used, and a
disk that is full or read-only only costs the time to make the content again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from pathlib import Path

from TheranosticDoseLib.errors import OutputError
from TheranosticDoseLib.files import write_whole

LOG = logging.getLogger(__name__)
VARIABLE = "THERANOSTIC_DOSE_CACHE"


def folder() -> Path:
    """Return the folder of the cache (it may not exist yet)."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen)
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", home / ".cache"))
    return base / "theranostic-dosimetry"


def read(name: str) -> bytes | None:
    """Return the content of an entry, or ``None`` where there is none or it was damaged."""
    try:
        content = (folder() / name).read_bytes()
    except OSError:
        return None
    checksum, _, payload = content.partition(b"\n")
    if checksum == hashlib.sha256(payload).hexdigest().encode():
        return payload
    LOG.warning("The cached file %s is damaged; it is made again.", name)
    forget(name)
    return None


def write(name: str, payload: bytes) -> bool:
    """Store an entry whole with its checksum; a failure is a warning and returns ``False``."""
    checksum = hashlib.sha256(payload).hexdigest().encode()
    try:
        write_whole(folder() / name, checksum + b"\n" + payload)
    except OutputError as error:
        LOG.warning("A kernel could not be cached and will be made again next time: %s", error)
        return False
    return True


def forget(name: str) -> None:
    """Remove an entry."""
    with contextlib.suppress(OSError):
        (folder() / name).unlink()
