"""3D Slicer module: organs and lesions for dosimetry, on CT and SPECT, with tools and the Segment Editor.

Usable alone.  The tools are in ``DoseSegmentationLib``; what joins them to MRML is in ``TheranosticDoseSlicer``.

Research software, not a medical device.
"""

import enum
from typing import Annotated

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

POLL_MS = 40


class DoseSegmentation(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Dose Segmentation")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Nuclear Medicine")]
        self.parent.dependencies = ["Segmentations", "SegmentEditor", "Markups"]
        self.parent.contributors = ["The SlicerTheranosticDosimetry developers"]
        self.parent.helpText = _(
            "Organs and lesions on CT and SPECT for dosimetry: tools, correction with the Segment Editor, copies for "
            "other time points. Research software, not a medical device."
        )
        self.parent.acknowledgementText = _("Methods are cited in the documentation with their source.")


class SegmentationTool(enum.Enum):
    """The tools of ``TheranosticDoseSlicer.segmentation_tools.Tool``, known before that package is imported."""

    lesion = "percent_of_maximum"
    threshold_spect = "fixed_threshold_spect"
    threshold_ct = "fixed_threshold_ct"
    body_ct = "body_outline"
    body_spect = "body_outline_spect"

    def label(self):
        """Return what the user reads."""
        return {
            "percent_of_maximum": _("SPECT: percent of the maximum"),
            "fixed_threshold_spect": _("SPECT: fixed threshold"),
            "fixed_threshold_ct": _("CT: fixed threshold"),
            "body_outline": _("CT: body outline"),
            "body_outline_spect": _("SPECT: body outline"),
        }[self.value]


@parameterNodeWrapper
class DoseSegmentationParameterNode:
    """What is chosen in the panel: images, tool and its parameters, where the segments go."""

    ct: slicer.vtkMRMLScalarVolumeNode
    spect: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    tool: SegmentationTool = SegmentationTool.lesion
    segmentName: str = "Lesion 1"
    threshold: Annotated[float, WithinRange(-10000, 1e12)] = 0.0
    percent: Annotated[float, WithinRange(1, 99)] = 41.0
    seed: slicer.vtkMRMLMarkupsFiducialNode
    radiusMm: Annotated[float, WithinRange(1, 500)] = 30.0


class DoseSegmentationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.task = None
        self.browser = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self):
        """Build the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/DoseSegmentation.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = DoseSegmentationLogic()
        self._setupEditor()
        self._tips = {name: getattr(self.ui, name).toolTip for name in ("runButton", "propagateButton")}
        self.ui.jobFrame.visible = False
        self.ui.messageLabel.visible = False
        self.ui.runButton.connect("clicked(bool)", self.onRun)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancel)
        self.ui.propagateButton.connect("clicked(bool)", self.onPropagate)
        self._timer = qt.QTimer()
        self._timer.interval = POLL_MS
        self._timer.connect("timeout()", self._tick)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def _setupEditor(self):
        """Embed the Segment Editor; images and segmentation are chosen above it."""
        editor = self.ui.editorWidget
        editor.setMRMLScene(slicer.mrmlScene)
        editor.setSegmentationNodeSelectorVisible(False)
        editor.setSourceVolumeNodeSelectorVisible(False)
        editor.setSwitchToSegmentationsButtonVisible(False)
        self._attachEditor()

    def _attachEditor(self):
        node = slicer.mrmlScene.GetSingletonNode("DoseSegmentation", "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag("DoseSegmentation")
            node = slicer.mrmlScene.AddNode(node)
        self.ui.editorWidget.setMRMLSegmentEditorNode(node)

    def cleanup(self):
        """Stop what runs and let go of the scene."""
        self.stop()
        self.setParameterNode(None)
        self.ui.editorWidget.setMRMLSegmentEditorNode(None)
        self.removeObservers()

    def enter(self):
        """Show the current state."""
        self.initializeParameterNode()

    def exit(self):
        """Leave the active effect, so that the mouse does not go on drawing elsewhere."""
        self.ui.editorWidget.setActiveEffectByName("")
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        """Stop what runs: its results would belong to a scene that is gone."""
        self.stop()
        self.setParameterNode(None)
        self.ui.editorWidget.setMRMLSegmentEditorNode(None)

    def onSceneEndClose(self, caller, event):
        """Start again with an empty scene."""
        self._attachEditor()
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Follow the parameter node of the scene."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, node):
        """Bind the widgets to a parameter node; ``None`` unbinds them."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        self._parameterNode = node
        if node is not None:
            self._parameterNodeGuiTag = node.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
            self.refresh()

    def onParametersModified(self, caller=None, event=None):
        """Update what depends on the parameters."""
        self.refresh()

    def openFor(self, ct=None, spect=None, segmentation=None, browser=None):
        """Show these images and this segmentation; called by Theranostic Dose."""
        self.initializeParameterNode()
        node = self._parameterNode
        node.ct, node.spect = ct, spect
        if segmentation is not None:
            node.segmentation = segmentation
        self.browser = browser

    def refresh(self):
        """Bring the widgets up to date."""
        node = self._parameterNode
        editor = self.ui.editorWidget
        if editor.segmentationNode() is not node.segmentation:
            editor.setSegmentationNode(node.segmentation)
        source = node.ct if node.ct is not None else node.spect
        if node.segmentation is not None and editor.sourceVolumeNode() is not source:
            editor.setSourceVolumeNode(source)
        tool = node.tool
        lesion, fixed = tool == SegmentationTool.lesion, "threshold" in tool.name
        self.ui.percentBox.enabled = self.ui.radiusBox.enabled = lesion
        self.ui.thresholdBox.enabled = fixed
        self.ui.seedSelector.enabled = lesion or fixed
        reason = self.logic.missing(node)
        self.ui.toolNeeds.text = reason
        self.ui.toolNeeds.visible = bool(reason)
        self._setButton("runButton", reason)
        self._setButton("propagateButton", self.logic.cannotPropagate(node.segmentation))
        self.ui.propagateNeeds.text = self.logic.cannotPropagate(node.segmentation)

    def _setButton(self, name, reason):
        if not reason and self.task is not None and self.task.running:
            reason = _("Wait until the running tool is done, or cancel it.")
        button = getattr(self.ui, name)
        button.enabled = not reason
        button.toolTip = reason or self._tips[name]

    def tell(self, text):
        """Show a sentence at the top of the panel."""
        self.ui.messageLabel.text = text
        self.ui.messageLabel.visible = bool(text)

    def onRun(self, _checked=None):
        """Run the tool."""
        with slicer.util.tryWithErrorDisplay(_("The segment could not be made."), waitCursor=False):
            node = self._parameterNode
            if node.segmentation is None:
                node.segmentation = self.logic.newSegmentation(node.spect or node.ct)
            self.tell("")
            self.task = self.logic.task(node)
            self.task.progressed.connect(self._onProgress)
            self.task.finished.connect(self._onFinished)
            self.ui.jobLabel.text = self.task.title
            self.ui.jobProgress.value = 0
            self.ui.jobFrame.visible = True
            self.task.start()
            self._timer.start()
            self.refresh()

    def onCancel(self, _checked=None):
        """Stop the tool."""
        if self.task is not None:
            self.task.cancel()

    def onPropagate(self, _checked=None):
        """Copy the segmentation to all time points."""
        with slicer.util.tryWithErrorDisplay(_("The segmentation could not be copied."), waitCursor=True):
            made = self.logic.propagate(self._parameterNode.segmentation)
            self.tell(_("Made: {names}.").format(names=", ".join(node.GetName() for node in made)))

    def stop(self):
        """Stop what runs."""
        self._timer.stop()
        if self.task is not None and self.task.running:
            self.task.finished.disconnect(self._onFinished)
            self.task.cancel()
        self.task = None
        self.ui.jobFrame.visible = False

    def _tick(self):
        if self.task is not None:
            self.task.tick()

    def _onProgress(self, fraction, message):
        self.ui.jobProgress.value = int(1000 * fraction)
        self.ui.jobLabel.text = message

    def _onFinished(self, task):
        self._timer.stop()
        self.ui.jobFrame.visible = False
        if task.error:
            self.tell(task.error)
            slicer.util.errorDisplay(task.error)
        elif task.state.name == "CANCELLED":
            self.tell(_("Cancelled; nothing was changed."))
        if self._parameterNode is not None:
            self.refresh()


