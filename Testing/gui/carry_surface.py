"""Carry the classes that the stand-in offers out of a list of the Qt surface of CTK and Slicer.

    python Testing/gui/carry_surface.py SOURCE

``SOURCE`` is a ``qt-surface.json`` read from the public C++ headers (properties, signals, slots,
invokables and enums per class). The result is ``Testing/gui/qt-surface.json``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

RESULT = Path(__file__).resolve().parent / "qt-surface.json"

# What a panel of a scripted module may be made of, and the application around it.
CLASSES = [
    "ctkCheckBox", "ctkCheckableComboBox", "ctkCheckablePushButton", "ctkCollapsibleButton",
    "ctkCollapsibleGroupBox", "ctkColorPickerButton", "ctkComboBox", "ctkDirectoryButton",
    "ctkDoubleRangeSlider", "ctkDoubleSlider", "ctkDoubleSpinBox", "ctkExpandableWidget",
    "ctkFittedTextBrowser", "ctkMenuButton", "ctkMessageBox", "ctkPathLineEdit", "ctkPushButton",
    "ctkRangeWidget", "ctkSearchBox", "ctkSliderWidget", "qMRMLCheckableNodeComboBox",
    "qMRMLCollapsibleButton", "qMRMLColorTableComboBox", "qMRMLNodeComboBox", "qMRMLPlotView",
    "qMRMLPlotWidget", "qMRMLRangeWidget", "qMRMLSegmentEditorWidget", "qMRMLSegmentSelectorWidget",
    "qMRMLSegmentationShow3DButton", "qMRMLSegmentsTableView", "qMRMLSequenceBrowserPlayWidget",
    "qMRMLSequenceBrowserSeekWidget", "qMRMLSliceView", "qMRMLSliceWidget", "qMRMLSliderWidget",
    "qMRMLSpinBox", "qMRMLSubjectHierarchyComboBox", "qMRMLSubjectHierarchyTreeView",
    "qMRMLTableModel", "qMRMLTableView", "qMRMLTableWidget", "qMRMLThreeDView", "qMRMLThreeDWidget",
    "qMRMLVolumeThresholdWidget", "qMRMLWidget", "qMRMLWindowLevelWidget", "qSlicerApplication",
    "qSlicerIOManager", "qSlicerLayoutManager", "qSlicerMarkupsPlaceWidget",
    "qSlicerModuleFactoryManager", "qSlicerModuleManager",
    "qSlicerScriptedLoadableModule", "qSlicerScriptedLoadableModuleWidget", "qSlicerWidget",
]  # fmt: skip

# Entries that the pattern reader missed, each seen in the header named.
ADDITIONS = {
    "qMRMLSegmentSelectorWidget": {  # Slicer:Modules/Loadable/Segmentations/Widgets
        "invokables": ["onCurrentNodeChanged(vtkMRMLNode*)"],
    },
    "qSlicerAbstractCoreModule": {  # Slicer:Base/QTCore
        "properties": {"dependencies": "QStringList (read-only)"},
        "invokables": [
            "logic() -> vtkMRMLAbstractLogic*",
            "mrmlScene() -> vtkMRMLScene*",
            "setMRMLScene(vtkMRMLScene*)",
        ],
    },
    "qSlicerAbstractModuleWidget": {  # Slicer:Base/QTGUI
        "properties": {"isEntered": "bool (read-only)"},
    },
    "qSlicerCoreApplication": {  # Slicer:Base/QTCore
        "invokables": [
            "appendEnvironmentVariable(const QString&,const QString&,QChar)",
            "prependEnvironmentVariable(const QString&,const QString&,QChar)",
        ],
    },
}


def decorators(classes: dict) -> dict[str, list[str]]:
    """Return the methods that PythonQt decorator classes add to other classes."""
    added: dict[str, list[str]] = {}
    for name, entry in classes.items():
        if "PythonQtDecorators" not in name:
            continue
        for method in entry["slots"]:
            static = re.match(r"static_([A-Za-z0-9]+)_(.+)", method)
            bound = re.match(r"(\w+)\(([A-Za-z0-9]+)\*,?(.*)", method)
            if static:
                added.setdefault(static[1], []).append(static[2])
            elif bound and not method.startswith(("new_", "delete_")):
                added.setdefault(bound[2], []).append(f"{bound[1]}({bound[3]}")
    return added


def carry(source: Path) -> dict:
    """Return the wanted classes and all their bases from the list at ``source``."""
    full = json.loads(source.read_text())
    classes = full["classes"]
    added = decorators(classes)
    wanted = list(CLASSES)
    for name in wanted:
        base = classes[name]["base"]
        if base in classes and base not in wanted:
            wanted.append(base)
    carried = {}
    for name in sorted(wanted):
        entry = dict(classes[name])
        more = ADDITIONS.get(name, {})
        extra = added.get(name, []) + more.get("invokables", [])
        entry["properties"] = entry["properties"] | more.get("properties", {})
        entry["invokables"] = entry["invokables"] + [m for m in extra if m not in entry["invokables"]]
        carried[name] = entry
    return {"_about": full["_about"], "_sources": full["_sources"], "classes": carried}


def main(arguments: list[str]) -> int:
    """Write the carried list."""
    if len(arguments) != 1:
        print(__doc__)
        return 2
    RESULT.write_text(json.dumps(carry(Path(arguments[0])), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
