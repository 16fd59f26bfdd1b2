"""The whole way inside Slicer: used by the module's own test."""

from __future__ import annotations

import tempfile
from pathlib import Path

SMALL = {
    "spect_size": [64, 64, 48],
    "spect_spacing_mm": 6.0,
    "refinement": 1,
    "ct_size": [96, 96],
    "ct_field_mm": 450.0,
    "ct_slice_mm": 6.0,
    "truth_engine": "led",
}


def whole_way(logic, check) -> None:
    """Walk from a small virtual patient to a report and check what came out."""
    with tempfile.TemporaryDirectory() as folder:
        dicom = logic.makeVirtualPatient(Path(folder) / "patient", 1, **SMALL)
        case = logic.newCase("Cycle 1")
        logic.loadStudy(case, dicom)
        settings = logic.settings(registration={"method": "rigid"})
        logic.register(case, settings)
        live = logic.computeDose(case, ["led"], settings)
        check(len(live.results) > 2)
        check(all(result.dvh["led"].mean_gy > 0 for result in live.results))
        logic.export(case, Path(folder) / "out", live, settings)
        check((Path(folder) / "out" / "results.json").is_file())


def hot_ball(logic, check_almost_equal) -> None:
    """Segment a ball at half of its maximum and check its volume."""
    import numpy as np
    import SimpleITK as sitk

    from TheranosticDoseSlicer import images, segments

    z, y, x = np.ogrid[:40, :40, :40]
    inside = (z - 20) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 <= 8**2
    image = sitk.GetImageFromArray(np.where(inside, 1e6, 1e3).astype(np.float32))
    volume = images.volume_from(image, "SPECT", "spect_bq_ml")
    segmentation = logic.newSegmentation(volume)
    logic.segment(volume, segmentation, "percent_of_maximum", "Lesion 1", percent=50.0)
    found, _empty = segments.read_segments(segmentation)
    check_almost_equal(float(sitk.GetArrayFromImage(found[0].mask).sum()), float(inside.sum()))
