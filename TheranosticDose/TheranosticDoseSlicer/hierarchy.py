"""Subject hierarchy: one folder per treatment cycle, with a folder per step."""

from __future__ import annotations

STEPS = ("Images", "Registration", "Segmentation", "Kinetics", "Dose", "Evaluation")
CASE_ATTRIBUTE = "TheranosticDose.Case"


def subject_hierarchy():
    """Return the subject hierarchy node of the scene."""
    import slicer

    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def case_folder(name: str, case_id: str) -> int:
    """Return the folder of a case (a treatment cycle); made where it is missing."""
    tree = subject_hierarchy()
    item = _find(tree, tree.GetSceneItemID(), case_id)
    if not item:
        item = tree.CreateFolderItem(tree.GetSceneItemID(), name)
        tree.SetItemAttribute(item, CASE_ATTRIBUTE, case_id)
    elif tree.GetItemName(item) != name:
        tree.SetItemName(item, name)
    return item


def put(node, folder: int, step: str) -> None:
    """Put a node into the folder of a step below the folder of a case."""
    tree = subject_hierarchy()
    item = tree.GetItemByDataNode(node)
    if not item:
        item = tree.CreateItem(tree.GetSceneItemID(), node)
    # A transform that moves an image is its parent in the tree, too: leave those where they are.
    parent = tree.GetItemChildWithName(folder, step)
    if not parent:
        parent = tree.CreateFolderItem(folder, step)
    if tree.GetItemParent(item) != parent:
        tree.SetItemParent(item, parent)


def _find(tree, root: int, case_id: str) -> int:
    import vtk

    children = vtk.vtkIdList()
    tree.GetItemChildren(root, children, True)
    for index in range(children.GetNumberOfIds()):
        item = children.GetId(index)
        if tree.GetItemAttribute(item, CASE_ATTRIBUTE) == case_id:
            return item
    return 0
