"""How values of each type are kept in a parameter node."""

from __future__ import annotations

import collections.abc
import enum
import pathlib
import types
import typing

import slicer

from .parameter_validators import FloatRange


def split_annotations(annotation):
    """Return ``(type, annotations)`` of a possibly ``Annotated`` type."""
    if typing.get_origin(annotation) is typing.Annotated:
        kind, *notes = typing.get_args(annotation)
        return kind, notes
    return annotation, []


def is_node_type(kind) -> bool:
    """Tell whether ``kind`` is a MRML node class."""
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


# --------------------------------------------------------------------------- codecs


class TextCodec:
    """A value kept as one text parameter."""

    def __init__(self, types_, to_text, from_text, default):
        self.types, self.to_text, self.from_text, self.default = types_, to_text, from_text, default

    def fits(self, value) -> bool:
        if isinstance(value, bool) and bool not in self.types:
            return int in self.types  # a bool is an int in Python
        return isinstance(value, self.types)

    def check(self, value):
        if not self.fits(value):
            raise TypeError(f"{value!r} is none of {self.types}")

    def is_in(self, node, name):
        return bool(node.HasParameter(name))

    def write(self, node, name, value):
        node.SetParameter(name, self.to_text(value))

    def read(self, node, name):
        return self.from_text(node.GetParameter(name))

    def remove(self, node, name):
        node.UnsetParameter(name)


class NodeCodec:
    """A node, kept as a reference."""

    def __init__(self, kind):
        self.kind = kind

    def default(self):
        return None

    def fits(self, value) -> bool:
        return value is None or isinstance(value, self.kind)

    def check(self, value):
        if not self.fits(value):
            raise TypeError(f"{value!r} is no {self.kind.__name__}")

    def is_in(self, node, name):
        return bool(node.HasParameter(name))

    def write(self, node, name, value):
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, None if value is None else value.GetID())

    def read(self, node, name):
        return node.GetNodeReference(name)

    def remove(self, node, name):
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class NoneCodec(TextCodec):
    """The value None."""

    def __init__(self):
        super().__init__((type(None),), lambda value: "True", lambda text: None, lambda: None)


class UnionCodec:
    """One of several types; its index is part of the parameter name."""

    def __init__(self, codecs):
        self.codecs = codecs

    def default(self):
        optional = len(self.codecs) == 2 and isinstance(self.codecs[1], NoneCodec)
        return None if optional else self.codecs[0].default()

    def _index(self, value):
        # None goes to the codec of None where there is one, although a node codec takes it, too.
        order = range(len(self.codecs))
        if value is None:
            order = sorted(order, key=lambda index: not isinstance(self.codecs[index], NoneCodec))
        for index in order:
            if self.codecs[index].fits(value):
                return index
        raise TypeError(f"{value!r} fits none of the types")

    def fits(self, value) -> bool:
        return any(codec.fits(value) for codec in self.codecs)

    def check(self, value):
        self.codecs[self._index(value)].check(value)

    def is_in(self, node, name):
        return any(codec.is_in(node, f"{name}.{index}") for index, codec in enumerate(self.codecs))

    def write(self, node, name, value):
        index = self._index(value)
        self.remove(node, name)
        self.codecs[index].write(node, f"{name}.{index}", value)

    def read(self, node, name):
        for index, codec in enumerate(self.codecs):
            if codec.is_in(node, f"{name}.{index}"):
                return codec.read(node, f"{name}.{index}")
        raise KeyError(name)

    def remove(self, node, name):
        for index, codec in enumerate(self.codecs):
            if codec.is_in(node, f"{name}.{index}"):
                codec.remove(node, f"{name}.{index}")


class TupleCodec:
    """A fixed number of values."""

    def __init__(self, codecs):
        self.codecs = codecs

    def default(self):
        return tuple(codec.default() for codec in self.codecs)

    def fits(self, value) -> bool:
        return isinstance(value, (tuple, list)) and len(value) == len(self.codecs)

    def check(self, value):
        if not self.fits(value):
            raise ValueError(f"{value!r} does not have {len(self.codecs)} values")
        for codec, item in zip(self.codecs, value, strict=True):
            codec.check(item)

    def is_in(self, node, name):
        return self.codecs[0].is_in(node, f"{name}.0")

    def write(self, node, name, value):
        for index, (codec, item) in enumerate(zip(self.codecs, value, strict=True)):
            codec.write(node, f"{name}.{index}", item)

    def read(self, node, name):
        return tuple(codec.read(node, f"{name}.{index}") for index, codec in enumerate(self.codecs))

    def remove(self, node, name):
        for index, codec in enumerate(self.codecs):
            codec.remove(node, f"{name}.{index}")


class ListCodec:
    """Any number of values."""

    def __init__(self, codec):
        self.codec = codec

    def default(self):
        return []

    def fits(self, value) -> bool:
        return isinstance(value, (list, tuple, KeptList))

    def check(self, value):
        for item in value:
            self.codec.check(item)

    def is_in(self, node, name):
        return bool(node.HasParameter(f"{name}.len"))

    def _length(self, node, name):
        return int(node.GetParameter(f"{name}.len")) if self.is_in(node, name) else 0

    def write(self, node, name, value):
        value = list(value)
        before = self._length(node, name)
        for index, item in enumerate(value):
            self.codec.write(node, f"{name}.{index}", item)
        node.SetParameter(f"{name}.len", str(len(value)))
        for index in range(len(value), before):
            self.codec.remove(node, f"{name}.{index}")

    def items(self, node, name):
        return [self.codec.read(node, f"{name}.{index}") for index in range(self._length(node, name))]

    def read(self, node, name):
        return KeptList(node, self, name, self.items(node, name))

    def remove(self, node, name):
        for index in range(self._length(node, name)):
            self.codec.remove(node, f"{name}.{index}")
        node.UnsetParameter(f"{name}.len")


