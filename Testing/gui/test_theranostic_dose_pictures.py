"""The pictures of the user guide, drawn by the stand-in while a virtual patient goes the whole way.

    THERANOSTIC_SCREENSHOTS=docs/user_guide/images python -m pytest Testing/gui/test_theranostic_dose_pictures.py

They show the panel in the stand-in of the tests, not in the Slicer application, and say so. The slice pictures are
made with VTK from the MRML nodes of the scene: CT, SPECT or dose in its colours, isodose lines, outlines of segments.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .test_theranostic_dose import PATIENCE_S, SECTIONS

CAPTION = "Drawn by the stand-in of the tests, not by the Slicer application"
LARGEST = 150_000


@pytest.fixture(scope="module")
def patient(tmp_path_factory) -> Path:
    """DICOM files of the small virtual patient."""
    from small_patient import small_patient
    from TheranosticDoseLib.phantom import write_patient

    folder = tmp_path_factory.mktemp("patient")
    write_patient(small_patient(0), folder)
    return folder / "dicom"


@pytest.fixture
def folder(tmp_path) -> Path:
    path = Path(os.environ.get("THERANOSTIC_SCREENSHOTS", tmp_path)).resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def with_caption(path: Path) -> Path:
    """Write below a picture what it is, with few colours so that the file stays small."""
    from PySide6 import QtCore, QtGui

    picture = QtGui.QImage(str(path))
    result = QtGui.QImage(picture.width(), picture.height() + 22, QtGui.QImage.Format.Format_RGB32)
    result.fill(QtGui.QColor("#ffffff"))
    painter = QtGui.QPainter(result)
    painter.drawImage(0, 0, picture)
    painter.setPen(QtGui.QColor("#555555"))
    font = painter.font()
    font.setPointSize(8)
    painter.setFont(font)
    area = QtCore.QRect(4, picture.height(), picture.width() - 8, 22)
    painter.drawText(area, QtCore.Qt.AlignmentFlag.AlignVCenter, CAPTION)
    painter.end()
    assert result.save(str(path))
    assert path.stat().st_size < LARGEST, (path.name, path.stat().st_size)
    return path


def only(way, *names: str) -> None:
    """Leave only these sections open."""
    for name in SECTIONS:
        getattr(way.ui, f"{name}Section").collapsed = name not in names


def plane(node, position_mm: float, size: int = 420, field_mm: float = 420.0):
    """Return an axial plane of a volume node as ``(values, millimetres per pixel)``, interpolated by VTK."""
    import numpy as np
    import vtk
    from vtk.util import numpy_support

    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(node.GetImageData())
    ras_to_ijk = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(ras_to_ijk)
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    step = field_mm / size
    axes = vtk.vtkMatrix4x4()
    start = (
        (bounds[0] + bounds[1]) / 2 + field_mm / 2,
        (bounds[2] + bounds[3]) / 2 + field_mm / 2,
        position_mm,
    )
    # Left of the patient on the right of the picture, front at the top.
    for row, (x, y) in enumerate(((-step, 0.0), (0.0, -step), (0.0, 0.0))):
        axes.SetElement(row, 0, x)
        axes.SetElement(row, 1, y)
        axes.SetElement(row, 3, start[row])
    both = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Multiply4x4(ras_to_ijk, axes, both)
    transform = vtk.vtkTransform()
    transform.SetMatrix(both)
    reslice.SetResliceTransform(transform)
    reslice.SetOutputExtent(0, size - 1, 0, size - 1, 0, 0)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetInterpolationModeToLinear()
    reslice.SetBackgroundLevel(float(node.GetImageData().GetScalarRange()[0]))
    reslice.Update()
    values = numpy_support.vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())
    return np.asarray(values, float).reshape(size, size)


def colored(values, node):
    """Return the colours of a volume's own display: window, level and colour table."""
    import numpy as np

    display = node.GetDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0)
    color = display.GetColorNode()
    function = (
        color.GetColorTransferFunction()
        if color is not None and color.IsA("vtkMRMLProceduralColorNode")
        else None
    )
    if function is None:
        return np.repeat(scaled[..., None], 3, axis=2)
    table = np.array([function.GetColor(255 * i / 255) for i in range(256)])
    return table[(scaled * 255).astype(int)]


