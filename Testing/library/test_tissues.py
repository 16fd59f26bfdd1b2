"""HU to density and tissue."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.tissues import (
    ADIPOSE,
    AIR,
    BONE,
    LUNG,
    SOFT,
    density_from_hu,
    tissue_from_density,
    tissues,
)


@pytest.mark.parametrize(
    ("hu", "density"),
    [(-1000, 1.21e-3), (-98, 0.93), (14, 1.03), (100, 1.1199), (101, 1.0762), (1600, 1.9642), (3000, 2.8)],
)
def test_schneider_nodes(hu, density):
    assert density_from_hu(np.array([hu]))[0] == pytest.approx(density, rel=1e-6)


@given(st.lists(st.floats(-1000, 3000), min_size=2, max_size=20))
def test_density_rises_except_over_the_printed_step(values):
    hu = np.sort(np.array(values))
    density = density_from_hu(hu)
    falls = np.flatnonzero(np.diff(density) < -1e-6)
    assert all(hu[i] < 146 and hu[i + 1] > 100 for i in falls)


def test_outside_the_table_is_clamped_and_said():
    findings = []
    density = density_from_hu(np.array([-3000, 0, 9000]), findings)
    assert density[0] == pytest.approx(1.21e-3)
    assert density[2] == pytest.approx(2.8)
    assert findings[0].severity == "warning"
    assert findings[0].value == 2
    quiet = []
    density_from_hu(np.array([-1024, 40, 3000]), quiet)
    assert quiet == []


def test_not_a_number_is_refused():
    with pytest.raises(InputError, match="not finite"):
        density_from_hu(np.array([0.0, np.nan]))


def test_tissue_bounds():
    densities = np.float32([0.0, 0.0999, 0.1, 0.5999, 0.6, 0.9799, 0.98, 1.1199, 1.12, 3.0])
    expected = [AIR, AIR, LUNG, LUNG, ADIPOSE, ADIPOSE, SOFT, SOFT, BONE, BONE]
    assert tissue_from_density(densities).tolist() == expected
    assert tissue_from_density(densities.reshape(2, 5)).shape == (2, 5)


def test_compositions():
    names = [t.name for t in tissues()]
    assert names == ["AIR", "LUNG", "ADIPOSE", "SOFT", "BONE", "WATER"]
    for tissue in tissues():
        assert names[tissue.index] == tissue.name
        assert sum(tissue.mass_fraction.values()) == pytest.approx(1.0, abs=1e-12)
