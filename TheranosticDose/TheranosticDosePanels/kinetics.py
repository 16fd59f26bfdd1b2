"""Step 4: time-activity curves."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _
from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import edits, plots, results_nodes, shown_tables
from TheranosticDoseSlicer.choices import FitModel
from TheranosticDoseSlicer.tasks import EDITS

from TheranosticDosePanels.step import StepPanel

LARGE_U_PERCENT = 50.0
"""A TIA less certain than this says little; the user is told."""


class KineticsPanel(StepPanel):
    """Table and plot per VOI, model by VOI, points moved or left out."""

    section, needs = "kineticsSection", "kineticsNeeds"

    def connect(self):
        """Connect the widgets."""
        self.ui.voiBox.connect("currentIndexChanged(int)", self.onVoi)
        self.ui.voiModelBox.connect("currentIndexChanged(int)", self.onModel)
        self.ui.showCurveButton.connect("clicked(bool)", self.onShow)
        self.ui.movePointsButton.connect("toggled(bool)", self.onMove)
        self.ui.undoEditsButton.connect("clicked(bool)", self.onUndo)

    def missing(self):
        """Return what the curves need."""
        if super().missing():
            return super().missing()
        if self.controller.case.record("registered") is None:
            return _("Run the registration first (step 2).")
        node = self.controller.case.get(roles.SEGMENTATION)
        if node is None or node.GetSegmentation().GetNumberOfSegments() == 0:
            return _("Make or choose a segmentation first (step 3).")
        return ""

    def state(self):
        """Return what is to be done, or how many curves were changed."""
        if unmet := self.unmet():
            return unmet
        changed = [name for name, edit in self._edits().items() if not edits.CurveEdit.from_dict(edit).empty]
        if changed:
            return _("Changed by hand: {names}.").format(names=", ".join(sorted(changed)))
        number = len(self.controller.live.results) if self.controller.live is not None else 0
        return (
            _("Curves of {number} VOIs.").format(number=number)
            if number
            else _("The curves are being fitted.")
        )

    def _edits(self):
        return self.controller.case.record(EDITS, {})

    def selected(self):
        """Return the name of the shown VOI."""
        return self.controller.case.record("selectedVoi", "") if self.controller.case is not None else ""

    def done(self):
        """Whether the curves are fitted."""
        live = self.controller.live
        return live is not None and any(result.fit is not None for result in live.results)

    def refresh(self):
        """Update the widgets."""
        live = self.controller.live
        names = [result.name for result in live.results] if live is not None else []
        current = self.selected()
        if names and current not in names:
            current = next((r.name for r in live.results if r.voi.kind != "body"), names[0])
            self.controller.case.set_record("selectedVoi", current)
            results_nodes.write_curve(self.controller.case, live.result(current), live)
        self.setItems("voiBox", [(name, name) for name in names], current)
        models = [(_("as chosen for all"), "")]
        models += [(model.label(), model.value) for model in FitModel]
        edit = edits.CurveEdit.from_dict(self._edits().get(current, {})) if self.controller.case else None
        self.setItems("voiModelBox", models, edit.model if edit is not None else "")
        self.setTable(
            "pointsTable",
            roles.ACTIVITIES,
            columns=results_nodes.shown_points,
            editable=results_nodes.EDITABLE,
        )
        missing = self.missing() or ("" if names else _("The curves are being fitted."))
        for name in ("showCurveButton", "movePointsButton"):
            self.setButton(name, missing)
        unchanged = edit is None or edit.empty
        self.setButton(
            "undoEditsButton", missing or (_("Nothing was changed about this VOI.") if unchanged else "")
        )
        for name in ("voiBox", "voiModelBox"):
            self.setField(name, missing)
        self.ui.fitLabel.text = (
            _fitText(live.result(current), live.problem(current)) if live is not None and names else ""
        )

    def onVoi(self, _index=None):
        """Show another VOI."""
        name = self.ui.voiBox.currentData
        live = self.controller.live
        if not name or live is None or name == self.selected():
            return
        self.controller.case.set_record("selectedVoi", name)
        with self.controller.errorsShown():
            results_nodes.write_curve(self.controller.case, live.result(name), live)
        self.controller.refresh()

    def onModel(self, _index=None):
        """Take another model for this VOI."""
        self._store(self._read(self.ui.voiModelBox.currentData or ""))

    def onPointsEdited(self):
        """Take the points of the table: moved, left out or taken in again."""
        with self.controller.errorsShown():
            self._store(self._read(self.ui.voiModelBox.currentData or ""))

    def _read(self, model):
        measured = self.controller.live.measured(self.selected()) if self.controller.live else None
        if measured is None:
            return None
        return results_nodes.read_curve_edit(self.controller.case, measured, model)

    def _store(self, edit):
        name = self.selected()
        known = self._edits()
        if edit is None or edits.CurveEdit.from_dict(known.get(name, {})) == edit:
            return
        if edit.used and not any(edit.used):
            self.controller.tell(_("{name}: use at least one time point.").format(name=name))
            return
        known[name] = edit.to_dict()
        self.controller.case.set_record(EDITS, known)
        self.controller.requestUpdate()

    def onUndo(self, _checked=None):
        """Take the measured points and the common model again."""
        known = self._edits()
        known.pop(self.selected(), None)
        self.controller.case.set_record(EDITS, known)
        self.controller.requestUpdate()

    def onShow(self, _checked=None):
        """Show the plot in the layout."""
        chart = self.controller.case.get(roles.CURVE_CHART)
        if chart is not None:
            slicer.modules.plots.logic().ShowChartInLayout(chart)

    def onMove(self, on):
        """Let the mouse move points of the plot, or let it pan again."""
        if on:
            # The application makes the view, whose mouse it is, when a layout shows one.
            self.onShow()
        plots.let_mouse_move_points(bool(on))


def _fitText(result, problem):
    """Return what a fit found, or why there is none."""
    if result is None:
        return ""
    fit = result.fit
    if fit is None:
        if problem:
            return _("No curve. {reason}").format(reason=results_nodes.in_words(problem))
        return _("There is no activity to fit.")
    share = 100 * fit.u_tia_mbq_h / fit.tia_mbq_h if fit.tia_mbq_h else float("nan")
    text = _(
        "{model}: TIA {tia} MBq h ({u} %, k=1), effective half-life {half} h, "
        "{part:.0f} % of the TIA after the last point."
    ).format(
        model=results_nodes.model_title(fit.model),
        tia=shown_tables.pair(fit.tia_mbq_h, fit.u_tia_mbq_h),
        u=shown_tables.number(share, 2),
        half=shown_tables.number(fit.effective_half_life_h, 3),
        part=100 * fit.extrapolated_fraction,
    )
    if share > LARGE_U_PERCENT:
        text += " " + _("The points hardly determine this model; choose one with fewer parameters.")
    return text
