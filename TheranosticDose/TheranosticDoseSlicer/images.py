"""Volume nodes to ``SimpleITK`` images and back.

Slicer keeps geometry in RAS, the library in LPS: the first two axes change sign.
Copies are plain memory copies, so a 128 x 128 x 128 volume takes some milliseconds.
"""

from __future__ import annotations

import numpy as np
from TheranosticDoseLib.errors import InputError

from TheranosticDoseSlicer import codes

_FLIP = np.diag([-1.0, -1.0, 1.0])


def image_of(node, *, dtype=np.float32):
    """Return the voxels of a scalar volume node as ``SimpleITK.Image`` (LPS, mm).

    Raises
    ------
    InputError
        For a missing, empty or multi-component volume, or one that lies under a transform.
    """
    import SimpleITK as sitk
    import slicer

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
    # SimpleITK copies the voxels; a copy before that is made only where their type is another.
    image = sitk.GetImageFromArray(np.asarray(slicer.util.arrayFromVolume(node), dtype=dtype))
    set_geometry(image, *geometry_of(node))
    return image


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
    import SimpleITK as sitk
    import slicer

    was_modifying = node.StartModify()
    try:
        slicer.util.updateVolumeFromArray(node, sitk.GetArrayViewFromImage(image))
        node.SetIJKToRASMatrix(ijk_to_ras(image))
        if quantity:
            codes.set_quantity(node, quantity)
    finally:
        node.EndModify(was_modifying)


def volume_from(image, name: str, quantity: str | None = None, node=None):
    """Return a scalar volume node with this image; ``node`` is reused where one is given."""
    import slicer

    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    else:
        node.SetName(name)
    set_image(node, image, quantity)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    return node
