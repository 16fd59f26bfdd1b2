"""Slice views drawn off the screen: volumes, colors, segments and isodose lines where they belong."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

SHAPE = (20, 64, 64)


@pytest.fixture(scope="module")
def drawable():
    from gui.render import can_render

    reason = can_render()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def volumes(slicer_app, drawable):
    """CT with a bright cube and a dose that falls with the distance from its center, 4 mm voxels."""
    import slicer
    import vtk

    ct_values = np.full(SHAPE, -1000, np.int16)
    ct_values[:, 8:56, 8:56] = 0
    ct_values[:, 40:48, 40:48] = 1000
    z, y, x = np.indices(SHAPE)
    distance = np.sqrt((z - 10.0) ** 2 + (y - 32.0) ** 2 + (x - 32.0) ** 2) * 4.0
    dose_values = np.clip(100.0 - distance, 0.0, None).astype(np.float32)
    matrix = vtk.vtkMatrix4x4()
    for axis in range(3):
        matrix.SetElement(axis, axis, 4.0)
    nodes = []
    for name, values in (("CT", ct_values), ("Dose", dose_values)):
        node = slicer.util.addVolumeFromArray(values, name=name)
        node.SetIJKToRASMatrix(matrix)
        node.CreateDefaultDisplayNodes()
        nodes.append(node)
    display = nodes[0].GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(-160, 240)
    display = nodes[1].GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 100)
    display.ApplyThresholdOn()
    display.SetThreshold(5, 1000)
    return nodes


def test_background_has_its_window(volumes):
    from gui.render import View, slice_image

    pixels = slice_image(View(volumes[0], size=(256, 256)))
    assert pixels.shape == (256, 256, 3)
    assert pixels[128, 128].tolist() == pytest.approx([102] * 3, abs=3)  # 0 HU in -160..240
    assert pixels[2, 128].max() <= 3


def test_slice_is_oriented_as_in_the_application(volumes):
    """Axial: left of the patient on the right of the picture, anterior on top."""
    from gui.render import View, slice_image

    pixels = slice_image(View(volumes[0], size=(256, 256)))
    bright = np.argwhere(pixels[..., 0] > 250)
    row, column = bright.mean(axis=0)
    # The cube lies at +R and +A of the center, so it shows left and above.
    assert row < 128
    assert column < 128


def test_foreground_is_blended_with_its_colors(volumes):
    from gui.render import View, slice_image

    plain = slice_image(View(volumes[0], size=(256, 256)))
    fused = slice_image(View(volumes[0], volumes[1], size=(256, 256), foreground_opacity=0.8))
    assert np.ptp(plain[128, 128].astype(int)) == 0
    assert np.ptp(fused[128, 128].astype(int)) > 60
    assert fused[2, 2].tolist() == plain[2, 2].tolist()  # below the threshold nothing covers the CT


def test_isodose_is_where_the_dose_is(volumes):
    """The 60 Gy line of a dose that falls by 1 Gy per mm is a circle of 40 mm radius."""
    from gui.render import Isodose, View, slice_image

    lines = [Isodose(60.0, (0.0, 1.0, 0.0), "60 Gy")]
    view = View(
        volumes[0], volumes[1], isodoses=lines, foreground_opacity=0.0, size=(512, 512), offset_mm=40.0
    )
    pixels = slice_image(view).astype(int)
    green = (pixels[..., 1] > 200) & (pixels[..., 0] < 90) & (pixels[..., 2] < 90)
    green[480:] = False  # the label
    rows, columns = np.nonzero(green)
    mm_per_pixel = 64 * 4.0 / 512
    center = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    radius = np.hypot(rows - center[0], columns - center[1]) * mm_per_pixel
    assert radius.mean() == pytest.approx(40.0, abs=1.0)
    assert radius.std() < 1.0


def test_segments_are_outlined(volumes):
    import slicer
    from gui.render import View, slice_image

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumes[0])
    identifier = node.GetSegmentation().AddEmptySegment("kidney", "Kidney", [1.0, 0.0, 0.0])
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:15, 20:40, 20:40] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, volumes[0])
    node.GetDisplayNode().SetOpacity2DFill(0.0)
    pixels = slice_image(View(volumes[0], segmentation=node, size=(256, 256))).astype(int)
    red = (pixels[..., 0] - pixels[..., 1]) > 60
    assert red.sum() > 100
    rows, columns = np.nonzero(red)
    assert rows.max() - rows.min() == pytest.approx(80, abs=6)  # 20 voxels of 4 mm, 1 mm per pixel
    assert columns.max() - columns.min() == pytest.approx(80, abs=6)


def test_scene_is_left_as_it_was(volumes, tmp_path):
    import slicer
    from gui.render import Isodose, View, slice_picture

    before = slicer.mrmlScene.GetNumberOfNodes()
    view = View(
        volumes[0], volumes[1], color_bar="Gy", caption="Dose", isodoses=[Isodose(50, (1, 1, 0), "50 Gy")]
    )
    path = slice_picture(view, Path(os.environ.get("THERANOSTIC_SCREENSHOTS", tmp_path)) / "dose.png")
    assert path.stat().st_size > 1000
    assert slicer.mrmlScene.GetNumberOfNodes() == before
