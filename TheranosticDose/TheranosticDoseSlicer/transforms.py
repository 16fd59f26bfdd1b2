"""``SimpleITK`` transforms as linear and grid transform nodes.

A transform of the library maps points of the reference (fixed) grid to points of the
moving image, in LPS.  A Slicer transform node under which the moving image is put
brings that image to the reference: the library's transform is its "from parent" side.
"""

from __future__ import annotations

import numpy as np
from TheranosticDoseLib.errors import InputError

_FLIP4 = np.diag([-1.0, -1.0, 1.0, 1.0])


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
    nodes = []
    for part in parts_of(transform):
        matrix = matrix_of(part)
        if matrix is None:
            node = _grid_node(part, f"{name} deformable", grid)
        else:
            node = _linear_node(matrix, name)
        if nodes:
            node.SetAndObserveTransformNodeID(nodes[-1].GetID())
        nodes.append(node)
    return nodes


def transform_of(nodes):
    """Return the ``SimpleITK.Transform`` (reference to moving, LPS) of a chain from :func:`transform_nodes`."""
    return composite_of([_from_node(node) for node in nodes])


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


def _grid_node(transform, name: str, grid):
    import SimpleITK as sitk
    import slicer
    import vtk
    from vtk.util import numpy_support

    if "DisplacementField" in transform.GetName():
        field = sitk.DisplacementFieldTransform(transform).GetDisplacementField()
    elif grid is not None:
        field = sitk.TransformToDisplacementField(
            transform,
            sitk.sitkVectorFloat64,
            grid.GetSize(),
            grid.GetOrigin(),
            grid.GetSpacing(),
            grid.GetDirection(),
        )
    else:
        raise InputError(f"The transform {name!r} cannot be shown without the grid of the reference image.")
    displacements = sitk.GetArrayFromImage(field) * np.array([-1.0, -1.0, 1.0])
    image = vtk.vtkImageData()
    image.SetDimensions(field.GetSize())
    image.SetOrigin(*(np.array([-1, -1, 1]) * field.GetOrigin()))
    image.SetSpacing(field.GetSpacing())
    scalars = numpy_support.numpy_to_vtk(displacements.reshape(-1, 3).astype(np.float64), deep=True)
    scalars.SetName("displacement")
    image.GetPointData().SetScalars(scalars)
    directions = vtk.vtkMatrix4x4()
    flipped = np.diag([-1.0, -1.0, 1.0]) @ np.array(field.GetDirection()).reshape(3, 3)
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


def _from_node(node):
    import SimpleITK as sitk
    import slicer
    import vtk

    if node.IsLinear():
        matrix = vtk.vtkMatrix4x4()
        node.GetMatrixTransformFromParent(matrix)
        ras = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
        return affine_of(_FLIP4 @ ras @ _FLIP4)
    warp = slicer.vtkOrientedGridTransform.SafeDownCast(node.GetTransformFromParent())
    if warp is None:
        raise InputError(f"The transform {node.GetName()!r} is not a displacement grid any more.")
    return sitk.DisplacementFieldTransform(_field_of(warp))


def _field_of(warp):
    import SimpleITK as sitk
    from vtk.util import numpy_support

    image = warp.GetDisplacementGrid()
    dimensions = image.GetDimensions()
    values = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).astype(np.float64)
    values = warp.GetDisplacementScale() * values + warp.GetDisplacementShift()
    array = values.reshape(*dimensions[::-1], 3) * np.array([-1.0, -1.0, 1.0])
    field = sitk.GetImageFromArray(array, isVector=True)
    field.SetOrigin([float(v) for v in np.array([-1, -1, 1]) * image.GetOrigin()])
    field.SetSpacing([float(v) for v in image.GetSpacing()])
    matrix = warp.GetGridDirectionMatrix()
    directions = np.eye(3)
    if matrix is not None:
        directions = np.array([[matrix.GetElement(i, j) for j in range(3)] for i in range(3)])
    field.SetDirection((np.diag([-1.0, -1.0, 1.0]) @ directions).ravel().tolist())
    return field
