"""A scene with the logics of the Slicer modules, as the application sets it up."""

from __future__ import annotations

import contextlib
import tempfile

# Module name -> class of its logic in the slicer-core wheel.
LOGICS = {
    "Annotations": "vtkSlicerAnnotationModuleLogic",
    "Colors": "vtkSlicerColorLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}


# What the application puts into the subject hierarchy when it is added to the scene.
IN_HIERARCHY = (
    "vtkMRMLVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLModelNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
    "vtkMRMLTransformNode",
    "vtkMRMLPlotChartNode",
    "vtkMRMLPlotSeriesNode",
    "vtkMRMLSequenceBrowserNode",
)


def _keep_hierarchy(scene) -> None:
    """Put each new data node into the subject hierarchy, as the application's plugin handler does."""
    import slicer
    import vtk

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(caller, event, node):
        known = node is not None and any(node.IsA(kind) for kind in IN_HIERARCHY)
        if not known or node.GetHideFromEditors() or scene.IsImporting():
            return
        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        if not tree.GetItemByDataNode(node):
            tree.CreateItem(tree.GetSceneItemID(), node)

    scene.AddObserver(scene.NodeAddedEvent, added)


class SceneWithLogics:
    """A vtkMRMLScene, its cache, the application logic and the module logics."""

    def __init__(self):
        import slicer

        self.scene = slicer.vtkMRMLScene()
        self._folder = tempfile.TemporaryDirectory(prefix="scene-cache-")
        cache = slicer.vtkCacheManager()
        cache.SetRemoteCacheDirectory(self._folder.name)
        manager = slicer.vtkDataIOManager()
        manager.SetCacheManager(cache)
        self.scene.SetCacheManager(cache)
        self.scene.SetDataIOManager(manager)
        self.application_logic = slicer.vtkSlicerApplicationLogic()
        self.application_logic.SetMRMLScene(self.scene)
        self.logics = {}
        for name, class_name in LOGICS.items():
            if hasattr(slicer, class_name):
                self.logics[name.lower()] = getattr(slicer, class_name)()
                self.application_logic.SetModuleLogic(name, self.logics[name.lower()])
        for logic in self.logics.values():
            with contextlib.suppress(AttributeError, TypeError):
                logic.SetMRMLApplicationLogic(self.application_logic)
            logic.SetMRMLScene(self.scene)
        self.add_application_nodes()
        _keep_hierarchy(self.scene)

    def add_application_nodes(self) -> None:
        """Add the nodes that every running application has: subject hierarchy, selection, interaction."""
        import slicer

        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        for class_name in ("vtkMRMLSelectionNode", "vtkMRMLInteractionNode"):
            if self.scene.GetFirstNodeByClass(class_name) is None:
                self.scene.AddNewNodeByClass(class_name).SetSingletonTag("Singleton")

    def close(self) -> None:
        """Let go of everything."""
        for logic in self.logics.values():
            logic.SetMRMLScene(None)
        self.application_logic.SetMRMLScene(None)
        self.scene.Clear(True)
        self._folder.cleanup()
