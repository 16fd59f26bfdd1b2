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


def slice_of(path: Path, background, **how) -> Path:
    """Write an axial slice with its bar of colours, lines and labels."""
    from gui.render import View, slice_picture

    return with_caption(slice_picture(View(background, size=(480, 420), **how), path))


@pytest.mark.slow
def test_pictures_of_the_whole_way(
    module_widget, click, type_text, wait_until, user, screenshot, patient, folder, tmp_path, monkeypatch
) -> None:
    from gui.actions import check_cell, choose
    from gui.render import Isodose, can_render
    from gui.way import Way
    from TheranosticDoseSlicer import case as roles
    from TheranosticDoseSlicer import display, images

    reason = can_render()
    if reason:
        pytest.skip(reason)
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
    click(ui.checkerboardButton)
    picture("registration")
    compared = way.case.get("checkerboard")
    slice_of(folder / "checkerboard.png", compared, offset_mm=hottest_ras(compared))
    click(ui.checkerboardButton)
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
    choose(ui.compareBox, "Local energy deposition")
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
        Isodose(float(key), case.get(roles.ISODOSE + key).GetDisplayNode().GetColor(), f"{key} Gy")
        for key in case.labels(roles.ISODOSE)
    ]
    slice_of(
        folder / "evaluation.png", ct, foreground=dose, offset_mm=where, isodoses=isodoses, color_bar="Gy"
    )
    slice_of(folder / "segments.png", ct, segmentation=case.get(roles.SEGMENTATION), offset_mm=where)
    series = case.get(roles.SERIES)
    spect = images.volume_from(images.image_of(series.GetNthDataNode(1)) * 1e-6, "SPECT shown")
    display.show_as_dose(spect)
    slice_of(folder / "fusion.png", ct, foreground=spect, offset_mm=where, color_bar="MBq/mL")
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
