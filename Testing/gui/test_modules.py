"""Both modules as Slicer's generic test asks, how long they take to open, and how they look."""

from __future__ import annotations

import pytest
from gui import measure

MODULES = measure.MODULES


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


@pytest.mark.parametrize("name", MODULES)
def test_panel_fits_and_is_reached_by_the_keyboard(module_widget, name):
    """480 pixels without horizontal scrolling, every section open; Tab reaches every field."""
    from gui.actions import needed_width

    panel = module_widget(name)
    measure.open_sections(panel)
    assert needed_width(panel.parent) <= 480
    assert measure.not_reached_by_tab(panel) == []


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
    panel = module_widget(name)
    measure.open_sections(panel)
    assert screenshot(panel.parent, f"{name}-empty", dark=dark).stat().st_size > 5000
    assert measure.least_contrast(panel, dark) >= 4.5


@pytest.mark.parametrize("name", MODULES)
def test_opening_is_quick_and_imports_nothing_heavy(name):
    """Under 0.5 s of processor time from the module file to the shown panel, in a fresh process; best of three."""
    record = measure.opening(name)
    assert record["heavy"] == []
    assert record["least_cpu_s"] < 0.5


@pytest.mark.parametrize("name", MODULES)
def test_a_slicer_whose_python_is_too_old_is_refused_in_a_sentence(slicer_app, monkeypatch, checkout, name):
    """Slicer 5.8 has Python 3.9: the module says so instead of failing at some later step."""
    import sys

    from gui.standin import application

    monkeypatch.setattr(type(slicer_app), "minorVersion", 8)
    with pytest.raises(RuntimeError, match=r"needs 3D Slicer 5\.10"):
        application.load_module(checkout / name / f"{name}.py")
    sys.modules.pop(name)


def test_a_new_cycle_is_shown_in_its_selector(module_widget):
    """One that the panel made, one of the console, and one that the user adds in the selector."""
    from gui import actions
    from TheranosticDoseSlicer.case import Case

    panel = module_widget("TheranosticDose")
    selector = panel.ui.caseSelector
    first = panel.controller.newCase()
    assert selector.currentNode() is first.node
    second = Case.create("Cycle 2")
    actions.choose(selector, "Cycle 2")
    assert panel.controller.case.node is second.node
    actions.choose(selector, "Create new ScriptedModule")
    assert selector.currentNode() not in (None, first.node, second.node)
    assert panel.controller.case.node is selector.currentNode()
