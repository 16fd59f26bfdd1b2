"""Long work in a process: progress, cancel, crashes, full disks, temporary folders."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from TheranosticDoseLib.errors import CancelledError, InputError
from TheranosticDoseSlicer import jobs
from TheranosticDoseSlicer.jobs import JobError, Process, State, Task

PATIENCE_S = 60.0


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def worker(monkeypatch, tmp_path):
    """Return ``use(code)``: let tasks run this code instead of the worker."""

    def use(code: str) -> None:
        script = tmp_path / "stand_in.py"
        script.write_text(code, encoding="utf-8")
        monkeypatch.setattr(jobs, "WORKER", "stand_in")
        environment = jobs.worker_environment()
        environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])
        monkeypatch.setattr(jobs, "worker_environment", lambda: environment)

    return use


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    if status.parent.parent.is_dir() and not status.exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in (status.read_text().rsplit(")", 1)[1].split()[0] if status.exists() else "R")


def until(condition) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_progress_result_and_other_lines() -> None:
    process = Process(
        python(
            "import json; print(json.dumps({'fraction': 0.5, 'message': 'ü half'}));"
            "print('a warning'); print('{not json'); print(json.dumps({'result': {'a': 1}}))"
        )
    )
    seen = []
    until(lambda: seen.extend(process.poll()) or process.ended)
    process.close()
    assert seen == [(0.5, "ü half")]
    assert process.result == {"a": 1}
    assert process.other_lines == ["a warning", "{not json"]
    assert process.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX")
def test_kill_ends_the_whole_tree() -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    process = Process(python(code))
    until(lambda: process.poll() or process.other_lines)
    child = int(process.other_lines[0])
    assert alive(child)
    process.kill()
    until(lambda: not alive(child))
    assert process.returncode is not None


def test_a_worker_does_not_outlive_the_program_that_started_it(tmp_path) -> None:
    request = tmp_path / "request.json"
    request.write_text('{"step": "sleep", "folder": "."}')
    code = (
        "import sys, time\nfrom TheranosticDoseSlicer import worker\n"
        "worker.STEPS['sleep'] = lambda *a: time.sleep(600)\nworker.main([sys.argv[1]])\n"
    )
    child = subprocess.Popen(
        [*python(code), str(request)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=jobs.worker_environment(),
    )
    time.sleep(1.0)
    assert child.poll() is None
    child.stdin.close()
    assert child.wait(PATIENCE_S) == 3


def test_prepare_run_load_in_short_steps(worker) -> None:
    worker(
        "import json, pathlib, sys\n"
        "request = json.loads(pathlib.Path(sys.argv[1]).read_text())\n"
        "folder = pathlib.Path(request['folder'])\n"
        "text = (folder / 'in.txt').read_text()\n"
        "(folder / 'out.txt').write_text(text.upper())\n"
        "print(json.dumps({'fraction': 1.0, 'message': 'done'}))\n"
        "print(json.dumps({'result': {'step': request['step']}}))\n"
    )
    steps, loaded = [], []

    def prepare(folder):
        steps.append("prepare")
        (folder / "in.txt").write_text("abc")
        yield "written"

    def load(folder, result):
        steps.append(result["step"])
        yield "one"
        loaded.append((folder / "out.txt").read_text())
        yield "two"

    task = Task("Test", {"step": "upper"}, prepare, load)
    progress = []
    task.progressed.connect(lambda fraction, message: progress.append((fraction, message)))
    assert task.wait(PATIENCE_S) == {"step": "upper"}
    assert (steps, loaded, progress) == (["prepare", "upper"], ["ABC"], [(1.0, "done")])
    assert task.state is State.DONE
    assert not task.folder.exists()
    with pytest.raises(RuntimeError, match="started before"):
        task.start()


def test_an_error_of_the_worker_is_the_message(worker) -> None:
    worker("import json, sys; print(json.dumps({'error': 'The tag (0018,1242) is missing.'})); sys.exit(2)")
    loaded = []
    task = Task("Test", {"step": "x"}, None, lambda *a: loaded.append(a) or iter(()))
    with pytest.raises(JobError, match=r"The tag \(0018,1242\) is missing"):
        task.wait(PATIENCE_S)
    assert loaded == []
    assert not task.folder.exists()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("pass", "status 0"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_crash_is_one_sentence(worker, code: str, text: str) -> None:
    worker(code)
    task = Task("Registration", {"step": "x"})
    with pytest.raises(JobError, match=text) as found:
        task.wait(PATIENCE_S)
    assert "Traceback" not in str(found.value)
    assert not task.folder.exists()


def test_cancel_ends_process_and_folder_and_loads_nothing(worker) -> None:
    worker("import time; time.sleep(600)")
    loaded, ended = [], []
    task = Task("Test", {"step": "x"}, None, lambda *a: loaded.append(a) or iter(()))
    task.finished.connect(ended.append)
    task.start()
    until(lambda: task.tick() or task.process is not None)
    process = task.process
    task.cancel()
    assert (task.state, loaded, ended) == (State.CANCELLED, [], [task])
    assert process.returncode is not None
    assert not task.folder.exists()
    with pytest.raises(CancelledError):
        task.wait()


def test_a_full_disk_is_one_sentence() -> None:
    def prepare(folder):
        yield "first"
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "spect0.nrrd"))

    task = Task("Registration", {"step": "x"}, prepare)
    with pytest.raises(JobError, match="Registration: No space left on device .*spect0.nrrd"):
        task.wait(PATIENCE_S)
    assert not task.folder.exists()


def test_a_step_that_takes_too_long_is_stopped(worker) -> None:
    worker("import time; time.sleep(600)")
    task = Task("Test", {"step": "x"})
    with pytest.raises(JobError, match="not finished after"):
        task.wait(2.0)
    assert task.process.returncode is not None


def test_a_node_that_goes_while_loading_is_one_sentence(worker) -> None:
    worker("import json; print(json.dumps({'result': {}}))")

    def load(folder, result):
        yield "one"
        raise InputError("The segmentation was removed from the scene.")

    task = Task("Test", {"step": "x"}, None, load)
    with pytest.raises(JobError, match="removed from the scene"):
        task.wait(PATIENCE_S)
    assert not task.folder.exists()


def test_the_warm_up_reads_what_is_there_and_misses_nothing_else(tmp_path, monkeypatch) -> None:
    from TheranosticDoseSlicer import warmup

    package = tmp_path / "package_with_library"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_library.so").write_bytes(bytes(3 << 20))
    (package / "unreadable.so").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    opened = []
    real = Path.open

    def noted(self, *arguments, **options):
        opened.append(self.name)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", noted)
    warmup._read_ahead("package_with_library")
    warmup._read_ahead("package_that_is_not_there")
    assert sorted(opened) == ["_library.so", "unreadable.so"]
    monkeypatch.setattr(warmup, "MODULES", ("module_that_is_not_there", "json"))
    warmup._import_all()
