"""The seal of a result document: a hash of its content that every reader checks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from TheranosticDoseLib.errors import InputError

FIELD = "integrity"
METHOD = "sha256 of this document without this entry, as JSON with sorted keys, no spaces, UTF-8"


def content_hash(document: dict[str, Any]) -> str:
    """Return the SHA-256 of a document of JSON's own types, its seal left out."""
    content = {key: value for key, value in document.items() if key != FIELD}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sealed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with its seal as last entry.

    The seal shows that the file is the one that was written; it is no signature, who wants to
    deceive can seal again.
    """
    content = {key: value for key, value in document.items() if key != FIELD}
    return {**content, FIELD: {"sha256": content_hash(content), "method": METHOD}}


def read_results(path: str | Path) -> dict[str, Any]:
    """Return ``results.json`` after checking its schema version, its seal and its schema.

    Parameters
    ----------
    path : str or Path
        The file, or the result folder that holds it.

    Raises
    ------
    InputError
        Where it cannot be read, is no result, is of another schema version or was changed.
    """
    from TheranosticDoseLib.report.document import SCHEMA, validate_document

    path = Path(path)
    path = path / "results.json" if path.is_dir() else path
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a whole results.json: {error}.") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, str) or not schema.startswith(SCHEMA.rpartition("/")[0]):
        raise InputError(f"{path} is no result of this program; a results.json of 'run' is needed.")
    if schema != SCHEMA:
        msg = f"{path} is of schema {schema}, this program reads {SCHEMA}; compute it again with 'run'."
        raise InputError(msg)
    _check_seal(document, path)
    validate_document(document)
    return document


def _check_seal(document: dict[str, Any], path: Path) -> None:
    seal = document.get(FIELD)
    if not isinstance(seal, dict) or "sha256" not in seal:
        msg = f"{path} has no seal (integrity.sha256): its numbers cannot be trusted; compute it again with 'run'."
        raise InputError(msg)
    found = content_hash(document)
    if seal["sha256"] != found:
        msg = (
            f"{path} was changed after it was written: its content has SHA-256 {found[:12]}..., its seal says "
            f"{str(seal['sha256'])[:12]}.... Take the original file, or compute it again with 'run'."
        )
        raise InputError(msg)
