"""Observe VTK objects from a widget without outliving it."""

from __future__ import annotations

import weakref

import shiboken6


class Observers:
    """The VTK observations of one widget; they end with the widget."""

    def __init__(self, widget):
        self._widget = weakref.ref(widget)
        self._tags: list[tuple[object, int]] = []

    def add(self, target, events, method: str) -> None:
        """Call ``widget.<method>()`` on each of the events of ``target``."""

        def call(caller, event):
            widget = self._widget()
            if widget is not None and shiboken6.isValid(widget):
                getattr(widget, method)()

        for event in events if isinstance(events, (list, tuple)) else [events]:
            self._tags.append((target, target.AddObserver(event, call)))

    def clear(self) -> None:
        """End all observations."""
        for target, tag in self._tags:
            target.RemoveObserver(tag)
        self._tags.clear()

    def __del__(self):
        self.clear()
