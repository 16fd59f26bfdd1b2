"""Step 5: absorbed dose."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _
from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import engine_table, install, tasks
from TheranosticDoseSlicer.parameters import best_first, chosen_engines

from TheranosticDosePanels.step import StepPanel

ENGINE_OF_WIDGET = {"mcHistoriesBox": "mc", "cnnHandoverBox": "cnn", "cnnDoubtBox": "cnn"}
"""Settings are open for an engine that is chosen."""


class DosePanel(StepPanel):
    """Engines side by side, with time estimate, progress and cancel."""

    section, needs = "doseSection", "doseNeeds"

    def connect(self):
        """Connect the widgets."""
        self.ui.computeButton.connect("clicked(bool)", self.onCompute)
        self._available = None
        self.boxes = {}

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
        if unmet := self.unmet():
            return unmet
        outdated = engine_table.outdated(self.controller.case)
        if outdated:
            text = _("Out of date, compute again: {names}. The other engines follow at once.")
            return text.format(names=", ".join(engine_table.title(engine) for engine in outdated))
        if self.done():
            return _("Doses are up to date. Kernel doses follow every edit.") + self._failures()
        return _("Choose engines and compute.")

    def _failures(self):
        failures = engine_table.failures(self.controller.case)
        return " " + _("No dose of {reasons}").format(reasons=" ".join(failures)) if failures else ""

    def done(self):
        """Whether there are doses and none is out of date."""
        case = self.controller.case
        return case is not None and bool(case.labels(roles.DOSE)) and not engine_table.outdated(case)

    def refresh(self):
        """Update the widgets."""
        # The engines are looked up when their list is seen: that takes a while at the first time.
        if not self.ui.doseSection.collapsed:
            self._showEngines()
        self.setButton("computeButton", self.missing())
        chosen = chosen_engines(self.controller.parameters)
        for name, engine in ENGINE_OF_WIDGET.items():
            reason = _("Only for the engine {engine}; choose it above.").format(
                engine=engine_table.title(engine)
            )
            self.setField(name, "" if engine in chosen else reason)
        self.ui.enginesLabel.text = ", ".join(engine_table.short_title(engine) for engine in chosen)
        self.setTable("enginesTable", roles.ENGINES, columns=engine_table.shown)

    def _showEngines(self):
        """List the engines of the library: what each takes, and why it cannot run where it cannot."""
        if self._available is None:
            self._available = engine_table.availability()
        parameters = self.controller.parameters
        chosen = chosen_engines(parameters)
        for engine, entry in self._available.items():
            box = self.boxes.get(engine) or self._box(engine)
            estimate = engine_table.estimate(self.controller.case, engine, parameters.mcHistories)
            note = estimate if entry["available"] else _("not available")
            box.text = engine_table.title(engine) + (f" ({note})" if note else "")
            # One that is chosen in a scene from another computer must be possible to leave out.
            usable = entry["available"] or bool(install.requirements_of(engine))
            box.enabled = usable or engine in chosen
            box.toolTip = entry["reason"] or entry["description"]
            if box.checked != (engine in chosen):
                blocked = box.blockSignals(True)
                box.checked = engine in chosen
                box.blockSignals(blocked)

    def _box(self, engine):
        box = qt.QCheckBox()
        box.objectName = f"engine_{engine}"
        self.ui.enginesFrame.layout().addWidget(box)
        # The Tab key follows the order of creation, and these come after everything else.
        qt.QWidget.setTabOrder([self.ui.doseSection, *self.boxes.values()][-1], box)
        box.connect("toggled(bool)", self.onTicked)
        self.boxes[engine] = box
        return box

    def onTicked(self, _checked=None):
        """Take the engines that are ticked."""
        ticked = [engine for engine, box in self.boxes.items() if box.checked]
        self.controller.parameters.engines = ", ".join(best_first(ticked))

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
        self.controller.tell(self._failures().strip())
        self.controller.later(self.controller.panels[5].showDefault)
