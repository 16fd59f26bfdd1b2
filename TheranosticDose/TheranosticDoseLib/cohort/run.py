"""Run a cohort on a Dask scheduler: a local one, or one that is there already."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.cohort.job import EARLIER, FAILED, FINISHED, compute
from TheranosticDoseLib.cohort.manifest import Patient, read_manifest
from TheranosticDoseLib.errors import EngineUnavailableError, InputError, OutputError, SettingsError
from TheranosticDoseLib.progress import Progress, report

if TYPE_CHECKING:
    from distributed import Client, Future

PATIENTS = "patients"


@dataclasses.dataclass(frozen=True)
class BatchResult:
    """How a cohort went.

    Attributes
    ----------
    patients : tuple of dict
        In the order of the manifest: ``id``, ``status`` (``finished``, ``finished earlier`` or
        ``failed``), ``message``, ``seconds``.
    seconds : float
        Wall time of the whole.
    out : Path
    """

    patients: tuple[dict[str, Any], ...]
    seconds: float
    out: Path

    def count(self, *status: str) -> int:
        """Return how many patients have one of these states."""
        return sum(patient["status"] in status for patient in self.patients)


def batch(
    manifest: str | Path,
    out: str | Path,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> BatchResult:
    """Compute all patients of a manifest and write their results, a table and a page.

    Patients with a whole result of the same input files, settings and version are not computed again.
    A patient that fails is reported and the others go on; a worker that dies is replaced and its
    patient starts again.

    Parameters
    ----------
    manifest : str or Path
        See :func:`read_manifest`.
    out : str or Path
        Gets ``patients/ID/`` (result folders), ``cohort.csv``, ``patients.csv``, ``cohort.json``, ``cohort.html``.
    workers : int, optional
        Processes of the local cluster; default: half of the processors, at most one a patient.
    scheduler : str, optional
        Address of a running Dask scheduler (``tcp://host:8786``), whose workers see the same files.
    progress : callable, optional
        ``False`` cancels; finished patients stay and are not computed again the next time.

    Raises
    ------
    TheranosticDoseError
        For what stops the whole: a wrong manifest, an unwritable target, no scheduler.
    """
    from TheranosticDoseLib.cohort.page import write_summary

    if workers is not None and workers < 1:
        raise SettingsError(f"--workers {workers}: at least one is needed.")
    patients = read_manifest(manifest)
    out = Path(out)
    try:
        (out / PATIENTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write to {out}: {error.strerror or error}.") from error
    started = time.perf_counter()
    count = workers or max(1, min(len(patients), (os.cpu_count() or 2) // 2))
    with _client(count, scheduler) as client:
        futures = {
            patient.id: client.submit(
                compute, patient, str((out / PATIENTS / patient.id).resolve()), key=_key(patient), pure=False
            )
            for patient in patients
        }
        done = _collect(futures, progress)
    result = BatchResult(tuple(done[p.id] for p in patients), time.perf_counter() - started, out)
    write_summary(result)
    report(progress, 1.0, "Done")
    return result


def _key(patient: Patient) -> str:
    """Return a task name that no other batch on the same scheduler has."""
    return f"{patient.id}-{os.getpid()}-{time.monotonic_ns()}"


def _collect(futures: dict[str, Future], progress: Progress | None) -> dict[str, dict[str, Any]]:
    """Wait for all; a patient whose workers died again and again is a failed one."""
    done: dict[str, dict[str, Any]] = {}
    message = f"{len(futures)} patients"
    try:
        while len(done) < len(futures):
            for name in [name for name, future in futures.items() if name not in done and future.done()]:
                done[name] = _outcome(name, futures[name])
                message = f"{len(done)} of {len(futures)}: {name} {done[name]['status']}"
            report(progress, 0.99 * len(done) / len(futures), message)
            time.sleep(0.1)
    except BaseException:
        for future in futures.values():
            with contextlib.suppress(Exception):
                future.cancel()
        raise
    return done


def _outcome(name: str, future: Future) -> dict[str, Any]:
    try:
        return future.result(timeout=30)
    except Exception as error:  # noqa: BLE001 - what Dask raises for a lost task has many classes
        reason = f"the computation was lost ({type(error).__name__}): its workers died or were stopped."
        return {"id": name, "status": FAILED, "message": reason, "seconds": 0.0, "worker": None}


@contextlib.contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Client]:
    """Give a client of the scheduler at an address, or of a local one made for this batch."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        msg = "A cohort needs Dask: pip install 'dask[distributed]'."
        raise EngineUnavailableError(msg) from error
    if scheduler:
        try:
            client = Client(scheduler, timeout="10s", set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"No Dask scheduler answers at {scheduler}: {error}.") from error
        with client:
            yield client
        return
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    names = ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            env=dict.fromkeys(names, threads),
            memory_limit=0,
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


__all__ = ["EARLIER", "FAILED", "FINISHED", "BatchResult", "batch"]
