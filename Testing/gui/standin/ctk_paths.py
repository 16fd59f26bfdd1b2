"""What the stand-ins of the CTK widgets do: paths and folders."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets

from .classes import behavior, check_value
from .ctk_widgets import row

# QDir.Filter values, which ctkPathLineEdit copies.
_PATH_ENUMS = {
    "Dirs": 0x001, "Files": 0x002, "Drives": 0x004, "NoSymLinks": 0x008, "AllEntries": 0x007, "TypeMask": 0x00F,
    "Readable": 0x010, "Writable": 0x020, "Executable": 0x040, "PermissionMask": 0x070, "Modified": 0x080,
    "Hidden": 0x100, "System": 0x200, "AccessMask": 0x3F0, "AllDirs": 0x400, "CaseSensitive": 0x800,
    "NoDotAndDotDot": 0x6000, "NoDot": 0x2000, "NoDotDot": 0x4000, "NoFilter": -1,
    "ShowDirsOnly": 1, "DontResolveSymlinks": 2, "DontConfirmOverwrite": 4, "DontUseSheet": 8,
    "DontUseNativeDialog": 16, "ReadOnly": 32, "HideNameFilterDetails": 64,
    "AdjustToContents": 0, "AdjustToContentsOnFirstShow": 1, "AdjustToMinimumContentsLength": 2,
}  # fmt: skip


@behavior("ctkPathLineEdit", _PATH_ENUMS)
class PathLineEdit:
    """A path, typed or chosen."""

    _defaults = {"showBrowseButton": True, "showHistoryButton": True}

    def _build(self):
        self._combo = QtWidgets.QComboBox()
        self._combo.editable = True
        self._combo.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)
        self._combo.minimumWidth = 60
        self._browse = QtWidgets.QToolButton()
        self._browse.text = "..."
        row(self, self._combo, self._browse)
        self._browse.connect("clicked()", lambda: self.browse())
        self._combo.connect("editTextChanged(QString)", lambda text: self.currentPathChanged.emit(text))

    def _property_changed(self, name, value):
        self._browse.setVisible(self.showBrowseButton)

    @property
    def currentPath(self):
        return self._combo.currentText

    @currentPath.setter
    def currentPath(self, value):
        self._combo.setEditText(check_value("ctkPathLineEdit", "currentPath", "QString", value))

    def setCurrentPath(self, value):
        self.currentPath = value

    def comboBox(self):
        return self._combo

    def addCurrentPathToHistory(self):
        if self.currentPath and self._combo.findText(self.currentPath) < 0:
            text = self.currentPath
            self._combo.addItem(text)
            self.currentPath = text

    def browse(self):
        dialog = QtWidgets.QFileDialog
        directories = self.filters is not None and not int(self.filters) & _PATH_ENUMS["Files"]
        if directories:
            path = dialog.getExistingDirectory(self, self.label or "Select folder", self.currentPath)
        else:
            path = dialog.getOpenFileName(self, self.label or "Select file", self.currentPath)
        path = path[0] if isinstance(path, tuple) else path
        if path:
            self.currentPath = path


@behavior("ctkDirectoryButton")
class DirectoryButton:
    """A button that shows and chooses a folder."""

    def _build(self):
        self._directory = QtCore.QDir.currentPath()
        self._button = QtWidgets.QPushButton()
        self._button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)
        row(self, self._button)
        self._button.connect("clicked()", lambda: self.browse())
        self._property_changed("directory", self._directory)

    def _property_changed(self, name, value):
        self._button.text = vars(self).get("_values", {}).get("text") or self._directory

    @property
    def directory(self):
        return self._directory

    @directory.setter
    def directory(self, value):
        value = check_value("ctkDirectoryButton", "directory", "QString", value)
        changed = value != self._directory
        self._directory = value
        self._property_changed("directory", value)
        if changed:
            self.directoryChanged.emit(value)

    def browse(self):
        path = QtWidgets.QFileDialog.getExistingDirectory(
            self, self.caption or "Select folder", self._directory
        )
        if path:
            self.directory = path
            self.directorySelected.emit(path)
        return path
