"""What the dose means by radiobiological models: per VOI and as maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.workflow.results import Results, VoiResult


def of_voi(result: VoiResult, dose: sitk.Image, u_mean_gy: float | None) -> dict[str, Any]:
    """Return the fields of :class:`VoiResult` that are models: BED, EQD2, EUD, limits, complication, control.

    Parameters
    ----------
    result : VoiResult
        With its curve; the dose rate follows it.
    dose : SimpleITK.Image
        Gy.
    u_mean_gy : float or None
        Standard uncertainty of the mean dose.
    """
    from TheranosticDoseLib import radiobiology

    biology = radiobiology.biology_of(result.name, result.voi.kind)
    if result.fit is None or result.fit.tia_mbq_h <= 0:
        return {"radiobiology": {**biology.to_dict(), "limits": radiobiology.limits_of(biology.tissue)}}
    found = radiobiology.evaluate(dose, result.voi.weights, result.fit, biology, u_mean_gy)
    return {
        "bed_gy": found.pop("bed_gy"),
        "eqd2_gy": found.pop("eqd2_gy"),
        "radiobiology": {**found.pop("biology"), **found},
    }


def maps_of(results: Results) -> dict[str, sitk.Image]:
    """Return the maps of BED and EQD2, Gy, of the first engine; each voxel with the curve and tissue of its VOI.

    Voxels of no VOI take the body's curve, the physical decay where there is none, and late responding tissue.
    """
    from TheranosticDoseLib.nuclides import nuclide
    from TheranosticDoseLib.radiobiology import bed_map, biology_of

    fitted = [r for r in results.vois if r.fit is not None and r.fit.tia_mbq_h > 0]
    body = next((r.fit for r in fitted if r.voi.kind == "body"), None)
    physical = [(1.0, float(np.log(2)) / nuclide(results.study.administration.nuclide).half_life_h)]
    regions = [(r.voi.weights, r.fit, biology_of(r.name, r.voi.kind)) for r in fitted if r.voi.kind != "body"]
    dose = next(iter(results.doses.values())).dose
    bed, eqd2 = bed_map(dose, regions, (body or physical, biology_of("")))
    return {"bed": bed, "eqd2": eqd2}
