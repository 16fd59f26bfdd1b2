"""Step 2: quantification and registration."""

from __future__ import annotations

import json

import qt
from slicer.i18n import tr as _
from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import compare, display, study_nodes, tables, tasks

from TheranosticDosePanels.step import StepPanel

BLINK_MS = 500


class RegistrationPanel(StepPanel):
    """Method, reference, run, quality; blink and checkerboard."""

    section, needs = "registrationSection", "registrationNeeds"

    def connect(self):
        """Connect the widgets."""
        self.ui.registerButton.connect("clicked(bool)", self.onRegister)
        self.ui.fusionButton.connect("clicked(bool)", self.onFusion)
        self.ui.blinkButton.connect("toggled(bool)", self.onBlink)
        self.ui.checkerboardButton.connect("toggled(bool)", self.onCheckerboard)
        self._blinkTimer = qt.QTimer()
        self._blinkTimer.interval = BLINK_MS
        self._blinkTimer.connect("timeout()", self._blink)
        self._shown = 0

    def missing(self):
        """Return what the registration needs."""
        if super().missing():
            return super().missing()
        if self.controller.case.record(study_nodes.STUDY_RECORD) is None:
            return _("Load a study first (step 1).")
        return ""

    def state(self):
        """Return what is to be done, or that it is done."""
        if self.missing():
            return self.missing()
        if self.controller.case.record("registered") is None:
            return _("Choose the method and run the registration.")
        if self.outdated():
            return _("Time points or settings were changed since; run the registration again.")
        reference = self.controller.case.record("registered")["reference"]
        return _("Done; the reference is {label}.").format(label=reference)

    def outdated(self):
        """Whether something the registration depends on was changed since."""
        case = self.controller.case
        return case.record("registeredWith") is not None and case.record("registeredWith") != self._key()

    def _key(self):
        case, settings = self.controller.case, self.controller.settings()
        table = case.get(roles.TIME_POINTS)
        rows = tables.rows_of(table) if table is not None else []
        for row in rows:
            row[study_nodes.USE] = study_nodes.is_true(row[study_nodes.USE])
        quantification = settings.quantification.to_dict()
        # These do not change the images, only what is measured in them.
        for field in ("recovery", "recovery_curve", "fwhm_mm", "fwhm_relative_uncertainty"):
            quantification.pop(field, None)
        text = json.dumps(
            [rows, quantification, settings.registration.to_dict()], sort_keys=True, default=str
        )
        return text

    def done(self):
        """Whether the time points are registered as chosen."""
        case = self.controller.case
        return case is not None and case.record("registered") is not None and not self.outdated()

    def refresh(self):
        """Update the widgets."""
        self.setButton("registerButton", self.missing())
        done = "" if self.controller.case is not None and self.controller.case.get(roles.SERIES) else (
            _("Run the registration first."))  # fmt: skip
        for name in ("fusionButton", "blinkButton", "checkerboardButton"):
            self.setButton(name, done)
        self.setTable("qualityTable", roles.QUALITY)
        case = self.controller.case
        self.ui.seekWidget.setMRMLSequenceBrowserNode(case.get(roles.BROWSER) if case is not None else None)

    def onRegister(self, _checked=None):
        """Run quantification and registration."""
        with self.controller.errorsShown():
            key = self._key()
            task = tasks.register(self.controller.case, self.controller.settings())
            self.controller.run(task, lambda _task: self._registered(key))

    def _registered(self, key):
        case = self.controller.case
        case.set_record("registeredWith", key)
        self.controller.parameters.segmentation = case.get(roles.SEGMENTATION)
        self.controller.requestUpdate()
        self.onFusion()

    def onFusion(self, _checked=None):
        """Show the SPECT of the browsed time point over the CT."""
        case = self.controller.case
        self.ui.blinkButton.checked = False
        self.ui.checkerboardButton.checked = False
        browser, series = case.get(roles.BROWSER), case.get(roles.SERIES)
        proxy = browser.GetProxyNode(series) if browser is not None and series is not None else None
        display.show(case.get(roles.REFERENCE_CT), proxy)

    def onBlink(self, on):
        """Start or stop to blink."""
        if on:
            self.ui.checkerboardButton.checked = False
            self._blinkTimer.start()
        else:
            self._blinkTimer.stop()

    def _blink(self):
        with self.controller.errorsShown():
            self._shown = 1 - self._shown
            pair = compare.pair_nodes(self.controller.case)
            display.show(pair[self._shown])

    def onCheckerboard(self, on):
        """Show reference and time point in alternating blocks, or the fusion again."""
        if not on:
            return
        self.ui.blinkButton.checked = False
        with self.controller.errorsShown():
            display.show(compare.checkerboard_node(self.controller.case))

    def stop(self):
        """Stop blinking."""
        self._blinkTimer.stop()
