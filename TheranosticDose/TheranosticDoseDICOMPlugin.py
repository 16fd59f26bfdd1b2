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
        """Offer the series that were selected together, each with the others as one study."""
        study = []
        for files in fileLists:
            modality = slicer.dicomDatabase.fileValue(files[0], self.tags["modality"]) if files else ""
            if modality in (*SPECT_MODALITIES, *WITH_IT):
                study.append(self._loadable(files, modality))
        spect = sum(loadable.modality in SPECT_MODALITIES for loadable in study)
        if not spect:
            return []
        for loadable in study:
            loadable.study = study
            # Selected by default only where it is more than what a volume reader would do as well.  The browser
            # takes the most confident reader of each series: with less than the highest confidence anywhere the
            # series would be loaded by another reader too.
            loadable.selected = len(study) > 1
            loadable.confidence = 1.1 if loadable.selected else 0.3
            loadable.name = _(
                "{what} of a study for dosimetry ({spect} SPECT, {others} CT or structure series)"
            ).format(what=loadable.modality, spect=spect, others=len(study) - spect)
        return study

    def _loadable(self, files, modality):
        loadable = DICOMLoadable()
        loadable.files, loadable.modality = list(files), modality
        loadable.tooltip = _("Time points, calibration and doubts are shown in the module Theranostic Dose.")
        loadable.outcome = None
        return loadable

    def load(self, loadable):
        """Load the selected series of a study as a new case, with the first of them; return whether it worked."""
        if loadable.outcome is not None:
            # The browser comes with each of the series; this one was tried with the first.
            outcome, loadable.outcome = loadable.outcome, None
            return outcome
        from TheranosticDoseLib.errors import TheranosticDoseError
        from TheranosticDoseSlicer import display, tasks
        from TheranosticDoseSlicer.case import Case

        together = [other for other in loadable.study if other.selected or other is loadable]
        case, worked = Case.create("Cycle 1"), True
        try:
            files = [pathlib.Path(file) for other in together for file in other.files]
            tasks.load_files(case, files).wait()
            display.show_study(case)
        except TheranosticDoseError as error:
            slicer.mrmlScene.RemoveNode(case.node)
            slicer.util.errorDisplay(str(error))
            worked = False
        for other in together:
            other.outcome = worked if other is not loadable else None
        return worked


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