def lines(values, level: float):
    """Return the contour lines of a plane as pairs of points, by VTK."""
    import numpy as np
    import vtk
    from vtk.util import numpy_support

    image = vtk.vtkImageData()
    image.SetDimensions(values.shape[1], values.shape[0], 1)
    image.GetPointData().SetScalars(
        numpy_support.numpy_to_vtk(np.ascontiguousarray(values).ravel(), deep=True)
    )
    contour = vtk.vtkMarchingSquares()
    contour.SetInputData(image)
    contour.SetValue(0, level)
    contour.Update()
    found = contour.GetOutput()
    return [
        tuple(found.GetPoint(found.GetCell(i).GetPointId(end))[:2] for end in (0, 1))
        for i in range(found.GetNumberOfCells())
    ]


def slice_picture(path: Path, background, foreground, opacity: float, drawn) -> Path:
    """Write an axial slice: background, foreground over it, and lines ``(values, level, colour)``."""
    import numpy as np
    from PySide6 import QtCore, QtGui

    where = drawn["position_mm"]
    picture = colored(plane(background, where), background)
    if foreground is not None:
        values = plane(foreground, where)
        shown = (values >= foreground.GetDisplayNode().GetLowerThreshold())[..., None] * opacity
        picture = picture * (1 - shown) + colored(values, foreground) * shown
    data = np.ascontiguousarray((picture * 255).astype(np.uint8))
    height, width = data.shape[:2]
    image = QtGui.QImage(data.data, width, height, 3 * width, QtGui.QImage.Format.Format_RGB888).copy()
    painter = QtGui.QPainter(image)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    for values, level, color in drawn["lines"]:
        painter.setPen(QtGui.QPen(QtGui.QColor.fromRgbF(*color), 1.6))
        for (x0, y0), (x1, y1) in lines(values, level):
            painter.drawLine(QtCore.QPointF(x0, y0), QtCore.QPointF(x1, y1))
    painter.end()
    assert image.save(str(path))
    return with_caption(path)


def outlines(case, position_mm: float):
    """The outlines of the visible segments at a position."""
    import slicer
    from TheranosticDoseSlicer import images, segments
    from TheranosticDoseSlicer.case import SEGMENTATION

    found = []
    node = case.get(SEGMENTATION)
    for segment in segments.read_segments(node)[0]:
        if segment.kind == "body":
            continue
        volume = images.volume_from(padded(segment.mask), "scratch")
        color = node.GetSegmentation().GetSegment(segment.segment_id).GetColor()
        found.append((plane_like(volume, position_mm, case), 0.5, color))
        slicer.mrmlScene.RemoveNode(volume)
    return found


def padded(mask):
    import SimpleITK as sitk

    return sitk.ConstantPad(sitk.Cast(mask, sitk.sitkFloat32), [2, 2, 2], [2, 2, 2], 0.0)


def plane_like(volume, position_mm: float, case):
    """A plane of a small volume in the frame of the reference CT."""
    import SimpleITK as sitk
    from TheranosticDoseSlicer import images
    from TheranosticDoseSlicer.case import REFERENCE_CT

    reference = images.image_of(case.get(REFERENCE_CT))
    moved = sitk.Resample(images.image_of(volume), reference, sitk.Transform(), sitk.sitkLinear, 0.0)
    images.set_image(volume, moved)
    return plane(volume, position_mm)