class DoseSegmentationLogic(ScriptedLoadableModuleLogic):
    """The tools with plain arguments, for the console and scripts."""

    def getParameterNode(self):
        """Return the typed parameter node."""
        return DoseSegmentationParameterNode(super().getParameterNode())

    def newSegmentation(self, reference, name="VOIs"):
        """Add an empty segmentation with the geometry of a volume."""
        from TheranosticDoseSlicer import segments

        return segments.new_segmentation(name, reference)

    def segment(self, volume, segmentation, tool, name, **parameters):
        """Make a segment and wait for it; tools and parameters as in ``segmentation_tools.run``."""
        from TheranosticDoseSlicer import segmentation_tools

        tool = segmentation_tools.Tool(getattr(tool, "value", tool))
        return segmentation_tools.run(tool, volume, segmentation, name, **parameters).wait()

    def missing(self, parameters):
        """Return what the chosen tool still needs."""
        from TheranosticDoseSlicer import segmentation_tools

        tool = segmentation_tools.Tool(parameters.tool.value)
        return segmentation_tools.missing(tool, parameters.ct, parameters.spect, parameters.segmentName)

    def task(self, parameters):
        """Return the task of the chosen tool."""
        from TheranosticDoseSlicer import segmentation_tools

        tool = segmentation_tools.Tool(parameters.tool.value)
        volume = parameters.ct if tool.image == "ct" else parameters.spect
        return segmentation_tools.run(
            tool,
            volume,
            parameters.segmentation,
            "Body" if tool.outline else parameters.segmentName,
            threshold=parameters.threshold,
            percent=parameters.percent,
            seed_ras=None if tool.outline else segmentation_tools.seed_of(parameters.seed),
            radius_mm=parameters.radiusMm,
        )

    def _caseOf(self, segmentation):
        from TheranosticDoseSlicer import case

        return next((c for c in case.cases() if c.get(case.SEGMENTATION) is segmentation), None)

    def cannotPropagate(self, segmentation):
        """Return why a segmentation cannot be copied to other time points; empty where it can."""
        if segmentation is None:
            return _("Choose a segmentation.")
        case = self._caseOf(segmentation)
        if case is None or case.record("registered") is None:
            return _("Register the time points first, in the module Theranostic Dose.")
        return ""

    def propagate(self, segmentation):
        """Return a segmentation for every time point, moved by its registration."""
        from TheranosticDoseSlicer import segmentation_tools

        return segmentation_tools.propagate(self._caseOf(segmentation), segmentation)


class DoseSegmentationTest(ScriptedLoadableModuleTest):
    """The tools inside Slicer; the tests without the application are in ``Testing/``."""

    def runTest(self):
        """Run everything."""
        self.setUp()
        self.test_lesion()

    def setUp(self):
        """Start with an empty scene."""
        slicer.mrmlScene.Clear(False)

    def test_lesion(self):
        """A hot ball is found at half of its maximum."""
        from TheranosticDoseSlicer import in_slicer_test

        in_slicer_test.hot_ball(DoseSegmentationLogic(), self.assertAlmostEqual)
