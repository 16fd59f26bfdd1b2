"""One running task of a panel: progress, cancel, messages, and buttons that say why they wait."""

from __future__ import annotations

import contextlib
import logging
import time

import qt
import slicer
from slicer.i18n import tr as _
from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseSlicer import warmup
from TheranosticDoseSlicer.jobs import State

POLL_MS = 40
# What one call of a timer may take: short enough that the mouse does not stutter.
SLICE_S = 0.03


class JobBar:
    """The widgets ``jobFrame``, ``jobLabel``, ``jobProgress``, ``cancelButton``, ``messageLabel`` of a panel.

    Parameters
    ----------
    ui
        The widgets by name.
    refresh : callable
        Brings the panel up to date when a task starts or ends.
    """

    def __init__(self, ui, refresh) -> None:
        self.ui, self._refresh = ui, refresh
        self.task = None
        self._done = None
        # Whether what changes now is written by a task.
        self.writing = False
        self._tips = {}
        self._wrong = {}
        self._timer = qt.QTimer()
        self._timer.interval = POLL_MS
        self._timer.connect("timeout()", self._tick)
        ui.jobFrame.visible = False
        ui.messageLabel.visible = False
        ui.cancelButton.connect("clicked(bool)", self.cancel)

    @property
    def busy(self) -> bool:
        """Whether a task runs."""
        return self.task is not None and self.task.running

    def start(self, task, done=None) -> None:
        """Start a task; ``done(task)`` is called when its results are loaded."""
        if self.busy:
            self.tell(_("Wait until the running step is done, or cancel it."))
            return
        self.tell("")
        self.task, self._done = task, done
        task.progressed.connect(self._onProgress)
        task.finished.connect(self._onFinished)
        self.ui.jobLabel.text = task.title
        self.ui.jobProgress.value = 0
        self.ui.jobFrame.visible = True
        warmup.start()
        task.start()
        if task.running:
            self._timer.start()
            self._refresh()

    def cancel(self, _checked=None) -> None:
        """Stop what runs."""
        if self.busy:
            self.task.cancel()

    def stop(self) -> None:
        """Stop what runs and say nothing: the scene closes, or the panel goes."""
        self._timer.stop()
        if self.busy:
            self.task.finished.disconnect(self._onFinished)
            self.task.cancel()
        self.task = None
        self.ui.jobFrame.visible = False

    def tell(self, text: str) -> None:
        """Show a sentence at the top of the panel; an empty one hides it."""
        self.ui.messageLabel.text = text
        self.ui.messageLabel.visible = bool(text)
        if text:
            logging.info("%s", text)

    def tellWhile(self, subject: str, problem: str) -> None:
        """Show what is wrong with a subject until it is right again."""
        if problem:
            self._wrong[subject] = problem
            self.tell(problem)
        elif self._wrong.pop(subject, None) == self.ui.messageLabel.text:
            self.tell("")

    def setField(self, name: str, reason: str) -> None:
        """Enable a field, or disable it and say why in its tooltip."""
        field = getattr(self.ui, name)
        tip = self._tips.setdefault(name, field.toolTip)
        field.enabled = not reason
        field.toolTip = reason or tip

    def setButton(self, name: str, reason: str) -> None:
        """Enable a button, or disable it and say why in its tooltip."""
        if not reason and self.busy:
            reason = _("Wait until the running step is done, or cancel it.")
        self.setField(name, reason)

    def show(self, section: str, name: str, on: bool) -> None:
        """Show or hide a widget; one in a closed section stays hidden until the section is opened."""
        getattr(self.ui, name).visible = on and not getattr(self.ui, section).collapsed

    @contextlib.contextmanager
    def errorsShown(self):
        """Show an error of the library as its sentence, not as a traceback."""
        try:
            yield
        except TheranosticDoseError as error:
            self.tell(str(error))
            slicer.util.errorDisplay(str(error))

    def _tick(self) -> None:
        warmup.let_it_run()
        end = time.perf_counter() + SLICE_S
        self.writing = True
        try:
            while self.busy:
                self.task.tick()
                if not self.busy or self.task.state is State.RUNNING or time.perf_counter() > end:
                    break
        finally:
            self.writing = False

    def _onProgress(self, fraction, message) -> None:
        self.ui.jobProgress.value = int(1000 * fraction)
        self.ui.jobLabel.text = f"{self.task.title}: {message}"

    def _onFinished(self, task) -> None:
        self._timer.stop()
        self.ui.jobFrame.visible = False
        done, self._done = self._done, None
        if task.state is State.FAILED:
            self.tell(task.error)
            slicer.util.errorDisplay(task.error)
        elif task.state is State.CANCELLED:
            text = _("{step} was cancelled; nothing of it was kept.")
            if task.loading:
                text = _("{step} was cancelled while its results were being shown; run it again.")
            self.tell(text.format(step=task.title))
        elif done is not None:
            with self.errorsShown():
                done(task)
        self._refresh()
