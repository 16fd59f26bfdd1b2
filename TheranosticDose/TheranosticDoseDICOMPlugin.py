"""DICOM plugin: SPECT/CT studies of a radionuclide therapy, loaded from Slicer's DICOM browser as one case.

Offered for a selection that holds a SPECT (NM, or PT-class slices of a SPECT), with the CT and
the structure sets selected with it.  Everything is read by the library's own loader, so time points, units and
doubts are the same as in the module.

Research software, not a medical device.
"""

import pathlib

import slicer
from DICOMLib import DICOMLoadable, DICOMPlugin
from slicer.i18n import tr as _

SPECT_MODALITIES = ("NM", "PT")
WITH_IT = ("CT", "RTSTRUCT", "SEG")


class TheranosticDoseDICOMPluginClass(DICOMPlugin):
    """Offers a SPECT/CT study as a loadable."""

    def __init__(self):
        super().__init__()
        self.loadType = _("SPECT/CT for dosimetry")
        self.tags["modality"] = "0008,0060"
        self.tags["seriesDescription"] = "0008,103E"
        self.tags["studyDate"] = "0008,0020"
        self.tags["corrected"] = "0028,0051"

    def examineForImport(self, fileLists):
        """Offer one loadable for all series that were selected together."""
        spect, others = [], []
        for files in fileLists:
            modality = slicer.dicomDatabase.fileValue(files[0], self.tags["modality"]) if files else ""
            if modality in SPECT_MODALITIES:
                spect.append(files)
            elif modality in WITH_IT:
                others.append(files)
        if not spect:
            return []
        loadable = DICOMLoadable()
        loadable.files = [file for files in spect + others for file in files]
        loadable.name = _("{spect} SPECT with {others} CT or structure series, for dosimetry").format(
            spect=len(spect), others=len(others)
        )
        loadable.tooltip = _("Time points, calibration and doubts are shown in the module Theranostic Dose.")
        # Selected by default only where it is more than what a volume reader would do as well.
        loadable.selected = bool(others) or len(spect) > 1
        loadable.confidence = 0.9 if loadable.selected else 0.3
        return [loadable]

    def load(self, loadable):
        """Load the study as a new case; return whether it worked."""
        from TheranosticDoseLib.errors import TheranosticDoseError
        from TheranosticDoseSlicer import display, tasks
        from TheranosticDoseSlicer.case import Case

        case = Case.create("Cycle 1")
        try:
            tasks.load_files(case, [pathlib.Path(file) for file in loadable.files]).wait()
        except TheranosticDoseError as error:
            slicer.mrmlScene.RemoveNode(case.node)
            slicer.util.errorDisplay(str(error))
            return False
        display.show_study(case)
        return True


class TheranosticDoseDICOMPlugin:
    """Registers the plugin; there is no panel."""

    def __init__(self, parent):
        parent.title = "Theranostic Dose DICOM Plugin"
        parent.categories = ["Developer Tools.DICOM Plugins"]
        parent.contributors = ["The SlicerTheranosticDosimetry developers"]
        parent.helpText = _("Loads SPECT/CT studies for dosimetry from the DICOM browser. No panel.")
        parent.acknowledgementText = _("Part of the extension TheranosticDosimetry.")
        parent.hidden = True
        # DICOM plugins are collected here before the DICOM module itself is loaded.
        try:
            slicer.modules.dicomPlugins  # noqa: B018
        except AttributeError:
            slicer.modules.dicomPlugins = {}
        slicer.modules.dicomPlugins["TheranosticDoseDICOMPlugin"] = TheranosticDoseDICOMPluginClass
