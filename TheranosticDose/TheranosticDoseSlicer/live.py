"""What follows the mouse: curves, TIA, kernel dose, DVH and BED of a case, recomputed only where something changed.

The numbers come from the same functions as a run (``workflow.steps``).  Each VOI is kept with
a key of everything it depends on; the TIA map and the doses that are linear in it are
updated in the box that changed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from TheranosticDoseLib.errors import InputError, TheranosticDoseError
from TheranosticDoseLib.geometry import array_of

from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import dose_nodes, edits, results_nodes, segments
from TheranosticDoseSlicer.beside import beside
from TheranosticDoseSlicer.live_dose import LiveDose
from TheranosticDoseSlicer.live_tia import box_of, union

if TYPE_CHECKING:
    from TheranosticDoseLib.dose import Anatomy
    from TheranosticDoseLib.quantification.gtm import KeptRegions
    from TheranosticDoseLib.registration import RegisteredStudy
    from TheranosticDoseLib.study import Voi
    from TheranosticDoseLib.workflow import RunSettings, VoiResult

    from TheranosticDoseSlicer.case import Case

EDITS, DOSE_OF = "edits", "doseOf"
SAME_POINT = 1e-2
"""Part of the uncertainty of a point that it may move without another fit."""


@dataclasses.dataclass
class _Kept:
    """One VOI with what it was computed from."""

    mask_key: tuple
    voi: Voi
    box: tuple[slice, slice, slice]
    points: Any = None
    measured_key: tuple = ()
    measured: VoiResult | None = None
    curve_key: tuple = ()
    fitted: VoiResult | None = None
    result: VoiResult | None = None
    problem: str = ""


class Live:
    """The current results of a case."""

    def __init__(self, case: Case, settings: RunSettings) -> None:
        self.case, self.settings = case, settings
        self.problems: list[str] = []
        self._kept: dict[str, _Kept] = {}
        self._registered: tuple[tuple, RegisteredStudy] | None = None
        self._anatomy: tuple[tuple, Anatomy] | None = None
        self._dose: LiveDose | None = None
        self._regions: KeptRegions | None = None
        self._segments: dict[str, tuple] = {}
        # Boxes of what changed since the TIA map followed; kept here because an update may be stopped at any step.
        self._changed: list[tuple] = []

    @property
    def results(self) -> tuple[VoiResult, ...]:
        """The VOIs in the order of the segmentation."""
        return tuple(kept.result for kept in self._kept.values() if kept.result is not None)

    def result(self, name: str) -> VoiResult | None:
        """Return the result of a VOI; ``None`` where there is none."""
        return next((result for result in self.results if result.name == name), None)

    def measured(self, name: str) -> VoiResult | None:
        """Return a VOI's result before the user's changes to its curve."""
        return next((kept.measured for kept in self._kept.values() if kept.voi.name == name), None)

    def problem(self, name: str) -> str:
        """Return why a VOI has no curve; empty where nothing is known."""
        return next((kept.problem for kept in self._kept.values() if kept.voi.name == name), "")

    def keys(self) -> dict[str, str]:
        """Return a fingerprint of what each VOI's curve was computed from."""
        return {
            kept.voi.name: hashlib.sha256(repr(kept.curve_key).encode()).hexdigest()[:16]
            for kept in self._kept.values()
        }

    def digests(self) -> dict[str, str]:
        """Return the fingerprints of the segments by their id."""
        return {segment_id: kept.mask_key[0] for segment_id, kept in self._kept.items()}

    def registered(self) -> RegisteredStudy:
        """Return the registered study of the nodes; read again only when they changed."""
        for _ in self._read_registered():
            pass
        return self._registered[1]

    def _read_registered(self) -> Iterator[str]:
        stamp = self._stamp((roles.SERIES, roles.REFERENCE_CT)), self.case.node.GetParameter("registered")
        if self._registered is None or self._registered[0] != stamp:
            registered = yield from dose_nodes.registered_steps(self.case)
            self._registered = stamp, registered
            self._kept.clear()
            self._dose, self._changed = None, []

    def anatomy(self) -> Anatomy:
        """Return density and tissue; read again only when they changed."""
        stamp = self._stamp((roles.DENSITY, roles.MATERIAL))
        if self._anatomy is None or self._anatomy[0] != stamp:
            self._anatomy = stamp, dose_nodes.anatomy_of(self.case)
        return self._anatomy[1]

    def vois(self) -> tuple[Voi, ...]:
        """Return the VOIs on the dose grid, up to date."""
        for _ in self.update_curves():
            pass
        return tuple(result.voi for result in self.results)

    def forget_dose(self) -> None:
        """Take the doses from the nodes again."""
        self._dose = None

    def update(self) -> Iterator[str]:
        """Bring everything up to date, one short step each; the tables follow."""
        yield from self.update_curves()
        if self.case.get(roles.TIA) is not None and self.case.record("engineOrder"):
            yield from self._update_dose()
        results_nodes.write_results(self.case, self.results, self._dose.doses if self._dose else {})
        yield "tables"
        results_nodes.write_curve(self.case, self.result(self.case.record("selectedVoi", "")), self)
        yield "curve"

    def update_curves(self) -> Iterator[str]:
        """Bring weights, activities and fits up to date."""
        yield from self._read_registered()
        registered, anatomy = self.registered(), self.anatomy()
        node = self.case.require(
            roles.SEGMENTATION, "There is no segmentation; make or choose one in the segmentation step."
        )
        segments.require_segments(node)
        segments.require_different_names(node)
        self.problems = []
        known, current = self._kept, {}
        for segment_id in segments.segment_ids(node):
            before = known.get(segment_id)
            kept = self._weights(node, segment_id, before, registered)
            yield segment_id
            if kept is None:
                self._empty(node, segment_id)
                continue
            current[segment_id] = kept
            if before is not None and before is not kept:
                self._changed.append(union([kept.box, before.box]))
        self._changed += [known[gone].box for gone in known if gone not in current]
        self._kept = current
        if not current:
            raise InputError(f"All segments of {node.GetName()!r} are empty.")
        yield from self._measure(registered, anatomy)
        yield from self._fit(registered)

    def _empty(self, node, segment_id: str) -> None:
        name = node.GetSegmentation().GetSegment(segment_id).GetName()
        self.problems.append(f"The segment {name!r} is empty and left out.")

    def _weights(self, node, segment_id, kept: _Kept | None, registered) -> _Kept | None:
        stamp = segments.stamp(node, segment_id)
        if kept is not None and self._segments.get(segment_id) == (stamp, kept.mask_key):
            return kept
        segment = segments.read_segment(node, segment_id)
        if segment is None:
            return None
        key = (segment.digest, segment.name, segment.kind, json.dumps(segment.code))
        self._segments[segment_id] = stamp, key
        if kept is not None and kept.mask_key == key:
            return kept
        voi = dose_nodes.voi_of(self.case, node, segment_id, registered)
        return _Kept(key, voi, box_of(array_of(voi.weights))) if voi is not None else None

    def _measure(self, registered, anatomy) -> Iterator[str]:
        """Measure the activities of the VOIs that changed; of all where they correct one another."""
        from TheranosticDoseLib.quantification.gtm import KeptRegions
        from TheranosticDoseLib.workflow import steps

        self._regions = self._regions or KeptRegions()
        settings = self.settings
        values = settings.to_dict()
        for other in ("registration", "engine_settings", "tia_map", "compare"):
            values.pop(other, None)
        # The fit is done again where only its model changed; measuring is apart from it.
        values["fit"] = settings.fit.relative_uncertainty
        measuring = json.dumps(values, sort_keys=True, default=str)
        joint = settings.quantification.recovery == "gtm"
        shared = tuple(kept.mask_key for kept in self._kept.values()) if joint else ()
        # A VOI counts as measured when it was: an update may be stopped at any step.
        keys = {id(kept): (kept.mask_key, measuring, shared) for kept in self._kept.values()}
        outdated = [kept for kept in self._kept.values() if kept.measured_key != keys[id(kept)]]
        drawn = self._as_drawn(registered) if outdated else registered
        for group in [outdated] if joint and outdated else [[kept] for kept in outdated]:
            vois = tuple(kept.voi for kept in group)
            known = {kept.voi.name: kept.points for kept in group if kept.points is not None}
            measure = functools.partial(
                steps.voi_results,
                drawn,
                vois,
                anatomy,
                settings,
                fitted=False,
                known=known,
                kept=self._regions,
            )
            results = yield from beside(measure, "activities")
            for kept, measured in zip(group, results, strict=True):
                kept.measured_key, kept.measured = keys[id(kept)], measured
                kept.points = known[kept.voi.name]
            yield "activities"

    def _as_drawn(self, registered) -> RegisteredStudy:
        return dose_nodes.without_edited(
            self.case, registered, self.case.get(roles.SEGMENTATION), self.digests()
        )

    def registered_for_run(self) -> RegisteredStudy:
        """Return the registered study with the outlines that still count as the files have them."""
        return self._as_drawn(self.registered())

    def _fit(self, registered) -> Iterator[str]:
        """Fit the curves of the VOIs whose points or settings changed."""
        edited, wanted = self.case.record(EDITS, {}), []
        for kept in self._kept.values():
            edit = edits.CurveEdit.from_dict(edited.get(kept.voi.name, {}))
            chosen = repr(edit), repr(self.settings.fit)
            key, before = (kept.measured_key, *chosen), kept.curve_key
            if key == before:
                continue
            if before[1:] == chosen and _same_points(kept.fitted, kept.measured):
                kept.curve_key = key
            else:
                wanted.append((kept, edit, key))
        if wanted:
            measured = [(kept.measured, edit) for kept, edit, _ in wanted]
            find = functools.partial(_fitted, measured, registered, self.settings)
            found = yield from beside(find, "curves")
            for (kept, _, key), (result, problem) in zip(wanted, found, strict=True):
                kept.curve_key, kept.fitted, kept.result, kept.problem = key, kept.measured, result, problem
                self._changed.append(kept.box)
                if problem:
                    # Not where it is fitted, in another thread: the application shows its log in a widget.
                    logging.warning("%s", problem)
            yield "curves"
        # A curve that was not fitted again has no curve for the same reason as before.
        self.problems += [kept.problem for kept in self._kept.values() if kept.problem]

    def _update_dose(self) -> Iterator[str]:
        keys = self.keys()
        if self._dose is None:
            self._dose = LiveDose(self.case, self.anatomy())
            # The doses of the scene may belong to earlier outlines or curves, or to exactly these.
            known = self.case.record(DOSE_OF, {})
            self._changed = [
                kept.box for kept in self._kept.values() if known.get(kept.voi.name) != keys[kept.voi.name]
            ]
            if set(known) - set(keys):
                self._changed = [self._dose.whole]
            yield "doses read"
            yield from self._dose.prepare(self.settings)
        corrections = edits.corrections_of(self.registered().study)
        boxes = {kept.voi.name: kept.box for kept in self._kept.values()}
        yield from self._dose.update(self.results, boxes, self._changed, self.settings)
        reached = [
            kept
            for kept in self._kept.values()
            if set(kept.result.dvh) != set(self._dose.doses) or self._dose.touches(kept.box)
        ]
        if reached:
            inside = [(kept.result, kept.box) for kept in reached]
            evaluate = functools.partial(self._dose.evaluated, inside, corrections, self.settings)
            for kept, result in zip(reached, (yield from beside(evaluate, "histograms")), strict=True):
                kept.result = result
        self._dose.changed = []
        if self.case.record(DOSE_OF) != keys:
            self.case.set_record(DOSE_OF, keys)

    def _stamp(self, names) -> tuple:
        stamps = []
        for name in names:
            node = self.case.get(name)
            if node is None:
                stamps.append(None)
            elif node.IsA("vtkMRMLVolumeNode"):
                stamps.append((node.GetID(), node.GetImageData().GetMTime() if node.GetImageData() else 0))
            else:
                stamps.append((node.GetID(), node.GetNumberOfDataNodes()))
        return tuple(stamps)


