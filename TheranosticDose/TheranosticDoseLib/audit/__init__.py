"""What was done can be checked, computed again and compared: seal, trail, replay and diff of results."""

from TheranosticDoseLib.audit.diff import Change, Difference, diff
from TheranosticDoseLib.audit.integrity import content_hash, read_results, sealed
from TheranosticDoseLib.audit.replay import replay
from TheranosticDoseLib.audit.trail import audit_trail

__all__ = [
    "Change",
    "Difference",
    "audit_trail",
    "content_hash",
    "diff",
    "read_results",
    "replay",
    "sealed",
]
