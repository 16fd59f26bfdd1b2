"""Progress of long work: one callback, ``progress(fraction, message) -> bool``.

``False`` from the callback cancels.  The library never touches a GUI.
"""

from __future__ import annotations

from collections.abc import Callable

from TheranosticDoseLib.errors import CancelledError

Progress = Callable[[float, str], bool]


def report(progress: Progress | None, fraction: float, message: str) -> None:
    """Tell the caller how far the work is.

    Parameters
    ----------
    progress : callable or None
        ``progress(fraction, message) -> bool``; ``None`` reports to nobody.
    fraction : float
        Done, 0 to 1.
    message : str
        What is being done.

    Raises
    ------
    CancelledError
        If the callback returned ``False``.
    """
    if progress is not None and progress(float(fraction), message) is False:
        raise CancelledError("Cancelled by the user.")


def part_of(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """Return a callback that maps its 0 to 1 into ``start`` to ``stop`` of ``progress``."""
    if progress is None:
        return None
    return lambda fraction, message: progress(start + (stop - start) * fraction, message)
