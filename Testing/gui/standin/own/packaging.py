"""Double of ``slicer.packaging``: requests are checked and recorded, nothing is installed."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from packaging.requirements import Requirement

# Every request for what was missing: (requester, [requirement texts])
requests: list[tuple[str | None, list[str]]] = []


def _requirements(given) -> list[Requirement]:
    if isinstance(given, str):
        given = given.split()
    if isinstance(given, Requirement):
        given = [given]
    return [item if isinstance(item, Requirement) else Requirement(item) for item in given]


def load_requirements(path) -> list[Requirement]:
    """Read a requirements.txt file."""
    lines = (line.strip() for line in Path(path).read_text().splitlines())
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def pip_check(given) -> bool:
    """Tell whether all requirements are met."""
    for requirement in _requirements(given):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            return False
        if not requirement.specifier.contains(version, prereleases=True):
            return False
    return True


def pip_ensure(requirements, constraints=None, skip_packages=None, prompt_install=True, prompt_restart=True,
               requester=None, skip_in_testing=True, show_progress=True):  # fmt: skip
    """Record what is missing; ask as the application does.

    Raises
    ------
    RuntimeError
        If the user declines.
    """
    import slicer

    missing = [str(item) for item in _requirements(requirements) if not pip_check(item)]
    if not missing:
        return
    if skip_in_testing and slicer.app.testingEnabled():
        return
    question = f"{len(missing)} Python packages need to be installed. Continue?"
    if prompt_install and not slicer.util.confirmOkCancelDisplay(question, detailedText="\n".join(missing)):
        raise RuntimeError("User declined package installation")
    requests.append((requester, missing))


def pip_install(requirements, **kwargs):
    """Record the request."""
    given = requirements.split() if isinstance(requirements, str) else list(requirements)
    requests.append((kwargs.get("requester"), [str(item) for item in given]))
