"""The simple tools of Dose Segmentation, and the copies for other time points."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _
from TheranosticDoseSlicer import propagation_nodes, segmentation_tools

from TheranosticDosePanels.table_view import ShownTable


class ToolPanel:
    """Tools that make one segment; a click in a slice view can be their seed."""

    WIDGETS = ("percentBox", "radiusBox", "thresholdBox", "seedSelector", "seedButton")

    def __init__(self, widget) -> None:
        self.widget, self.ui, self.bar = widget, widget.ui, widget.bar
        self.parameters = None
        self._placing = None
        self._tables = {}
        self.ui.runButton.connect("clicked(bool)", self.onRun)
        self.ui.seedButton.connect("clicked(bool)", self.onPlaceSeed)
        self.ui.propagateButton.connect("clicked(bool)", self.onPropagate)
        self.ui.matchButton.connect("clicked(bool)", self.onMatch)

    def stop(self) -> None:
        """Let go of the scene."""
        self._stopPlacing()
        self.parameters = None

    def refresh(self, parameters) -> None:
        """Bring the widgets up to date with the parameter node."""
        self.parameters = parameters
        tool = segmentation_tools.Tool(parameters.tool.value)
        used = segmentation_tools.widgets_of(tool)
        for name in self.WIDGETS:
            self.bar.setField(name, "" if name in used else _("This tool does not use it."))
        self.ui.thresholdBox.suffix = segmentation_tools.unit_of(tool, parameters.spect)
        reason = self.widget.logic.missing(parameters)
        self.ui.toolNeeds.text = reason
        self.bar.show("toolSection", "toolNeeds", bool(reason))
        self.bar.setButton("runButton", reason)
        if "seedButton" in used:
            image = parameters.ct if tool.image == "ct" else parameters.spect
            self.bar.setButton("seedButton", reason if image is None else "")
        reason = self.widget.logic.cannotPropagate(parameters.segmentation)
        self.ui.propagateNeeds.text = reason
        self.bar.show("propagateSection", "propagateNeeds", bool(reason))
        self.bar.setButton("propagateButton", reason)
        self.bar.setButton("matchButton", self.widget.logic.cannotMatch(parameters.segmentation))
        case = self.widget.logic.caseOf(parameters.segmentation)
        for view, role in (
            ("changesTable", propagation_nodes.CHANGES),
            ("matchingTable", propagation_nodes.MATCHING),
        ):
            table = case.get(role) if case is not None else None
            if view not in self._tables:
                self._tables[view] = ShownTable(getattr(self.ui, view))
            self._tables[view].show(table)
            self.bar.show("propagateSection", view, table is not None or view == "changesTable")

    def onRun(self, _checked=None) -> None:
        """Run the tool."""
        with self.bar.errorsShown():
            self.widget.requireSegmentation()
            self.bar.start(self.widget.logic.task(self.parameters))

    def onPlaceSeed(self, _checked=None) -> None:
        """Let the next click in a slice view be the seed; the tool runs there."""
        self._stopPlacing()
        node = self.parameters.seed
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Seed")
            self.parameters.seed = node
        self._placing = node
        self.widget.addObserver(node, node.PointPositionDefinedEvent, self.onSeedPlaced)
        self.ui.seedPlaceWidget.setCurrentNode(node)
        self.ui.seedPlaceWidget.setPlaceModeEnabled(True)
        self.bar.tell(_("Click in the lesion, in a slice view."))

    def onSeedPlaced(self, caller=None, event=None) -> None:
        """Run the tool at the seed."""
        self._stopPlacing()
        self.bar.tell("")
        if self.parameters is not None:
            self.refresh(self.parameters)
            if self.ui.runButton.enabled:
                self.onRun()

    def _stopPlacing(self) -> None:
        if self._placing is not None:
            event = self._placing.PointPositionDefinedEvent
            self.widget.removeObserver(self._placing, event, self.onSeedPlaced)
            self.ui.seedPlaceWidget.setPlaceModeEnabled(False)
        self._placing = None

    def onPropagate(self, _checked=None) -> None:
        """Make the segmentations of the other time points."""
        with self.bar.errorsShown():
            node = self.parameters
            self.bar.start(self.widget.logic.propagation(node.segmentation, bool(node.redraw)))

    def onMatch(self, _checked=None) -> None:
        """Find the same lesions in the segmentations of all time points, and name them alike."""
        with self.bar.errorsShown():
            self.bar.start(self.widget.logic.matching(self.parameters.segmentation))
