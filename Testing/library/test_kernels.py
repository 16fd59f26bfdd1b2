"""Kernels: analytic integrals, energy conservation, convolution, cache."""

import dataclasses
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from TheranosticDoseLib import nuclides
from TheranosticDoseLib.dose.kernels import PointKernel, cache, point_kernel, voxel_kernel
from TheranosticDoseLib.dose.kernels import point as point_module
from TheranosticDoseLib.dose.kernels.convolve import convolve
from TheranosticDoseLib.dose.kernels.point import Radial, emission_key
from TheranosticDoseLib.dose.kernels.voxel import integrate
from TheranosticDoseLib.errors import CancelledError, GeometryError, SettingsError


def total(octant):
    weight = np.ones(octant.shape)
    for axis in range(3):
        upper = [slice(None)] * 3
        upper[axis] = slice(1, None)
        weight[tuple(upper)] *= 2
    return float(np.sum(weight * octant))


@pytest.fixture(scope="module")
def lu177():
    return nuclides.nuclide("Lu-177")


@pytest.fixture(scope="module")
def water(lu177):
    return point_kernel(lu177, "water")


@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (2.0, 3.0, 5.0)])
def test_every_displacement_is_shared_out(spacing):
    # all energy at one distance, below and above the voxel size
    for radius in (0.3, 2.5, 9.0):
        shell = Radial(np.array([radius - 0.05, radius + 0.05]), np.array([100.0]))
        octant = integrate(shell, spacing, (16, 16, 16))
        assert total(octant) == pytest.approx(100.0, rel=1e-9)


def test_short_distance_leaves_through_the_faces():
    # A displacement r in a random direction leaves a cube of edge a through a face with
    # probability 6 * <|cos|> / 2 * ... = 1.5 r / a - O(r^2) (Cauchy), here exact to second order.
    radius, edge = 0.02, 4.0
    octant = integrate(
        Radial(np.array([radius * 0.999, radius * 1.001]), np.array([1.0])), (edge,) * 3, (4, 4, 4)
    )
    assert 1 - octant[0, 0, 0] == pytest.approx(1.5 * radius / edge, rel=3e-3)


def test_voxel_integral_against_random_points():
    # independent: random points in the source voxel, random directions and distances
    rng = np.random.default_rng(5)
    edges = np.array([0.0, 1.0, 3.0, 8.0])
    energy = np.array([5.0, 3.0, 2.0])
    spacing = np.array([2.0, 3.0, 4.0])
    n = 2_000_000
    shell = rng.choice(3, n, p=energy / energy.sum())
    radius = edges[shell] + rng.random(n) * np.diff(edges)[shell]
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    end = (rng.random((n, 3)) - 0.5) + radius[:, None] * direction / spacing
    index = np.abs(np.round(end)).astype(int)[:, ::-1]
    counted = np.zeros((3, 4, 6))
    np.add.at(counted, tuple(index[(index < counted.shape).all(1)].T), 1)
    octant = integrate(Radial(edges, energy), tuple(spacing), counted.shape)
    weight = 2.0 ** np.sum(np.indices(counted.shape) > 0, axis=0)
    expected = counted / n * energy.sum()
    sigma = energy.sum() * np.sqrt(np.maximum(counted, 1)) / n
    assert np.max(np.abs(octant * weight - expected) / sigma) < 5


def test_near_and_far_integrals_meet():
    # energy per length of a photon: nearly constant; the two methods must agree where they meet
    edges = np.linspace(0, 400, 401)
    radial = Radial(edges, np.exp(-edges[:-1] / 100))
    octant = integrate(radial, (4.0, 4.0, 4.0), (1, 1, 40))[0, 0]
    distance = 4.0 * np.arange(2, 40)
    smooth = octant[2:] * distance**2 * np.exp(distance / 100)
    assert np.ptp(smooth[3:]) / smooth.mean() < 0.01
    assert np.max(np.abs(np.diff(smooth[3:]))) / smooth.mean() < 0.003


