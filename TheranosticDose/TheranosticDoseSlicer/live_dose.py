"""TIA map and doses that follow the curves, and the histograms on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from TheranosticDoseLib.geometry import array_of

from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import dose_nodes, images

if TYPE_CHECKING:
    from TheranosticDoseLib.dose import Anatomy, DoseResult
    from TheranosticDoseLib.workflow import RunSettings, VoiResult

    from TheranosticDoseSlicer.case import Case

LINEAR = ("led", "vsv", "vsv_density")
"""Engines whose dose is linear in the TIA and quick enough to follow."""
OUTDATED = "TheranosticDose.Outdated"


class LiveDose:
    """The TIA map and the doses of a case in memory, and their nodes kept in step."""

    def __init__(self, case: Case, settings: RunSettings, anatomy: Anatomy) -> None:
        self.case, self.settings, self.anatomy = case, settings, anatomy
        self.doses: dict[str, DoseResult] = dose_nodes.doses_of(case)
        self.voxels = dose_nodes.voxels_of(case)
        self.tia = dose_nodes.tia_of(case)
        whole = tuple(slice(0, n) for n in self.tia.GetSize()[::-1])
        self.changed = [whole]

    def update(self, results: tuple[VoiResult, ...], boxes: list[tuple]) -> Iterator[str]:
        """Bring TIA and linear doses up to date after a change inside ``boxes``."""
        from TheranosticDoseLib.workflow import steps

        if not boxes:
            return
        tia, _ = steps.tia_map(self.voxels, results, self.settings)
        yield "TIA"
        difference = array_of(tia) - array_of(self.tia)
        if not np.any(difference):
            return
        self.tia = tia
        images.set_image(self.case.get(roles.TIA), tia)
        for engine in self.doses:
            yield from self._follow(engine, tia)
        whole = tuple(slice(0, n) for n in tia.GetSize()[::-1])
        self.changed = [whole]

    def _follow(self, engine: str, tia) -> Iterator[str]:
        from TheranosticDoseLib.dose import absorbed_dose

        node = self.case.get(roles.DOSE + engine)
        if engine not in LINEAR:
            node.SetAttribute(OUTDATED, "1")
            return
        nuclide = self.doses[engine].record.get("nuclide", "Lu-177")
        chosen = self.settings.engine_settings.get(engine, {})
        result = absorbed_dose(tia, self.anatomy, engine, nuclide, **chosen)
        self.doses[engine] = result
        yield engine
        images.set_image(node, result.dose)
        node.SetAttribute(OUTDATED, None)
        yield f"{engine} shown"

    def evaluated(self, result: VoiResult, box: tuple) -> VoiResult:
        """Return a VOI's result with its histograms, BED and EQD2."""
        from TheranosticDoseLib.workflow import steps

        cropped_voi = dataclasses.replace(result.voi, weights=_cropped(result.voi.weights, box))
        doses = {
            engine: dataclasses.replace(
                dose,
                dose=_cropped(dose.dose, box),
                uncertainty=_cropped(dose.uncertainty, box) if dose.uncertainty is not None else None,
            )
            for engine, dose in self.doses.items()
        }
        evaluated = steps.with_dose(dataclasses.replace(result, voi=cropped_voi), doses)
        return dataclasses.replace(evaluated, voi=result.voi)


def _cropped(image, box: tuple):
    x, y, z = (box[2], box[1], box[0])
    return image[x.start : x.stop, y.start : y.stop, z.start : z.stop]
