"""Choose between Slicer's own Python files and our doubles of them.

Where the environment variable ``THERANOSTIC_SLICER_SOURCE`` names a Slicer source tree, its
``ScriptedLoadableModule``, ``parameterNodeWrapper`` and ``i18n`` are used. ``slicer.packaging`` is
always our double: a test never installs anything.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import slicer

SOURCE_VARIABLE = "THERANOSTIC_SLICER_SOURCE"
_OWN = {
    "i18n": "i18n",
    "ScriptedLoadableModule": "scripted_loadable_module",
    "parameterNodeWrapper": "parameter_node_wrapper",
    "packaging": "packaging",
}


def source_folder() -> Path | None:
    """Return the ``slicer`` package folder of the Slicer source tree, if one is named.

    Raises
    ------
    FileNotFoundError
        If the variable names a folder that is not a Slicer source tree.
    """
    named = os.environ.get(SOURCE_VARIABLE)
    if not named:
        return None
    folder = Path(named) / "Base" / "Python" / "slicer"
    if not (folder / "parameterNodeWrapper" / "__init__.py").is_file():
        raise FileNotFoundError(f"{SOURCE_VARIABLE}={named} is not a Slicer source tree: {folder} is missing")
    return folder


def install() -> list[str]:
    """Make the modules importable as ``slicer.<name>``; return what was added."""
    folder = source_folder()
    before = set(sys.modules)
    if folder is not None:
        slicer.__path__.append(str(folder))
    for name, own in _OWN.items():
        if folder is not None and name != "packaging":
            module = importlib.import_module(f"slicer.{name}")
        else:
            module = importlib.import_module(f"{__package__}.own.{own}")
            sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    added = [name for name in sys.modules if name not in before and name.startswith("slicer.")]
    return added


def uninstall(added: list[str]) -> None:
    """Remove what :func:`install` added."""
    folder = source_folder()
    if folder is not None and str(folder) in slicer.__path__:
        slicer.__path__.remove(str(folder))
    for name in added:
        sys.modules.pop(name, None)
        attribute = name.split(".")[1]
        if hasattr(slicer, attribute):
            delattr(slicer, attribute)
    for name in [name for name in sys.modules if name.startswith(f"{__package__}.own.")]:
        sys.modules.pop(name)
