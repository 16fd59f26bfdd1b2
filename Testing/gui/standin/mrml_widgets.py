"""What the stand-ins of the MRML widgets do: the widgets that choose."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .classes import behavior
from .ctk_widgets import row
from .observers import Observers

MODIFIED = vtk.vtkCommand.ModifiedEvent


def scene_events() -> list[int]:
    """Return the events after which the set of nodes may have changed."""
    scene = slicer.vtkMRMLScene
    return [scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent]


class HasScene:
    """The scene of a widget."""

    def setMRMLScene(self, scene):
        if scene is vars(self).get("_scene"):
            return
        self._scene = scene
        self._scene_set()
        if "mrmlSceneChanged(vtkMRMLScene*)" in type(self)._surface_signals:
            self.mrmlSceneChanged.emit(scene)

    def _scene_set(self):
        pass

    def mrmlScene(self):
        return vars(self).get("_scene")


def with_scene(cls):
    """Give a behavior the methods of :class:`HasScene` that it does not define itself."""
    for name, value in vars(HasScene).items():
        if not name.startswith("__") and name not in vars(cls):
            setattr(cls, name, value)
    return cls


for _name in ("qMRMLWidget", "qMRMLSliderWidget", "qMRMLSpinBox"):
    behavior(_name)(with_scene(type(_name, (), {})))


class TakesScene:
    """The scene of a widget whose real class does not give it back to Python."""

    setMRMLScene = HasScene.setMRMLScene
    _scene_set = HasScene._scene_set


for _name in ("qSlicerWidget", "qMRMLCollapsibleButton"):
    behavior(_name)(TakesScene)


@behavior("qMRMLRangeWidget")
class RangeWidget(TakesScene):
    """Its scene is a property."""

    @property
    def mrmlScene(self):
        return vars(self).get("_scene")

    @mrmlScene.setter
    def mrmlScene(self, scene):
        self.setMRMLScene(scene)


def _of_class(scene, kind: str) -> list:
    nodes = scene.GetNodesByClass(kind)
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]


@behavior("qMRMLNodeComboBox")
@with_scene
class NodeComboBox:
    """Choose a node of given classes out of the scene."""

    _defaults = {
        "showChildNodeTypes": True,
        "addEnabled": True,
        "removeEnabled": True,
        "selectNodeUponCreation": True,
        "noneDisplay": "None",
    }

    def _build(self):
        self._current = None
        self._attributes = []
        self._listed = []
        self._seen = set()
        self._busy = False
        self._observers = Observers(self)
        self._node_observers = Observers(self)
        self._combo = QtWidgets.QComboBox()
        self._combo.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)
        row(self, self._combo)
        self._combo.connect("activated(int)", self._on_activated)
        self._combo.focusPolicy = QtCore.Qt.FocusPolicy.StrongFocus
        QtWidgets.QWidget.setFocusProxy(self, self._combo)
        self._refresh()

    def _property_changed(self, name, value):
        self._refresh()

    def _scene_set(self):
        self._observers.clear()
        if self._scene is not None:
            added, removed, batch_end = scene_events()
            self._observers.add(self._scene, [added, removed], "_nodes_came_or_went")
            self._observers.add(self._scene, batch_end, "_refresh")
        self._refresh()

    def _fits(self, node, hidden_too: bool) -> bool:
        if node.GetHideFromEditors() and not hidden_too:
            return False
        if not self.showChildNodeTypes and node.GetClassName() not in self.nodeTypes:
            return False
        if any(node.IsA(hidden) for hidden in self.hideChildNodeTypes or []):
            return False
        return all(
            node.GetAttribute(key) is not None and value in (None, "", node.GetAttribute(key))
            for wanted, key, value in self._attributes
            if node.IsA(wanted)
        )

    def _nodes(self):
        scene, kinds = self.mrmlScene(), list(self.nodeTypes or [])
        if scene is None or not kinds:
            return []
        # The scene looks for the classes, as the application does: many nodes come and go in one step.
        found = [node for kind in kinds for node in _of_class(scene, kind)]
        if len(kinds) > 1:
            wanted = set(found)
            nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
            found = [node for node in nodes if node in wanted]
        # A node is looked at when it comes, and again only when it was accepted: the models observe no others
        # (qMRMLSceneModel::OnlyVisibleNodes), so one that becomes fit later is not noticed.
        hidden_too, seen = self.showHidden, self._seen
        self._seen = set(found)
        return [
            node
            for node in found
            if (node not in seen or node in self._listed) and self._fits(node, hidden_too)
        ]

    def _refresh(self):
        self._seen = set()
        self._nodes_came_or_went()

    def _nodes_came_or_went(self):
        scene = self.mrmlScene()
        if self._busy or (scene is not None and scene.IsBatchProcessing() and not scene.IsClosing()):
            return
        before, known = self._current, self._listed
        self._listed = self._nodes()
        self._node_observers.clear()
        for node in self._listed:
            self._node_observers.add(node, MODIFIED, "_node_modified")
        for node in [node for node in self._listed if node not in known]:
            self.nodeAdded.emit(node)
        if self._current is not None and self._current not in self._listed:
            self._current = None
        if self._current is None and not self.noneEnabled and self._listed:
            self._current = self._listed[0]
        self._fill()
        if self._current is not before:
            self._announce()

    def _fill(self):
        self._busy = True
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay)
        for node in self._listed:
            self._combo.addItem(node.GetName() or "")
        if self.addEnabled:
            for kind in self.nodeTypes or []:
                self._combo.addItem(f"Create new {kind.replace('vtkMRML', '').replace('Node', '')}")
        self._show_current()
        self._busy = False

    def _show_current(self):
        offset = 1 if self.noneEnabled else 0
        listed = self._current in self._listed
        self._combo.currentIndex = offset + self._listed.index(self._current) if listed else offset - 1

    def _node_modified(self):
        hidden_too = self.showHidden
        if all(self._fits(node, hidden_too) for node in self._listed):
            self._rename()
        else:
            self._nodes_came_or_went()

    def _rename(self):
        offset = 1 if self.noneEnabled else 0
        for index, node in enumerate(self._listed):
            if self._combo.itemText(index + offset) != (node.GetName() or ""):
                self._combo.setItemText(index + offset, node.GetName() or "")
                if node is self._current:
                    self.currentNodeRenamed.emit(node.GetName() or "")

    def _announce(self):
        self.currentNodeChanged[object].emit(self._current)
        self.currentNodeChanged[bool].emit(self._current is not None)
        self.currentNodeIDChanged.emit(self.currentNodeID)

    def _on_activated(self, index):
        index -= 1 if self.noneEnabled else 0
        if index >= len(self._listed):
            self._show_current()
            node = self.addNode(list(self.nodeTypes)[index - len(self._listed)])
            self.nodeAddedByUser.emit(node)
            return
        node = self._listed[index] if index >= 0 else None
        self.setCurrentNode(node)
        self.nodeActivated.emit(node)

    def setCurrentNode(self, node):
        if isinstance(node, str):
            node = self.mrmlScene().GetNodeByID(node) if self.mrmlScene() else None
        if node is not None and node not in self._listed:
            node = None
        if node is None and not self.noneEnabled and self._listed and self._current is not None:
            node = None  # the real widget, too, can be left without a node by a script
        if node is not self._current:
            self._current = node
            self._busy = True
            self._show_current()
            self._busy = False
            self._announce()

    def currentNode(self):
        return self._current

    @property
    def currentNodeID(self):
        return self._current.GetID() if self._current is not None else ""

    @currentNodeID.setter
    def currentNodeID(self, value):
        self.setCurrentNode(value or None)

    @property
    def currentNodeId(self):
        return self.currentNodeID

    @currentNodeId.setter
    def currentNodeId(self, value):
        self.currentNodeID = value

    def setCurrentNodeID(self, value):
        self.currentNodeID = value

    def setCurrentNodeIndex(self, index):
        self.setCurrentNode(self._listed[index])

    def nodeCount(self):
        return len(self._listed)

    def nodeFromIndex(self, index):
        return self._listed[index] if 0 <= index < len(self._listed) else None

    def addAttribute(self, node_type, key, value=None):
        self._attributes.append((node_type, key, None if value is None else str(value)))
        self._refresh()

    def removeAttribute(self, node_type, key):
        self._attributes = [item for item in self._attributes if item[:2] != (node_type, key)]
        self._refresh()

    def addNode(self, kind=None):
        kind = kind or list(self.nodeTypes)[0]
        name = self.baseName or kind.replace("vtkMRML", "").replace("Node", "")
        node = self.mrmlScene().CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(self.mrmlScene().GenerateUniqueName(name))
        for wanted, key, value in self._attributes:
            if node.IsA(wanted) and value is not None:
                node.SetAttribute(key, value)
        node = self.mrmlScene().AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    def removeCurrentNode(self):
        if self._current is not None:
            self.nodeAboutToBeRemoved.emit(self._current)
            self.mrmlScene().RemoveNode(self._current)


@behavior("qMRMLCheckableNodeComboBox")
class CheckableNodeComboBox:
    """Choose several nodes."""

    def _build(self):
        self._checked = []

    def checkedNodes(self):
        return [node for node in self._listed if node in self._checked]

    def uncheckedNodes(self):
        return [node for node in self._listed if node not in self._checked]

    def allChecked(self):
        return not self.uncheckedNodes()

    def noneChecked(self):
        return not self.checkedNodes()

    def checkState(self, node):
        return QtCore.Qt.CheckState.Checked if node in self._checked else QtCore.Qt.CheckState.Unchecked

    def setCheckState(self, node, state):
        wanted = state == QtCore.Qt.CheckState.Checked
        if wanted != (node in self._checked):
            self._checked = (
                [*self._checked, node] if wanted else [item for item in self._checked if item is not node]
            )
            self.checkedNodesChanged.emit()

    def check(self, node):
        self.setCheckState(node, QtCore.Qt.CheckState.Checked)

    def uncheck(self, node):
        self.setCheckState(node, QtCore.Qt.CheckState.Unchecked)


@behavior("qMRMLSegmentSelectorWidget")
class SegmentSelectorWidget:
    """Choose a segmentation and one or more of its segments."""

    _defaults = {"segmentationNodeSelectorVisible": True, "selectNodeUponCreation": True}

    def _build(self):
        from .classes import standin

        self._busy = False
        self._selected = []
        self._observers = Observers(self)
        self._nodes = standin("qMRMLNodeComboBox")()
        self._nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodes.addEnabled = False
        self._nodes.noneEnabled = True
        self._segments = QtWidgets.QComboBox()
        row(self, self._nodes, self._segments)
        self._nodes.connect("currentNodeChanged(vtkMRMLNode*)", self._on_node)
        self._segments.connect("currentIndexChanged(int)", self._on_segment)

    def _property_changed(self, name, value):
        self._nodes.noneEnabled = self.noneEnabled
        self._nodes.setVisible(self.segmentationNodeSelectorVisible)
        self._fill()

    def _scene_set(self):
        self._nodes.setMRMLScene(self._scene)

    def _on_node(self, node):
        self._observers.clear()
        if node is not None:
            events = slicer.vtkSegmentation
            changed = [events.SegmentAdded, events.SegmentRemoved, events.SegmentModified]
            self._observers.add(node.GetSegmentation(), changed, "_fill")
        self._selected = []
        self._fill()
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)

    def _fill(self):
        kept = self._selected
        self._busy = True
        self._segments.clear()
        node = self.currentNode()
        if self.noneEnabled or self.multiSelection:
            self._segments.addItem("None", "")
        for identifier in self.segmentIDs():
            self._segments.addItem(node.GetSegmentation().GetSegment(identifier).GetName(), identifier)
        self._busy = False
        self._select([item for item in kept if item in self.segmentIDs()] or self._first(), kept)

    def _first(self):
        return [] if self.noneEnabled or self.multiSelection else self.segmentIDs()[:1]

    def _select(self, identifiers, before=None):
        before = self._selected if before is None else before
        self._selected = list(identifiers)
        self._busy = True
        self._segments.setCurrentIndex(self._segments.findData(self._selected[0] if self._selected else ""))
        self._busy = False
        if self._selected != before:
            self.currentSegmentChanged.emit(self.currentSegmentID())
            self.segmentSelectionChanged.emit(list(self._selected))

    def _on_segment(self, index):
        if not self._busy:
            identifier = self._segments.itemData(index)
            self._select([identifier] if identifier else [])

    def currentNode(self):
        return self._nodes.currentNode()

    def setCurrentNode(self, node):
        self._nodes.setCurrentNode(node)

    def currentNodeID(self):
        return self._nodes.currentNodeID

    def setCurrentNodeID(self, identifier):
        self._nodes.currentNodeID = identifier

    def segmentIDs(self):
        node = self.currentNode()
        return list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []

    def currentSegmentID(self):
        return self._selected[0] if self._selected else ""

    def setCurrentSegmentID(self, identifier):
        self._select([identifier] if identifier in self.segmentIDs() else [])

    def selectedSegmentIDs(self):
        return list(self._selected)

    def setSelectedSegmentIDs(self, identifiers):
        self._select([item for item in identifiers if item in self.segmentIDs()])


@behavior("qSlicerMarkupsPlaceWidget")
class MarkupsPlaceWidget:
    """Keeps its node; placing is what a test does to the node itself."""

    def _build(self):
        self._node = None

    def setCurrentNode(self, node):
        self._node = node

    def currentNode(self):
        return self._node

    def currentMarkupsNode(self):
        return self._node
