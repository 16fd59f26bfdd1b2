"""Where the shared data lies, in all three lives of the code.

* source tree: ``<checkout>/Resources``
* installed extension: ``<qt-scripted-modules>/Resources/TheranosticDosimetry``
* wheel: the data package ``TheranosticDosimetryResources``
"""

from __future__ import annotations

from pathlib import Path

_MARKER = "RESOURCES.md"


def resource_path(*parts: str) -> Path:
    """Return the path of a file or folder below the shared ``Resources``.

    Parameters
    ----------
    *parts : str
        Path elements, for example ``("Nuclides", "Lu-177.json")``.

    Raises
    ------
    FileNotFoundError
        If the folder or the entry does not exist; the text names it.
    """
    package = Path(__file__).resolve().parent
    candidates = (
        package.parent.parent / "Resources",
        package.parent / "Resources" / "TheranosticDosimetry",
        package.parent / "TheranosticDosimetryResources",
    )
    for root in candidates:
        if (root / _MARKER).is_file():
            path = root.joinpath(*parts)
            if not path.exists():
                msg = f"The resource {'/'.join(parts)} is missing from {root}; install the extension again."
                raise FileNotFoundError(msg)
            return path
    msg = "The shared Resources folder of TheranosticDosimetry was not found; install the extension again."
    raise FileNotFoundError(msg)
