"""What all steps of the panel have in common."""

from __future__ import annotations

from slicer.i18n import tr as _
from TheranosticDoseSlicer import install

from TheranosticDosePanels.table_view import ShownTable


class StepPanel:
    """One section of the panel: what it still needs, and its widgets kept in step with the case."""

    section = ""
    needs = ""

    def __init__(self, controller) -> None:
        self.controller = controller
        self.ui = controller.ui
        self.shownTables = {}
        self.title = getattr(self.ui, self.section).text
        getattr(self.ui, self.section).connect("contentsCollapsed(bool)", self._onCollapsed)
        self.connect()

    def connect(self) -> None:
        """Connect the widgets; once."""

    def missing(self) -> str:
        """Return what has to be done before this step, as a sentence; empty where nothing."""
        if self.controller.parameters is None:
            return _("The module is not active.")
        if self.controller.case is None:
            return _("Load a study first (step 1).")
        return self.controller.settingsProblem()

    def state(self) -> str:
        """Return what the section says below its header."""
        return self.missing()

    def refresh(self) -> None:
        """Bring the widgets of this step up to date."""

    def refreshAll(self) -> None:
        """Update the sentence of this step and its widgets."""
        getattr(self.ui, self.needs).text = self.state()
        getattr(self.ui, self.section).text = f"{self.title}  ✓" if self.done() else self.title
        self.refresh()

    def done(self) -> bool:
        """Whether this step has its result."""
        return False

    def _onCollapsed(self, _collapsed) -> None:
        if self.controller.parameters is not None:
            self.refreshAll()

    def show(self, name: str, on: bool) -> None:
        """Show or hide a widget; one in a closed section stays hidden until the section is opened."""
        self.controller.bar.show(self.section, name, on)

    def installed(self, step: str) -> bool:
        """Offer to install what a step needs; return whether it is there."""
        if install.ensure(step):
            return True
        self.controller.tell(_("This step needs Python packages that are not installed."))
        return False

    def setButton(self, name: str, reason: str) -> None:
        """Enable a button, or disable it and say why in its tooltip."""
        self.controller.bar.setButton(name, reason)

    def unmet(self) -> str:
        """Return what is missing, or that what the step shows is of another registration; empty where nothing."""
        return self.missing() or self.controller.outdatedRegistration()

    def setField(self, name: str, reason: str) -> None:
        """Enable a field, or disable it and say why in its tooltip."""
        self.controller.bar.setField(name, reason)

    def setTable(self, name: str, role: str, **how) -> None:
        """Show the table node of a role in a table view; ``how`` as ``ShownTable`` takes it."""
        if name not in self.shownTables:
            view = getattr(self.ui, name)
            self.shownTables[name] = ShownTable(view, errors=self.controller.errorsShown, **how)
        case = self.controller.case
        node = case.get(role) if case is not None else None
        self.shownTables[name].show(node)
        self.show(name, node is not None and node.GetNumberOfRows() > 0)

    def setItems(self, name: str, items: list[tuple[str, str]], current: str) -> None:
        """Fill a combo box with ``(label, value)``, choose ``current`` and send no signal."""
        box = getattr(self.ui, name)
        blocked = box.blockSignals(True)
        known = [(box.itemText(i), box.itemData(i)) for i in range(box.count)]
        if known != items:
            box.clear()
            for label, value in items:
                box.addItem(label, value)
        values = [value for _label, value in items]
        box.currentIndex = values.index(current) if current in values else (0 if values else -1)
        box.blockSignals(blocked)
