"""Step 7: report and export."""

from __future__ import annotations

from pathlib import Path

import qt
from slicer.i18n import tr as _
from TheranosticDoseSlicer import engine_table, tasks

from TheranosticDosePanels.step import StepPanel


class ExportPanel(StepPanel):
    """Write the result folder; open the report."""

    section, needs = "exportSection", "exportNeeds"

    def connect(self):
        """Connect the widgets."""
        self.ui.exportButton.connect("clicked(bool)", self.onExport)
        self.ui.openReportButton.connect("clicked(bool)", self.onOpen)

    def missing(self):
        """Return what the export needs."""
        evaluation = self.controller.panels[5].missing() if len(self.controller.panels) > 5 else ""
        if evaluation:
            return evaluation
        if self.controller.outdatedRegistration():
            return self.controller.outdatedRegistration()
        outdated = engine_table.outdated(self.controller.case)
        if outdated:
            return _("Compute the dose again first (step 5): {names} is out of date.").format(
                names=", ".join(engine_table.title(engine) for engine in outdated)
            )
        if not str(self.controller.parameters.exportFolder).strip(". "):
            return _("Choose a folder for the results.")
        return ""

    def state(self):
        """Return what is missing, or where the report is."""
        if self.missing():
            return self.missing()
        written = self.controller.case.record("exported")
        return _("Written to {folder}.").format(folder=written) if written else _("Ready to write.")

    def done(self):
        """Whether a report was written."""
        return self._report() is not None

    def refresh(self):
        """Update the widgets."""
        self.setButton("exportButton", self.missing())
        self.setField(
            "deidentifyBox",
            "" if self.controller.parameters.exportDicom else _("Only for DICOM objects; tick them above."),
        )
        report = self._report()
        self.setButton("openReportButton", "" if report is not None else _("Write the report first."))

    def _report(self):
        folder = self.controller.case.record("exported") if self.controller.case is not None else None
        if not folder:
            return None
        report = Path(folder) / "report.html"
        return report if report.is_file() else None

    def onExport(self, _checked=None):
        """Write the result folder."""
        with self.controller.errorsShown():
            folder = self.controller.parameters.exportFolder
            if not self.installed("export"):
                return
            parameters = self.controller.parameters
            task = tasks.export(
                self.controller.case,
                self.controller.settings(),
                folder,
                self.controller.live,
                dicom=parameters.exportDicom,
                deidentify=parameters.exportDeidentified,
            )
            self.controller.run(task, lambda _task: self.controller.case.set_record("exported", str(folder)))

    def onOpen(self, _checked=None):
        """Open the report in the web browser."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._report())))
