"""Step 3: organs and lesions."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _
from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import study_nodes

from TheranosticDosePanels.step import StepPanel


class SegmentationPanel(StepPanel):
    """Choose or make the segmentation; opens ``DoseSegmentation``."""

    section, needs = "segmentationSection", "segmentationNeeds"

    def connect(self):
        """Connect the widgets."""
        self.ui.editSegmentsButton.connect("clicked(bool)", self.onEdit)

    def state(self):
        """Return what is to be done, or how many segments there are."""
        if self.missing():
            return self.missing()
        node = self.controller.parameters.segmentation
        if node is None:
            return _("Choose a segmentation, or make one with 'Segment and edit'.")
        number = node.GetSegmentation().GetNumberOfSegments()
        if number == 0:
            return _("The segmentation has no segments yet; make some with 'Segment and edit'.")
        return _("{number} segments.").format(number=number)

    def done(self):
        """Whether there are segments."""
        node = self.controller.parameters.segmentation
        return node is not None and node.GetSegmentation().GetNumberOfSegments() > 0

    def refresh(self):
        """Make the chosen segmentation that of the case, and show it."""
        case, node = self.controller.case, self.controller.parameters.segmentation
        if case is not None and node is not None and case.get(roles.SEGMENTATION) is not node:
            case.set(roles.SEGMENTATION, node)
            self.controller.requestUpdate()
        if self.ui.segmentsTable.segmentationNode() is not node:
            self.ui.segmentsTable.setSegmentationNode(node)
        missing = self.missing()
        if not missing and case.record(study_nodes.STUDY_RECORD) is None:
            missing = _("Load a study first (step 1).")
        self.setButton("editSegmentsButton", missing)

    def onEdit(self, _checked=None):
        """Open DoseSegmentation with the images of the reference."""
        # Read first: when the other module is selected, this one is left and lets go of its parameters.
        case, segmentation = self.controller.case, self.controller.parameters.segmentation
        registered = case.record("registered")
        label = registered["reference"] if registered else case.labels(roles.SPECT)[0]
        slicer.util.selectModule("DoseSegmentation")
        widget = slicer.modules.dosesegmentation.widgetRepresentation().self()
        browser, series = case.get(roles.BROWSER), case.get(roles.SERIES)
        spect = browser.GetProxyNode(series) if browser is not None and series is not None else None
        widget.openFor(
            ct=case.get(roles.CT + label),
            spect=spect or case.get(roles.SPECT + label),
            segmentation=segmentation,
            browser=browser,
        )
