"""3D Slicer module: from SPECT/CT at several times to absorbed dose, in one panel.

The computation is in ``TheranosticDoseLib``, the way between MRML and the library in
``TheranosticDoseSlicer``, the steps of the panel in ``TheranosticDosePanels``.

Research software, not a medical device.
"""

import pathlib
from typing import Annotated

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin
from TheranosticDoseSlicer.choices import (
    NUCLIDES,
    FitMethod,
    FitModel,
    Handover,
    Recovery,
    RegistrationImage,
    RegistrationMethod,
    TiaMap,
)


class TheranosticDose(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        if (slicer.app.majorVersion, slicer.app.minorVersion) < (5, 10):
            # Slicer 5.8 has Python 3.9, for which pydicom 3 and highdicom are not made.
            raise RuntimeError("Theranostic Dose needs 3D Slicer 5.10 or newer.")
        self.parent.title = _("Theranostic Dose")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Nuclear Medicine")]
        self.parent.dependencies = ["DoseSegmentation", "Sequences", "Segmentations", "Tables", "Plots"]
        self.parent.contributors = ["The SlicerTheranosticDosimetry developers"]
        self.parent.helpText = _(
            "Absorbed dose of radiopharmaceutical therapy per organ, lesion and voxel from SPECT/CT at "
            "several times, with an uncertainty. Research software, not a medical device."
        )
        self.parent.acknowledgementText = _(
            "Methods and data are cited in the documentation with their DOI or report number."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Add the virtual patient and the public dataset to the Sample Data module."""
    from TheranosticDoseSlicer import sample_data

    sample_data.register(pathlib.Path(__file__).parent / "Resources" / "Icons")


@parameterNodeWrapper
class TheranosticDoseParameterNode:
    """Everything that is chosen in the panel; names as in the settings of the library (``parameters.py``).

    The data of a treatment cycle are not here but with ``caseNode``.
    """

    caseNode: slicer.vtkMRMLScriptedModuleNode
    inputFolder: pathlib.Path
    nuclide: Annotated[str, Choice(list(NUCLIDES))] = "Lu-177"
    administeredActivityMbq: Annotated[float, WithinRange(0, 1e6)] = 0.0
    administrationTime: str = ""
    registrationMethod: RegistrationMethod = RegistrationMethod.deformable
    registrationReference: str = "auto"
    registrationImage: RegistrationImage = RegistrationImage.auto
    massPreserving: bool = False
    recovery: Recovery = Recovery.none
    spectFwhmMm: Annotated[float, WithinRange(0, 50)] = 0.0
    cameraFactorCpsPerMbq: Annotated[float, WithinRange(0, 1e4)] = 0.0
    segmentation: slicer.vtkMRMLSegmentationNode
    fitModel: FitModel = FitModel.auto
    fitMethod: FitMethod = FitMethod.fit
    tiaMap: TiaMap = TiaMap.voi
    engines: str = "vsv_density"
    mcHistories: Annotated[int, WithinRange(1000, 2000000000)] = 10000000
    cnnHandover: Handover = Handover.none
    cnnDoubtPercent: Annotated[float, WithinRange(0.1, 100)] = 5.0
    doseOpacity: Annotated[float, WithinRange(0, 1)] = 0.5
    isodoseLevels: str = "10, 20, 40"
    exportFolder: pathlib.Path
    exportDicom: bool = False
    exportDeidentified: bool = False


class TheranosticDoseWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel; each step is a class of ``TheranosticDosePanels``."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.controller = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self):
        """Build the panel."""
        from TheranosticDosePanels.controller import Controller

        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/TheranosticDose.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = TheranosticDoseLogic()
        self.controller = Controller(self.ui, self.logic)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onParametersModified)
        self.initializeParameterNode()

    def cleanup(self):
        """Stop what runs and let go of the scene (module reloaded or application closed)."""
        if self.controller is not None:
            self.controller.close()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        """Show the current state."""
        self.initializeParameterNode()

    def exit(self):
        """Stop following the parameter node; a running step goes on, and what follows it needs the node."""
        if not self.controller.busy:
            self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        """Stop what runs: its results would belong to a scene that is gone."""
        self.controller.stop()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        """Start again with what the scene holds now."""
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
        self.controller.setParameters(node)

    def onParametersModified(self, caller=None, event=None):
        """Update what depends on the parameters."""
        self.controller.requestRefresh()

    def tryVirtualPatient(self):
        """Make the virtual patient and load it into a new cycle; called by Sample Data."""
        if not self.controller.busy:
            self.controller.newCase()
        self.controller.panels[0].onTry()


class TheranosticDoseLogic(ScriptedLoadableModuleLogic):
    """Every step with plain arguments, for the console and scripts; see ``docs/scripting.md``.

    A step returns when it is done.  ``newCase`` gives the case that the other steps take.
    """

    def getParameterNode(self):
        """Return the typed parameter node."""
        return TheranosticDoseParameterNode(super().getParameterNode())

    def newCase(self, name="Cycle 1"):
        """Add a treatment cycle to the scene."""
        from TheranosticDoseSlicer.case import Case

        return Case.create(name)

    def settings(self, **values):
        """Return settings of a run from nested tables, for example ``registration={"method": "rigid"}``."""
        from TheranosticDoseLib.workflow import RunSettings

        return RunSettings.from_dict(values)

    def makeVirtualPatient(self, folder, seed=1, **phantom):
        """Write a virtual patient as DICOM below ``folder``; return the folder of its DICOM files."""
        from TheranosticDoseSlicer import tasks

        tasks.virtual_patient(folder, seed, phantom).wait()
        return pathlib.Path(folder) / "dicom"

    def loadStudy(self, case, folder, overrides=None):
        """Read the files of all time points into the case."""
        from TheranosticDoseSlicer import tasks

        return tasks.load_study(case, folder, overrides).wait()

    def useVolumes(self, case, volumes, activityMbq=None):
        """Make a study of volumes of the scene: ``[(SPECT, CT or None, hours), ...]``."""
        from TheranosticDoseSlicer import study_nodes

        for _step in study_nodes.study_from_nodes(case, volumes, activityMbq):
            pass

    def register(self, case, settings=None):
        """Quantify and register the time points."""
        from TheranosticDoseSlicer import tasks

        return tasks.register(case, settings or self.settings()).wait()

    def curves(self, case, settings=None):
        """Measure and fit every VOI; return the live results of the case."""
        from TheranosticDoseSlicer.live import Live

        live = Live(case, settings or self.settings())
        for _step in live.update():
            pass
        return live

    def computeDose(self, case, engines=("vsv_density",), settings=None, live=None):
        """Run dose engines; return the live results with dose, DVH and BED."""
        from TheranosticDoseSlicer import tasks

        settings = settings or self.settings()
        live = live or self.curves(case, settings)
        tasks.dose(case, settings, list(engines), live).wait()
        return live

    def export(self, case, folder, live, settings=None, dicom=False, deidentify=False):
        """Write results.json, report, tables and images to ``folder``; with ``dicom`` RTDOSE, SEG, ... too."""
        from TheranosticDoseSlicer import tasks

        settings = settings or live.settings
        return tasks.export(case, settings, folder, live, dicom=dicom, deidentify=deidentify).wait()


class TheranosticDoseTest(ScriptedLoadableModuleTest):
    """The whole way inside Slicer; the tests without the application are in ``Testing/``."""

    def runTest(self):
        """Run everything."""
        self.setUp()
        self.test_whole_way()

    def setUp(self):
        """Start with an empty scene."""
        slicer.mrmlScene.Clear(False)

    def test_whole_way(self):
        """From a small virtual patient to a report."""
        from TheranosticDoseSlicer import in_slicer_test

        in_slicer_test.whole_way(TheranosticDoseLogic(), self.assertTrue)
