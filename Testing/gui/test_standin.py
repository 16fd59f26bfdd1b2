"""The stand-in itself: what PythonQt allows works, what it refuses fails."""

from __future__ import annotations

import pytest

LISTED = ["ctk", "qMRML", "qSlicer"]


@pytest.fixture
def modules(slicer_app):
    import ctk
    import qt
    import slicer

    return qt, ctk, slicer


# --------------------------------------------------------------------------- Qt's own classes


def test_property_is_an_attribute(modules):
    qt, _, _ = modules
    button = qt.QPushButton("Apply")
    assert button.text == "Apply"
    button.text = "Cancel"
    assert button.text == "Cancel"
    button.checkable = True
    button.checked = True
    assert button.isChecked()
    button.name = "applyButton"
    assert button.objectName == "applyButton"
    table = qt.QTableWidget(3, 2)
    assert (table.rowCount, table.columnCount) == (3, 2)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("button.txet = 'x'", AttributeError),
        ("button.txet", AttributeError),
        ("button.text()", TypeError),
        ("button.clicked = 3", AttributeError),
        ("button.setText = 3", AttributeError),
        ("button.width = 100", AttributeError),
        ("button.text = 5", TypeError),
        ("button.connect('clickd()', print)", AttributeError),
        ("button.connect('clicked(int)', print)", AttributeError),
        ("button.connect('clicked()', None)", TypeError),
        ("button.disconnect('clickd()', print)", AttributeError),
        ("button._private = 1", AttributeError),
        ("qt.QPushButon()", AttributeError),
        ("qt.Signal()", AttributeError),
        ("qt.Slot()", AttributeError),
    ],
)
def test_mistakes_on_qt_classes_fail(modules, statement, error):
    qt, _, _ = modules
    button = qt.QPushButton("Apply")
    with pytest.raises(error):
        exec(statement, {"qt": qt, "button": button})


def test_connect_by_signature_trims_arguments(modules):
    qt, _, _ = modules
    box, heard = qt.QCheckBox(), []
    box.connect("toggled(bool)", heard.append)
    box.connect("toggled(bool)", lambda: heard.append("no argument"))
    box.connect("clicked()", lambda *arguments: heard.append(arguments))
    box.click()
    assert heard == [True, "no argument", ()]
    assert box.disconnect("toggled(bool)", heard.append)
    assert not box.disconnect("toggled(bool)", heard.append)
    box.click()
    assert heard[3:] == ["no argument", ()]


def test_connect_to_receiver_and_slot(modules):
    qt, _, _ = modules
    edit, label = qt.QLineEdit(), qt.QLabel()
    edit.connect("textChanged(QString)", label, "setText(QString)")
    edit.text = "24 h"
    assert label.text == "24 h"


def test_children_by_name_and_class(modules):
    qt, ctk, _ = modules
    parent = qt.QWidget()
    layout = qt.QVBoxLayout(parent)
    slider, button = ctk.ctkSliderWidget(), qt.QPushButton()
    slider.name, button.name = "slider", "button"
    layout.addWidget(slider)
    layout.addWidget(button)
    assert parent.slider is slider
    assert parent.findChild("ctkSliderWidget") is slider
    assert parent.findChild(qt.QPushButton, "button") is button
    assert parent.findChildren("QPushButton", "other") == []
    assert slider.className() == "ctkSliderWidget"
    assert slider.parent() is parent


def test_dynamic_properties(modules):
    qt, _, _ = modules
    widget = qt.QWidget()
    with pytest.raises(AttributeError):
        widget.engine = "mc"
    widget.setProperty("engine", "vsv")
    assert widget.engine == "vsv"
    widget.engine = "mc"
    assert widget.property("engine") == "mc"


def test_enums_are_numbers_and_python_classes_keep_attributes(modules):
    qt, _, _ = modules
    assert qt.Qt.Checked == 2
    assert qt.QMessageBox.Ok | qt.QMessageBox.Cancel == 0x400400

    class Dialog(qt.QDialog):
        def __init__(self):
            super().__init__()
            self.answer = 42

    assert Dialog().answer == 42


def test_timer(modules, wait_until):
    qt, _, _ = modules
    ticks = []
    timer = qt.QTimer()
    timer.interval = 1
    timer.singleShot = True
    timer.connect("timeout()", lambda: ticks.append("timer"))
    timer.start()
    qt.QTimer.singleShot(0, lambda: ticks.append("shot"))
    wait_until(lambda: len(ticks) == 2)
    assert not timer.active


def test_delete(modules):
    qt, _, _ = modules
    label = qt.QLabel("x")
    label.delete()
    with pytest.raises(RuntimeError):
        label.setText("y")


# --------------------------------------------------------------------------- CTK and Slicer classes


