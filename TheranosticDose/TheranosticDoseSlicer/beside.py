"""Numbers computed in another thread while the event loop goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any, TypeVar

Result = TypeVar("Result")
_STEP_S = 0.02


def beside(
    function: Callable[[], Result], name: str, *, finish: bool = False
) -> Generator[str, None, Result]:
    """Run a function in a thread and yield while it runs; the value of ``yield from`` is its result.

    Parameters
    ----------
    function : callable
        Works on arrays and images only: MRML, VTK and Qt belong to the main thread.
    name : str
        What is yielded.
    finish : bool
        Whether closing the generator waits for the function: it uses files that go then.

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
    try:
        while thread.is_alive():
            # Inside Slicer other threads run only while this one waits.
            thread.join(_STEP_S)
            yield name
    finally:
        if finish:
            thread.join()
    if errors:
        raise errors[0]
    return results[0]


def each_beside(steps: Generator[str, None, Result]) -> Generator[str, None, Result]:
    """Run the steps of a generator that reads or writes files, each in another thread; return what it returns."""

    def advance() -> tuple[bool, Any]:
        try:
            return True, next(steps)
        except StopIteration as end:
            return False, end.value

    more = True
    while more:
        more, value = yield from beside(advance, "files", finish=True)
    return value


def last(steps: Generator[Any, None, Result]) -> Result:
    """Run a generator to its end at once; return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
