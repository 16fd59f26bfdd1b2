"""Double of ``slicer.parameterNodeWrapper``: typed fields kept in a vtkMRMLScriptedModuleNode.

The same texts and node references go into the node as the real wrapper writes, so that a scene
saved with the one opens with the other. Like the real one, lists and dictionaries come back as
objects that are no ``list`` and no ``dict`` and write every change through.
"""

from __future__ import annotations

import typing

import slicer
import vtk

from .parameter_gui import (  # noqa: F401
    Decimals,
    GuiConnector,
    SingleStep,
    createGuiConnector,
    find_bound_widgets,
    findChildWidgetForParameter,
)
from .parameter_types import codec_of, split_annotations
from .parameter_validators import (  # noqa: F401
    Choice,
    Default,
    Exclude,
    FloatRange,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    RangeBounds,
    Validator,
    WithinRange,
)

SlicerParameterNamePropertyName = "SlicerParameterName"


class _Field:
    """One parameter of a class: its codec, validators and default."""

    def __init__(self, name: str, annotation, given):
        self.name, self.unalteredType = name, annotation
        kind, notes = split_annotations(annotation)
        self.codec = codec_of(kind)
        self.validators = [note for note in notes if isinstance(note, Validator)]
        defaults = [note for note in notes if isinstance(note, Default)]
        if given is not None:
            self.default = given
        else:
            self.default = defaults[0] if defaults else Default(generator=self.codec.default)

    def check(self, value) -> None:
        for validator in self.validators:
            validator.validate(value)
        self.codec.check(value)

    def write(self, node, value) -> None:
        self.check(value)
        with slicer.util.NodeModify(node):
            self.codec.write(node, self.name, value)

    def read(self, node):
        if not self.codec.is_in(node, self.name):
            self.write(node, self.default.value)
        return self.codec.read(node, self.name)


def _property(name: str) -> property:
    return property(
        lambda self: self.allParameters[name].read(self.parameterNode),
        lambda self, value: self.allParameters[name].write(self.parameterNode, value),
    )


class _Wrapper:
    """The methods that the decorator adds."""

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._guis: dict[int, dict[str, GuiConnector]] = {}
        self._gui_observers: dict[int, int] = {}
        self._next_tag = 0
        self._updating = False
        for field in self.allParameters.values():
            if not field.codec.is_in(parameterNode, field.name):
                field.write(parameterNode, field.default.value)

    def _field(self, name) -> _Field:
        if name not in self.allParameters:
            raise ValueError(f"no parameter {name!r}; there are {', '.join(self.allParameters)}")
        return self.allParameters[name]

    def default(self, paramName):
        return self._field(paramName).default

    def dataType(self, paramName):
        return self._field(paramName).unalteredType

    def isCached(self, paramName):
        self._field(paramName)
        return False

    def getValue(self, paramName):
        return self._field(paramName).read(self.parameterNode)

    def setValue(self, paramName, value):
        self._field(paramName).write(self.parameterNode, value)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def Modified(self):
        self.parameterNode.Modified()

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, gui):
        return self.connectParametersToGui(find_bound_widgets(gui, SlicerParameterNamePropertyName))

    def connectParametersToGui(self, mapping):
        connectors = {}
        for name, widget in mapping.items():
            field = self._field(name)
            given = isinstance(widget, GuiConnector)
            connectors[name] = widget if given else createGuiConnector(widget, field.unalteredType)
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._from_gui(name, connector))
        self._gui_observers[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._to_gui())
        return tag

    def disconnectGui(self, guiTag):
        for connector in self._guis.pop(guiTag, {}).values():
            connector.onChanged(None)
        if guiTag in self._gui_observers:
            self.RemoveObserver(self._gui_observers.pop(guiTag))

    def _from_gui(self, name, connector):
        if not self._updating:
            with slicer.util.NodeModify(self):
                self.setValue(name, connector.read())

    def _to_gui(self):
        if self._updating:
            return
        self._updating = True
        try:
            for connectors in list(self._guis.values()):
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating = False


def _decorate(cls):
    fields = {}
    for name, annotation in typing.get_type_hints(cls, include_extras=True).items():
        given = Default(getattr(cls, name)) if hasattr(cls, name) else None
        fields[name] = _Field(name, annotation, given)
        setattr(cls, name, _property(name))
    for name, value in vars(_Wrapper).items():
        if name.startswith("__") and name != "__init__":
            continue
        if name != "__init__" and hasattr(cls, name):
            raise ValueError(f"'{name}' is a reserved name in a parameterNodeWrapper")
        setattr(cls, name, value)
    cls.allParameters = fields
    cls._is_parameter_node_wrapper = True
    return cls


def parameterNodeWrapper(classtype=None):
    """Class decorator: annotated fields become properties kept in a parameter node."""
    return _decorate if classtype is None else _decorate(classtype)


def isParameterNodeWrapper(classOrObj) -> bool:
    """Tell whether a class or object was made by the decorator."""
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)
