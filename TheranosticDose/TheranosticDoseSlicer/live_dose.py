"""TIA map and doses that follow the curves, and the histograms on them.

Kernel doses are linear in the TIA: the dose of what was added to the map is added to the dose.  Before
a report is written such doses are computed again from the whole map, see ``tasks.export``.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from TheranosticDoseLib.dose.change import ENGINES, DoseOfChange
from TheranosticDoseLib.geometry import array_of, image_like

from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import dose_nodes, images
from TheranosticDoseSlicer.beside import beside
from TheranosticDoseSlicer.live_tia import Box, LiveTia, cropped, overlap, union

if TYPE_CHECKING:
    from TheranosticDoseLib.dose import Anatomy, DoseResult
    from TheranosticDoseLib.workflow import RunSettings, VoiResult

    from TheranosticDoseSlicer.case import Case

LOCAL, LINEAR = ("led",), ENGINES
"""Engines that follow at once: the dose of a voxel from itself alone, or from a kernel."""
FOLLOWED = "followed"


class LiveDose:
    """The TIA map and the doses of a case in memory, and their nodes kept in step."""

    def __init__(self, case: Case, anatomy: Anatomy) -> None:
        self.case, self.anatomy = case, anatomy
        self.doses: dict[str, DoseResult] = dose_nodes.doses_of(case)
        self.tia = LiveTia(dose_nodes.voxels_of(case), dose_nodes.tia_of(case))
        self.before, self._changes = self.tia.image(), {}
        self.whole: Box = tuple(slice(0, n) for n in self.tia.array.shape)
        self.changed: list[Box] = [self.whole]
        # What the engines have not followed yet; an update may be stopped before it is done.
        self._left: list[tuple[str, Box, np.ndarray]] = []

    def update(
        self, results: tuple[VoiResult, ...], boxes: dict[str, Box], changed: list[Box], settings: RunSettings
    ) -> Iterator[str]:
        """Bring TIA and doses up to date after a change inside the boxes ``changed``, which is empty then."""
        yield from self._follow(settings)
        places = [box for box in changed if all(s.stop > s.start for s in box)]
        if not places:
            return
        find = functools.partial(self.tia.change, results, boxes, union(places), settings)
        box, added = yield from beside(find, "TIA")
        changed.clear()
        if not np.any(added):
            return
        self.tia.array[box] += added
        images.set_image(self.case.get(roles.TIA), self.tia.image())
        nodes = {engine: self.case.get(roles.DOSE + engine) for engine in self.doses}
        # One that is out of date already lacks more than this change.
        following = [
            e for e, n in nodes.items() if e in LOCAL + LINEAR and not n.GetAttribute(roles.OUTDATED)
        ]
        self._left = [(engine, box, added) for engine in following]
        for node in nodes.values():
            node.SetAttribute(roles.OUTDATED, "1")
        self.case.set_record(FOLLOWED, sorted({*self.case.record(FOLLOWED, []), *following}))
        yield "TIA shown"
        yield from self._follow(settings)

    def _follow(self, settings: RunSettings) -> Iterator[str]:
        """Add the doses of what was added to the TIA, and take away those of what was taken."""
        while self._left:
            engine, box, added = self._left[0]
            place = box if engine in LOCAL else self.whole
            if engine in LOCAL:
                find = functools.partial(self._local, engine, added, box, settings)
            else:
                find = functools.partial(self._change(engine, settings), added, box)
            change = yield from beside(find, engine)
            dose = np.array(array_of(self.doses[engine].dose))
            dose[place] += change
            np.maximum(dose, 0.0, out=dose)
            image, node = image_like(dose, self.tia.grid), self.case.get(roles.DOSE + engine)
            self.doses[engine] = dataclasses.replace(self.doses[engine], dose=image)
            self.changed.append(place)
            images.set_image(node, image)
            node.SetAttribute(roles.OUTDATED, None)
            self._left.pop(0)
            yield f"{engine} shown"

    def prepare(self, settings: RunSettings) -> Iterator[str]:
        """Read the kernels before the first edit, which would wait for them: once with the whole map."""
        for engine in self.doses:
            if engine in LINEAR:
                change = self._change(engine, settings)
                yield from beside(functools.partial(change, self.tia.array, self.whole), engine)

    def _change(self, engine: str, settings: RunSettings) -> DoseOfChange:
        chosen = settings.engine_settings.get(engine, {})
        key = engine, repr(chosen)
        if key not in self._changes:
            nuclide = self._nuclide(engine)
            self._changes[key] = DoseOfChange(engine, self.anatomy, self.before, nuclide, **chosen)
        return self._changes[key]

    def _nuclide(self, engine: str) -> str:
        return self.doses[engine].record.get("nuclide", "Lu-177")

    def _local(self, engine: str, added: np.ndarray, box: Box, settings: RunSettings) -> np.ndarray:
        """Return the dose of a change inside its box; the engine takes no negative activity."""
        from TheranosticDoseLib.dose import Anatomy, absorbed_dose

        chosen, nuclide = settings.engine_settings.get(engine, {}), self._nuclide(engine)
        material = cropped(self.anatomy.material, box) if self.anatomy.material is not None else None
        anatomy = Anatomy(cropped(self.anatomy.density, box), material, self.anatomy.hu_table)
        dose = np.zeros(added.shape, np.float32)
        for sign in (1.0, -1.0):
            part = np.maximum(sign * added, 0.0)
            if part.any():
                result = absorbed_dose(image_like(part, anatomy.density), anatomy, engine, nuclide, **chosen)
                dose += np.float32(sign) * array_of(result.dose)
        return dose

    def evaluated(
        self, results: list[tuple[VoiResult, Box]], corrections: tuple, settings: RunSettings
    ) -> list[VoiResult]:
        """Return results of VOIs, each given with its box, with histograms, uncertainty, BED and EQD2."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda of: self._evaluated(*of, corrections, settings), results))

    def _evaluated(self, result: VoiResult, box: Box, corrections: tuple, settings: RunSettings) -> VoiResult:
        from TheranosticDoseLib.workflow import steps

        small = dataclasses.replace(result.voi, weights=cropped(result.voi.weights, box))
        doses = {
            engine: dataclasses.replace(
                dose,
                dose=cropped(dose.dose, box),
                uncertainty=cropped(dose.uncertainty, box) if dose.uncertainty is not None else None,
            )
            for engine, dose in self.doses.items()
        }
        evaluated = steps.with_dose(dataclasses.replace(result, voi=small), doses, corrections, settings)
        return dataclasses.replace(evaluated, voi=result.voi)

    def touches(self, box: Box) -> bool:
        """Whether a dose inside the box changed since the last evaluation."""
        return any(overlap(box, changed) for changed in self.changed)
