"""Draw slice views as the application shows them, offscreen, with the slicer-core wheel's own classes.

The wheel's slice logic blends the volumes through their display nodes, its displayable manager
draws the segmentation; isodose lines are contours of the foreground on the slice.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if not os.environ.get("DISPLAY"):
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import slicer
import vtk

LABEL_SIZE = 16
DIRECTIONS = {"Axial": ("R", "L", "A"), "Sagittal": ("A", "P", "S"), "Coronal": ("R", "L", "S")}


@dataclass(frozen=True)
class Isodose:
    """One line: the level in the units of the foreground, its color and its label."""

    level: float
    color: tuple[float, float, float]
    label: str = ""


@dataclass(frozen=True)
class View:
    """What is shown and how."""

    background: object
    foreground: object = None
    segmentation: object = None
    orientation: str = "Axial"  # "Axial", "Sagittal" or "Coronal"
    offset_mm: float | None = None  # along the normal of the slice (RAS); None is the middle
    foreground_opacity: float = 0.5
    isodoses: Sequence[Isodose] = ()
    color_bar: str = ""  # title of the bar for the foreground, for example "Gy"
    caption: str = ""
    size: tuple[int, int] = (600, 600)
    zoom: float = 1.0


class SlicePicture:
    """A slice view off the screen; use it with ``with``, so that its nodes leave the scene."""

    def __init__(self, view: View):
        self.view = view
        self.scene = view.background.GetScene()
        self._before = set(self._node_ids())
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(4)
        self.window.SetSize(*view.size)
        self.window.AddRenderer(self.renderer)
        self._application_logic = slicer.vtkMRMLApplicationLogic()
        self._application_logic.SetMRMLScene(self.scene)
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(self._application_logic)
        self._logic.SetMRMLScene(self.scene)
        self._kept: list = []

    def __enter__(self):
        self.slice_node = self._logic.AddSliceNode(self.scene.GetUniqueNameByString("Picture"))
        self._set_up_slice()
        self._draw_volumes()
        if self.view.segmentation is not None:
            self._draw_segmentation()
        for isodose in self.view.isodoses:
            self._draw_isodose(isodose)
        if self.view.color_bar:
            self._draw_color_bar()
        self._draw_directions()
        self._draw_text(self.view.caption, 8, self.view.size[1] - LABEL_SIZE - 10, (1.0, 1.0, 1.0))
        return self

    def __exit__(self, *_):
        self.window.Finalize()
        self._kept.clear()
        self._logic.SetMRMLScene(None)
        self._application_logic.SetMRMLScene(None)
        for identifier in set(self._node_ids()) - self._before:
            node = self.scene.GetNodeByID(identifier)
            if node is not None:
                self.scene.RemoveNode(node)

    def _node_ids(self) -> list[str]:
        return [self.scene.GetNthNode(index).GetID() for index in range(self.scene.GetNumberOfNodes())]

    def _set_up_slice(self) -> None:
        view = self.view
        composite = self._logic.GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(view.background.GetID())
        if view.foreground is not None:
            composite.SetForegroundVolumeID(view.foreground.GetID())
            composite.SetForegroundOpacity(view.foreground_opacity)
        self.slice_node.SetOrientation(view.orientation)
        self.slice_node.SetDimensions(*view.size, 1)
        self._logic.FitSliceToVolume(view.background, *view.size)
        if view.zoom != 1.0:
            field = self.slice_node.GetFieldOfView()
            self.slice_node.SetFieldOfView(field[0] / view.zoom, field[1] / view.zoom, field[2])
        if view.offset_mm is not None:
            self._logic.SetSliceOffset(view.offset_mm)
        self.slice_node.UpdateMatrices()

    def _draw_volumes(self) -> None:
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        self._logic.UpdatePipeline()
        mapper.SetInputConnection(self._logic.GetImageDataConnection())
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)

    def _draw_segmentation(self) -> None:
        interactor = vtk.vtkGenericRenderWindowInteractor()
        interactor.SetRenderWindow(self.window)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.SetRenderer(self.renderer)
        group.SetMRMLDisplayableNode(self.slice_node)
        manager = slicer.vtkMRMLSegmentationsDisplayableManager2D()
        manager.SetMRMLApplicationLogic(self._application_logic)
        group.AddDisplayableManager(manager)
        self._kept += [interactor, group, manager]

    def _draw_isodose(self, isodose: Isodose) -> None:
        reslice = self._logic.GetForegroundLayer().GetReslice()
        reslice.Update()
        contour = vtk.vtkContourFilter()
        contour.SetInputConnection(reslice.GetOutputPort())
        contour.SetValue(0, isodose.level)
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputConnection(contour.GetOutputPort())
        mapper.ScalarVisibilityOff()
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetColor(*isodose.color)
        actor.GetProperty().SetLineWidth(2.0)
        self.renderer.AddViewProp(actor)
        row = list(self.view.isodoses).index(isodose)
        self._draw_text(isodose.label, 8, 8 + row * (LABEL_SIZE + 4), isodose.color)

    def _draw_color_bar(self) -> None:
        display = self.view.foreground.GetDisplayNode()
        table = vtk.vtkLookupTable()
        colors = display.GetColorNode().GetScalarsToColors()
        low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
        table.SetNumberOfTableValues(256)
        table.SetRange(low, high)
        first, last = colors.GetRange()
        for index in range(256):
            rgb = [0.0, 0.0, 0.0]
            colors.GetColor(first + (last - first) * index / 255.0, rgb)
            table.SetTableValue(index, *rgb, 1.0)
        bar = vtk.vtkScalarBarActor()
        bar.SetLookupTable(table)
        bar.SetTitle(self.view.color_bar)
        bar.SetNumberOfLabels(5)
        bar.SetLabelFormat("{:.3g}")
        bar.SetBarRatio(0.25)
        bar.SetWidth(0.17)
        bar.SetHeight(0.6)
        bar.SetPosition(0.82, 0.2)
        bar.UnconstrainedFontSizeOn()
        for text in (bar.GetTitleTextProperty(), bar.GetLabelTextProperty()):
            text.SetFontSize(LABEL_SIZE)
            text.BoldOff()
            text.ItalicOff()
            text.ShadowOff()
        self.renderer.AddViewProp(bar)

    def _draw_directions(self) -> None:
        left, right, top = DIRECTIONS[self.view.orientation]
        width, height = self.view.size
        self._draw_text(left, 8, height // 2, (0.8, 0.8, 0.8))
        self._draw_text(right, width - 20, height // 2, (0.8, 0.8, 0.8))
        self._draw_text(top, width // 2, height - LABEL_SIZE - 10, (0.8, 0.8, 0.8))

    def _draw_text(self, text: str, x: int, y: int, color) -> None:
        if not text:
            return
        actor = vtk.vtkTextActor()
        actor.SetInput(text)
        actor.GetTextProperty().SetFontSize(LABEL_SIZE)
        actor.GetTextProperty().SetColor(*color)
        actor.SetPosition(x, y)
        self.renderer.AddViewProp(actor)

    def image(self) -> vtk.vtkImageData:
        """Render and return the picture."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        return grab.GetOutput()


def slice_image(view: View):
    """Return the picture as ``(rows, columns, 3)`` bytes, top row first."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    with SlicePicture(view) as picture:
        image = picture.image()
        width, height, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
        return pixels[::-1].copy()


def slice_picture(view: View, path: Path) -> Path:
    """Write the picture as PNG and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with SlicePicture(view) as picture:
        writer = vtk.vtkPNGWriter()
        writer.SetFileName(str(path))
        writer.SetInputData(picture.image())
        writer.Write()
    return path


def can_render() -> str:
    """Return why nothing can be rendered here, or an empty text (asked in a process of its own)."""
    import subprocess
    import sys

    code = (
        "import os; os.environ.setdefault('VTK_DEFAULT_OPENGL_WINDOW', 'vtkEGLRenderWindow')\n"
        "import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.SetSize(8, 8)\n"
        "w.AddRenderer(vtk.vtkRenderer()); w.Render(); raise SystemExit(0 if w.SupportsOpenGL() else 1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=False)
    return (
        "" if done.returncode == 0 else "no OpenGL off the screen; on Debian: apt-get install libegl1 libgl1"
    )
