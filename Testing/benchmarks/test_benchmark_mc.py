"""The benchmark command runs and says what it measured; its numbers belong to the machine."""

from __future__ import annotations

import json

import pytest
from TheranosticDoseLib.benchmark import benchmark, benchmark_body


def test_body_has_lung_bone_and_activity():
    density, tissue, spacing, source = benchmark_body(64)
    assert {0, 1, 2, 3, 4} == set(tissue.ravel().tolist())
    assert spacing[0] * 64 == pytest.approx(560)
    assert source[density < 0.1].sum() == 0


@pytest.mark.slow
def test_quick_benchmark(tmp_path):
    seen = []
    result = benchmark(tmp_path / "b.json", quick=True, progress=lambda f, m: seen.append(f) or True)
    assert json.loads((tmp_path / "b.json").read_text())["particles"] == result["particles"]
    assert set(result["particles"]) == {"decay", "electrons", "photons"}
    assert all(abs(case["energy_balance"]) < 1e-3 for case in result["grids"].values())
    assert result["memory_mib"] is None or result["memory_mib"] < 2048
    assert result["gate"]["available"] or result["gate"]["reason"]
    assert seen[-1] == 1.0


@pytest.mark.slow
def test_validation_without_reference_data(tmp_path, monkeypatch):
    from TheranosticDoseLib.validation import monte_carlo

    monkeypatch.setenv("THERANOSTIC_REFERENCE_DATA", str(tmp_path / "absent"))
    found = monte_carlo.figures(tmp_path, quick=True)
    assert any("left out" in figure.detail for figure in found)
    assert any(figure.name.startswith("Energy balance") and figure.passed for figure in found)


def test_page_of_the_benchmark():
    from TheranosticDoseLib.validation.benchmark import _figures

    case = {"decays": 1000, "decays_per_second": 5e5, "decays_per_processor_second": 3e5}
    machine = {"processor": "P", "cores": 2, "numba": "0.60"}
    result = {
        "machine": machine,
        "compile_seconds": 9.0,
        "particles": {"decay": case},
        "grids": {"32^3": case},
        "threads": {"2": case},
        "memory_mib": 3000.0,
        "gpu": {"available": False, "reason": "no device"},
        "gate": {"available": True, "decays": 10, "decays_per_second": 4e4},
    }
    found = {figure.name: figure for figure in _figures(result)}
    assert found["Full decays, 2 thread(s)"].measured == 0.5
    assert found["Peak memory of the process"].passed is False
    assert found["CUDA device: not measured"].detail == "no device"
    assert found["Full decays, GATE 10, same body"].measured == 0.04
