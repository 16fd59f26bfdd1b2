"""Between MRML and the library: volumes, sequences, transforms, segmentations, tables, plots, jobs.

May import ``slicer`` and ``vtk``, never ``qt``.  Nothing is imported here, so that
``exchange`` and ``worker`` also run in a plain Python process.

Research software, not a medical device.
"""