@pytest.mark.slow
def test_pictures_of_the_whole_way(
    module_widget, click, type_text, wait_until, user, screenshot, patient, folder, tmp_path, monkeypatch
) -> None:
    from gui.actions import check_cell, choose
    from gui.way import Way
    from TheranosticDoseSlicer import case as roles
    from TheranosticDoseSlicer import images

    way = Way(module_widget("TheranosticDose"))
    panel, ui = way.widget.parent, way.ui

    def picture(name: str, dark: bool = False) -> None:
        path = screenshot(panel, name, dark=dark)
        with_caption(path)

    only(way, "study")
    picture("start")
    way.load(patient)
    way.widget._parameterNode.inputFolder = Path("patient-01")
    picture("study")
    picture("study", dark=True)
    only(way, "registration")
    choose(ui.registrationMethodBox, "none (scanner coordinates)")
    click(ui.registerButton)
    wait_until(lambda: way.widget.controller.task.fraction > 0.05, PATIENCE_S, "progress")
    picture("running")
    way.settle("registration")
    picture("registration")
    only(way, "segmentation")
    picture("segmentation")
    only(way, "kinetics")
    choose(ui.voiBox, "Kidney_L")
    row = 3
    check_cell(ui.pointsTable, row, 3, False)
    way.settle("edit")
    assert "Kidney_L" in ui.kineticsNeeds.text
    picture("kinetics-panel")
    case = way.widget.controller.case
    curve = chart_picture(case.get(roles.CURVE_CHART), folder / "kinetics.png")
    assert curve.is_file()
    click(ui.undoEditsButton)
    way.settle("undo")
    assert "Kidney_L" not in ui.kineticsNeeds.text
    only(way, "dose")
    led = way.widget.controller.panels[4].boxes["led"]
    wait_until(lambda: led.visible, PATIENCE_S, "engines")
    click(led)
    click(ui.computeButton)
    way.settle("dose")
    picture("dose")
    only(way, "evaluation")
    click(ui.showDoseButton)
    choose(ui.compareBox, "led")
    picture("evaluation-panel")
    picture("evaluation-panel", dark=True)
    shown = case.get(roles.SEGMENTATION).GetDisplayNode()
    for name in ("Marrow", "Lungs", "Stomach", "Pancreas", "Gallbladder", "Bowel", "Lesion_Node_1"):
        shown.SetSegmentVisibility(name, False)
    click(ui.showDvhButton)
    chart_picture(case.get(roles.DVH_CHART), folder / "dvh.png")
    ct, dose = case.get(roles.REFERENCE_CT), case.get(roles.DOSE + "vsv_density")
    ct.GetDisplayNode().SetAutoWindowLevel(False)
    ct.GetDisplayNode().SetWindowLevelMinMax(-160.0, 240.0)
    where = hottest_ras(dose)
    isodoses = [
        (plane(dose, where), float(key), case.get(roles.ISODOSE + key).GetDisplayNode().GetColor())
        for key in case.labels(roles.ISODOSE)
    ]
    slice_picture(folder / "evaluation.png", ct, dose, 0.5, {"position_mm": where, "lines": isodoses})
    segments_drawn = {"position_mm": where, "lines": outlines(case, where)}
    slice_picture(folder / "segments.png", ct, None, 0.0, segments_drawn)
    series = case.get(roles.SERIES)
    spect = images.volume_from(images.image_of(series.GetNthDataNode(1)), "SPECT shown", "spect_bq_ml")
    from TheranosticDoseSlicer import display

    display.show_as_dose(spect)
    slice_picture(folder / "fusion.png", ct, spect, 0.6, {"position_mm": where, "lines": []})
    only(way, "export")
    # A relative folder, so that no path of this computer is in the picture.
    monkeypatch.chdir(tmp_path)
    type_text(ui.exportFolderEdit, "results")
    click(ui.exportButton)
    way.settle("export")
    picture("export")
    assert user.texts("error") == []


def hottest_ras(node) -> float:
    """Height of the hottest voxel, RAS, mm."""
    import numpy as np
    import slicer
    import vtk

    array = slicer.util.arrayFromVolume(node)
    k, j, i = np.unravel_index(int(np.argmax(array)), array.shape)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix.MultiplyPoint((float(i), float(j), float(k), 1.0))[2]


def chart_picture(chart, path: Path, width: int = 640, height: int = 420) -> Path:
    """Write the picture of a chart node."""
    from gui.standin.mrml_views import chart_image

    assert chart_image(chart, width, height).save(str(path))
    return with_caption(path)
