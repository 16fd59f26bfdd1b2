"""``SimpleITK`` transforms as linear and grid transform nodes.

A transform of the library maps points of the reference (fixed) grid to points of the
moving image, in LPS.  A Slicer transform node under which the moving image is put
brings that image to the reference: the library's transform is its "from parent" side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from DoseSegmentationLib.propagation import displacement_field
from TheranosticDoseLib.errors import InputError

from TheranosticDoseSlicer.beside import beside, last

_FLIP3 = np.array([-1.0, -1.0, 1.0])
_FLIP4 = np.diag([*_FLIP3, 1.0])


def transform_nodes(transform, name: str, grid=None) -> list:
    """Add the transform to the scene; the last node of the list is the one to put a volume under.

    Parameters
    ----------
    transform : SimpleITK.Transform
        Affine, displacement field, or a composite of those.
    name : str
        Name of the nodes; a deformable part gets the suffix `` deformable``.
    grid : SimpleITK.Image, optional
        Reference grid; where a part is neither linear nor a displacement field
        (a B-spline), its displacements are sampled there.

    Returns
    -------
    list of vtkMRMLTransformNode
        Chained by parent transforms: first is nearest to the world.
    """
    return last(adding(transform, name, grid))


def adding(transform, name: str, grid=None) -> Generator[str, None, list]:
    """Do :func:`transform_nodes` in steps: displacements, tens of megabytes, are copied in another thread."""
    nodes: list = []
    parts = yield from beside(
        lambda: [_matrix_or_field(part, name, grid) for part in parts_of(transform)], name
    )
    for part in parts:
        if isinstance(part, np.ndarray):
            node = _linear_node(part, name)
        else:
            node = yield from _grid_node(part, f"{name} deformable")
        if nodes:
            node.SetAndObserveTransformNodeID(nodes[-1].GetID())
        nodes.append(node)
    return nodes


def transform_of(nodes):
    """Return the ``SimpleITK.Transform`` (reference to moving, LPS) of a chain from :func:`transform_nodes`."""
    return last(reading(nodes))


def reading(nodes) -> Generator[str, None, Any]:
    """Do :func:`transform_of` in steps: displacements are copied in another thread."""
    parts = [_from_node(node) for node in nodes]
    return (yield from beside(lambda: composite_of([part() for part in parts]), nodes[-1].GetName()))


def composite_of(parts: list):
    """Return one transform of parts in the order in which they act on a reference point."""
    import SimpleITK as sitk

    # A composite transform applies the part that was added last first.
    composite = sitk.CompositeTransform(3)
    for part in reversed(parts):
        composite.AddTransform(part)
    return composite


def affine_of(matrix_lps: np.ndarray):
    """Return the ``SimpleITK`` transform of a (4, 4) LPS matrix."""
    import SimpleITK as sitk

    affine = sitk.AffineTransform(3)
    affine.SetMatrix(matrix_lps[:3, :3].ravel().tolist())
    affine.SetTranslation(matrix_lps[:3, 3].tolist())
    return affine


def matrix_of(transform) -> np.ndarray | None:
    """Return the (4, 4) LPS matrix of a linear ``SimpleITK`` transform; ``None`` for another one."""
    if not transform.IsLinear():
        return None
    matrix = np.eye(4)
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    for axis in range(3):
        point = [0.0, 0.0, 0.0]
        point[axis] = 1.0
        matrix[:3, axis] = np.array(transform.TransformPoint(point)) - origin
    matrix[:3, 3] = origin
    return matrix


def parts_of(transform) -> list:
    """The parts of a transform in the order in which they act on a reference point."""
    import SimpleITK as sitk

    transform = sitk.Transform(transform) if transform.GetName() == "Transform" else transform
    if "Composite" not in transform.GetName():
        return [transform.Downcast() if hasattr(transform, "Downcast") else transform]
    composite = sitk.CompositeTransform(transform)
    parts = []
    for index in reversed(range(composite.GetNumberOfTransforms())):
        parts += parts_of(composite.GetNthTransform(index))
    return parts


def _linear_node(matrix_lps: np.ndarray, name: str):
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    from_parent = vtk.vtkMatrix4x4()
    matrix = _FLIP4 @ matrix_lps @ _FLIP4
    for row in range(4):
        for column in range(4):
            from_parent.SetElement(row, column, matrix[row, column])
    node.SetMatrixTransformFromParent(from_parent)
    return node


def _matrix_or_field(transform, name: str, grid):
    """Return the matrix of a linear part, else its displacement field (LPS, mm)."""
    import SimpleITK as sitk

    matrix = matrix_of(transform)
    if matrix is not None:
        return matrix
    if "DisplacementField" in transform.GetName():
        return sitk.DisplacementFieldTransform(transform).GetDisplacementField()
    if grid is None:
        raise InputError(f"The transform {name!r} cannot be shown without the grid of the reference image.")
    return displacement_field(transform, grid)


def _grid_node(field, name: str) -> Generator[str, None, Any]:
    import SimpleITK as sitk
    import slicer
    import vtk
    from vtk.util import numpy_support

    image = vtk.vtkImageData()
    image.SetDimensions(field.GetSize())
    image.SetOrigin(*(np.array([-1, -1, 1]) * field.GetOrigin()))
    image.SetSpacing(field.GetSpacing())
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    image.GetPointData().GetScalars().SetName("displacement")
    target = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())

    def copy() -> None:
        np.multiply(sitk.GetArrayViewFromImage(field).reshape(-1, 3), _FLIP3, out=target)

    yield from beside(copy, name)
    directions = vtk.vtkMatrix4x4()
    flipped = np.diag(_FLIP3) @ np.array(field.GetDirection()).reshape(3, 3)
    for row in range(3):
        for column in range(3):
            directions.SetElement(row, column, flipped[row, column])
    warp = slicer.vtkOrientedGridTransform()
    warp.SetDisplacementGridData(image)
    warp.SetGridDirectionMatrix(directions)
    warp.SetInterpolationModeToLinear()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", name)
    node.SetAndObserveTransformFromParent(warp)
    return node


def _from_node(node) -> Callable[[], Any]:
    """Return what makes the transform of a node, in any thread: what belongs to VTK is read here."""
    import SimpleITK as sitk
    import slicer
    import vtk

    if node.IsLinear():
        matrix = vtk.vtkMatrix4x4()
        node.GetMatrixTransformFromParent(matrix)
        ras = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
        return functools.partial(affine_of, _FLIP4 @ ras @ _FLIP4)
    warp = slicer.vtkOrientedGridTransform.SafeDownCast(node.GetTransformFromParent())
    if warp is None:
        raise InputError(f"The transform {node.GetName()!r} is not a displacement grid any more.")
    field = _field_of(warp)
    return lambda: sitk.DisplacementFieldTransform(field())


def _field_of(warp) -> Callable[[], Any]:
    import SimpleITK as sitk
    from vtk.util import numpy_support

    image = warp.GetDisplacementGrid()
    values = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    values = values.reshape(*image.GetDimensions()[::-1], 3)
    scale, shift = warp.GetDisplacementScale(), warp.GetDisplacementShift()
    origin, spacing = _FLIP3 * image.GetOrigin(), image.GetSpacing()
    matrix = warp.GetGridDirectionMatrix()
    directions = np.eye(3)
    if matrix is not None:
        directions = np.array([[matrix.GetElement(i, j) for j in range(3)] for i in range(3)])

    def field():
        flipped = values * (scale * _FLIP3)
        if shift:
            flipped += shift * _FLIP3
        made = sitk.GetImageFromArray(flipped, isVector=True)
        made.SetOrigin([float(v) for v in origin])
        made.SetSpacing([float(v) for v in spacing])
        made.SetDirection((np.diag(_FLIP3) @ directions).ravel().tolist())
        return made

    return field
