"""Training of the dose networks: ``python -m TheranosticDoseLib.dose.training``.

``samples`` writes random fields, virtual patients, deformed CTs (with the Monte Carlo as truth) or
blurred patients; ``train`` makes a network of them, with its card and its record.
"""