def test_no_standin_offers_more_than_the_real_class(slicer_app):
    """Every public name is listed for the class or belongs to its base in Qt."""
    from gui.standin.classes import standin
    from gui.standin.pythonqt import qt_class
    from gui.standin.surface import public_names, surface

    for name in surface():
        cls = standin(name)
        offered = {key for key in dir(cls) if not key.startswith("_")}
        assert offered - public_names(name) - set(dir(qt_class(cls))) == set(), name


def test_everything_listed_exists(slicer_app):
    from gui.standin.classes import standin
    from gui.standin.surface import chain, surface

    for name in surface():
        cls = standin(name)
        for entry in chain(name):
            for key in entry.properties:
                assert isinstance(getattr(cls, key), property), f"{name}.{key}"
            for method in entry.signals + entry.methods:
                assert hasattr(cls, method.name), f"{name}.{method.name}"


@pytest.mark.parametrize("prefix", LISTED)
def test_every_widget_can_be_made_and_shown(modules, prefix):
    qt, ctk, slicer = modules
    from gui.standin.classes import standin, standins

    for name in standins(prefix):
        cls = standin(name)
        if issubclass(cls, qt.QWidget) and not issubclass(cls, qt.QDialog):
            widget = cls()
            widget.resize(200, 100)
            assert widget.grab().width() > 0
            assert type(widget) is getattr(ctk if prefix == "ctk" else slicer, name)


@pytest.mark.parametrize(
    "statement",
    [
        "slider.maximun = 3",
        "slider.maximun",
        "slider.setRange(0, 1)",  # exists in C++, but neither slot nor Q_INVOKABLE
        "slider.setMinimum(0)",
        "slider.connect('valueChange(double)', print)",
        "slider.connect('valueChanged(int)', print)",
        "slider.valueChanged = print",
        "combo.currentNode = None",
        "combo.currentNodeId()",
        "combo.connect('currentNodeChanged(vtkMRMLScene*)', print)",
        "combo.setMrmlScene(None)",
        "table.mrmlTableNode().nothing",
        "ctk.ctkSlider()",
        "slicer.qMRMLNodeComboBoxx()",
        "segments.segmentCount = 3",
        "app.mainWindow()",
    ],
)
def test_mistakes_on_standins_fail(modules, statement):
    qt, ctk, slicer = modules
    names = {
        "ctk": ctk,
        "slicer": slicer,
        "app": slicer.app,
        "slider": ctk.ctkSliderWidget(),
        "combo": slicer.qMRMLNodeComboBox(),
        "table": slicer.qMRMLTableView(),
        "segments": slicer.qMRMLSegmentsTableView(),
    }
    with pytest.raises((AttributeError, TypeError)):
        exec(statement, names)


def test_wrong_type_or_number_of_arguments_fails(modules):
    _, ctk, slicer = modules
    with pytest.raises(TypeError):
        ctk.ctkSliderWidget().value = "ten"
    with pytest.raises(TypeError):
        slicer.qMRMLSegmentEditorWidget().setReadOnly()


def test_slider(modules):
    _, ctk, _ = modules
    slider, heard = ctk.ctkSliderWidget(), []
    slider.connect("valueChanged(double)", heard.append)
    slider.minimum, slider.maximum, slider.decimals = -5, 5, 1
    slider.value = 3.14159
    slider.value = 99
    assert heard == [3.1, 5.0]
    slider.maximum = 4
    assert slider.value == 4.0


def test_collapsible_button_hides_its_contents(modules, click):
    qt, ctk, _ = modules
    section = ctk.ctkCollapsibleButton("Registration")
    layout = qt.QVBoxLayout(section)
    label = qt.QLabel("inside")
    layout.addWidget(label)
    heard = []
    section.connect("contentsCollapsed(bool)", heard.append)
    section.show()
    assert label.visible
    click(section)
    assert section.collapsed
    assert not label.visible
    section.collapsed = False
    assert label.visible
    assert heard == [True, False]


def test_path_and_directory_come_from_the_file_dialog(modules, user, click, tmp_path):
    _, ctk, _ = modules
    edit, button = ctk.ctkPathLineEdit(), ctk.ctkDirectoryButton()
    edit.filters = ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Writable
    user.paths = [str(tmp_path), ""]
    heard = []
    edit.connect("currentPathChanged(QString)", heard.append)
    edit.browse()
    assert edit.currentPath == str(tmp_path)
    assert heard == [str(tmp_path)]
    before = button.directory
    button.browse()
    assert button.directory == before


def test_range_widget(modules):
    _, ctk, _ = modules
    widget, heard = ctk.ctkRangeWidget(), []
    widget.setRange(0, 10)
    widget.connect("valuesChanged(double,double)", lambda low, high: heard.append((low, high)))
    widget.setValues(2, 30)
    assert heard == [(2.0, 10.0)]
    widget.minimumValue = 4
    assert (widget.minimumValue, widget.maximumValue) == (4.0, 10.0)


