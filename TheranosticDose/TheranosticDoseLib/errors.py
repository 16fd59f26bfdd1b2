"""Errors with a sentence that a physicist can act on.

Every class below ends a computation because going on would give a number that
cannot be trusted.  What can be assumed with a stated value is a
:class:`TheranosticDoseLib.findings.Finding` instead.
"""


class TheranosticDoseError(Exception):
    """Base of all errors of this package; its text is shown to the user as it is."""


class InputError(TheranosticDoseError):
    """A file or a value that was given cannot be used; the text names it, the tag and the remedy."""


class GeometryError(InputError):
    """Images that must share a grid do not, or a grid is not usable."""


class UnitsError(InputError):
    """Voxel values are in a unit that cannot be turned into activity."""


class SettingsError(TheranosticDoseError):
    """A setting is unknown, of the wrong type or outside its range."""


class ActivityConservationError(TheranosticDoseError):
    """A resampling changed the total activity by more than the stated tolerance."""


class EngineUnavailableError(TheranosticDoseError):
    """A dose or segmentation engine is not installed; the text says what to install."""


class CancelledError(TheranosticDoseError):
    """The user cancelled; nothing was written."""


class OutputError(TheranosticDoseError):
    """A result could not be written; no partial file is left behind."""
