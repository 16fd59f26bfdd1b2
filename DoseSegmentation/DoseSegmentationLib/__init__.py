"""Images in, label maps out: organs and lesions on CT and SPECT.

Knows nothing of dose and never imports ``TheranosticDoseLib``.

Research software, not a medical device.
"""
