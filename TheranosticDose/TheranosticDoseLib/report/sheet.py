"""A4 pages of text, tables and pictures on matplotlib, which needs no system package."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

WIDTH_IN, HEIGHT_IN = 8.27, 11.69
LEFT, RIGHT, TOP, BOTTOM = 0.075, 0.925, 0.955, 0.06
PAD = 0.012
INK, SOFT, LINE, ACCENT, TINT = "#1c2430", "#5b6675", "#d8dee6", "#234f7d", "#f4f6f9"
LINE_HEIGHT = 1.38 / 72 / HEIGHT_IN
"""Of one point of letter size, as part of the page."""
LETTER = 0.56 / 72 / WIDTH_IN
"""Mean width of a letter of one point, as part of the page."""


class Sheet:
    """One page; what is added goes below what is there.

    Parameters
    ----------
    header, footer : str
        Small lines on every page.
    """

    def __init__(self, header: str, footer: str) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN))
        self.y = TOP
        self.figure.text(LEFT, 0.975, header, size=7.5, color=SOFT, va="center")
        self.figure.text(LEFT, 0.03, footer, size=7, color=SOFT, va="center")

    @property
    def room(self) -> float:
        """Height that is left, as part of the page."""
        return self.y - BOTTOM

    def gap(self, points: float = 8.0) -> None:
        """Leave a space."""
        self.y -= points / 72 / HEIGHT_IN

    def title(self, text: str, size: float = 13.0) -> None:
        """Add a heading."""
        self.y -= size * LINE_HEIGHT
        self.figure.text(LEFT, self.y, text, size=size, color=ACCENT, weight="bold", va="baseline")
        self.gap(6)

    def text(self, text: str, size: float = 9.0, color: str = INK, weight: str = "normal") -> None:
        """Add a paragraph, wrapped."""
        for line in wrapped(text, RIGHT - LEFT, size):
            self.y -= size * LINE_HEIGHT
            self.figure.text(LEFT, self.y, line, size=size, color=color, weight=weight, va="baseline")
        self.gap(3)

    def banner(self, text: str) -> None:
        """Add a colored notice."""
        lines = wrapped(text, 0.92 * (RIGHT - LEFT - 0.02), 8.5)  # bold letters are wider
        height = len(lines) * 8.5 * LINE_HEIGHT + 0.012
        self._box(LEFT, self.y - height, RIGHT - LEFT, height, "#fff4d6", "#e8cf8a")
        self.y -= 0.005
        for line in lines:
            self.y -= 8.5 * LINE_HEIGHT
            self.figure.text(
                LEFT + 0.01, self.y, line, size=8.5, color="#5c4300", weight="bold", va="baseline"
            )
        self.y -= 0.007
        self.gap(4)

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        widths: Sequence[float],
        words: Sequence[int] = (0,),
        size: float = 8.0,
    ) -> int:
        """Add as many rows as there is room for and return how many that were.

        Parameters
        ----------
        header, rows : sequence of str
            Cells of ``words`` columns are left-aligned and wrapped, others right-aligned.
        widths : sequence of float
            Relative widths of the columns.
        """
        scale = (RIGHT - LEFT) / sum(widths)
        starts = [LEFT + scale * sum(widths[:i]) for i in range(len(widths) + 1)]
        self._row(header, starts, words, size, head=True)
        for done, row in enumerate(rows):
            if self._height(row, starts, words, size) > self.room:
                return done
            self._row(row, starts, words, size)
        self.gap(4)
        return len(rows)

    def _cells(
        self, row: Sequence[str], starts: list[float], words: Sequence[int], size: float
    ) -> list[list[str]]:
        return [
            wrapped(str(cell), starts[i + 1] - starts[i] - PAD, size) if i in words else str(cell).split("\n")
            for i, cell in enumerate(row)
        ]

    def _height(self, row: Sequence[str], starts: list[float], words: Sequence[int], size: float) -> float:
        return max(len(c) for c in self._cells(row, starts, words, size)) * size * LINE_HEIGHT + 0.005

    def _row(
        self, row: Sequence[str], starts: list[float], words: Sequence[int], size: float, head: bool = False
    ) -> None:
        height = self._height(row, starts, words, size)
        style = {
            "size": size,
            "va": "baseline",
            "color": SOFT if head else INK,
            "weight": "bold" if head else "normal",
        }
        for i, lines in enumerate(self._cells(row, starts, words, size)):
            for n, line in enumerate(lines, start=1):
                place = starts[i] + (PAD if i else 0.0) if i in words else starts[i + 1]
                align = "left" if i in words else "right"
                self.figure.text(place, self.y - n * size * LINE_HEIGHT, line, ha=align, **style)
        self.y -= height
        self.rule(ACCENT if head else LINE)

    def rule(self, color: str = LINE) -> None:
        """Draw a line across the page."""
        from matplotlib.lines import Line2D

        self.figure.add_artist(Line2D([LEFT, RIGHT], [self.y, self.y], color=color, linewidth=0.6))

    def fields(self, labels: Sequence[str], rows: Sequence[str]) -> None:
        """Add empty boxes to be filled in by hand: a column a label, a row a person."""
        width, height = (RIGHT - LEFT - 0.15) / len(labels), 0.031
        for i, label in enumerate(labels):
            self.figure.text(LEFT + 0.155 + i * width, self.y - 0.012, label, size=7.5, color=SOFT)
        self.y -= 0.017
        for name in rows:
            self.figure.text(LEFT, self.y - 0.019, name, size=8.5, color=INK)
            for i in range(len(labels)):
                self._box(LEFT + 0.15 + i * width, self.y - height, width, height, "white", SOFT)
            self.y -= height
        self.gap(6)

    def axes(self, height: float, columns: int = 1) -> list[Any]:
        """Add axes of this height (part of the page) side by side."""
        width = (RIGHT - LEFT) / columns
        self.y -= height
        return [
            self.figure.add_axes((LEFT + i * width + 0.045, self.y + 0.035, width - 0.06, height - 0.05))
            for i in range(columns)
        ]

    def picture(self, data: bytes, caption: str) -> bool:
        """Add a PNG over the width of the page; ``False`` where there is no room for it."""
        import io

        from matplotlib.image import imread

        image = imread(io.BytesIO(data), format="png")
        height = (RIGHT - LEFT) * WIDTH_IN / HEIGHT_IN * image.shape[0] / image.shape[1]
        if height + 0.03 > self.room:
            return False
        self.y -= height
        axes = self.figure.add_axes((LEFT, self.y, RIGHT - LEFT, height))
        axes.imshow(image, aspect="auto", interpolation="lanczos")
        axes.set_axis_off()
        self.text(caption, 8, SOFT)
        self.gap(4)
        return True

    def _box(self, x: float, y: float, width: float, height: float, face: str, edge: str) -> None:
        from matplotlib.patches import Rectangle

        transform = self.figure.transFigure
        self.figure.add_artist(
            Rectangle(
                (x, y),
                width,
                height,
                facecolor=face,
                edgecolor=edge,
                linewidth=0.6,
                transform=transform,
                zorder=-1,
            )
        )


def wrapped(text: str, width: float, size: float) -> list[str]:
    """Return the lines of a text in a width (part of the page)."""
    letters = max(8, int(width / (size * LETTER)))
    return [line for part in text.split("\n") for line in textwrap.wrap(part, letters) or [""]]
