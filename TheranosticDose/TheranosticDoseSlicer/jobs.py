"""Long work: prepare inputs, run a process, load its results, in steps that never block for long.

A :class:`Task` is driven by calls of :meth:`Task.tick`, by a timer in the panel or by
:meth:`Task.wait` in the console.  The process prints JSON lines on its standard output:
``{"fraction": 0.2, "message": "..."}``, at the end ``{"result": {...}}`` or ``{"error": "..."}``.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import json
import logging
import os
import queue
import shutil
import signal as os_signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from TheranosticDoseLib.errors import CancelledError, TheranosticDoseError

from TheranosticDoseSlicer.beside import beside
from TheranosticDoseSlicer.signal import Signal

WORKER = "TheranosticDoseSlicer.worker"
_LAST_LINES = 40


class State(enum.Enum):
    """What a task is doing."""

    IDLE = "idle"
    PREPARING = "preparing"
    RUNNING = "running"
    LOADING = "loading"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


FINISHED = (State.DONE, State.CANCELLED, State.FAILED)


class JobError(TheranosticDoseError):
    """The process of a step failed; the text is its own message or its last lines."""


def python_executable() -> str:
    """Return the Python to run a worker with: ``PythonSlicer`` inside Slicer, else this one."""
    return shutil.which("PythonSlicer") or sys.executable


def worker_environment() -> dict[str, str]:
    """Return an environment in which the worker finds the libraries of this extension."""
    import DoseSegmentationLib
    import TheranosticDoseLib

    folders = [str(Path(package.__file__).resolve().parents[1])
               for package in (TheranosticDoseLib, DoseSegmentationLib)]  # fmt: skip
    environment = dict(os.environ)
    known = environment.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = os.pathsep.join(
        dict.fromkeys([*folders, *filter(None, known.split(os.pathsep))])
    )
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONIOENCODING"] = "utf-8"
    return environment


class Process:
    """A child process with JSON lines on its output; its whole tree ends with :meth:`kill`.

    The child's standard input stays open as long as this program lives: a worker ends
    itself when it closes, so nothing is left behind by a crash.
    """

    def __init__(self, arguments: list[str]) -> None:
        options: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            options = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
        self.other_lines: list[str] = []
        self.result: dict[str, Any] | None = None
        self.error = ""
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._popen = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=worker_environment(),
            encoding="utf-8",
            errors="replace",
            **options,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._ended = False

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._popen.pid

    def _read(self) -> None:
        for line in self._popen.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def poll(self) -> list[tuple[float, str]]:
        """Return the progress since the last call; afterwards :attr:`ended` tells whether it is over."""
        progress = []
        while True:
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                return progress
            if line is None:
                self._ended = True
                return progress
            self._take(line.rstrip("\n"), progress)

    def _take(self, line: str, progress: list[tuple[float, str]]) -> None:
        message = None
        if line.startswith("{"):
            with contextlib.suppress(json.JSONDecodeError):
                message = json.loads(line)
        if not isinstance(message, dict):
            self.other_lines = [*self.other_lines[1 - _LAST_LINES :], line]
        elif "result" in message:
            self.result = message["result"]
        elif "error" in message:
            self.error = str(message["error"])
        elif "fraction" in message:
            progress.append((float(message["fraction"]), str(message.get("message", ""))))

    @property
    def ended(self) -> bool:
        """Whether the child closed its output and ended."""
        return self._ended and self._popen.poll() is not None

    @property
    def returncode(self) -> int | None:
        """Exit status; ``None`` while it runs."""
        return self._popen.poll()

    def kill(self, patience_s: float = 2.0) -> None:
        """End the child and everything it started."""
        if self._popen.poll() is None:
            if os.name == "nt":
                subprocess.run(
                    ["taskkill", "/F", "/T", "/PID", str(self._popen.pid)], capture_output=True, check=False
                )
            else:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._popen.pid, os_signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(patience_s)
        with contextlib.suppress(OSError):
            self._popen.stdin.close()

    def close(self) -> None:
        """Free the pipes of an ended child."""
        with contextlib.suppress(OSError):
            self._popen.stdin.close()
        if self._popen.poll() is not None:
            self._reader.join(1.0)
            self._popen.stdout.close()


class Task:
    """Prepare, run, load.

    Parameters
    ----------
    title : str
        Shown to the user.
    request : dict or None
        What the worker shall do (see ``worker.py``); ``folder`` is added. ``None``: there is only to load.
    prepare : callable, optional
        ``prepare(folder) -> iterator``: writes the inputs, one item each step.
    load : callable, optional
        ``load(folder, result) -> iterator``: puts the results into the scene, one item each step.

    Attributes
    ----------
    loading : bool
        Whether its results began to go into the scene.
    progressed : Signal
        ``(fraction, message)``.
    finished : Signal
        ``(task)``, after the temporary folder is gone.
    """

    def __init__(
        self,
        title: str,
        request: dict[str, Any] | None,
        prepare: Callable[[Path], Iterator[Any]] | None = None,
        load: Callable[[Path, dict[str, Any]], Iterator[Any]] | None = None,
    ) -> None:
        self.title = title
        self.state = State.IDLE
        self.error = ""
        self.result: dict[str, Any] = {}
        self.fraction, self.message = 0.0, ""
        self.progressed, self.finished = Signal(), Signal()
        self.folder: Path | None = None
        self.process: Process | None = None
        self.started_s = 0.0
        self._request, self._prepare, self._load = request, prepare, load
        self._steps: Iterator[Any] | None = None
        self._loaded = self.loading = False

    @property
    def running(self) -> bool:
        """Whether the task was started and is not over."""
        return self.state not in (State.IDLE, *FINISHED)

    def start(self) -> Task:
        """Begin; :meth:`tick` does the rest."""
        if self.state is not State.IDLE:
            msg = f"The task {self.title!r} was started before; make a new one."
            raise RuntimeError(msg)
        self.started_s = time.monotonic()
        self.state = State.PREPARING
        with self._guard():
            self.folder = Path(tempfile.mkdtemp(prefix="TheranosticDose-"))
            self._steps = iter(self._prepare(self.folder)) if self._prepare else iter(())
        return self

    def tick(self) -> None:
        """Do one short step."""
        with self._guard():
            if self.state is State.PREPARING:
                if not self._advance():
                    self._launch()
            elif self.state is State.RUNNING:
                self._poll()
            elif self.state is State.LOADING and not self._advance():
                if self._loaded:
                    self._end(State.DONE)
                else:
                    self._loaded, self._steps = True, self._clear()

    def cancel(self) -> None:
        """Stop: the process tree ends, the folder goes, nothing more is loaded."""
        if self.running:
            self._end(State.DONE if self._loaded else State.CANCELLED)

    def wait(self, timeout_s: float | None = None, interval_s: float = 0.02) -> dict[str, Any]:
        """Run to the end here (console use); return the result.

        Raises
        ------
        JobError
            With the message of what failed.
        CancelledError
        """
        if self.state is State.IDLE:
            self.start()
        limit = None if timeout_s is None else time.monotonic() + timeout_s
        while self.running:
            self.tick()
            if self.state is State.RUNNING:
                time.sleep(interval_s)
            if limit is not None and time.monotonic() > limit:
                self.cancel()
                raise JobError(f"{self.title}: not finished after {timeout_s:g} s; stopped.")
        if self.state is State.CANCELLED:
            raise CancelledError("Cancelled by the user.")
        if self.state is State.FAILED:
            raise JobError(self.error)
        return self.result

    def _advance(self) -> bool:
        try:
            next(self._steps)
        except StopIteration:
            return False
        return True

    def _launch(self) -> None:
        if self._request is None:
            self._begin_to_load()
            return
        request = self.folder / "request.json"
        request.write_text(json.dumps({**self._request, "folder": str(self.folder)}), encoding="utf-8")
        self.process = Process([python_executable(), "-m", WORKER, str(request)])
        self.state = State.RUNNING

    def _poll(self) -> None:
        for fraction, message in self.process.poll():
            self.fraction, self.message = fraction, message
            self.progressed.emit(fraction, message)
        if not self.process.ended:
            return
        if self.process.returncode != 0 or self.process.result is None:
            raise JobError(self._reason())
        self.result = self.process.result
        self.process.close()
        self._begin_to_load()

    def _begin_to_load(self) -> None:
        self.state, self.loading = State.LOADING, True
        self._steps = iter(self._load(self.folder, self.result)) if self._load else iter(())

    def _clear(self) -> Iterator[str]:
        """Remove the folder; a gigabyte takes a while."""
        remove = functools.partial(shutil.rmtree, self.folder, ignore_errors=True)
        yield from beside(remove, "folder", finish=True)

    def _reason(self) -> str:
        if self.process.error:
            return self.process.error
        code = self.process.returncode
        if code is not None and code < 0:
            how = f"was ended by signal {-code} (out of memory, or killed from outside)"
        else:
            how = f"ended with status {code}"
        last = " ".join(self.process.other_lines[-1:]) or "It printed nothing."
        return f"{self.title}: the process {how}. {last}"

    @contextlib.contextmanager
    def _guard(self):
        try:
            yield
        except TheranosticDoseError as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"{self.title}: {error.strerror or error}"
                       + (f" ({error.filename})." if error.filename else "."))  # fmt: skip
        except Exception as error:  # noqa: BLE001 the task must end, its folder go and the user be told
            logging.exception("%s failed", self.title)
            self._fail(f"{self.title} failed unexpectedly ({type(error).__name__}: {error}). "
                       "The details are in the application's log.")  # fmt: skip

    def _fail(self, reason: str) -> None:
        self.error = reason
        if self.process is not None and self.process.other_lines:
            logging.info("%s", "\n".join(self.process.other_lines))
        self._end(State.FAILED)

    def _end(self, state: State) -> None:
        self.state = state
        if self.process is not None:
            self.process.kill()
            self.process.close()
        # A file that is being read or written belongs to the folder that goes.
        steps, self._steps = self._steps, None
        if hasattr(steps, "close"):
            steps.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.finished.emit(self)