class DictCodec(ListCodec):
    """Key and value pairs, in order."""

    def __init__(self, key, value):
        super().__init__(TupleCodec([key, value]))

    def default(self):
        return {}

    def fits(self, value) -> bool:
        return isinstance(value, collections.abc.Mapping)

    def check(self, value):
        super().check(list(value.items()))

    def write(self, node, name, value):
        super().write(node, name, list(value.items()))

    def read(self, node, name):
        return KeptDict(node, self, name, dict(self.items(node, name)))


class KeptList(collections.abc.MutableSequence):
    """A list that writes each change into its node; not a ``list``, and + and * are not offered."""

    def __init__(self, node, codec, name, values):
        self._node, self._codec, self._name, self._values = node, codec, name, values

    def _save(self):
        self._codec.check(self._values)
        with slicer.util.NodeModify(self._node):
            self._codec.write(self._node, self._name, self._values)

    def __len__(self):
        return len(self._values)

    def __getitem__(self, index):
        return self._values[index]

    def __setitem__(self, index, value):
        self._values[index] = value
        self._save()

    def __delitem__(self, index):
        del self._values[index]
        self._save()

    def insert(self, index, value):
        self._values.insert(index, value)
        self._save()

    def __eq__(self, other):
        return self._values == (other._values if isinstance(other, KeptList) else other)

    __hash__ = None

    def __repr__(self):
        return f"KeptList({self._values})"


class KeptDict(collections.abc.MutableMapping):
    """A mapping that writes each change into its node; ``get`` and ``pop`` take no default."""

    def __init__(self, node, codec, name, values):
        self._node, self._codec, self._name, self._values = node, codec, name, values

    def _save(self):
        self._codec.check(self._values)
        with slicer.util.NodeModify(self._node):
            self._codec.write(self._node, self._name, self._values)

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return iter(self._values)

    def __getitem__(self, key):
        return self._values[key]

    def __setitem__(self, key, value):
        self._values[key] = value
        self._save()

    def __delitem__(self, key):
        del self._values[key]
        self._save()

    def get(self, key):
        return self._values.get(key)

    def pop(self, key):
        value = self._values.pop(key)
        self._save()
        return value

    def __eq__(self, other):
        return self._values == (other._values if isinstance(other, KeptDict) else other)

    __hash__ = None

    def __repr__(self):
        return f"KeptDict({self._values})"


class RangeCodec(TupleCodec):
    """A :class:`FloatRange`."""

    def __init__(self):
        super().__init__([codec_of(float), codec_of(float)])

    def default(self):
        return FloatRange()

    def fits(self, value):
        return isinstance(value, FloatRange)

    def check(self, value):
        if not self.fits(value):
            raise TypeError(f"{value!r} is no FloatRange")

    def is_in(self, node, name):
        return bool(node.HasParameter(f"{name}.minimum"))

    def write(self, node, name, value):
        node.SetParameter(f"{name}.minimum", str(value.minimum))
        node.SetParameter(f"{name}.maximum", str(value.maximum))

    def read(self, node, name):
        return FloatRange(
            float(node.GetParameter(f"{name}.minimum")), float(node.GetParameter(f"{name}.maximum"))
        )

    def remove(self, node, name):
        node.UnsetParameter(f"{name}.minimum")
        node.UnsetParameter(f"{name}.maximum")


def _nested(annotation):
    return codec_of(split_annotations(annotation)[0])


_SCALARS = {
    int: lambda: TextCodec((int,), str, int, lambda: 0),
    float: lambda: TextCodec((int, float), str, float, lambda: 0),
    str: lambda: TextCodec((str,), str, str, lambda: ""),
    bool: lambda: TextCodec((bool,), str, lambda text: text == "True", lambda: False),
    type(None): NoneCodec,
    FloatRange: RangeCodec,
}


def codec_of(kind):
    """Return the codec of a type.

    Raises
    ------
    TypeError
        If the type can not be kept in a parameter node.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SCALARS:
        return _SCALARS[kind]()
    if is_node_type(kind):
        return NodeCodec(kind)
    if isinstance(kind, type) and issubclass(kind, pathlib.PurePath):
        return TextCodec((pathlib.PurePath,), str, kind, kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return TextCodec((kind,), lambda value: value.name, lambda text: kind[text], lambda: next(iter(kind)))
    if origin in (typing.Union, getattr(types, "UnionType", None)):
        return UnionCodec([_nested(item) for item in arguments])
    if origin is list and len(arguments) == 1:
        return ListCodec(_nested(arguments[0]))
    if origin is tuple and arguments:
        return TupleCodec([_nested(item) for item in arguments])
    if origin is dict and len(arguments) == 2:
        return DictCodec(*(_nested(item) for item in arguments))
    raise TypeError(f"no way to keep {kind!r} in a parameter node")
