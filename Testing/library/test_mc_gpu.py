"""The CUDA path: on a device where there is one, else in numba's simulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from TheranosticDoseLib.dose.mc import gpu_unavailable, transport
from TheranosticDoseLib.nuclides import nuclide

SIMULATED = """
import warnings
warnings.simplefilter("ignore")
import sys
sys.path[:0] = {path!r}
import numpy as np
from TheranosticDoseLib.dose.mc import transport
from TheranosticDoseLib.nuclides import nuclide
density = np.ones((4, 4, 4), np.float32)
tissue = np.full((4, 4, 4), 5)
density[2:], tissue[2:] = 1.9, 4
source = np.zeros((4, 4, 4))
source[1, 1:3, 1], source[3, 3, 3] = 1.0, 0.5
for name in ("Lu-177", "F-18"):
    runs = [
        transport(density, tissue, (2.0, 3.0, 4.0), source, nuclide(name), 60, 3, device=device)
        for device in ("cpu", "cuda")
    ]
    assert np.allclose(runs[0][0], runs[1][0], rtol=1e-10, atol=1e-15), name
    assert abs(runs[1][2]["energy_balance"]) < 1e-9
print("same")
"""


def test_simulated_device_gives_the_numbers_of_the_processor():
    """One source, the same random numbers: every history must be the same on both."""
    pytest.importorskip("numba.cuda", reason="this numba has no CUDA target")
    root = Path(__file__).resolve().parents[2]
    code = SIMULATED.format(path=[str(root / "TheranosticDose"), str(root / "DoseSegmentation")])
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "same" in done.stdout


@pytest.mark.gpu
def test_device_gives_the_numbers_of_the_processor():
    reason = gpu_unavailable()
    if reason:
        pytest.skip(reason)
    shape = (24, 24, 24)
    density = np.ones(shape, np.float32)
    tissue = np.full(shape, 5, np.uint8)
    source = np.zeros(shape)
    source[8:16, 8:16, 8:16] = 1.0
    runs = [
        transport(density, tissue, (4.0,) * 3, source, nuclide("Lu-177"), 200_000, 1, device=device)
        for device in ("cpu", "cuda")
    ]
    # Histories may part where a last digit decides; the sums agree far within the statistics.
    assert runs[1][0].sum() == pytest.approx(runs[0][0].sum(), rel=1e-3)
    inside = source > 0
    assert runs[1][0][inside] == pytest.approx(runs[0][0][inside], rel=0.02)
    assert abs(runs[1][2]["energy_balance"]) < 1e-6
