"""What the shell shows: progress bars or JSON lines, tables, one-line errors.

rich draws bars and tables where it is installed; plain text does where it is not.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from TheranosticDoseLib.progress import Progress


@contextlib.contextmanager
def progress_of(style: str) -> Iterator[Progress]:
    """Give a progress callback: ``bar`` (a bar on stderr), ``json`` (a line each on stdout) or ``none``."""
    if style == "json":
        yield _json_line
    elif style == "none":
        yield lambda fraction, message: True
    else:
        try:
            import rich  # noqa: F401
        except ImportError:
            yield _plain_line
            return
        with _bar() as callback:
            yield callback


def _json_line(fraction: float, message: str) -> bool:
    sys.stdout.write(json.dumps({"fraction": round(fraction, 4), "message": message}) + "\n")
    sys.stdout.flush()
    return True


def _plain_line(fraction: float, message: str) -> bool:
    # On stdout, so that stderr holds the one line of an error and nothing else.
    say(f"{100 * fraction:3.0f} %  {message}")
    return True


@contextlib.contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Steps()
        return
    columns = (BarColumn(bar_width=28), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    text = TextColumn("{task.description}")
    with Progress(*columns, text, console=console, transient=True) as bar:
        task = bar.add_task("Starting", total=1.0)

        def callback(fraction: float, message: str) -> bool:
            bar.update(task, completed=fraction, description=message)
            return True

        yield callback


class _Steps:
    """In a log file a bar is noise: one line each time the work is another tenth further."""

    def __init__(self) -> None:
        self.shown = -1

    def __call__(self, fraction: float, message: str) -> bool:
        tenth = int(10 * fraction)
        if tenth > self.shown:
            self.shown = tenth
            _plain_line(fraction, message)
        return True


def say(text: str = "") -> None:
    """Write a line to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table to stdout; the first column is text, the others are numbers."""
    cells = [[str(cell) for cell in row] for row in rows]
    try:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table
    except ImportError:
        _plain_table(title, header, cells)
        return
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column, name in enumerate(header):
        table.add_column(escape(name), justify="left" if column == 0 else "right", overflow="fold")
    for row in cells:
        table.add_row(*(escape(cell) for cell in row))
    # A pipe has no width: there the table is as wide as it needs to be.
    console = Console() if sys.stdout.isatty() else Console(width=240)
    console.print(table)


def _plain_table(title: str, header: Sequence[str], rows: list[list[str]]) -> None:
    widths = [max(len(line[i]) for line in [list(header), *rows]) for i in range(len(header))]
    say(title)
    for line in [list(header), *rows]:
        texts = [line[0].ljust(widths[0])] + [t.rjust(w) for t, w in zip(line[1:], widths[1:], strict=True)]
        say("  ".join(texts).rstrip())
