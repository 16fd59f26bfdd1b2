"""3D Slicer module: organs and lesions for dosimetry, on CT and SPECT, with tools and the Segment Editor.

Usable alone.  The tools are in ``DoseSegmentationLib``; what joins them to MRML is in ``TheranosticDoseSlicer``.

Research software, not a medical device.
"""

import enum
import pathlib
from typing import Annotated

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


class DoseSegmentation(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        if (slicer.app.majorVersion, slicer.app.minorVersion) < (5, 10):
            # Slicer 5.8 has Python 3.9, for which pydicom 3 and highdicom are not made.
            raise RuntimeError("Dose Segmentation needs 3D Slicer 5.10 or newer.")
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
    adaptive = "adaptive_threshold"
    watershed = "watershed"
    fuzzy = "fuzzy_c_means"
    growing = "region_growing"

    def label(self):
        """Return what the user reads."""
        return {
            "percent_of_maximum": _("SPECT: percent of the maximum"),
            "fixed_threshold_spect": _("SPECT: fixed threshold"),
            "fixed_threshold_ct": _("CT: fixed threshold"),
            "body_outline": _("CT: body outline"),
            "body_outline_spect": _("SPECT: body outline"),
            "adaptive_threshold": _("SPECT: adaptive threshold"),
            "watershed": _("SPECT: gradient (watershed)"),
            "fuzzy_c_means": _("SPECT: fuzzy c-means"),
            "region_growing": _("SPECT: region growing"),
        }[self.value]


class SegmentationBackend(enum.Enum):
    """The backends of ``DoseSegmentationLib.backends``, known before that package is imported."""

    classical = "classical"
    totalsegmentator = "totalsegmentator"
    organs_ct = "organs_ct"
    lesions_spect_ct = "lesions_spect_ct"
    network = "network"
    monai_bundle = "monai_bundle"
    nnunet = "nnunet"

    def label(self):
        """Return what the user reads."""
        return {
            "classical": _("Thresholds and shapes"),
            "totalsegmentator": _("TotalSegmentator, organs on CT"),
            "organs_ct": _("Shipped network, organs on CT"),
            "lesions_spect_ct": _("Shipped network, lesions on SPECT/CT"),
            "network": _("Own network"),
            "monai_bundle": _("MONAI bundle"),
            "nnunet": _("nnU-Net v2"),
        }[self.value]


class Device(enum.Enum):
    """Where a network runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"

    def label(self):
        """Return what the user reads."""
        return {"auto": _("automatic"), "cpu": _("processor"), "cuda": _("NVIDIA GPU")}[self.value]


@parameterNodeWrapper
class DoseSegmentationParameterNode:
    """What is chosen in the panel: images, backend, tool and its parameters, where the segments go."""

    ct: slicer.vtkMRMLScalarVolumeNode
    spect: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    backend: SegmentationBackend = SegmentationBackend.classical
    modelPath: pathlib.Path
    pet: slicer.vtkMRMLScalarVolumeNode
    petCt: slicer.vtkMRMLScalarVolumeNode
    structures: str = ""
    device: Device = Device.auto
    fast: bool = False
    keepEdited: bool = True
    tool: SegmentationTool = SegmentationTool.lesion
    segmentName: str = "Lesion 1"
    threshold: Annotated[float, WithinRange(-10000, 1e12)] = 0.0
    percent: Annotated[float, WithinRange(1, 99)] = 41.0
    seed: slicer.vtkMRMLMarkupsFiducialNode
    radiusMm: Annotated[float, WithinRange(1, 500)] = 30.0
    redraw: bool = False


class DoseSegmentationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.bar = None
        self.toolPanel = None
        self.backendPanel = None
        self.browser = None
        self._observedSegments = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self):
        """Build the panel."""
        from TheranosticDosePanels.backends import BackendPanel
        from TheranosticDosePanels.job_bar import JobBar
        from TheranosticDosePanels.segment_tools import ToolPanel

        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/DoseSegmentation.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = DoseSegmentationLogic()
        self._setupEditor()
        self.bar = JobBar(self.ui, self.refresh)
        self.toolPanel = ToolPanel(self)
        self.backendPanel = BackendPanel(self)
        for name in ("backendSection", "toolSection", "propagateSection"):
            getattr(self.ui, name).connect("contentsCollapsed(bool)", lambda _collapsed: self.refresh())
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndClose)
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
        """Show the current state; the keys of the Segment Editor work, as in its own module."""
        self.ui.editorWidget.installKeyboardShortcuts(slicer.util.mainWindow())
        self.initializeParameterNode()

    def exit(self):
        """Leave the active effect and the placing of a seed, so that the mouse does not go on elsewhere."""
        self.ui.editorWidget.setActiveEffectByName("")
        self.ui.editorWidget.uninstallKeyboardShortcuts()
        self.toolPanel.stop()
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        """Stop what runs: its results would belong to a scene that is gone."""
        self.stop()
        self.setParameterNode(None)
        self.ui.editorWidget.removeViewObservations()
        self.ui.editorWidget.setMRMLSegmentEditorNode(None)

    def onSceneEndClose(self, caller, event):
        """Start again with what the scene holds now."""
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
        if node is None:
            return
        editor = self.ui.editorWidget
        if editor.segmentationNode() is not node.segmentation:
            editor.setSegmentationNode(node.segmentation)
        source = node.ct if node.ct is not None else node.spect
        if node.segmentation is not None and editor.sourceVolumeNode() is not source:
            editor.setSourceVolumeNode(source)
        self._observeSegments(node.segmentation)
        self.toolPanel.refresh(node)
        self.backendPanel.refresh(node)

    def _observeSegments(self, segmentation):
        """Follow the edits of the chosen segmentation."""
        inner = segmentation.GetSegmentation() if segmentation is not None else None
        if inner is self._observedSegments:
            return
        events = (slicer.vtkSegmentation.SourceRepresentationModified, slicer.vtkSegmentation.SegmentRemoved)
        for event in events:
            if self._observedSegments is not None:
                self.removeObserver(self._observedSegments, event, self.onSegmentsChanged)
            if inner is not None:
                self.addObserver(inner, event, self.onSegmentsChanged)
        self._observedSegments = inner

    def onSegmentsChanged(self, caller=None, event=None):
        """Note which segments were edited."""
        if not self.bar.busy and self._parameterNode is not None:
            self.backendPanel.segmentsChanged()

    def requireSegmentation(self):
        """Return the chosen segmentation; made where there is none."""
        node = self._parameterNode
        if node.segmentation is None:
            node.segmentation = self.logic.newSegmentation(node.spect or node.ct)
        return node.segmentation

    def stop(self):
        """Stop what runs."""
        self.bar.stop()
        self.toolPanel.stop()
        self.backendPanel.stop()
        self._observeSegments(None)


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
        given = parameters.ct, parameters.spect, parameters.segmentName, parameters.seed, parameters.threshold
        return segmentation_tools.missing(tool, *given)

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

    def caseOf(self, segmentation):
        """Return the case that a segmentation belongs to; ``None`` where there is none."""
        from TheranosticDoseSlicer import case

        return next((c for c in case.cases() if c.get(case.SEGMENTATION) is segmentation), None)

    def cannotPropagate(self, segmentation):
        """Return why a segmentation cannot be copied to other time points; empty where it can."""
        if segmentation is None:
            return _("Choose a segmentation.")
        case = self.caseOf(segmentation)
        if case is None or case.record("registered") is None:
            return _("Register the time points first, in the module Theranostic Dose.")
        return ""

    def propagation(self, segmentation, redraw=False):
        """Return the task that makes the segmentations of the other time points."""
        from TheranosticDoseSlicer import propagation_nodes

        return propagation_nodes.propagate(self.caseOf(segmentation), segmentation, redraw=redraw)

    def propagate(self, segmentation, redraw=False):
        """Make a segmentation for every other time point, moved by its registration or drawn again."""
        return self.propagation(segmentation, redraw).wait()

    def cannotMatch(self, segmentation):
        """Return why the lesions of the time points cannot be matched; empty where they can."""
        from TheranosticDoseSlicer import propagation_nodes

        reason = self.cannotPropagate(segmentation)
        if reason or self.caseOf(segmentation).labels(propagation_nodes.PROPAGATED):
            return reason
        return _("Copy the segments to the other time points first.")

    def matching(self, segmentation):
        """Return the task that finds the same lesions at all time points and names them alike."""
        from TheranosticDoseSlicer import propagation_nodes

        return propagation_nodes.match(self.caseOf(segmentation), segmentation)

    def backends(self):
        """Return every backend with what it needs and whether it is installed."""
        from TheranosticDoseSlicer import segmentation_backends

        return segmentation_backends.listed()

    def segmentWith(self, backend, segmentation, ct=None, spect=None, structures=None, **settings):
        """Run a backend and wait for it; ``keep_edited=False`` replaces edited segments.

        ``pet`` and ``pet_ct`` (volumes) are a prior for the lesions of a network.
        """
        from TheranosticDoseSlicer import segmentation_backends

        return segmentation_backends.run(backend, ct, spect, segmentation, structures, **settings).wait()


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
