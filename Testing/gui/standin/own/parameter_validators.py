"""Default, validators and ranges of the parameter node double."""

from __future__ import annotations


class Default:
    """Annotation: the value a new parameter has."""

    def __init__(self, value=None, *, generator=None):
        self._value, self._generator = value, generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value


class Validator:
    """Base of the annotations that refuse values."""

    def validate(self, value) -> None:
        raise NotImplementedError


class NotNone(Validator):
    """Refuses None."""

    def validate(self, value):
        if value is None:
            raise ValueError("value must not be None")


class IsInstance(Validator):
    """Refuses other types."""

    def __init__(self, classtype):
        self.classtype = classtype

    def validate(self, value):
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"{value!r} is no {self.classtype}")


class WithinRange(Validator):
    """Refuses what is outside a closed range."""

    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within [{self.minimum}, {self.maximum}]")


class Minimum(Validator):
    """Refuses what is smaller."""

    def __init__(self, minimum):
        self.minimum = minimum

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


class Maximum(Validator):
    """Refuses what is larger."""

    def __init__(self, maximum):
        self.maximum = maximum

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


class Choice(Validator):
    """Refuses what is not in a list."""

    def __init__(self, choices):
        self.choices = choices

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


class Exclude(Validator):
    """Refuses what is in a list."""

    def __init__(self, excludedValues):
        self.excludedValues = excludedValues

    def validate(self, value):
        if value in self.excludedValues:
            raise ValueError(f"{value!r} is excluded")


class RangeBounds(Validator):
    """Refuses ranges that leave the bounds."""

    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value):
        if value.minimum < self.minimum or value.maximum > self.maximum:
            raise ValueError(f"{value} leaves [{self.minimum}, {self.maximum}]")


class FloatRange:
    """Two values, minimum and maximum."""

    def __init__(self, minimum=0.0, maximum=0.0):
        if minimum > maximum:
            raise ValueError(f"minimum {minimum} is above maximum {maximum}")
        self.minimum, self.maximum = minimum, maximum

    def __eq__(self, other):
        return (self.minimum, self.maximum) == (other.minimum, other.maximum)

    __hash__ = None
