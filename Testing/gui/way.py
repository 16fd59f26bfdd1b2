"""One user in front of a panel: what opens it, and the clicks of the whole way."""

from __future__ import annotations

from pathlib import Path

from . import actions

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
MODULE_FILES = {
    "TheranosticDose": CHECKOUT / "TheranosticDose" / "TheranosticDose.py",
    "DoseSegmentation": CHECKOUT / "DoseSegmentation" / "DoseSegmentation.py",
    "SampleModule": HERE / "sample_module" / "SampleModule.py",
}
PANEL_WIDTH = 480
PATIENCE_S = 900


def open_panel(name: str):
    """Return the Python widget of a module (or of a path), set up and shown 480 pixels wide."""
    from .standin import application

    panel = application.load_module(MODULE_FILES.get(name, Path(name))).widgetRepresentation()
    panel.resize(PANEL_WIDTH, 900)
    panel.show()
    panel.enter()
    actions._process()
    return panel.self()


class Way:
    """One user walking through the panel of Theranostic Dose, with mouse and keyboard only."""

    def __init__(self, widget) -> None:
        from .standin.user import user

        self.widget, self.ui, self.user = widget, widget.ui, user
        self.click, self.type, self.wait = actions.click, actions.type_text, actions.wait_until

    @property
    def case(self):
        """The treatment cycle that is shown."""
        return self.widget.controller.case

    def ready(self) -> None:
        """Wait as long as the panel needs after it was shown; nobody clicks before."""
        self.wait(lambda: not self.widget.controller._warmTimer.active, PATIENCE_S, "imports")

    def open(self, name: str) -> None:
        """Open the section of a step."""
        section = getattr(self.ui, f"{name}Section")
        if section.collapsed:
            self.click(section)
        assert not section.collapsed

    def idle(self) -> bool:
        """Whether nothing runs and nothing is about to."""
        controller = self.widget.controller
        return not (controller.busy or controller.updating or controller._laterTimer.active)

    def settle(self, what: str) -> None:
        """Wait until everything is up to date; an error message fails."""
        self.wait(self.idle, PATIENCE_S, what)
        assert self.user.texts("error") == []

    def load(self, folder: Path) -> None:
        """Step 1 from a folder."""
        self.type(self.ui.inputFolderEdit, str(folder))
        self.click(self.ui.loadButton)
        self.settle("loading")

    def register(self, method: str) -> None:
        """Step 2; the segments of the files follow."""
        self.open("registration")
        actions.choose(self.ui.registrationMethodBox, method)
        self.click(self.ui.registerButton)
        self.settle("registration")

    def recover(self, label: str, fwhm_mm: float) -> None:
        """Choose the correction of the partial-volume effect."""
        self.open("registration")
        self.type(self.ui.spectFwhmBox, f"{fwhm_mm:g}")
        actions.choose(self.ui.recoveryBox, label)
        self.settle("recovery")

    def dose(self, *engines: str) -> None:
        """Step 5."""
        self.open("dose")
        for engine, box in self.widget.controller.panels[4].boxes.items():
            if box.checked != (engine in engines):
                self.click(box)
        self.click(self.ui.computeButton)
        self.settle("dose")

    def export(self, folder: Path) -> None:
        """Step 7."""
        self.open("export")
        self.type(self.ui.exportFolderEdit, str(folder))
        self.click(self.ui.exportButton)
        self.settle("export")

    def save_and_open_again(self, file: Path) -> None:
        """Save the scene, close it, and load it again."""
        import slicer

        assert slicer.mrmlScene.WriteToMRB(str(file))
        slicer.mrmlScene.Clear(0)
        assert self.case is None
        slicer.mrmlScene.SetURL(str(file))
        assert slicer.mrmlScene.ReadFromMRB(str(file), True)
        self.widget.initializeParameterNode()
        self.settle("saved case")
