"""Joins the steps: the case that is shown, the task that runs, the results that follow the mouse."""

from __future__ import annotations

import functools
import logging
import time

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import results_nodes, warmup
from TheranosticDoseSlicer.case import CASE_FLAG, Case
from TheranosticDoseSlicer.parameters import run_settings

from TheranosticDosePanels.dose import DosePanel
from TheranosticDosePanels.evaluation import EvaluationPanel
from TheranosticDosePanels.export import ExportPanel
from TheranosticDosePanels.job_bar import SLICE_S, JobBar
from TheranosticDosePanels.kinetics import KineticsPanel
from TheranosticDosePanels.registration import RegistrationPanel
from TheranosticDosePanels.segmentation import SegmentationPanel
from TheranosticDosePanels.study import StudyPanel

EDIT_DELAY_MS = 40
WARMUP_DELAY_MS = 400
"""After the panel was shown; who only looks at it waits for nothing."""


class Controller:
    """Owns the steps; ``close`` must be called before it is dropped."""

    def __init__(self, ui, logic) -> None:
        self.ui, self.logic = ui, logic
        self.parameters = None
        self.case: Case | None = None
        self.live = None
        self.bar = JobBar(ui, self.refresh)
        self.tell, self.errorsShown = self.bar.tell, self.bar.errorsShown
        self._update = None
        self._again = False
        self._observed = []
        self._refreshing = self._writing = False
        self._known = {}
        self.phantom = {}
        self._liveTimer = self._timer(0, self._tickLive)
        self._editTimer = self._timer(EDIT_DELAY_MS, self.startUpdate)
        self._editTimer.singleShot = True
        self._refreshTimer = self._timer(0, self.refresh)
        self._refreshTimer.singleShot = True
        self._warmTimer = self._timer(WARMUP_DELAY_MS, self._warm)
        self._laterTimer = self._timer(0, self._doLater)
        self._laterTimer.singleShot = True
        self._later = []
        ui.caseSelector.addAttribute("vtkMRMLScriptedModuleNode", CASE_FLAG, "1")
        ui.caseSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self._onCaseAdded)
        self.panels = [
            panel(self)
            for panel in (
                StudyPanel,
                RegistrationPanel,
                SegmentationPanel,
                KineticsPanel,
                DosePanel,
                EvaluationPanel,
                ExportPanel,
            )
        ]

    def _timer(self, interval, slot):
        timer = qt.QTimer()
        timer.interval = interval
        timer.connect("timeout()", slot)
        return timer

    # ---------------------------------------------------------------- state

    @property
    def busy(self) -> bool:
        """Whether a task runs."""
        return self.bar.busy

    @property
    def updating(self) -> bool:
        """Whether the results do not follow the last edit yet."""
        return self._update is not None or self._editTimer.active

    @property
    def task(self):
        """The task that was started last."""
        return self.bar.task

    def settings(self):
        """Return the settings of a run as chosen in the panel."""
        return self._once("settings", lambda: run_settings(self.parameters))

    def _once(self, name: str, compute):
        """Return what stays the same during a refresh; every step asks for it, and it is computed once."""
        if not self._refreshing:
            return compute()
        if name not in self._known:
            self._known[name] = compute()
        return self._known[name]

    def settingsProblem(self) -> str:
        """Return what is wrong with the settings, as a sentence; empty where nothing."""
        return self._once("settingsProblem", self._settingsProblem)

    def _settingsProblem(self) -> str:
        try:
            self.settings()
        except TheranosticDoseError as error:
            return str(error)
        return ""

    def outdatedRegistration(self) -> str:
        """Return that the images are not those of the table and the settings any more; empty where they are."""
        if self._once("outdated", self.panels[1].outdated):
            return _("Time points or settings were changed since the registration; run it again (step 2).")
        return ""

    def setParameters(self, parameters) -> None:
        """Show a parameter node; ``None`` where the module is left or the scene closes."""
        self.parameters = parameters
        if parameters is None:
            self._warmTimer.stop()
            self._follow(None)
            return
        if not warmup.done():
            self._warmTimer.start()
        self.refresh()

    def refresh(self) -> None:
        """Bring everything up to date with the parameter node and the scene."""
        if self.parameters is None or self._refreshing:
            return
        self._refreshing = True
        self._known = {}
        try:
            for edit in (self.ui.inputFolderEdit, self.ui.exportFolderEdit):
                if edit.currentPath == ".":
                    # An unset pathlib.Path is the current folder; nobody chose that.
                    edit.currentPath = ""
            self._follow(self.parameters.caseNode)
            self._applySettings()
            for panel in self.panels:
                panel.refreshAll()
            # A panel may have made a table that the user can edit at once.
            self._observe()
        finally:
            self._refreshing = False

    def requestRefresh(self) -> None:
        """Refresh once after all changes of this pass of the event loop."""
        self._refreshTimer.start()

    def later(self, action) -> None:
        """Do something in the next pass of the event loop, so that this one is not long."""
        self._later.append(action)
        self._laterTimer.start()

    def _doLater(self) -> None:
        actions, self._later = self._later, []
        for action in actions:
            action()

    def newCase(self) -> Case:
        """Add a cycle and show it."""
        case = Case.create("Cycle 1")
        self.parameters.caseNode = case.node
        return case

    def requireCase(self) -> Case:
        """Return the shown case; made where there is none."""
        return self.case or self.newCase()

    def _onCaseAdded(self, node) -> None:
        case = Case.adopt(node)
        self.parameters.caseNode = case.node
        self.refresh()

    def _follow(self, node) -> None:
        """Follow a case node: its results, and the nodes whose changes count."""
        if node is not None and node.GetAttribute(CASE_FLAG) != "1":
            node = None
        current = self.case.node if self.case is not None else None
        if node is not current:
            self._stopUpdate()
            # What it compares are images of the cycle that was shown.
            self.panels[1].stop()
            self._stopTaskOfDeleted(current)
            self.case = Case(node) if node is not None else None
            self.live = None
            if self.case is not None:
                self._showChosen(another=current is not None)
        self._observe()

    def _showChosen(self, another: bool) -> None:
        """Show what belongs to a cycle; what the panel shows of another one must not be written to it."""
        segmentation = self.case.get(roles.SEGMENTATION)
        if another or segmentation is not None:
            self.parameters.segmentation = segmentation
        self.panels[0].showAdministration(another)

    def _stopTaskOfDeleted(self, node) -> None:
        """Stop what runs where its case was deleted: the results would belong to nothing."""
        if self.busy and node is not None and not slicer.mrmlScene.IsNodePresent(node):
            title = self.task.title
            self.bar.stop()
            text = _("The treatment cycle {name!r} was deleted; the step {step!r} was stopped.")
            self.tell(text.format(name=node.GetName(), step=title))

    def _applySettings(self) -> None:
        if self.case is None:
            return
        problem = self.settingsProblem()
        self.bar.tellWhile("settings", problem)
        if problem:
            return
        settings = self.settings()
        if self.live is None:
            from TheranosticDoseSlicer.live import Live

            self.live = Live(self.case, settings)
            if self.case.record("registered") is not None and self.case.get(roles.SEGMENTATION) is not None:
                self.requestUpdate()
        elif self.live.settings != settings:
            self.live.settings = settings
            self.requestUpdate()

    def _observe(self) -> None:
        """Observe the nodes whose changes move the results."""
        wanted = []
        if self.case is not None:
            segmentation = self.case.get(roles.SEGMENTATION)
            if segmentation is not None:
                kinds = slicer.vtkSegmentation
                for event in (
                    kinds.SourceRepresentationModified,
                    kinds.SegmentAdded,
                    kinds.SegmentRemoved,
                    kinds.SegmentModified,
                ):
                    wanted.append((segmentation.GetSegmentation(), event, self._onSegmentsChanged))
            for role, slot in (
                (roles.TIME_POINTS, self._onTimePointsChanged),
                (roles.ACTIVITIES, self._onPointsChanged),
            ):
                table = self.case.get(role)
                if table is not None:
                    wanted.append((table, vtk.vtkCommand.ModifiedEvent, slot))
        if [(o, e) for o, e, _s, _t in self._observed] == [(o, e) for o, e, _s in wanted]:
            return
        self._unobserve()
        self._observed = [(o, e, s, o.AddObserver(e, s)) for o, e, s in wanted]

    def _unobserve(self) -> None:
        for subject, _event, _slot, tag in self._observed:
            subject.RemoveObserver(tag)
        self._observed = []

    def _onSegmentsChanged(self, _caller, _event) -> None:
        self.requestUpdate()

    def _onTimePointsChanged(self, _caller, _event) -> None:
        if not self._refreshing and not self.busy:
            self.panels[0].onTableEdited()

    def _onPointsChanged(self, _caller, _event) -> None:
        # What an update or a task writes is no edit; what the user types while one runs is.
        if not self._refreshing and not self._writing and not self.bar.writing:
            self.panels[3].onPointsEdited()

    # ---------------------------------------------------------------- tasks

    def run(self, task, onDone=None) -> None:
        """Start a task; ``onDone`` is called when its results are loaded."""
        if not self.busy:
            pending = self.updating
            self._stopUpdate()
            self._again = pending
            task.finished.connect(self._updateAfter)
        self.bar.start(task, functools.partial(self._ended, onDone))

    def _updateAfter(self, _task) -> None:
        """Go on with what was edited before a task or while it ran; also where it was cancelled or failed."""
        if self._again:
            self._again = False
            self.requestUpdate()

    def _ended(self, onDone, task) -> None:
        seconds = time.monotonic() - task.started_s
        logging.info("%s took %.1f s", task.title, seconds)
        if self.case is not None:
            timings = self.case.record("timings", {})
            self.case.set_record("timings", {**timings, task.title: seconds})
        self.refresh()
        if onDone is not None:
            onDone(task)

    def stop(self) -> None:
        """Stop everything that runs; the scene is about to close."""
        self.bar.stop()
        self._stopUpdate()
        self._later = []
        self._unobserve()
        self.panels[1].stop()
        self.case = self.live = None

    def close(self) -> None:
        """Let go of everything; the module is reloaded or the application ends."""
        self.stop()
        timers = self._liveTimer, self._editTimer, self._refreshTimer, self._warmTimer, self._laterTimer
        for timer in timers:
            timer.stop()

    def _warm(self) -> None:
        """Import in another thread what the steps need; inside Slicer it runs only while this one lets it."""
        warmup.start()
        self._warmTimer.interval = 0
        if not warmup.let_it_run():
            self._warmTimer.stop()

    # ---------------------------------------------------------------- what follows the mouse

    def requestUpdate(self) -> None:
        """Bring the results up to date soon; many requests in a row are one update."""
        if not self._editTimer.active:
            self._editTimer.start()

    def startUpdate(self) -> None:
        """Begin to bring the results up to date."""
        if self.live is None or self.parameters is None:
            return
        if self.busy or self._update is not None:
            self._again = True
            return
        if self.case.record("registered") is None:
            return
        warmup.start()
        self._update = self.live.update()
        self._liveTimer.start()

    def _stopUpdate(self) -> None:
        self._editTimer.stop()
        self._liveTimer.stop()
        self._update, self._again = None, False

    def _tickLive(self) -> None:
        if warmup.let_it_run():
            return
        end = time.perf_counter() + SLICE_S
        self._writing = True
        try:
            while self._update is not None and time.perf_counter() < end:
                next(self._update)
        except StopIteration:
            self._endUpdate("")
        except TheranosticDoseError as error:
            self._endUpdate(str(error))
        finally:
            self._writing = False

    def _endUpdate(self, problem: str) -> None:
        self._liveTimer.stop()
        self._update = None
        self.tell(results_nodes.in_words(problem or " ".join(self.live.problems)))
        self.refresh()
        if self._again:
            self._again = False
            self.requestUpdate()