def test_shipped_kernel_conserves_energy(water, lu177):
    # what is missing is below 45 cm of water around the source, or bremsstrahlung beyond
    assert water.electron.total_kev == pytest.approx(lu177.electron_energy_kev, rel=2e-3)
    assert 0.93 * lu177.photon_energy_kev < water.photon.total_kev < lu177.photon_energy_kev
    kernel = voxel_kernel(water, (4.8, 4.8, 4.8), (94, 94, 94))
    assert total(kernel.electron_kev) == pytest.approx(water.electron.total_kev, rel=1e-3)
    assert total(kernel.photon_kev) == pytest.approx(water.photon.total_kev, rel=5e-3)


def test_self_dose_of_a_full_decay_is_that_of_egsnrc(water):
    kernel = voxel_kernel(water, (4.8, 4.8, 4.8), (4, 4, 4))
    assert kernel.s_value_mgy_per_mbq_s()[0, 0, 0] == pytest.approx(0.1992, rel=0.01)


def test_density_scales_distances(water):
    # twice the density in voxels of half the edge absorbs the same energy
    dense = voxel_kernel(water, (2.0, 2.0, 2.0), (6, 6, 6), 2.0)
    thin = voxel_kernel(water, (4.0, 4.0, 4.0), (6, 6, 6), 1.0)
    np.testing.assert_allclose(dense.energy_kev, thin.energy_kev, rtol=2e-3)


def test_alphas_stay_in_their_voxel():
    actinium = nuclides.nuclide("Ac-225")
    kernel = voxel_kernel(point_kernel(actinium, "water"), (4.0, 4.0, 4.0), (4, 4, 4))
    assert kernel.electron_kev[0, 0, 0] > actinium.alpha_energy_kev


def test_text_form_is_read_back(water):
    again = PointKernel.from_json(water.to_json())
    np.testing.assert_allclose(again.photon.energy_kev, water.photon.energy_kev, rtol=1e-5)
    assert again.provenance == water.provenance


def test_unknown_medium_and_spacing_are_refused(lu177, water):
    with pytest.raises(SettingsError, match="no medium 'butter'"):
        point_kernel(lu177, "butter")
    with pytest.raises(GeometryError, match="spacing"):
        voxel_kernel(water, (4.0, 0.0, 4.0), (4, 4, 4))


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    reach=st.tuples(*[st.integers(1, 12)] * 3),
    seed=st.integers(0, 99),
)
def test_convolution_is_the_direct_sum(shape, reach, seed):
    rng = np.random.default_rng(seed)
    source = rng.random(shape) * (rng.random(shape) < 0.3)
    octant = rng.random(reach)
    expected = np.zeros(shape)
    grid = np.indices(shape)
    for place in np.argwhere(source > 0):
        offset = np.abs(grid - place[:, None, None, None])
        near = np.all(offset < np.array(reach)[:, None, None, None], axis=0)
        clipped = [np.minimum(o, n - 1) for o, n in zip(offset, reach, strict=True)]
        expected += source[tuple(place)] * octant[tuple(clipped)] * near
    # The rounding of a Fourier transform in float32 spreads over the grid: it scales with the norms.
    norms = np.linalg.norm(source) * np.linalg.norm(octant) * np.sqrt(8.0)
    tolerance = 4 * np.finfo(np.float32).eps * max(norms, 1e-9)
    np.testing.assert_allclose(convolve(source, octant), expected, rtol=0, atol=tolerance)


