"""Independent parts of a topic in processes of their own, one a processor."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

from TheranosticDoseLib.progress import Progress, report

MOST_PROCESSES = 4
"""A virtual patient takes about 3 GB of memory."""


def in_processes(
    function: Callable[[Any], Any], items: Sequence[Any], progress: Progress | None, message: str
) -> list[Any]:
    """Return ``function`` of each item, in the order of the items.

    Parameters
    ----------
    function : callable
        At the top of a module; items and results can be pickled.
    items : sequence
    progress : callable, optional
        ``False`` leaves out what has not begun.
    message : str
    """
    workers = min(MOST_PROCESSES, os.cpu_count() or 1, len(items))
    results: list[Any] = [None] * len(items)
    if workers < 2:
        for number, item in enumerate(items):
            report(progress, number / len(items), message)
            results[number] = function(item)
        return results
    # A new interpreter each: threads of this one must not be copied.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(function, item): number for number, item in enumerate(items)}
        try:
            for done, future in enumerate(as_completed(waiting)):
                results[waiting[future]] = future.result()
                report(progress, (done + 1) / len(items), message)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def in_new_process(function: Callable[[Any], Any], item: Any) -> Any:
    """Return ``function(item)`` from a new interpreter, whose memory and imports are of this work alone."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, item).result()
