"""The part of Dose Segmentation that lists the backends, runs one and shows how far its segments can be trusted."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _
from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseSlicer import install, origins, segmentation_backends

from TheranosticDosePanels.job_bar import POLL_MS
from TheranosticDosePanels.table_view import ShownTable


class BackendPanel:
    """Backends, their models and structures, and the table of the segments' origins.

    Parameters
    ----------
    widget : DoseSegmentationWidget
        Offers ``ui``, ``bar`` (a ``JobBar``) and ``requireSegmentation()``.
    """

    def __init__(self, widget) -> None:
        self.widget, self.ui, self.bar = widget, widget.ui, widget.bar
        self.parameters = None
        self.listed = {}
        self.model = {}
        self._asked = ("", "")
        self._filling = False
        self._card = ""
        self.ui.cardButton.connect("toggled(bool)", self._showCard)
        self.ui.installButton.connect("clicked(bool)", self.onInstall)
        self.ui.runBackendButton.connect("clicked(bool)", self.onRun)
        self.ui.checkButton.connect("clicked(bool)", self.onCheck)
        self.ui.structuresList.connect("itemChanged(QListWidgetItem*)", self._onStructureTicked)
        self._question = None
        self._questionTimer = self._timer(POLL_MS, self._tickQuestion)
        # A path that is being typed is no model yet.
        self._modelTimer = self._timer(300, self._askModel, once=True)
        self._editTimer = self._timer(700, self._startMarking, once=True)
        self._markTimer = self._timer(0, self._markNext)
        self._marking = None
        self._origins = ShownTable(self.ui.originsTable)
        # After the application has shown the parameter: an unset path is shown as a dot.
        self._dotTimer = self._timer(0, self._clearDot, once=True)

    def _clearDot(self):
        if self.ui.modelEdit.currentPath == ".":
            self.ui.modelEdit.currentPath = ""

    def _timer(self, interval, slot, once=False):
        timer = qt.QTimer()
        timer.interval = interval
        timer.singleShot = once
        timer.connect("timeout()", slot)
        return timer

    def stop(self) -> None:
        """Let go of the scene."""
        self._stopAsking()
        for timer in (self._modelTimer, self._editTimer, self._markTimer, self._dotTimer):
            timer.stop()
        self._marking = None
        self.parameters = None

    # ---------------------------------------------------------------- state

    @property
    def backend(self) -> str:
        """The chosen backend."""
        return self.parameters.backend.value

    @property
    def path(self) -> str:
        """The chosen model; empty where the backend reads none."""
        text = str(self.parameters.modelPath).strip()
        return "" if text in ("", ".") or not segmentation_backends.reads_a_path(self.backend) else text

    @property
    def _takes_a_prior(self) -> bool:
        return self.backend in segmentation_backends.TAKE_A_PRIOR

    def refresh(self, parameters) -> None:
        """Bring the widgets up to date with the parameter node."""
        self.parameters = parameters
        if not self.listed:
            self.listed = segmentation_backends.listed()
        self._clearDot()
        self._dotTimer.start()
        entry = self.listed[self.backend]
        self._nameBackends()
        for name, shown in (
            ("modelEdit", segmentation_backends.reads_a_path(self.backend)),
            ("deviceBox", "device" in entry["settings"]),
            ("fastBox", "fast" in entry["settings"]),
            ("petSelector", self._takes_a_prior),
            ("petCtSelector", self._takes_a_prior),
        ):
            self._show(name, shown)
            if hasattr(self.ui, f"{name}Label"):
                self._show(f"{name}Label", shown)
        self._modelChanged(entry)
        reason = segmentation_backends.missing(
            self.backend, entry, parameters.ct, parameters.spect, self.path
        ) or self.model.get("problem", "")
        if not reason and self._takes_a_prior:
            reason = segmentation_backends.prior_refused(parameters.pet, parameters.petCt, parameters.ct)
        self.ui.backendNeeds.text = reason
        self._show("backendNeeds", bool(reason))
        self.bar.setButton("runBackendButton", reason)
        self._describe(entry)
        self._showOrigins()

    def _nameBackends(self) -> None:
        box = self.ui.backendBox
        for index, kind in enumerate(type(self.parameters.backend)):
            available = self.listed[kind.value]["available"]
            text = kind.label() if available else _("{name} (not available)").format(name=kind.label())
            if box.itemText(index) != text:
                box.setItemText(index, text)

    def _describe(self, entry) -> None:
        lines = [entry["description"]]
        if self.backend != "totalsegmentator" and not self.listed["totalsegmentator"]["available"]:
            lines.append(_("For organs, TotalSegmentator is recommended where it can be installed."))
        hint = segmentation_backends.hint(self.backend, self.parameters.ct, self.parameters.spect)
        lines += [hint] if hint else []
        facts = [
            text.format(self.model[key])
            for key, text in (
                ("licence", _("Licence: {}.")),
                ("sha256", _("SHA-256 of the weights: {:.16}...")),
            )
            if self.model.get(key)
        ]
        self.ui.backendLabel.text = "\n".join([*lines, " ".join(facts)] if facts else lines)
        self.ui.backendLabel.toolTip = self.model.get("sha256", "")
        self.ui.installButton.enabled = not entry["available"] and bool(install.how(self.backend))
        self.ui.installButton.toolTip = install.how(self.backend) or _("There is nothing to install.")
        self.bar.setButton("cardButton", "" if self.model.get("card") else _("There is no model card."))
        card = self.model.get("card", "")
        if not card:
            self.ui.cardButton.checked = False
        self._showCard(self.ui.cardButton.checked)
        self._show("structuresList", bool(self.model.get("structures")))

    def _show(self, name, on) -> None:
        self.bar.show("backendSection", name, on)

    def _showCard(self, on) -> None:
        card = self.model.get("card", "")
        if on and card != self._card:
            self._card = card
            self.ui.cardText.setMarkdown(card)
        self._show("cardText", bool(on))

    # ---------------------------------------------------------------- the model

    def _modelChanged(self, entry) -> None:
        """Ask for the model's structures where another one was chosen."""
        chosen = (self.backend, self.path)
        if chosen == self._asked:
            return
        self._asked = chosen
        self.model = {"structures": list(entry["structures"]), "card": entry["card"]}
        self._fillStructures()
        self._stopAsking()
        if self.path or segmentation_backends.is_shipped(self.backend, entry):
            self._modelTimer.start()

    def _askModel(self) -> None:
        """Read the model beside what else runs: it takes a second, and large weights more."""
        self._stopAsking()
        if self.parameters is None:
            return
        self._question = segmentation_backends.ask_model(self.backend, self.path)
        self._question.finished.connect(self._modelRead)
        self._question.start()
        self._questionTimer.start()

    def _tickQuestion(self) -> None:
        if self._question is not None:
            self._question.tick()

    def _stopAsking(self) -> None:
        self._questionTimer.stop()
        question, self._question = self._question, None
        if question is not None and question.running:
            question.finished.disconnect(self._modelRead)
            question.cancel()

    def _modelRead(self, task) -> None:
        self._questionTimer.stop()
        self._question = None
        self.model = dict(task.result) if not task.error else {"problem": task.error}
        if self.parameters is not None:
            self._fillStructures()
            self.refresh(self.parameters)

    def _fillStructures(self) -> None:
        self._filling = True
        chosen = self._chosen()
        box = self.ui.structuresList
        box.clear()
        for name in self.model.get("structures", ()):
            item = qt.QListWidgetItem(name)
            item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if not chosen or name in chosen else qt.Qt.Unchecked)
            box.addItem(item)
        self._filling = False

    def _chosen(self) -> list[str]:
        return [part.strip() for part in self.parameters.structures.split(",") if part.strip()]

    def _onStructureTicked(self, _item) -> None:
        if self._filling or self.parameters is None:
            return
        box = self.ui.structuresList
        items = [box.item(i) for i in range(box.count)]
        ticked = [item.text() for item in items if item.checkState() == qt.Qt.Checked]
        self.parameters.structures = "" if len(ticked) == len(items) else ", ".join(ticked)

    # ---------------------------------------------------------------- what the user does

    def onInstall(self, _checked=None) -> None:
        """Install what the backend needs, after asking."""
        try:
            if not install.ensure(self.backend):
                self.bar.tell(_("Nothing was installed."))
        except TheranosticDoseError as error:
            self.bar.tell(str(error))
            slicer.util.errorDisplay(str(error))
        self.listed = {}
        self.refresh(self.parameters)

    def onRun(self, _checked=None) -> None:
        """Run the backend."""
        node = self.parameters
        with self.bar.errorsShown():
            segmentation = self.widget.requireSegmentation()
            settings = {"path": self.path} if self.path else {}
            known = self.listed[self.backend]["settings"]
            if "device" in known:
                settings["device"] = node.device.value
            if "fast" in known:
                settings["fast"] = bool(node.fast)
            if self._takes_a_prior:
                settings |= {"pet": node.pet, "pet_ct": node.petCt}
            task = segmentation_backends.run(
                self.backend,
                node.ct,
                node.spect,
                segmentation,
                self._chosen(),
                keep_edited=bool(node.keepEdited),
                **settings,
            )
            self.bar.start(task, self._segmented)

    def _segmented(self, _task) -> None:
        self.ui.trustSection.collapsed = False

    def onCheck(self, _checked=None) -> None:
        """Judge all segments as they are now."""
        with self.bar.errorsShown():
            node = self.parameters
            self.bar.start(segmentation_backends.check(node.ct, node.spect, node.segmentation))

    # ---------------------------------------------------------------- origin and trust

    def segmentsChanged(self) -> None:
        """Note soon which segments were edited; many strokes in a row are one edit."""
        self._editTimer.start()

    def _startMarking(self) -> None:
        segmentation = self.parameters.segmentation if self.parameters is not None else None
        if segmentation is None or self.bar.busy:
            return
        self._marking = origins.mark_edits(segmentation)
        self._markTimer.start()

    def _markNext(self) -> None:
        try:
            next(self._marking)
        except StopIteration:
            self._markTimer.stop()
            self._marking = None
            if self.parameters is not None and self.parameters.segmentation is not None:
                origins.write_table(self.parameters.segmentation)
                self._showOrigins()

    def _showOrigins(self) -> None:
        segmentation = self.parameters.segmentation
        table = segmentation.GetNodeReference(origins.TABLE_ROLE) if segmentation is not None else None
        self._origins.show(table)
        notes = ""
        if segmentation is not None:
            notes = segmentation.GetAttribute(segmentation_backends.NOTES_ATTRIBUTE) or ""
        self.ui.notesLabel.text = notes or _(
            "Segments of backends and tools are listed here; check them by eye."
        )
        empty = segmentation is None or segmentation.GetSegmentation().GetNumberOfSegments() == 0
        self.bar.setButton("checkButton", _("There are no segments to check.") if empty else "")
