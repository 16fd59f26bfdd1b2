"""A small module with one of everything, to test the stand-in itself."""

import pathlib
from typing import Annotated, Optional

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *  # noqa: F403
from slicer.util import VTKObservationMixin


class SampleModule(ScriptedLoadableModule):  # noqa: F405
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)  # noqa: F405
        parent.title = _("Sample")
        parent.categories = ["Testing"]
        parent.contributors = ["First Last (Org)"]
        parent.helpText = _("Help.")
        parent.acknowledgementText = _("Thanks.")


@parameterNodeWrapper
class SampleModuleParameterNode:
    inputVolume: Optional[slicer.vtkMRMLScalarVolumeNode]  # noqa: UP045
    segmentation: slicer.vtkMRMLSegmentationNode
    threshold: Annotated[float, WithinRange(-100, 200)] = 42.0
    iterations: Annotated[int, WithinRange(1, 10)] = 3
    engine: Annotated[str, Choice(["kernel", "monte carlo"])] = "kernel"
    invert: bool = False
    comment: str = ""
    folder: pathlib.Path
    times: list[float]
    models: dict[str, str]
    label: Annotated[str, Default("ready")]


class SampleModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):  # noqa: F405
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)  # noqa: F405
        VTKObservationMixin.__init__(self)
        self._parameterNode = None
        self._guiTag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)  # noqa: F405
        panel = slicer.util.loadUI(self.resourcePath("UI/SampleModule.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = SampleModuleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.initializeParameterNode()

    def cleanup(self):
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, node):
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
        self._parameterNode = node
        if node is not None:
            self._guiTag = node.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onModified)
            self.onModified()

    def onModified(self, caller=None, event=None):
        ready = self._parameterNode.inputVolume is not None
        self.ui.applyButton.enabled = ready
        self.ui.applyButton.toolTip = _("Compute") if ready else _("Choose a volume")

    def onApply(self):
        with slicer.util.tryWithErrorDisplay(_("Failed."), waitCursor=True):
            self.ui.resultLabel.text = self.logic.process(
                self._parameterNode.inputVolume, self._parameterNode.threshold
            )


class SampleModuleLogic(ScriptedLoadableModuleLogic):  # noqa: F405
    def getParameterNode(self):
        return SampleModuleParameterNode(super().getParameterNode())

    def process(self, volume, threshold):
        if volume.GetImageData() is None:
            raise ValueError("the volume is empty")
        return str(int((slicer.util.arrayFromVolume(volume) > threshold).sum()))


class SampleModuleTest(ScriptedLoadableModuleTest):  # noqa: F405
    def runTest(self):
        pass
