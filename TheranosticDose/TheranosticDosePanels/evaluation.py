"""Step 6: dose in the images, histograms, comparison of engines, BED."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _
from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import compare, display, engine_table, results_nodes
from TheranosticDoseSlicer.parameters import levels_gy

from TheranosticDosePanels.step import StepPanel


class EvaluationPanel(StepPanel):
    """Dose overlay with isodose lines and colour table, DVH plot, engine comparison, table of results."""

    section, needs = "evaluationSection", "evaluationNeeds"

    def connect(self):
        """Connect the widgets."""
        self.ui.showDoseButton.connect("clicked(bool)", self.onShowDose)
        self.ui.showDvhButton.connect("clicked(bool)", self.onShowDvh)
        self.ui.compareBox.connect("currentIndexChanged(int)", self.onCompare)
        self.ui.overlayBox.connect("currentIndexChanged(int)", self.onCompare)
        self.ui.isodoseEdit.connect("editingFinished()", self.onIsodoses)
        self._shown = False
        self._compared = None

    def missing(self):
        """Return what the evaluation needs."""
        if super().missing():
            return super().missing()
        if not self._engines():
            return _("Compute a dose first (step 5).")
        return ""

    def state(self):
        """Return what is missing, or what BED is of."""
        if unmet := self.unmet():
            return unmet
        return _("BED and EQD2 are of {engine}. Histograms show the visible segments.").format(
            engine=engine_table.title(self._engines()[0])
        )

    def _engines(self):
        case = self.controller.case
        if case is None:
            return []
        return [e for e in case.record("engineOrder", []) if case.get(roles.DOSE + e) is not None]

    def done(self):
        """Whether the results are there."""
        return not self.missing()

    def refresh(self):
        """Update the widgets."""
        engines = self._engines()
        items = [(engine_table.title(engine), engine) for engine in engines]
        self.setItems("overlayBox", items, self.ui.overlayBox.currentData or "")
        others = [(_("nothing"), "")] + [item for item in items if item[1] != self.ui.overlayBox.currentData]
        self.setItems("compareBox", others, self.ui.compareBox.currentData or "")
        missing = self.missing()
        for name in ("showDoseButton", "showDvhButton"):
            self.setButton(name, missing)
        self.setTable("resultsTable", roles.VOIS, columns=results_nodes.shown_results, named=True)
        for name in ("comparisonLabel", "isodosesLabel"):
            self.show(name, bool(getattr(self.ui, name).text) and not missing)
        if self._shown and not missing:
            display.set_foreground_opacity(self.controller.parameters.doseOpacity)

    def showDefault(self):
        """Show the dose of the first engine after a computation."""
        if not self.missing():
            self.onShowDose()

    def onShowDose(self, _checked=None):
        """Show dose over CT with isodose lines."""
        with self.controller.errorsShown():
            case = self.controller.case
            engine = self.ui.overlayBox.currentData or self._engines()[0]
            dose = case.get(roles.DOSE + engine)
            display.show_as_dose(dose)
            self._legend(dose)
            display.show(case.get(roles.REFERENCE_CT), dose, self.controller.parameters.doseOpacity)
            self._shown = True
            self.onIsodoses()

    def _legend(self, shown):
        """Show the colour table of what is shown, and hide that of the rest."""
        case = self.controller.case
        nodes = [case.get(roles.DOSE + engine) for engine in self._engines()]
        for node in (*nodes, case.get(compare.DIFFERENCE)):
            if node is not None:
                display.show_legend(node, "Gy", node is shown)

    def onIsodoses(self):
        """Draw the isodose lines of the shown dose."""
        if not self._shown or self.missing():
            return
        with self.controller.errorsShown():
            engine = self.ui.overlayBox.currentData or self._engines()[0]
            try:
                levels = levels_gy(self.controller.parameters.isodoseLevels)
            except TheranosticDoseError as error:
                self.controller.bar.tellWhile("isodoses", str(error))
                raise
            self.controller.bar.tellWhile("isodoses", "")
            self.ui.isodosesLabel.text = compare.isodoses(self.controller.case, engine, levels)
        self.show("isodosesLabel", bool(self.ui.isodosesLabel.text))

    def onShowDvh(self, _checked=None):
        """Show the plot of the histograms of the visible segments in the layout."""
        results_nodes.write_dvh(self.controller.case, self.controller.live.results, self._engines())
        chart = self.controller.case.get(roles.DVH_CHART)
        if chart is not None:
            slicer.modules.plots.logic().ShowChartInLayout(chart)

    def onCompare(self, _index=None):
        """Show the difference of two engines, and say how large it is."""
        first, second = self.ui.overlayBox.currentData, self.ui.compareBox.currentData
        self.ui.comparisonLabel.text = ""
        if self.missing() or not first:
            return
        with self.controller.errorsShown():
            if second and second != first:
                node, text = compare.difference(self.controller.case, first, second, self.controller.live)
                display.show(self.controller.case.get(roles.REFERENCE_CT), node, 0.6)
                self._legend(node)
                self.ui.comparisonLabel.text = text
            elif self._shown:
                self.onShowDose()
        self.show("comparisonLabel", bool(self.ui.comparisonLabel.text))
