"""The shell command ``theranostic-dose``: thin, each command is also a function of the library.

Built on the standard library's ``argparse``: the Slicer modules start it as a
subprocess in Slicer's own Python, where no command-line package is installed
(``docs/adr/0001-argparse.md``).
"""

from TheranosticDoseLib.cli.main import main

__all__ = ["main"]
