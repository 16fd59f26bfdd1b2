"""Fixtures of the MRML tests: a fresh scene on the slicer-core wheel, without Qt and without an application."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items):
    """Mark everything here."""
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.slicer)


@pytest.fixture
def world():
    """The scene with the application logic and the module logics; ``slicer.mrmlScene`` is that scene.

    ``slicer.modules.<name>.logic()`` answers for the logics that array functions of ``slicer.util`` ask for.
    """
    slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
    from types import SimpleNamespace

    from gui.standin.scene import SceneWithLogics

    world = SceneWithLogics()
    saved = {name: getattr(slicer, name, None) for name in ("mrmlScene", "modules")}
    slicer.mrmlScene = world.scene
    slicer.modules = SimpleNamespace(
        **{name: SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in world.logics.items()}
    )
    yield world
    for name, value in saved.items():
        if value is None:
            delattr(slicer, name)
        else:
            setattr(slicer, name, value)
    world.close()


@pytest.fixture
def scene(world):
    """A fresh vtkMRMLScene, which is also ``slicer.mrmlScene``."""
    return world.scene