def test_cache_remakes_what_was_damaged(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    assert cache.read("entry") is None
    assert cache.write("entry", b"content")
    assert cache.read("entry") == b"content"
    for damage in (b"", b"0" * 80, (tmp_path / "entry").read_bytes()[:-1]):
        (tmp_path / "entry").write_bytes(damage)
        with caplog.at_level(logging.WARNING):
            assert cache.read("entry") is None
        assert not (tmp_path / "entry").exists()
    assert "damaged" in caplog.text


def test_cache_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file" / "folder"))
    with caplog.at_level(logging.WARNING):
        assert not cache.write("entry", b"content")
    assert "could not be cached" in caplog.text


def test_disk_full_while_caching_leaves_nothing(tmp_path):
    """A file that cannot grow beyond 1000 bytes stands for a full disk: the write fails half-way."""
    pytest.importorskip("resource", reason="needs the limits of a POSIX system")
    code = (
        "import resource, sys; from TheranosticDoseLib.dose.kernels import cache;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "sys.exit(3 if cache.write('entry', b'x' * 100_000) or cache.read('entry') is not None else 0)"
    )
    environment = {
        **os.environ,
        cache.VARIABLE: str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "could not be cached" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_kernel_is_not_cached(tmp_path, monkeypatch, lu177):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    monkeypatch.setattr(point_module, "_shipped", lambda name: None)
    point_module._point_kernel.cache_clear()
    seen = []

    def progress(fraction, message):
        seen.append(fraction)
        return len(seen) < 3

    with pytest.raises(CancelledError):
        point_kernel(dataclasses.replace(lu177, name="cancelled"), "water", progress)
    assert len(seen) == 3
    assert list(tmp_path.iterdir()) == []
    point_module._point_kernel.cache_clear()


def test_shipped_kernel_of_water_says_what_other_tissues_absorb(water):
    # NIST XAAMDI at 208 keV: bone 0.0302, adipose 0.0297, water 0.0297 cm2/g; softer photons: bone far more
    assert set(water.absorption) == {"distance_mm", "lung", "adipose", "soft", "bone"}
    assert np.all(np.diff(water.absorption["bone"]) > 0)
    assert water.absorption["bone"][0] > 1.3
    assert np.all(np.abs(water.absorption["lung"] - 1) < 0.05)
    assert 0.8 < water.absorption["adipose"][-1] < water.absorption["adipose"][0] < 1.0
    denser = water.at_density(2.0)
    np.testing.assert_allclose(denser.absorption["distance_mm"], 0.5 * water.absorption["distance_mm"])
    assert np.array_equal(denser.absorption["bone"], water.absorption["bone"])


def test_kernel_is_made_once_and_then_read_from_the_cache(tmp_path, monkeypatch, lu177, water):
    from TheranosticDoseLib.dose.kernels import simulate

    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    calls = []

    def made(nuclide, medium, progress=None):
        calls.append(medium)
        return water

    monkeypatch.setattr(simulate, "simulate", made)
    monkeypatch.setattr(point_module, "_shipped", lambda name: None)
    for expected in (1, 1):
        point_module._point_kernel.cache_clear()
        np.testing.assert_allclose(point_kernel(lu177).photon.energy_kev, water.photon.energy_kev, rtol=1e-5)
        assert len(calls) == expected
    (entry,) = tmp_path.iterdir()
    assert emission_key(lu177) in entry.name
    # an entry that is whole but is no kernel is made again, and never used
    cache.write(entry.name, b"{}")
    point_module._point_kernel.cache_clear()
    point_kernel(lu177)
    assert len(calls) == 2
    point_module._point_kernel.cache_clear()


def test_emissions_are_part_of_the_key(lu177):
    other = dataclasses.replace(lu177, photon_lines=lu177.photon_lines * (1, 1.01))
    assert emission_key(other) != emission_key(lu177)


@pytest.mark.slow
def test_a_kernel_simulated_now_is_the_shipped_one(lu177, water):
    from TheranosticDoseLib.dose.kernels.simulate import simulate

    new = simulate(lu177, "water", histories=20_000, seed=77)
    for part in ("electron", "photon"):
        assert getattr(new, part).total_kev == pytest.approx(getattr(water, part).total_kev, rel=0.01)
    one = voxel_kernel(new, (4.0, 4.0, 4.0), (8, 8, 8)).energy_kev
    two = voxel_kernel(water, (4.0, 4.0, 4.0), (8, 8, 8)).energy_kev
    np.testing.assert_allclose(one[0, 0, :4], two[0, 0, :4], rtol=0.03)