def _fitted(
    measured: list[tuple[VoiResult, edits.CurveEdit]], registered: RegisteredStudy, settings: RunSettings
) -> list[tuple[VoiResult, str]]:
    """Return the VOIs with their curves, and why there is none where there is none."""
    from TheranosticDoseLib.nuclides import nuclide
    from TheranosticDoseLib.workflow import steps

    half_life_h = nuclide(registered.study.administration.nuclide).half_life_h
    time_h = registered.study.time_h

    def one(result: VoiResult, edit: edits.CurveEdit) -> tuple[VoiResult, str]:
        try:
            if not edit.empty:
                return edits.with_edit(result, edit, time_h, half_life_h, settings)[0], ""
            return together([result])[0]
        except TheranosticDoseError as error:
            # One curve that cannot be fitted must not take the others with it.
            return dataclasses.replace(result, fit=None), str(error)

    def together(results: list[VoiResult]) -> list[tuple[VoiResult, str]]:
        points = [(result.activity_mbq, result.u_activity_mbq) for result in results]
        fits = steps.fit_vois(time_h, points, half_life_h, settings.fit, [result.prior for result in results])
        return [(dataclasses.replace(r, fit=fit), "") for r, fit in zip(results, fits, strict=True)]

    plain = [result for result, edit in measured if edit.empty]
    try:
        found = dict(zip((result.name for result in plain), together(plain), strict=True))
    except TheranosticDoseError:
        found = {}
    return [found.get(result.name) or one(result, edit) for result, edit in measured]


def _same_points(first: VoiResult, second: VoiResult) -> bool:
    """Whether a VOI was measured as before: each point within a small part of its uncertainty.

    Where VOIs correct one another, an edit of one moves the last digits of all.
    """
    before, after = np.array(first.activity_mbq), np.array(second.activity_mbq)
    allowed = SAME_POINT * np.array(first.u_activity_mbq)
    known = np.isfinite(before)
    return (
        np.array_equal(known, np.isfinite(after))
        and bool(np.all(np.abs(after - before)[known] <= allowed[known]))
        and abs(second.common_rel_u - first.common_rel_u) <= SAME_POINT
        and (first.levels_gy, first.findings) == (second.levels_gy, second.findings)
    )
