"""Touching lesions: two peaks with a valley are two, one broad or noisy lesion is one."""

from __future__ import annotations

import numpy as np
import pytest
from DoseSegmentationLib.lesion_split import split_touching

Z, Y, X = np.indices((24, 24, 36), float)


def blob(center, sigma, peak=10.0):
    return peak * np.exp(-((Z - 12) ** 2 + (Y - 12) ** 2 + (X - center) ** 2) / (2 * sigma**2))


def test_two_peaks_are_parted_at_their_valley():
    uptake = 0.2 + blob(11, 3.0) + blob(23, 3.0, peak=7.0)
    mask = uptake > 1.0
    found = split_touching(mask, uptake)
    assert sorted(np.unique(found)) == [0, 1, 2]
    assert np.array_equal(found > 0, mask)
    assert found[12, 12, 11] != found[12, 12, 23]
    left = found == found[12, 12, 11]
    assert X[left].max() == pytest.approx(17, abs=1.5)  # the valley lies between the peaks


def test_one_lesion_with_noise_stays_one():
    rng = np.random.default_rng(3)
    uptake = (0.2 + blob(17, 5.0)) * (1 + 0.03 * rng.normal(size=X.shape))
    assert split_touching(uptake > 2.0, uptake).max() == 1


def test_separate_lesions_keep_apart_and_nothing_gives_nothing():
    uptake = 0.2 + blob(6, 2.0) + blob(30, 2.0)
    found = split_touching(uptake > 3.0, uptake)
    assert found.max() == 2
    assert split_touching(np.zeros(X.shape, bool), uptake).max() == 0


def test_the_unit_does_not_matter():
    uptake = 0.2 + blob(11, 3.0) + blob(23, 3.0)
    mask = uptake > 1.0
    assert np.array_equal(split_touching(mask, uptake), split_touching(mask, 1e6 * uptake))
