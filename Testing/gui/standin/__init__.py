"""A strict stand-in for ``qt``, ``ctk`` and ``slicer`` of the Slicer application, on PySide6.

Real Qt widgets, real MRML (the slicer-core wheel), and CTK and Slicer classes that offer exactly
what ``qt-surface.json`` lists. :func:`gui.standin.application.install` puts it in place.
"""
