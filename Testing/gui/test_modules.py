"""Both modules as Slicer's generic test asks, how long they take to open, and how they look."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MODULES = ("TheranosticDose", "DoseSegmentation")


@pytest.mark.parametrize("name", MODULES)
def test_generic_module_behavior(module_widget, name):
    from gui.generic import check_module

    module_widget(name)
    check_module(name)


@pytest.mark.parametrize("name", MODULES)
def test_scene_closed_and_module_reloaded(module_widget, slicer_app, user, name):
    import slicer

    panel = module_widget(name)
    slicer.mrmlScene.Clear(False)
    slicer_app.processEvents()
    slicer.util.reloadScriptedModule(name)
    slicer_app.processEvents()
    assert getattr(slicer.modules, f"{name}Widget") is not panel
    slicer.modules.__dict__[name.lower()].widgetRepresentation().exit()
    slicer.modules.__dict__[name.lower()].widgetRepresentation().enter()
    assert user.texts("error") == []


def sections(panel):
    import ctk

    return list(panel.parent.findChildren(ctk.ctkCollapsibleButton))


@pytest.mark.parametrize("name", MODULES)
def test_panel_fits_and_is_reached_by_the_keyboard(module_widget, name):
    """480 pixels without horizontal scrolling, every section open; Tab reaches every field."""
    import qt
    from gui.actions import needed_width, tab_order

    panel = module_widget(name)
    for section in sections(panel):
        section.collapsed = False
    assert needed_width(panel.parent) <= 480
    reached = set(tab_order(panel.parent))
    fields = (qt.QPushButton, qt.QCheckBox, qt.QComboBox, qt.QLineEdit, qt.QAbstractSpinBox)
    for widget in panel.parent.findChildren(qt.QWidget):
        own = isinstance(widget, fields) and widget.name and not widget.name.startswith("qt_")
        if own and widget.visible and widget.enabled:
            assert widget in reached, f"Tab does not reach {widget.name}"


@pytest.mark.parametrize("name", MODULES)
def test_every_control_says_what_it_does(module_widget, name):
    """Each button, field and selector of the panel has a tooltip; a disabled button gives its reason there."""
    import qt

    panel = module_widget(name)
    silent = [
        widget.name
        for widget in panel.parent.findChildren(qt.QWidget)
        if widget.property("SlicerParameterName") and not widget.toolTip
    ]
    silent += [
        button.name
        for button in panel.parent.findChildren(qt.QPushButton)
        if button.name and not button.enabled and not button.toolTip
    ]
    assert silent == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", MODULES)
def test_text_is_readable_in_both_palettes(module_widget, screenshot, name, dark):
    """No label carries a fixed color that vanishes: text and ground differ by a contrast of 4.5."""
    import qt
    from gui.actions import contrast, use_palette

    panel = module_widget(name)
    for section in sections(panel):
        section.collapsed = False
    assert screenshot(panel.parent, f"{name}-empty", dark=dark).stat().st_size > 5000
    use_palette(dark)
    try:
        for label in panel.parent.findChildren(qt.QLabel):
            if label.visible and label.text:
                assert contrast(label) >= 4.5, f"{label.name}: {label.text[:40]}"
    finally:
        use_palette(False)


OPENING = """
import sys, time
from pathlib import Path
from gui.standin import application
application.install()
import slicer
path = Path(sys.argv[1])
start = time.process_time()
panel = application.load_module(path).widgetRepresentation()
panel.enter()
print("SECONDS", time.process_time() - start)
heavy = {"torch", "monai", "numba", "matplotlib", "plotly", "pydicom", "highdicom", "pandas", "jinja2"}
print("HEAVY", *sorted(heavy & set(sys.modules)))
import os
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize("name", MODULES)
def test_opening_is_quick_and_imports_nothing_heavy(name):
    """Under 0.5 s of processor time from the module file to the shown panel, in a fresh process; best of three."""
    path = CHECKOUT / name / f"{name}.py"
    folders = [str(CHECKOUT / folder) for folder in ("Testing", "TheranosticDose", "DoseSegmentation")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    seconds = []
    for _ in range(3):
        run = subprocess.run(
            [sys.executable, "-c", OPENING, str(path)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        lines = {line.split()[0]: line.split()[1:] for line in run.stdout.splitlines() if line}
        assert lines["HEAVY"] == []
        seconds.append(float(lines["SECONDS"][0]))
        if seconds[-1] < 0.5:
            break
    assert min(seconds) < 0.5
