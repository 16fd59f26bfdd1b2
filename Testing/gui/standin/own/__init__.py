"""Our own doubles of Slicer's Python files that the slicer-core wheel lacks.

Written from what those files do for a module, not from their text. They are used unless the
environment variable ``THERANOSTIC_SLICER_SOURCE`` names a Slicer source tree.
"""
