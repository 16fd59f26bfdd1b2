"""What the plot views do with the mouse."""

from __future__ import annotations


def let_mouse_move_points(on: bool) -> None:
    """Let the mouse drag points of the plots (their table changes), or pan the view again."""
    import slicer

    views = slicer.mrmlScene.GetNodesByClass("vtkMRMLPlotViewNode")
    views.UnRegister(None)
    kind = slicer.vtkMRMLPlotViewNode
    mode = kind.InteractionModeMovePoints if on else kind.InteractionModePanView
    for index in range(views.GetNumberOfItems()):
        views.GetItemAsObject(index).SetInteractionMode(mode)
