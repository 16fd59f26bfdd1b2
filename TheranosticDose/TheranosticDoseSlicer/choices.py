"""What can be chosen in the panel: names as the settings know them, labels as the user reads them.

Plain Python, so that a test can compare them with the settings of the library.
"""

from __future__ import annotations

import enum


class Labeled(enum.Enum):
    """An enumeration whose members are shown by a label; the value is that of the setting."""

    def label(self) -> str:
        """Return what the user reads."""
        return _LABELS[type(self).__name__].get(self.value, self.value)


class RegistrationMethod(Labeled):
    """``RegistrationSettings.method``."""

    deformable = "deformable"
    rigid = "rigid"
    none = "none"


class RegistrationImage(Labeled):
    """``RegistrationSettings.image``."""

    auto = "auto"
    ct = "ct"
    spect = "spect"


class Recovery(Labeled):
    """``QuantificationSettings.recovery``."""

    none = "none"
    gtm = "gtm"


class FitModel(Labeled):
    """``FitSettings.model``."""

    auto = "auto"
    average = "average"
    physical = "physical"
    mono = "mono"
    mono_uptake = "mono_uptake"
    bi_physical = "bi_physical"
    bi = "bi"
    bi_uptake = "bi_uptake"
    tri = "tri"
    tri_uptake = "tri_uptake"
    trapezoid_physical = "trapezoid_physical"
    trapezoid_slope = "trapezoid_slope"


class FitMethod(Labeled):
    """``FitSettings.method``."""

    fit = "fit"
    haenscheid = "haenscheid"
    madsen = "madsen"
    mean_half_life = "mean_half_life"
    bayes = "bayes"
    learned = "learned"


class TiaMap(Labeled):
    """``RunSettings.tia_map``."""

    voi = "voi"
    voxel = "voxel"


class Handover(Labeled):
    """``handover`` of the settings of the engine ``cnn``."""

    none = "none"
    region = "region"
    all = "all"


NUCLIDES = ("Lu-177", "Y-90", "I-131", "Tb-161", "Ho-166", "Cu-67", "Ac-225", "Ga-68", "F-18")
_LABELS = {
    "RegistrationMethod": {
        "deformable": "rigid, then deformable",
        "rigid": "rigid",
        "none": "none (scanner coordinates)",
    },
    "RegistrationImage": {"auto": "CT where there is one", "ct": "CT", "spect": "SPECT"},
    "Recovery": {"none": "none", "gtm": "geometric transfer matrix"},
    "FitModel": {
        "auto": "best by AICc",
        "average": "average by AICc weights",
        "physical": "physical decay",
        "mono": "one exponential",
        "mono_uptake": "one exponential with uptake",
        "bi_physical": "two exponentials, one physical",
        "bi": "two exponentials",
        "bi_uptake": "two exponentials with uptake",
        "tri": "three exponentials",
        "tri_uptake": "three exponentials with uptake",
        "trapezoid_physical": "trapezoids, physical tail",
        "trapezoid_slope": "trapezoids, tail by slope",
    },
    "FitMethod": {
        "fit": "fit of the points",
        "haenscheid": "one time point (Hänscheid)",
        "madsen": "one time point (Madsen)",
        "mean_half_life": "mean half-life of the population",
        "bayes": "population prior",
        "learned": "learned from simulated patients",
    },
    "TiaMap": {"voi": "voxels scaled to the VOI curves", "voxel": "voxels as fitted"},
    "Handover": {
        "none": "only a warning",
        "region": "Monte Carlo for the doubtful voxels",
        "all": "Monte Carlo for all voxels",
    },
}
