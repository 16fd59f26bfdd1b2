"""What the stand-ins of the MRML widgets do: segments, the subject hierarchy, the Segment Editor."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .classes import behavior, calls
from .ctk_widgets import row
from .mrml_widgets import MODIFIED, scene_events, with_scene
from .observers import Observers

ROLE = QtCore.Qt.ItemDataRole.UserRole


@behavior("qMRMLSegmentsTableView")
class SegmentsTableView:
    """List the segments of a segmentation: visible, color, name."""

    _defaults = {
        "headerVisible": True, "visibilityColumnVisible": True, "colorColumnVisible": True,
        "opacityColumnVisible": True, "selectionMode": 3,
    }  # fmt: skip

    def _build(self):
        self._node = None
        self._busy = False
        self._observers = Observers(self)
        self._view = QtWidgets.QTableWidget(0, 3)
        self._view.setHorizontalHeaderLabels(["Shown", "Color", "Name"])
        self._view.verticalHeader().visible = False
        self._view.horizontalHeader().stretchLastSection = True
        self._view.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        row(self, self._view)
        self._view.connect("itemChanged(QTableWidgetItem*)", self._on_edit)
        model = self._view.selectionModel()
        model.connect(
            "selectionChanged(QItemSelection,QItemSelection)", lambda a, b: self.selectionChanged.emit(a, b)
        )

    def _property_changed(self, name, value):
        self._view.setColumnHidden(0, not self.visibilityColumnVisible)
        self._view.setColumnHidden(1, not self.colorColumnVisible)
        self._view.horizontalHeader().visible = self.headerVisible

    def setSegmentationNode(self, node):
        self._observers.clear()
        self._node = node
        if node is not None:
            kinds = slicer.vtkSegmentation
            self._observers.add(
                node.GetSegmentation(),
                [kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified],
                "_fill",
            )
            if node.GetDisplayNode() is not None:
                self._observers.add(node.GetDisplayNode(), MODIFIED, "_fill")
        self._fill()

    def segmentationNode(self):
        return self._node

    def tableWidget(self):
        return self._view

    def _identifiers(self):
        return list(self._node.GetSegmentation().GetSegmentIDs()) if self._node is not None else []

    def _fill(self):
        if self._busy:
            return
        self._busy = True
        kept = self.selectedSegmentIDs()
        identifiers = self._identifiers()
        self._view.setRowCount(len(identifiers))
        display = self._node.GetDisplayNode() if self._node is not None else None
        for index, identifier in enumerate(identifiers):
            segment = self._node.GetSegmentation().GetSegment(identifier)
            shown = QtWidgets.QTableWidgetItem()
            on = display is None or display.GetSegmentVisibility(identifier)
            shown.setCheckState(QtCore.Qt.CheckState.Checked if on else QtCore.Qt.CheckState.Unchecked)
            color = QtWidgets.QTableWidgetItem()
            color.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            name = QtWidgets.QTableWidgetItem(segment.GetName())
            name.setData(ROLE, identifier)
            for column, item in enumerate((shown, color, name)):
                self._view.setItem(index, column, item)
        self._busy = False
        self.setSelectedSegmentIDs([item for item in kept if item in identifiers])

    def _on_edit(self, item):
        if self._busy:
            return
        identifier = self.segmentIDForRow(item.row())
        if item.column() == 2:
            self._node.GetSegmentation().GetSegment(identifier).SetName(item.text())
        elif item.column() == 0 and self._node.GetDisplayNode() is not None:
            on = item.checkState() == QtCore.Qt.CheckState.Checked
            self._node.GetDisplayNode().SetSegmentVisibility(identifier, on)

    @property
    def segmentCount(self):
        return len(self._identifiers())

    def segmentIDForRow(self, index):
        item = self._view.item(index, 2)
        return item.data(ROLE) if item is not None else ""

    def rowForSegmentID(self, identifier):
        return self._identifiers().index(identifier) if identifier in self._identifiers() else -1

    def displayedSegmentIDs(self):
        return self._identifiers()

    def selectedSegmentIDs(self):
        rows = sorted({index.row() for index in self._view.selectedIndexes()})
        return [self.segmentIDForRow(index) for index in rows if self._view.item(index, 2) is not None]

    def setSelectedSegmentIDs(self, identifiers):
        selection = self._view.selectionModel()
        selection.clearSelection()
        flags = QtCore.QItemSelectionModel.SelectionFlag
        for identifier in identifiers:
            index = self._view.model().index(self.rowForSegmentID(identifier), 0)
            selection.select(index, flags.Select | flags.Rows)

    def clearSelection(self):
        self._view.clearSelection()


@behavior("qMRMLSubjectHierarchyTreeView")
@with_scene
class SubjectHierarchyTreeView:
    """Show the subject hierarchy as a tree."""

    _defaults = {"visibilityColumnVisible": True, "transformColumnVisible": True, "contextMenuEnabled": True}

    def _build(self):
        self._observers = Observers(self)
        self._items = QtGui.QStandardItemModel(self)
        self._by_id = {}
        self.setModel(self._items)
        self.headerHidden = True
        model = QtWidgets.QTreeView.selectionModel(self)
        model.connect("currentChanged(QModelIndex,QModelIndex)", self._on_current)

    def _scene_set(self):
        self._observers.clear()
        if self._scene is not None:
            self._observers.add(self._scene, scene_events(), "_fill")
            hierarchy = self.subjectHierarchyNode()
            if hierarchy is not None:
                kinds = slicer.vtkMRMLSubjectHierarchyNode
                events = [kinds.SubjectHierarchyItemAddedEvent, kinds.SubjectHierarchyItemRemovedEvent,
                          kinds.SubjectHierarchyItemModifiedEvent]  # fmt: skip
                self._observers.add(hierarchy, events, "_fill")
        self._fill()

    def subjectHierarchyNode(self):
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.mrmlScene())

    def _fill(self):
        self._items.clear()
        self._by_id = {}
        hierarchy = self.subjectHierarchyNode() if self.mrmlScene() is not None else None
        if hierarchy is not None:
            self._add_children(hierarchy, hierarchy.GetSceneItemID(), self._items.invisibleRootItem())
        QtWidgets.QTreeView.expandAll(self)

    def _add_children(self, hierarchy, parent, parent_item):
        children = vtk.vtkIdList()
        hierarchy.GetItemChildren(parent, children)
        for index in range(children.GetNumberOfIds()):
            identifier = children.GetId(index)
            item = QtGui.QStandardItem(hierarchy.GetItemName(identifier))
            item.setData(identifier, ROLE)
            item.setEditable(False)
            parent_item.appendRow(item)
            self._by_id[identifier] = item
            self._add_children(hierarchy, identifier, item)

    def _on_current(self):
        self.currentItemChanged.emit(self.currentItem())
        self.currentNodeChanged.emit(self.currentNode())

    def currentItem(self):
        index = QtWidgets.QTreeView.currentIndex(self)
        return index.data(ROLE) if index.isValid() else 0

    def setCurrentItem(self, identifier):
        if identifier in self._by_id:
            QtWidgets.QTreeView.setCurrentIndex(self, self._by_id[identifier].index())

    def currentNode(self):
        return self.subjectHierarchyNode().GetItemDataNode(self.currentItem()) if self.currentItem() else None

    def setCurrentNode(self, node):
        self.setCurrentItem(self.subjectHierarchyNode().GetItemByDataNode(node))

    def displayedItemCount(self):
        return len(self._by_id)


@behavior("qMRMLSegmentEditorWidget")
class SegmentEditorWidget:
    """Not the editor: it keeps the nodes it was given, records calls and says what would be here."""

    _defaults = {
        "segmentationNodeSelectorVisible": True, "sourceVolumeNodeSelectorVisible": True,
        "switchToSegmentationsButtonVisible": True, "show3DButtonVisible": True,
        "addRemoveSegmentButtonsVisible": True, "maskingSectionVisible": True, "undoEnabled": True,
    }  # fmt: skip

    def _build(self):
        self._editor = self._segmentation = self._source = None
        label = QtWidgets.QLabel("Segment Editor of 3D Slicer (embedded here; not drawn in this picture)")
        label.wordWrap = True
        label.alignment = QtCore.Qt.AlignmentFlag.AlignCenter
        label.frameShape = QtWidgets.QFrame.Shape.StyledPanel
        label.minimumHeight = 60
        row(self, label)

    def setMRMLSegmentEditorNode(self, node):
        calls(self).append(("setMRMLSegmentEditorNode", (node,)))
        self._editor = node

    def mrmlSegmentEditorNode(self):
        return self._editor

    def setSegmentationNode(self, node):
        calls(self).append(("setSegmentationNode", (node,)))
        changed = node is not self._segmentation
        self._segmentation = node
        if self._editor is not None:
            self._editor.SetAndObserveSegmentationNode(node)
        if changed:
            self.segmentationNodeChanged.emit(node)

    def segmentationNode(self):
        return self._segmentation

    def setSourceVolumeNode(self, node):
        calls(self).append(("setSourceVolumeNode", (node,)))
        changed = node is not self._source
        self._source = node
        if self._editor is not None:
            self._editor.SetAndObserveSourceVolumeNode(node)
        if changed:
            self.sourceVolumeNodeChanged.emit(node)

    def sourceVolumeNode(self):
        return self._source

    def setActiveEffectByName(self, name):
        calls(self).append(("setActiveEffectByName", (name,)))
        if self._editor is not None:
            self._editor.SetActiveEffectName(name)

    def setCurrentSegmentID(self, identifier):
        if self._editor is not None:
            self._editor.SetSelectedSegmentID(identifier)
        self.currentSegmentIDChanged.emit(identifier)

    def currentSegmentID(self):
        return (self._editor.GetSelectedSegmentID() or "") if self._editor is not None else ""
