"""How long single passes of the event loop and single actions of the user take."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass

_open = 0
_excluded = [0.0, 0.0]
_listeners: list = []


@dataclass(frozen=True)
class Pass:
    """One uninterrupted stretch of work in the GUI thread."""

    what: str
    cpu_s: float
    wall_s: float


def _now() -> tuple[float, float]:
    return time.thread_time(), time.perf_counter()


@contextmanager
def measure(what: str):
    """Report the stretch inside to the listeners; a nested stretch is part of the outer one."""
    global _open
    if _open or not _listeners:
        yield
        return
    _open += 1
    _excluded[:] = [0.0, 0.0]
    start = _now()
    try:
        yield
    finally:
        _open -= 1
        end = _now()
        spent = [after - before - left for before, after, left in zip(start, end, _excluded, strict=True)]
        for listener in list(_listeners):
            listener(Pass(what, *spent))


@contextmanager
def exclude():
    """Do not count the stretch inside: work of the stand-in that the application does elsewhere."""
    start = _now()
    try:
        yield
    finally:
        for index, (before, after) in enumerate(zip(start, _now(), strict=True)):
            _excluded[index] += after - before


def listen(listener) -> None:
    """Call ``listener(pass)`` after each stretch."""
    _listeners.append(listener)


def ignore(listener) -> None:
    """Undo :func:`listen`."""
    _listeners.remove(listener)
