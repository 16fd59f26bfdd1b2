"""What every Slicer module must stand, as the application's own generic test of a module asks."""

from __future__ import annotations


def check_module(name: str) -> None:
    """Raise AssertionError where a loaded module does not behave as Slicer expects of any module."""
    import slicer

    module = getattr(slicer.modules, name.lower())
    assert module.name == name
    assert type(slicer.app).__name__ == "qSlicerApplication"
    for attribute in ("title", "categories", "contributors", "acknowledgementText", "helpText"):
        assert getattr(module, attribute), f"{name} leaves {attribute} empty"
    assert slicer.util.mainWindow() is None
    assert module.logic() is module.logic()
    assert module.widgetRepresentation() is module.widgetRepresentation()
    other = slicer.vtkMRMLScene()
    try:
        module.setMRMLScene(other)
        slicer.app.processEvents()
        assert module.mrmlScene() is other
    finally:
        module.setMRMLScene(slicer.mrmlScene)
    slicer.app.processEvents()
    assert module.mrmlScene() is slicer.mrmlScene
