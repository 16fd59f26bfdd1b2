"""How things look: dose colour table, isodose lines, fusion, blink and checkerboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from TheranosticDoseSlicer.case import Case

DOSE_COLORS = "Absorbed dose"
GREY = "vtkMRMLColorTableNodeGrey"
"""What a volume has before anybody chose its colours."""
# Perceptually ordered (dark to light), readable in gray and with the common kinds of colour
# blindness: the corner points of the "inferno" family in few steps.
_POINTS = (
    (0.00, (0.00, 0.00, 0.02)),
    (0.15, (0.16, 0.04, 0.33)),
    (0.35, (0.47, 0.11, 0.43)),
    (0.55, (0.76, 0.23, 0.30)),
    (0.75, (0.95, 0.47, 0.10)),
    (0.90, (0.98, 0.76, 0.20)),
    (1.00, (0.99, 1.00, 0.64)),
)
ISODOSE_FRACTIONS = (0.1, 0.25, 0.5, 0.75, 0.9)


def dose_color_node():
    """Return the colour table of absorbed dose; made where it is missing."""
    import slicer
    import vtk

    node = slicer.mrmlScene.GetFirstNodeByName(DOSE_COLORS)
    if node is not None:
        return node
    node = slicer.vtkMRMLProceduralColorNode()
    node.SetName(DOSE_COLORS)
    function = vtk.vtkColorTransferFunction()
    for position, color in _POINTS:
        function.AddRGBPoint(position * 255.0, *color)
    node.SetAndObserveColorTransferFunction(function)
    node.SetDescription("Absorbed dose, dark to light")
    return slicer.mrmlScene.AddNode(node)


def show_as_dose(node, maximum_gy: float | None = None) -> None:
    """Give a dose volume its colours; the window goes from zero to its maximum (99.9th percentile)."""
    import slicer

    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    array = slicer.util.arrayFromVolume(node)
    if maximum_gy is None:
        positive = array[::2, ::2, ::2]
        maximum_gy = float(np.percentile(positive, 99.9)) or float(array.max()) or 1.0
    was_modifying = display.StartModify()
    display.SetAndObserveColorNodeID(dose_color_node().GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, maximum_gy)
    display.SetAutoThreshold(False)
    display.SetThreshold(0.02 * maximum_gy, max(float(array.max()), maximum_gy))
    display.ApplyThresholdOn()
    display.EndModify(was_modifying)


def show_as_activity(node) -> None:
    """Give a SPECT the colours of the dose, so that it can be told from the CT below it; chosen ones stay."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    if node.GetDisplayNode().GetColorNodeID() in (None, GREY):
        show_as_dose(node)


def show_legend(node, title: str, on: bool) -> None:
    """Show or hide the colour table of a volume in the slice views."""
    import slicer

    colors = slicer.vtkSlicerColorLogic
    legend = colors.GetColorLegendDisplayNode(node)
    if legend is None and on:
        legend = colors.AddDefaultColorLegendDisplayNode(node)
    if legend is not None:
        legend.SetTitleText(title)
        legend.SetVisibility(on)


def isodose_models(dose_node, levels_gy, nodes: dict[str, object]) -> dict[str, object]:
    """Return closed surfaces of equal dose as model nodes; they show as lines in the slice views.

    Parameters
    ----------
    dose_node : vtkMRMLScalarVolumeNode
    levels_gy : list of float
    nodes : dict
        Level as text to an earlier model node, which is reused.
    """
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    dose_node.GetIJKToRASMatrix(matrix)
    to_ras = vtk.vtkTransform()
    to_ras.SetMatrix(matrix)
    highest = max(levels_gy) if levels_gy else 1.0
    found = {}
    for level in levels_gy:
        contour = vtk.vtkFlyingEdges3D()
        contour.SetInputData(dose_node.GetImageData())
        contour.SetValue(0, level)
        contour.ComputeNormalsOff()
        moved = vtk.vtkTransformPolyDataFilter()
        moved.SetTransform(to_ras)
        moved.SetInputConnection(contour.GetOutputPort())
        moved.Update()
        key = f"{level:g}"
        node = nodes.get(key) or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", f"Isodose {key} Gy")
        node.SetAndObservePolyData(moved.GetOutput())
        if node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetColor(*color_at(level / highest))
        display.SetVisibility2D(True)
        display.SetVisibility3D(False)
        display.SetSliceIntersectionThickness(2)
        found[key] = node
    return found


def color_at(fraction: float) -> tuple[float, float, float]:
    """Return the colour of the dose table at a fraction of its range, kept away from black."""
    positions = [point for point, _ in _POINTS]
    value = min(max(0.3 + 0.7 * fraction, 0.0), 1.0)
    return tuple(float(np.interp(value, positions, [c[i] for _, c in _POINTS])) for i in range(3))


def show(background=None, foreground=None, opacity: float = 0.5, *, fit: bool = False) -> None:
    """Show volumes in all slice views; ``None`` leaves a layer empty, one alone is shown in full.

    The views are moved and scaled to the volumes with ``fit``, and where nothing was shown before.
    """
    import slicer

    if background is None:
        background, foreground = foreground, None
    composites = slicer.mrmlScene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    composites.UnRegister(None)
    for index in range(composites.GetNumberOfItems()):
        node = composites.GetItemAsObject(index)
        fit = fit or not (node.GetBackgroundVolumeID() or node.GetForegroundVolumeID())
        node.SetBackgroundVolumeID(background.GetID() if background is not None else None)
        node.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
        node.SetForegroundOpacity(opacity if foreground is not None else 0.0)
    # Without the application (its MRML alone) there are no views.
    if fit and hasattr(slicer, "app"):
        slicer.app.applicationLogic().FitSliceToBackground()


def show_study(case: Case) -> None:
    """Show the first time point of a study that was just loaded, as any loaded image is."""
    from TheranosticDoseSlicer import case as roles

    labels = case.labels(roles.SPECT)
    if labels:
        spect = case.get(roles.SPECT + labels[0])
        show_as_activity(spect)
        show(case.get(roles.CT + labels[0]), spect, fit=True)


def set_foreground_opacity(opacity: float) -> None:
    """Change the opacity of what is shown in front."""
    import slicer

    composites = slicer.mrmlScene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    composites.UnRegister(None)
    for index in range(composites.GetNumberOfItems()):
        node = composites.GetItemAsObject(index)
        if node.GetForegroundVolumeID():
            node.SetForegroundOpacity(opacity)


def checkerboard(first, second, squares: int = 8):
    """Return the array of two images on one grid in alternating blocks ``(z, y, x)``, each scaled to 0 to 1."""
    scaled = [_scaled(first), _scaled(second)]
    blocks = sum(
        (np.arange(n).reshape([-1 if axis == i else 1 for i in range(3)]) * squares // max(n, 1))
        for axis, n in enumerate(scaled[0].shape)
    )
    return np.where(blocks % 2 == 0, scaled[0], scaled[1]).astype(np.float32)


def _scaled(array: np.ndarray) -> np.ndarray:
    low, high = np.percentile(array[::2, ::2, ::2], (1.0, 99.8))
    return np.clip((array - low) / (high - low if high > low else 1.0), 0.0, 1.0)
