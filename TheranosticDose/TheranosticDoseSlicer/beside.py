"""Numbers computed in another thread while the event loop goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any, TypeVar

Result = TypeVar("Result")
_STEP_S = 0.02


def beside(function: Callable[[], Result], name: str) -> Generator[str, None, Result]:
    """Run a function in a thread and yield while it runs; the value of ``yield from`` is its result.

    Parameters
    ----------
    function : callable
        Works on arrays and images only: MRML, VTK and Qt belong to the main thread.
    name : str
        What is yielded.

    Raises
    ------
    Exception
        What the function raised.
    """
    results: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 raised again in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        # Inside Slicer other threads run only while this one waits.
        thread.join(_STEP_S)
        yield name
    if errors:
        raise errors[0]
    return results[0]