# --------------------------------------------------------------------------- MRML widgets


def test_node_selector_follows_the_scene(modules):
    _, _, slicer = modules
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    heard = []
    combo.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    combo.setMRMLScene(slicer.mrmlScene)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "SPECT")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    hidden = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    hidden.UnRegister(None)
    hidden.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(hidden)
    assert combo.nodeCount() == 1
    assert combo.currentNode() is volume  # without "None" the first node is chosen at once
    volume.SetName("late SPECT")
    assert combo._combo.currentText == "late SPECT"
    slicer.mrmlScene.RemoveNode(volume)
    assert heard == [volume, None]
    combo.noneEnabled = True
    other = combo.addNode()
    assert combo.currentNodeID == other.GetID()
    combo.currentNodeID = ""
    assert combo.currentNode() is None


def test_node_selector_with_attribute(modules):
    _, _, slicer = modules
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLTableNode"]
    combo.addAttribute("vtkMRMLTableNode", "Theranostic", "curve")
    combo.setMRMLScene(slicer.mrmlScene)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "other")
    assert combo.nodeCount() == 0
    assert combo.addNode().GetAttribute("Theranostic") == "curve"


def test_table_view_shows_and_edits_its_node(modules):
    qt, _, slicer = modules
    from gui.actions import check_cell, edit_cell

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "times")
    import vtk

    for name, values in (("time_h", (4.0, 24.0)), ("activity_mbq", (100.0, 80.0))):
        column = vtk.vtkDoubleArray()
        column.SetName(name)
        for value in values:
            column.InsertNextValue(value)
        node.AddColumn(column)
    used = vtk.vtkBitArray()
    used.SetName("use")
    for value in (1, 1):
        used.InsertNextValue(value)
    node.AddColumn(used)
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(node)
    view.show()
    assert view.model().rowCount() == 2
    assert view.model().headerData(0, qt.Qt.Horizontal) == "A"
    node.SetUseColumnTitleAsColumnHeader(True)
    assert view.model().headerData(0, qt.Qt.Horizontal) == "time_h"
    edit_cell(view, 1, 0, "26.5")
    assert node.GetTable().GetValue(1, 0).ToDouble() == 26.5
    assert view.model().item(0, 2).text() == ""
    check_cell(view, 0, 2, False)
    assert [used.GetValue(row) for row in (0, 1)] == [0, 1]
    with pytest.raises(AssertionError, match="can not be edited"):
        edit_cell(view, 0, 2, "0")
    node.SetLocked(True)
    with pytest.raises(AssertionError, match="can not be edited"):
        edit_cell(view, 1, 0, "3")


def test_segments(modules):
    _, _, slicer = modules
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    node.CreateDefaultDisplayNodes()
    kidney = node.GetSegmentation().AddEmptySegment("kidney", "Kidney")
    view, selector = slicer.qMRMLSegmentsTableView(), slicer.qMRMLSegmentSelectorWidget()
    view.setSegmentationNode(node)
    selector.setMRMLScene(slicer.mrmlScene)
    selector.setCurrentNode(node)
    assert (view.segmentCount, selector.currentSegmentID()) == (1, kidney)
    liver = node.GetSegmentation().AddEmptySegment("liver", "Liver")
    assert view.segmentIDForRow(1) == liver
    view.setSelectedSegmentIDs([liver])
    assert view.selectedSegmentIDs() == [liver]
    node.GetSegmentation().RemoveSegment(kidney)
    assert selector.segmentIDs() == [liver]
    assert selector.currentSegmentID() == liver


def test_plot_widget_draws_the_series(modules):
    _, _, slicer = modules
    import numpy as np
    from PySide6 import QtGui

    widget = slicer.qMRMLPlotWidget()
    widget.resize(300, 200)
    widget.show()
    view_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    widget.setMRMLPlotViewNode(view_node)
    empty = QtGui.QImage(widget.grab().toImage())
    nodes = {}
    chart = slicer.util.plot(np.array([[1.0, 5.0], [2.0, 3.0]]), 0, ["t", "a"], show=False, nodes=nodes)
    nodes["series"][0].SetColor(1.0, 0.0, 0.0)
    view_node.SetPlotChartNodeID(chart.GetID())
    drawn = widget.grab().toImage()
    red = [
        drawn.pixelColor(x, y)
        for x in range(0, drawn.width(), 2)
        for y in range(0, drawn.height(), 2)
        if drawn.pixelColor(x, y).red() > 200 and drawn.pixelColor(x, y).green() < 80
    ]
    assert drawn != empty
    assert red


