"""Validation: every figure of ``docs/validation`` is made here, by a command.

Each file of this package is a topic with one function
``figures(out, progress=None, quick=False) -> list[Figure]``; it may save plots to ``out``.
``theranostic-dose validate`` runs them all and writes the pages.
"""
