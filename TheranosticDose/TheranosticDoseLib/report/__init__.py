"""Results as files: ``results.json`` to its schema, CSV tables, images and one self-contained HTML page."""

from TheranosticDoseLib.report.document import results_document, validate_document
from TheranosticDoseLib.report.write import write_results

__all__ = ["results_document", "validate_document", "write_results"]
