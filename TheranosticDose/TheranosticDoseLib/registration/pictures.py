"""Pictures by which a person judges a registration: checkerboard and difference."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of, image_like, require_same_grid, resample

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.registration.result import RegisteredStudy

_HU_WINDOW = (-160.0, 240.0)


def checkerboard(fixed: sitk.Image, moving_on_grid: sitk.Image, tile_mm: float = 40.0) -> sitk.Image:
    """Return an image whose tiles come in turn from one and the other image on the same grid.

    Raises
    ------
    GeometryError
        If the grids differ.
    """
    require_same_grid(fixed, moving_on_grid, "The images of the checkerboard")
    tiles = [
        np.arange(n) // max(1, round(tile_mm / s))
        for n, s in zip(fixed.GetSize(), fixed.GetSpacing(), strict=True)
    ]
    x, y, z = tiles
    odd = (z[:, None, None] + y[None, :, None] + x[None, None, :]) % 2 == 1
    return image_like(np.where(odd, array_of(moving_on_grid), array_of(fixed)), fixed)


def difference(fixed: sitk.Image, moving_on_grid: sitk.Image) -> sitk.Image:
    """Return moving minus fixed, on the same grid.

    Raises
    ------
    GeometryError
        If the grids differ.
    """
    require_same_grid(fixed, moving_on_grid, "The images of the difference")
    return image_like(array_of(moving_on_grid).astype(np.float32) - array_of(fixed), fixed)


def quality_pictures(registered: RegisteredStudy, label: str) -> dict[str, bytes]:
    """Return PNG pictures of one acquisition before and after its registration.

    Parameters
    ----------
    registered : RegisteredStudy
    label : str
        Of the moving acquisition.

    Returns
    -------
    dict
        ``checkerboard`` and ``difference``: PNG bytes, each a row of coronal and axial slices
        before and after.

    Raises
    ------
    InputError
        For an unknown label.
    """
    fixed, before, after, window = _pair(registered, label)
    unit = "HU" if window == _HU_WINDOW else "relative"
    boards = [(name, checkerboard(fixed, image)) for name, image in (("before", before), ("after", after))]
    differences = [(name, difference(fixed, image)) for name, image in (("before", before), ("after", after))]
    reach = 0.5 * (window[1] - window[0])
    title = f"{label} on {registered.reference}"
    return {
        "checkerboard": _png(
            boards, fixed, f"Checkerboard, {title}", cmap="gray", vmin=window[0], vmax=window[1]
        ),
        "difference": _png(
            differences, fixed, f"Difference ({unit}), {title}", cmap="RdBu_r", vmin=-reach, vmax=reach
        ),
    }


def _pair(
    registered: RegisteredStudy, label: str
) -> tuple[sitk.Image, sitk.Image, sitk.Image, tuple[float, float]]:
    """Return the reference, the other scan before and after, and the window, on the dose grid."""
    try:
        position = registered.index(label)
    except KeyError:
        labels = ", ".join(one.label for one in registered.study.acquisitions)
        raise InputError(f"{label!r} is no acquisition; there are {labels}.") from None
    moving = registered.study.acquisitions[position]
    transform = registered.transforms[position]
    if registered.ct is not None and moving.ct is not None:
        images = [resample(moving.ct, registered.grid, t, outside=-1000.0) for t in (None, transform)]
        return registered.ct, images[0], images[1], _HU_WINDOW
    reference = registered.spect[registered.index(registered.reference)]
    images = [
        reference,
        resample(moving.spect, registered.grid),
        resample(moving.spect, registered.grid, transform),
    ]
    scaled = []
    for image in images:
        # Each scan on its own scale: decay and washout are no misalignment.
        values = np.sqrt(np.clip(np.nan_to_num(array_of(image)), 0, None))
        scaled.append(image_like(values / max(float(np.percentile(values[values > 0], 99.5)), 1e-9), image))
    return scaled[0], scaled[1], scaled[2], (0.0, 1.0)


def _png(images: list[tuple[str, sitk.Image]], fixed: sitk.Image, title: str, **style: Any) -> bytes:
    """Return coronal and axial slices of each image through the middle of the body as one PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    axial, coronal = _planes(fixed)
    spacing = fixed.GetSpacing()
    figure = Figure(figsize=(11.0, 3.6), layout="constrained", dpi=100)
    axes = figure.subplots(1, 2 * len(images))
    for i, (name, image) in enumerate(images):
        values = array_of(image)
        views = (
            (values[::-1, coronal, :], spacing[2] / spacing[0]),
            (values[axial], spacing[1] / spacing[0]),
        )
        for axis, (plane, aspect), view in zip(
            axes[2 * i : 2 * i + 2], views, ("coronal", "axial"), strict=True
        ):
            axis.imshow(plane, aspect=aspect, interpolation="nearest", **style)
            axis.set_title(f"{name}, {view}", fontsize=9)
            axis.set_axis_off()
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _planes(fixed: sitk.Image) -> tuple[int, int]:
    """Return the axial and coronal index through the centre of what is bright."""
    values = array_of(fixed).astype(np.float64)
    weight = np.clip(values - np.percentile(values, 75), 0, np.percentile(values, 99.5) + 1e-9)
    total = weight.sum()
    if total <= 0:
        return values.shape[0] // 2, values.shape[1] // 2
    z = float((weight.sum(axis=(1, 2)) * np.arange(values.shape[0])).sum() / total)
    y = float((weight.sum(axis=(0, 2)) * np.arange(values.shape[1])).sum() / total)
    return round(z), round(y)