def test_subject_hierarchy_tree(modules):
    _, _, slicer = modules
    tree = slicer.qMRMLSubjectHierarchyTreeView()
    tree.setMRMLScene(slicer.mrmlScene)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    hierarchy = tree.subjectHierarchyNode()
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Cycle 1")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), folder)
    heard = []
    tree.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    tree.setCurrentNode(volume)
    assert tree.currentNode() is volume
    assert heard[-1] is volume


def test_segment_editor_records(modules):
    _, _, slicer = modules
    from gui.standin.classes import calls

    editor = slicer.qMRMLSegmentEditorWidget()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    editor.setMRMLSegmentEditorNode(node)
    editor.setSegmentationNode(segmentation)
    editor.setActiveEffectByName("Paint")
    assert node.GetSegmentationNode() is segmentation
    assert ("setActiveEffectByName", ("Paint",)) in calls(editor)


# --------------------------------------------------------------------------- .ui files


UI = """<ui version="4.0"><class>Panel</class><widget class="qMRMLWidget" name="Panel">
<layout class="QVBoxLayout" name="layout"><item><widget class="{kind}" name="inner">{content}</widget></item></layout>
</widget><connections>{connections}</connections></ui>"""


def load(slicer, folder, kind="qMRMLNodeComboBox", content="", connections=""):
    path = folder / "Panel.ui"
    path.write_text(UI.format(kind=kind, content=content, connections=connections))
    return slicer.util.loadUI(str(path))


@pytest.mark.parametrize(
    "content",
    [
        '<property name="noneEnable"><bool>true</bool></property>',
        '<property name="noneEnabled"><string>yes</string></property>',
    ],
)
def test_wrong_property_in_ui_fails(modules, tmp_path, content):
    with pytest.raises((AttributeError, TypeError)):
        load(modules[2], tmp_path, content=content)


def test_wrong_property_of_a_qt_widget_in_ui_fails(modules, tmp_path):
    with pytest.raises(AttributeError, match="SlicerParameterNam"):
        load(
            modules[2],
            tmp_path,
            "QCheckBox",
            '<property name="SlicerParameterNam"><string>x</string></property>',
        )


def test_unknown_class_in_ui_fails(modules, tmp_path):
    with pytest.raises(AttributeError, match="ctkSlider"):
        load(modules[2], tmp_path, "ctkSlider")


@pytest.mark.parametrize(
    ("signal", "slot"),
    [
        ("mrmlSceneChange(vtkMRMLScene*)", "setMRMLScene(vtkMRMLScene*)"),
        ("mrmlSceneChanged(vtkMRMLScene*)", "setScene(vtkMRMLScene*)"),
    ],
)
def test_wrong_connection_in_ui_fails(modules, tmp_path, signal, slot):
    connection = (
        f"<connection><sender>Panel</sender><signal>{signal}</signal><receiver>inner</receiver>"
        f"<slot>{slot}</slot></connection>"
    )
    with pytest.raises(AttributeError):
        load(modules[2], tmp_path, connections=connection)


def test_scene_reaches_only_connected_widgets(modules, tmp_path):
    _, _, slicer = modules
    alone = load(slicer, tmp_path)
    alone.setMRMLScene(slicer.mrmlScene)
    assert slicer.util.childWidgetVariables(alone).inner.mrmlScene() is None


# --------------------------------------------------------------------------- user and packages


def test_questions_are_answered_and_recorded(modules, user):
    _, _, slicer = modules
    user.answers = [False, True]
    assert not slicer.util.confirmOkCancelDisplay("Overwrite?")
    assert slicer.util.confirmYesNoDisplay("Sure?")
    slicer.util.warningDisplay("Late scan is missing")
    assert user.texts() == ["Overwrite?", "Sure?", "Late scan is missing"]


def test_dialog_is_played_by_the_test(modules, user, click):
    qt, _, _ = modules
    dialog = qt.QDialog()
    layout = qt.QVBoxLayout(dialog)
    button = qt.QPushButton("OK")
    layout.addWidget(button)
    button.connect("clicked()", dialog.accept)
    user.on_dialog = lambda shown: click(shown.findChild(qt.QPushButton))
    assert dialog.exec_() == qt.QDialog.Accepted


def test_packages_are_asked_for_not_installed(modules, user):
    _, _, slicer = modules
    from gui.standin.own import packaging

    slicer.packaging.pip_ensure("numpy>=1.0", requester="Test")
    assert packaging.requests == []
    slicer.packaging.pip_ensure("no-such-package>=1.0", requester="Test")
    assert packaging.requests == [("Test", ["no-such-package>=1.0"])]
    user.answers = [False]
    with pytest.raises(RuntimeError):
        slicer.packaging.pip_ensure("no-such-package>=1.0", requester="Test")
    assert len(packaging.requests) == 1


def test_settings_of_the_tester_are_left_alone(modules):
    _, _, slicer = modules
    from pathlib import Path

    assert Path(slicer.app.userSettings().fileName()).is_relative_to(slicer.app.slicerHome)
