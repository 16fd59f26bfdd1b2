"""Step 5: absorbed dose."""

from __future__ import annotations

from slicer.i18n import tr as _
from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import engine_table, install, tasks
from TheranosticDoseSlicer.choices import ENGINES
from TheranosticDoseSlicer.parameters import chosen_engines

from TheranosticDosePanels.step import StepPanel


class DosePanel(StepPanel):
    """Engines side by side, with time estimate, progress and cancel."""

    section, needs = "doseSection", "doseNeeds"

    def connect(self):
        """Connect the widgets."""
        self.ui.computeButton.connect("clicked(bool)", self.onCompute)
        self._available = None

    def missing(self):
        """Return what the dose needs."""
        kinetics = self.controller.panels[3].missing() if len(self.controller.panels) > 3 else ""
        if kinetics:
            return kinetics
        if not chosen_engines(self.controller.parameters):
            return _("Choose at least one engine.")
        return ""

    def state(self):
        """Return what is to be done, or which doses are out of date."""
        if self.missing():
            return self.missing()
        outdated = engine_table.outdated(self.controller.case)
        if outdated:
            text = _("Out of date, compute again: {names}. The other engines follow at once.")
            return text.format(names=", ".join(outdated))
        if self.done():
            return _("Doses are up to date. Kernel doses follow every edit.")
        return _("Choose engines and compute.")

    def done(self):
        """Whether there are doses and none is out of date."""
        case = self.controller.case
        return case is not None and bool(case.labels(roles.DOSE)) and not engine_table.outdated(case)

    def refresh(self):
        """Update the widgets."""
        self._showEngines()
        self.setButton("computeButton", self.missing())
        self.ui.mcHistoriesBox.enabled = bool(self.controller.parameters.engineMc)
        self.setTable("enginesTable", roles.ENGINES)

    def _showEngines(self):
        """Name each engine with what it takes, and disable those that are not installed."""
        if self._available is None:
            self._available = engine_table.availability()
        for engine, field in ENGINES.items():
            box = getattr(self.ui, f"{field}Box")
            entry = self._available[engine]
            estimate = engine_table.estimate(
                self.controller.case, engine, self.controller.parameters.mcHistories
            )
            box.text = engine_table.title(engine) + (f" ({estimate})" if estimate else "")
            installable = bool(install.requirements_of(engine))
            box.enabled = entry["available"] or installable
            box.toolTip = entry["reason"] or entry["description"]

    def onCompute(self, _checked=None):
        """Run the chosen engines; what is not installed is offered first."""
        with self.controller.errorsShown():
            engines = chosen_engines(self.controller.parameters)
            if not all(install.ensure(engine) for engine in engines):
                self.controller.tell(_("Not installed; choose other engines, or install what they need."))
                return
            self._available = None
            task = tasks.dose(self.controller.case, self.controller.settings(), engines, self.controller.live)
            self.controller.run(task, self._computed)

    def _computed(self, _task):
        engine_table.write(self.controller.case)
        self.controller.panels[5].showDefault()
