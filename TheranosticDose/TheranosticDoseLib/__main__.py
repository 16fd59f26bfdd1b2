"""``python -m TheranosticDoseLib`` is the shell command ``theranostic-dose``."""

from TheranosticDoseLib.cli import main

if __name__ == "__main__":
    main()
