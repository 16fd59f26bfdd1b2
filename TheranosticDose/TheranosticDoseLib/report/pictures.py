"""Pictures for the report: fusion slices with outlines and isodose lines, SPECT projections."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from DoseSegmentationLib.arrays import bounding_box

from TheranosticDoseLib.geometry import array_of

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.workflow.results import Results

ISODOSE_FRACTIONS = (0.1, 0.25, 0.5, 0.75)
"""Isodose lines, as fractions of the displayed maximum."""


def color_of(name: str, number: int = 0) -> str:
    """Return the color of a VOI: of the known structure, else one of a fixed list."""
    from DoseSegmentationLib.structures import structure

    palette = ("#2ca02c", "#1f9e89", "#b5de2b", "#e377c2", "#17becf", "#bcbd22", "#7f7f7f", "#ff9896")
    known = structure(name)
    return palette[number % len(palette)] if known is None or known.kind == "lesion" else known.color


def figure_of(columns: int, width: float, height: float, rows: int = 1) -> Any:
    """Return figure and axes without the global state of pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def png(figure: Any, dpi: int = 110) -> bytes:
    """Return a matplotlib figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def overview(results: Results) -> list[tuple[str, bytes]]:
    """Return title and PNG of the scans and of the dose of each engine."""
    shown = [("SPECT on the reference grid", projections(results))]
    return shown + [(f"Absorbed dose, {engine}", fusion(results, engine)) for engine in results.doses]


def projections(results: Results) -> bytes:
    """Return the coronal maximum projections of the registered SPECTs, one scale for all."""
    box = _body_box(results)
    images = _upright(results.tia, [np.asarray(array_of(spect)) for spect in results.registered.spect])
    planes = [image[box].max(axis=1) for image in images]
    top = max(float(np.percentile(plane, 99.7)) for plane in planes) or 1.0
    spacing = results.tia.GetSpacing()
    tall = planes[0].shape[0] * spacing[2] / (planes[0].shape[1] * spacing[0])
    figure, axes = figure_of(len(planes), 11.5, min(11.0 / len(planes) * tall, 6.0) + 0.4)
    for axis, plane, acquisition in zip(axes[0], planes, results.study.acquisitions, strict=True):
        # The square root shows organs beside lesions ten times hotter.
        shown = axis.imshow(
            np.sqrt(np.maximum(plane, 0)),
            cmap="gray_r",
            vmin=0,
            vmax=np.sqrt(top),
            origin="lower",
            aspect=spacing[2] / spacing[0],
        )
        axis.set_title(f"{acquisition.label}: {acquisition.time_h:.1f} h", fontsize=9)
        axis.set_axis_off()
    bar = figure.colorbar(shown, ax=list(axes[0]), shrink=0.7, label="kBq/mL, maximum projection")
    ticks = np.sqrt(top * np.array([0.0, 0.1, 0.25, 0.5, 1.0]))
    bar.set_ticks(ticks, labels=[f"{tick**2 / 1e3:.3g}" for tick in ticks])
    return png(figure)


def fusion(results: Results, engine: str) -> bytes:
    """Return slices through the hottest VOI: CT, dose in color, isodose lines, outlines."""
    box = _body_box(results)
    dose_image = results.doses[engine].dose
    arrays = [np.asarray(array_of(dose_image)), _background(results)]
    arrays += [np.asarray(array_of(r.voi.weights)) for r in results.vois if r.voi.kind != "body"]
    dose, background, *weights = (array[box] for array in _upright(dose_image, arrays))
    outlines = list(zip([r.name for r in results.vois if r.voi.kind != "body"], weights, strict=True))
    z, y, x = _center(dose, outlines)
    sx, sy, sz = dose_image.GetSpacing()
    top = _display_maximum(dose, outlines)
    planes = (
        ("coronal", (slice(None), y, slice(None)), sz / sx, "lower"),
        ("axial", (z, slice(None), slice(None)), sy / sx, "upper"),
        ("sagittal", (slice(None), slice(None), x), sz / sy, "lower"),
    )
    figure, axes = figure_of(3, 11.5, 4.4)
    for axis, (name, index, aspect, origin) in zip(axes[0], planes, strict=True):
        shown = _draw(
            axis, background[index], dose[index], [(n, o[index]) for n, o in outlines], top, aspect, origin
        )
        axis.set_title(name, fontsize=9)
    bar = figure.colorbar(shown, ax=list(axes[0]), shrink=0.75, label=f"absorbed dose, Gy ({engine})")
    levels = [fraction * top for fraction in ISODOSE_FRACTIONS]
    bar.set_ticks([0.0, *levels, top], labels=[f"{value:.3g}" for value in (0.0, *levels, top)])
    for level in levels:
        bar.ax.axhline(level, color="white", linewidth=0.8)
    return png(figure)


def _draw(axis, background, dose, outlines, top, aspect, origin) -> Any:
    from matplotlib.colors import PowerNorm

    axis.imshow(
        background, cmap="gray", vmin=0, vmax=1, origin=origin, aspect=aspect, interpolation="bilinear"
    )
    alpha = np.clip(dose / (0.1 * top), 0, 0.55)
    norm = PowerNorm(0.5, vmin=0, vmax=top)
    shown = axis.imshow(dose, cmap="inferno", norm=norm, alpha=alpha, origin=origin, aspect=aspect)
    levels = [fraction * top for fraction in ISODOSE_FRACTIONS]
    if dose.max() > levels[0]:
        axis.contour(dose, levels=levels, colors="white", linewidths=0.5)
    for number, (name, plane) in enumerate(outlines):
        if plane.max() > 0.5:
            axis.contour(plane, levels=[0.5], colors=[color_of(name, number)], linewidths=1.1)
    axis.set_axis_off()
    return shown


def _body_box(results: Results, margin: int = 3) -> tuple[slice, slice, slice]:
    """The box of the body (else of what has activity) in the upright arrays, a little wider."""
    bodies = [np.asarray(array_of(r.voi.weights)) for r in results.vois if r.voi.kind == "body"]
    tia = np.asarray(array_of(results.tia))
    mask = bodies[0] > 0.5 if bodies else tia > 0.01 * tia.max()
    (mask,) = _upright(results.tia, [mask])
    return bounding_box(mask, margin)


def _background(results: Results) -> np.ndarray:
    """CT between -160 and 240 HU as 0 to 1; where there is none, the log of the TIA."""
    if results.registered.ct is not None:
        return np.clip((np.asarray(array_of(results.registered.ct)) + 160.0) / 400.0, 0, 1)
    tia = np.log1p(np.asarray(array_of(results.tia), np.float64) * 1e3)
    return tia / (tia.max() or 1.0)


def _upright(image: sitk.Image, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Flip arrays so that index 0 is feet, front and the patient's right, whatever the image's axes are."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    flips = tuple(2 - axis for axis in range(3) if direction[np.argmax(np.abs(direction[:, axis])), axis] < 0)
    return [np.flip(array, flips) for array in arrays]


def _center(dose: np.ndarray, outlines: list[tuple[str, np.ndarray]]) -> tuple[int, int, int]:
    """The center of the outlined region with the highest mean dose; without outlines, the hottest voxel."""
    best, place = -1.0, np.unravel_index(int(np.argmax(dose)), dose.shape)
    for _, weights in outlines:
        total = float(weights.sum())
        if total < 8:
            continue
        mean = float((weights * dose).sum()) / total
        if mean > best:
            best = mean
            place = tuple(
                np.round([c.mean() for c in np.nonzero(weights > 0.5)] if (weights > 0.5).any() else place)
            )
    return tuple(int(p) for p in place)


def _display_maximum(dose: np.ndarray, outlines: list[tuple[str, np.ndarray]]) -> float:
    """A maximum that one hot voxel does not decide: the 99.5th percentile inside the outlines."""
    inside = np.zeros(dose.shape, bool)
    for _, weights in outlines:
        inside |= weights > 0.5
    values = dose[inside] if inside.any() else dose[dose > 0.01 * dose.max()]
    return float(np.percentile(values, 99.5)) if values.size else 1.0
