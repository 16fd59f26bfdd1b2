"""Many patients on Dask distributed: resumable, and one failed patient never stops the rest."""

from TheranosticDoseLib.cohort.manifest import Patient, read_manifest
from TheranosticDoseLib.cohort.run import BatchResult, batch

__all__ = ["BatchResult", "Patient", "batch", "read_manifest"]
