"""Volume nodes to ``SimpleITK`` images and back.

Slicer keeps geometry in RAS, the library in LPS: the first two axes change sign.
Copies are plain memory copies: some milliseconds for 128 x 128 x 128 voxels, a tenth of a second for a
large CT, which goes in steps (``reading``, ``showing``).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of

from TheranosticDoseSlicer import codes, exchange
from TheranosticDoseSlicer.beside import beside, last

CT_WINDOW_LEVEL_HU = (400.0, 40.0)
_FLIP = np.diag([-1.0, -1.0, 1.0])


def image_of(node, *, dtype=np.float32):
    """Return the voxels of a scalar volume node as ``SimpleITK.Image`` (LPS, mm).

    Raises
    ------
    InputError
        For a missing, empty or multi-component volume, or one that lies under a transform.
    """
    return last(reading(node, dtype=dtype))


def reading(node, *, dtype=np.float32) -> Generator[str, None, Any]:
    """Do :func:`image_of` in steps: the voxels are copied in another thread."""
    import SimpleITK as sitk
    import slicer

    _require_volume(node)
    voxels, geometry = slicer.util.arrayFromVolume(node), geometry_of(node)

    def copied():
        # SimpleITK copies the voxels; a copy before that is made only where their type is another.
        image = sitk.GetImageFromArray(np.asarray(voxels, dtype=dtype))
        set_geometry(image, *geometry)
        return image

    return (yield from beside(copied, node.GetName()))


def _require_volume(node) -> None:
    if node is None:
        raise InputError("A volume that is needed here was removed from the scene; load or choose it again.")
    name = node.GetName()
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f"{name!r} is a {node.GetNodeTagName()} node; a scalar volume is needed.")
    if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
        raise InputError(f"The volume {name!r} has no voxels; load it again or choose another one.")
    if node.GetImageData().GetNumberOfScalarComponents() != 1:
        raise InputError(f"The volume {name!r} has several components per voxel; choose a scalar volume.")
    if node.GetParentTransformNode() is not None:
        raise InputError(
            f"The volume {name!r} lies under the transform {node.GetParentTransformNode().GetName()!r}; "
            "harden the transform or move the volume out of it."
        )


def writing(node, folder, name: str) -> Generator[str, None, str]:
    """Write a volume node as NRRD in steps, in another thread; return the file name."""
    image = yield from reading(node)
    return (yield from beside(lambda: exchange.write_image(image, folder, name), name, finish=True))


def geometry_of(node) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return origin (3,), spacing (3,) and direction (3, 3) of a volume node in LPS, mm."""
    directions = np.zeros((3, 3))
    node.GetIJKToRASDirections(directions)
    return _FLIP @ np.array(node.GetOrigin()), np.array(node.GetSpacing()), _FLIP @ directions


def set_geometry(image, origin, spacing, direction) -> None:
    """Set the LPS geometry of an image."""
    image.SetOrigin([float(value) for value in origin])
    image.SetSpacing([float(value) for value in spacing])
    image.SetDirection([float(value) for value in np.asarray(direction).ravel()])


def ijk_to_ras(image):
    """Return the ``vtkMatrix4x4`` from voxel indices to RAS of an image."""
    import vtk

    direction = np.array(image.GetDirection()).reshape(3, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = _FLIP @ direction @ np.diag(image.GetSpacing())
    matrix[:3, 3] = _FLIP @ np.array(image.GetOrigin())
    result = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            result.SetElement(row, column, matrix[row, column])
    return result


def set_image(node, image, quantity: str | None = None) -> None:
    """Put an image into a volume node (voxels, geometry, quantity and units)."""
    _put(node, image, quantity, last(_copying(image, node.GetName())))


def _copying(image, name: str) -> Generator[str, None, Any]:
    """Copy the voxels of an image in another thread; return them as ``vtkImageData``."""
    import vtk
    from vtk.util import numpy_support

    voxels = array_of(image)
    data = vtk.vtkImageData()
    data.SetDimensions(image.GetSize())
    data.AllocateScalars(numpy_support.get_vtk_array_type(voxels.dtype), 1)
    target = numpy_support.vtk_to_numpy(data.GetPointData().GetScalars()).reshape(voxels.shape)
    yield from beside(lambda: np.copyto(target, voxels), name)
    return data


def _put(node, image, quantity: str | None, data) -> None:
    """Show the voxels ``data`` of an image in a volume node at once."""
    import slicer

    was_modifying = node.StartModify()
    try:
        node.SetAndObserveImageData(data)
        node.SetIJKToRASMatrix(ijk_to_ras(image))
        if quantity:
            codes.set_quantity(node, quantity)
        node.StorableModified()
    finally:
        node.EndModify(was_modifying)
    node.InvokeEvent(slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, node)


def volume_from(image, name: str, quantity: str | None = None, node=None, *, hidden: bool = False):
    """Return a scalar volume node with this image; ``node`` is reused where one is given.

    One that is ``hidden`` is in no list of the application and is not shown.
    """
    return last(showing(image, name, quantity, node, hidden=hidden))


def showing(
    image, name: str, quantity: str | None = None, node=None, *, hidden: bool = False
) -> Generator[str, None, Any]:
    """Do :func:`volume_from` in steps: the voxels are copied in another thread, and the node is made after it."""
    import slicer

    data = yield from _copying(image, name)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    else:
        node.SetName(name)
    node.SetHideFromEditors(hidden)
    if not hidden and node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
        if quantity == "ct_hu":
            # The window of the abdomen; to look for one in the voxels takes half a second for a large CT.
            node.GetDisplayNode().AutoWindowLevelOff()
            node.GetDisplayNode().SetWindowLevel(*CT_WINDOW_LEVEL_HU)
    _put(node, image, quantity, data)
    return node
