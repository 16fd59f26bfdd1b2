"""Step 1: studies and time points."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from TheranosticDoseLib.errors import InputError
from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import codes, display, study_nodes, tables, tasks, trail

from TheranosticDosePanels.step import StepPanel


class StudyPanel(StepPanel):
    """Folder, volumes of the scene or virtual patient; the table of time points; the findings."""

    section, needs = "studySection", "studyNeeds"

    def connect(self):
        """Connect the widgets."""
        self._administration = None
        self.ui.loadButton.connect("clicked(bool)", self.onLoad)
        self.ui.sceneButton.connect("clicked(bool)", self.onUseScene)
        self.ui.tryButton.connect("clicked(bool)", self.onTry)
        self.ui.undoTimePointsButton.connect("clicked(bool)", self.onUndo)

    def missing(self):
        """Return what loading needs."""
        return "" if self.controller.parameters is not None else _("The module is not active.")

    def state(self):
        """Return how many time points there are."""
        case = self.controller.case
        if case is None or case.record(study_nodes.STUDY_RECORD) is None:
            return _(
                "Choose the folder of a study and load it, use volumes that are loaded, or try the virtual "
                "patient. The DICOM browser loads a study too."
            )
        rows = tables.rows_of(case.get(roles.TIME_POINTS)) if case.get(roles.TIME_POINTS) else []
        used = sum(study_nodes.is_true(row[study_nodes.USE]) for row in rows)
        outlined = len(case.labels(roles.SOURCE_VOI))
        text = _("{used} of {number} time points are used.").format(used=used, number=len(rows))
        changed = trail.time_points_by_hand(case)
        if changed:
            text += " " + _("Changed by hand: {labels}.").format(labels=", ".join(changed))
        if outlined and case.record("registered") is None:
            text += " " + _("{number} outlines in the files appear after the registration.").format(
                number=outlined
            )
        return text

    def done(self):
        """Whether a study is loaded."""
        case = self.controller.case
        return case is not None and case.record(study_nodes.STUDY_RECORD) is not None

    def refresh(self):
        """Update the widgets."""
        # First, as another time of the injection moves the times in the table.
        self._applyAdministration()
        case = self.controller.case
        folder = str(self.controller.parameters.inputFolder)
        self.setButton("loadButton", "" if folder.strip(". ") else _("Choose a folder first."))
        no_volume = _("There is no SPECT volume in the scene that is not part of a cycle yet.")
        self.setButton("sceneButton", "" if _spectVolumes() else no_volume)
        self.setButton("tryButton", "")
        self.setTable(
            "timePointsTable",
            roles.TIME_POINTS,
            columns=study_nodes.shown_time_points,
            editable=study_nodes.EDITABLE,
        )
        self.setTable(
            "findingsTable", roles.FINDINGS, columns=study_nodes.shown_findings, wrapped=study_nodes.FINDING
        )
        by_hand = case is not None and bool(trail.time_points_by_hand(case))
        self.setButton("undoTimePointsButton", "" if by_hand else _("Nothing was changed in the table."))
        self.show("undoTimePointsButton", self.ui.timePointsTable.mrmlTableNode() is not None)
        self.show("findingsLabel", self.ui.findingsTable.mrmlTableNode() is not None)

    def _applyAdministration(self):
        """Write an administration that was changed in the panel to the case."""
        case, parameters = self.controller.case, self.controller.parameters
        record = case.record(study_nodes.STUDY_RECORD) if case is not None else None
        if record is None:
            return
        known, changes = record["administration"], {}
        if known != self._administration:
            # A study was loaded since: what the panel still shows is not of it.
            self.showAdministration()
            return
        if parameters.nuclide != known["nuclide"]:
            changes["nuclide"] = parameters.nuclide
        activity = parameters.administeredActivityMbq
        if activity > 0 and abs(activity - (known["activity_mbq"] or 0.0)) > 0.06:
            changes["activity_mbq"] = activity
        if changes:
            study_nodes.set_administration(case, **changes)
        problem = ""
        try:
            text = parameters.administrationTime.strip()
            if text and text != _timeText(known["datetime"]):
                study_nodes.set_administration(case, datetime=_timeOf(text))
        except InputError as error:
            problem = str(error)
        self._administration = case.record(study_nodes.STUDY_RECORD)["administration"]
        self.controller.bar.tellWhile("administration", problem)

    def showAdministration(self, another=False):
        """Show what was administered in the shown cycle; ``another``: the panel shows that of another one."""
        parameters = self.controller.parameters
        record = self.controller.case.record(study_nodes.STUDY_RECORD)
        self._administration = record["administration"] if record is not None else None
        if record is None:
            if another:
                parameters.administeredActivityMbq, parameters.administrationTime = 0.0, ""
            return
        known = record["administration"]
        parameters.nuclide = known["nuclide"]
        parameters.administeredActivityMbq = float(known["activity_mbq"] or 0.0)
        parameters.administrationTime = _timeText(known["datetime"])

    def _typed(self):
        """Return what was typed before a study was loaded; what another study left there does not count."""
        case, parameters = self.controller.case, self.controller.parameters
        if case is not None and case.record(study_nodes.STUDY_RECORD) is not None:
            return {}
        typed = {}
        if parameters.administeredActivityMbq > 0:
            typed["activity_mbq"] = parameters.administeredActivityMbq
        if parameters.administrationTime.strip():
            typed["datetime"] = _timeOf(parameters.administrationTime)
        return typed

    def onLoad(self, _checked=None):
        """Read the folder."""
        with self.controller.errorsShown():
            folder = self.controller.parameters.inputFolder
            if not self.installed("load"):
                return
            typed = self._typed()
            task = tasks.load_study(self.controller.requireCase(), folder)
            self.controller.run(task, lambda _task: self._loaded(typed))

    def onTry(self, _checked=None):
        """Write a virtual patient and load it."""
        with self.controller.errorsShown():
            if not self.installed("phantom"):
                return
            folder = Path(tempfile.mkdtemp(prefix="VirtualPatient-", dir=slicer.app.temporaryPath))
            task = tasks.virtual_patient(folder, 1, self.controller.phantom)
            self.controller.run(task, lambda _task: self._loadVirtual(folder))

    def _loadVirtual(self, folder):
        self.controller.parameters.inputFolder = folder / "dicom"
        self.onLoad()

    def onUseScene(self, _checked=None):
        """Make a study of the volumes of the scene, by the times in their names or their order."""
        with self.controller.errorsShown():
            pairs = _pairs()
            parameters = self.controller.parameters
            activity = parameters.administeredActivityMbq or None
            # Volumes say nothing about the administration: what is in the panel is what is known.
            typed = {**self._typed(), "nuclide": parameters.nuclide}
            task = tasks.use_volumes(self.controller.requireCase(), pairs, activity)
            self.controller.run(task, lambda _task: self._loaded(typed, everything=True))

    def _loaded(self, typed, everything=False):
        """Take what was typed before, where the files do not say it; ``everything``: in any case."""
        case = self.controller.case
        known = case.record(study_nodes.STUDY_RECORD)["administration"]
        new = {key: value for key, value in typed.items() if everything or not known[key]}
        if new:
            study_nodes.set_administration(case, **new)
        self.showAdministration()
        display.show_study(case)
        self.controller.refresh()

    def onUndo(self, _checked=None):
        """Take the values of the files again."""
        with self.controller.errorsShown():
            study_nodes.undo(self.controller.case)
            self.controller.refresh()

    def onTableEdited(self):
        """Check an edited table; a changed activity becomes a calibration."""
        case = self.controller.case
        with self.controller.errorsShown():
            study_nodes.reconcile(case)
            self.controller.refresh()


def _timeOf(text):
    """Return a typed time as ISO 8601."""
    try:
        return dt.datetime.fromisoformat(text.strip()).isoformat()
    except ValueError:
        raise InputError(
            _("Injected at: {text!r} is no time; write for example 2026-11-21 09:30:00.").format(
                text=text.strip()
            )
        ) from None


def _timeText(value):
    return value.replace("T", " ") if value else ""


def _freeVolumes():
    """Return the volumes that belong to no cycle: those of a cycle are its own copies."""
    taken = roles.nodes_of_cases()
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in volumes if node.GetID() not in taken]


def _spectVolumes():
    return [node for node in _freeVolumes() if _isSpect(node)]


def _isSpect(node):
    if node.GetClassName() != "vtkMRMLScalarVolumeNode":
        # Label maps and vector volumes are scalar volumes too, by their class.
        return False
    quantity = codes.quantity_of(node)
    if quantity is not None:
        return quantity.name.startswith("spect")
    return "spect" in node.GetName().lower() and not node.GetHideFromEditors()


def _pairs():
    """Return (SPECT, CT of the same time, hours) of the scene; the hours are read from the names."""
    import re

    def hours(node):
        found = re.search(r"(\d+(?:[.,]\d+)?)\s*h\b", node.GetName(), re.IGNORECASE)
        return float(found.group(1).replace(",", ".")) if found else None

    cts = {hours(n): n for n in _freeVolumes()
           if (q := codes.quantity_of(n)) is not None and q.name == "ct_hu"}  # fmt: skip
    pairs = []
    for node in _spectVolumes():
        time_h = hours(node)
        if time_h is None:
            raise InputError(
                f"The name of the volume {node.GetName()!r} does not say its time; "
                "rename it, for example to 'SPECT 24h'."
            )
        pairs.append((node, cts.get(time_h), time_h))
    return pairs
