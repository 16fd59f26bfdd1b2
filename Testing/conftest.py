"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
REFERENCE_DATA = Path(os.environ.get("THERANOSTIC_REFERENCE_DATA", CHECKOUT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the source tree."""
    return CHECKOUT


@pytest.fixture(scope="session")
def reference_data():
    """Return ``folder(name)``: a folder of the reference data; the test is skipped where it is absent."""

    def folder(name: str) -> Path:
        path = REFERENCE_DATA / name
        if not path.is_dir():
            pytest.skip(f"reference data {name!r} is not beside the checkout")
        return path

    return folder
