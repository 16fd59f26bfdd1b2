"""Parameter nodes: the double and Slicer's own wrapper behave alike and keep the same texts in the node.

The tests run on whichever is installed (see ``THERANOSTIC_SLICER_SOURCE``); the texts expected in the
node are those that Slicer's own wrapper writes, so a scene saved with one opens with the other.
"""

import enum
import pathlib
from typing import Annotated, Optional

import pytest


class Engine(enum.Enum):
    kernel = 1
    monteCarlo = 2

    def label(self):
        return {"kernel": "Kernel", "monteCarlo": "Monte Carlo"}[self.name]


@pytest.fixture
def wrapped(slicer_app):
    """Return ``(wrapper, node)`` of a class with a field of each kind."""
    import slicer
    from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        volume: slicer.vtkMRMLScalarVolumeNode
        maybe: Optional[slicer.vtkMRMLScalarVolumeNode]  # noqa: UP045
        activity: Annotated[float, WithinRange(0, 10000)] = 7400.0
        count: Annotated[int, Default(4)]
        on: bool = True
        text: str = "late"
        nuclide: Annotated[str, Choice(["Lu-177", "Y-90"])] = "Lu-177"
        engine: Engine = Engine.kernel
        folder: pathlib.Path
        times: list[float]
        names: dict[str, int]
        pair: tuple[int, str]

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters")
    return Parameters(node), node


def test_defaults(wrapped):
    parameters, _ = wrapped
    assert parameters.volume is None
    assert parameters.maybe is None
    assert (parameters.activity, parameters.count, parameters.on) == (7400.0, 4, True)
    assert parameters.engine is Engine.kernel
    assert parameters.folder == pathlib.Path()
    assert parameters.times == []
    assert parameters.names == {}


def test_texts_in_the_node(wrapped):
    import slicer

    parameters, node = wrapped
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    parameters.volume = parameters.maybe = volume
    parameters.activity, parameters.on, parameters.engine = 3700, False, Engine.monteCarlo
    parameters.folder = pathlib.Path("/data/a")
    parameters.times = [4.0, 24.5]
    parameters.names = {"kidney": 2}
    parameters.pair = (1, "x")
    texts = {name: node.GetParameter(name) for name in node.GetParameterNames()}
    assert texts == {
        "volume": "",
        "maybe.0": "",
        "activity": "3700",
        "count": "4",
        "on": "False",
        "text": "late",
        "nuclide": "Lu-177",
        "engine": "monteCarlo",
        "folder": "/data/a",
        "times.len": "2",
        "times.0": "4.0",
        "times.1": "24.5",
        "names.len": "1",
        "names.0.0": "kidney",
        "names.0.1": "2",
        "pair.0": "1",
        "pair.1": "x",
    }
    assert node.GetNodeReferenceID("volume") == volume.GetID()
    assert node.GetNodeReferenceID("maybe.0") == volume.GetID()


def test_lists_and_dictionaries_write_through(wrapped):
    parameters, node = wrapped
    parameters.times.append(4.0)
    parameters.times += [24.0, 72.0]
    del parameters.times[0]
    assert parameters.times == [24.0, 72.0]
    assert node.GetParameter("times.len") == "2"
    assert not node.HasParameter("times.2")
    parameters.names["liver"] = 3
    assert node.GetParameter("names.0.0") == "liver"
    assert parameters.names.get("spleen") is None
    with pytest.raises(TypeError):
        parameters.names.get("spleen", 1)
    assert parameters.names.pop("liver") == 3
    assert not isinstance(parameters.times, list)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activity", -1.0),
        ("activity", "much"),
        ("count", 1.5),
        ("on", 1),
        ("nuclide", "I-131"),
        ("engine", "kernel"),
        ("folder", "/data"),
        ("times", ["x"]),
        ("volume", "vtkMRMLScalarVolumeNode1"),
    ],
)
def test_wrong_values_are_refused_and_change_nothing(wrapped, name, value):
    parameters, _ = wrapped
    before = getattr(parameters, name)
    with pytest.raises((ValueError, TypeError, KeyError)):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


def test_observers_hear_a_change_once(wrapped):
    import vtk

    parameters, _ = wrapped
    heard = []
    tag = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: heard.append(parameters.activity))
    parameters.activity = 100.0
    parameters.RemoveObserver(tag)
    parameters.activity = 200.0
    assert heard == [100.0]


def test_gui_is_bound_by_name_and_released(wrapped):
    import ctk
    import qt

    parameters, _ = wrapped
    panel = qt.QWidget()
    slider, combo, engine = ctk.ctkSliderWidget(panel), qt.QComboBox(panel), qt.QComboBox(panel)
    for widget, name in ((slider, "activity"), (combo, "nuclide"), (engine, "engine")):
        widget.setProperty("SlicerParameterName", name)
    tag = parameters.connectGui(panel)
    assert (slider.maximum, slider.value) == (10000.0, 7400.0)
    assert [engine.itemText(index) for index in range(engine.count)] == ["Kernel", "Monte Carlo"]
    combo.currentIndex = 1
    engine.currentIndex = 1
    assert (parameters.nuclide, parameters.engine) == ("Y-90", Engine.monteCarlo)
    parameters.activity = 50.0
    assert slider.value == 50.0
    parameters.disconnectGui(tag)
    slider.value = 60.0
    assert parameters.activity == 50.0


def test_unbindable_widgets_are_refused(wrapped):
    import ctk
    import qt

    parameters, _ = wrapped
    for name, widget in (("count", qt.QSlider()), ("text", qt.QComboBox()), ("volume", qt.QComboBox()),
                         ("activity", qt.QLineEdit()), ("on", ctk.ctkSliderWidget())):  # fmt: skip
        with pytest.raises(RuntimeError):
            parameters.connectParametersToGui({name: widget})
    with pytest.raises(ValueError, match="nothing"):
        parameters.connectParametersToGui({"nothing": qt.QCheckBox()})
