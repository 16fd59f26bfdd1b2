"""Step 2: quantification and registration."""

from __future__ import annotations

import json

import qt
from slicer.i18n import tr as _
from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import compare, display, study_nodes, tasks

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
        self._blinkTimer.connect("timeout()", self._tick)
        self._shown, self._compared, self._nodes = 0, None, ()

    def missing(self):
        """Return what the registration needs."""
        case = self.controller.case
        if super().missing():
            return super().missing()
        if case.record(study_nodes.STUDY_RECORD) is None:
            return _("Load a study first (step 1).")
        try:
            used = [entry for entry, _scale in study_nodes.planned(case)[0]]
        except TheranosticDoseError as error:
            return str(error)
        return self._reference(used) or self._counts(used)

    def _reference(self, used):
        """Return whether the reference is a time point in use."""
        wanted, labels = self.controller.parameters.registrationReference, [entry["label"] for entry in used]
        if wanted in ("auto", *labels):
            return ""
        text = _("The reference {wanted!r} is no time point in use; write auto or one of {labels}.")
        return text.format(wanted=wanted, labels=", ".join(labels))

    def _counts(self, used):
        """Return what SPECT in counts still needs to become activity."""
        known = (
            self.controller.case.record(study_nodes.STUDY_RECORD).get("dicom", {}).get("camera_factors", {})
        )
        counts = [entry for entry in used if entry["unit"] == "CNTS"]
        without = [entry["label"] for entry in counts if known.get(entry["label"]) is None]
        if without and self.controller.parameters.cameraFactorCpsPerMbq <= 0:
            text = _("The SPECT of {labels} holds counts: enter the camera factor in cps/MBq.")
            return text.format(labels=", ".join(without))
        without = [entry["label"] for entry in counts if not entry.get("duration_s")]
        if without:
            text = _(
                "The SPECT of {labels} holds counts: enter the duration of the acquisition (table of step 1)."
            )
            return text.format(labels=", ".join(without))
        return ""

    def state(self):
        """Return what is to be done, or that it is done."""
        if super().missing():
            return super().missing()
        if self.controller.case.record("registered") is None:
            return self.missing() or _("Choose the method and run the registration.")
        if self.controller.outdatedRegistration():
            return self.missing() or self.controller.outdatedRegistration()
        reference = self.controller.case.record("registered")["reference"]
        return _("Done; the reference is {label}.").format(label=reference) + self._warnings()

    def _warnings(self):
        found = self.controller.case.record(study_nodes.STEP_FINDINGS + "register", [])
        number = sum(finding["severity"] in ("missing", "warning") for finding in found)
        return (
            " " + _("Warnings: {number}, see the findings of step 1.").format(number=number) if number else ""
        )

    def outdated(self):
        """Whether something the registration depends on was changed since."""
        case = self.controller.case
        if case is None or self.controller.settingsProblem():
            return False
        return case.record("registeredWith") is not None and case.record("registeredWith") != self._key()

    def _key(self):
        case, settings = self.controller.case, self.controller.settings()
        rows = study_nodes.rows(case) if case.get(roles.TIME_POINTS) is not None else []
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
        return (
            case is not None
            and case.record("registered") is not None
            and not self.controller.settingsProblem()
            and not self.controller.outdatedRegistration()
        )

    def refresh(self):
        """Update the widgets."""
        self.setButton("registerButton", self.missing())
        done = "" if self.controller.case is not None and self.controller.case.get(roles.SERIES) else (
            _("Run the registration first."))  # fmt: skip
        for name in ("fusionButton", "blinkButton", "checkerboardButton"):
            self.setButton(name, done)
        self.setTable("qualityTable", roles.QUALITY)
        self.show("comparedLabel", bool(self.ui.comparedLabel.text))
        case = self.controller.case
        self.ui.seekWidget.setMRMLSequenceBrowserNode(case.get(roles.BROWSER) if case is not None else None)

    def onRegister(self, _checked=None):
        """Run quantification and registration."""
        with self.controller.errorsShown():
            key = self._key()
            self._stopComparing()
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
        self._stopComparing()
        browser, series = case.get(roles.BROWSER), case.get(roles.SERIES)
        proxy = browser.GetProxyNode(series) if browser is not None and series is not None else None
        display.show(case.get(roles.REFERENCE_CT), proxy)

    def onBlink(self, on):
        """Show reference and time point in turn, or the fusion again."""
        self._compare(on, self.ui.checkerboardButton)

    def onCheckerboard(self, on):
        """Show reference and time point in alternating blocks, or the fusion again."""
        self._compare(on, self.ui.blinkButton)

    def _compare(self, on, other):
        if on:
            other.checked = False
            self._compared = None
            self._blinkTimer.start()
            self._tick()
        elif not other.checked:
            self.onFusion()

    def _tick(self):
        """Show the other image of the pair; another pair where another time point was chosen."""
        case = self.controller.case
        with self.controller.errorsShown():
            pair = compare.pair_of(case)
            if pair != self._compared:
                self._compared = pair
                self._nodes = compare.pair_nodes(case)
                self._show(_("{reference} (reference) and {other}").format(reference=pair[0], other=pair[1]))
                if self.ui.checkerboardButton.checked:
                    display.show(compare.checkerboard_node(case, self._nodes))
            if self.ui.blinkButton.checked:
                self._shown = 1 - self._shown
                display.show(self._nodes[self._shown])
            return
        self._stopComparing()

    def _show(self, text):
        self.ui.comparedLabel.text = text
        self.show("comparedLabel", bool(text))

    def _stopComparing(self):
        self._blinkTimer.stop()
        self._compared, self._nodes = None, ()
        for button in (self.ui.blinkButton, self.ui.checkerboardButton):
            blocked = button.blockSignals(True)
            button.checked = False
            button.blockSignals(blocked)
        self._show("")

    def stop(self):
        """Stop comparing."""
        self._stopComparing()
