"""The steps of the panel of ``TheranosticDose``, a class each; the only package here that knows Qt.

Research software, not a medical device.
"""
