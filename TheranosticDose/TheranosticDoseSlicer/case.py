"""A case: one treatment cycle in the scene.

Everything a case knows is in MRML: a scripted module node refers to its volumes, transforms, tables
and plots by node references (which survive saving, loading and renaming) and holds, as
JSON parameters, what has no node of its own (administration, DICOM attributes, records of the runs).
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from TheranosticDoseLib.errors import InputError

from TheranosticDoseSlicer import hierarchy

MODULE_NAME = "TheranosticDoseCase"
CASE_FLAG = "TheranosticDose.IsCase"

# Roles: one node each.  Roles with a label or an engine end with it, for example "spect/24h".
TIME_POINTS, FINDINGS, QUALITY = "timePoints", "findings", "quality"
SPECT, CT, QUANTIFIED, TRANSFORM = "spect/", "ct/", "quantified/", "transform/"
SERIES, BROWSER, DENSITY, MATERIAL, REFERENCE_CT = "series", "browser", "density", "material", "referenceCt"
SEGMENTATION, WEIGHTS, SOURCE_VOI = "segmentation", "weights/", "sourceVoi/"
ACTIVITIES, CURVES, CURVE_CHART, VOIS = "activities", "curves", "curveChart", "vois"
VOXEL, TIA, DOSE, DOSE_U, ENGINES = "voxel/", "tia", "dose/", "doseU/", "engines"
DVH, DVH_CHART, ISODOSE, COMPARISON = "dvh", "dvhChart", "isodose/", "comparison"
OUTDATED = "TheranosticDose.Outdated"
"""Attribute of a dose that does not belong to the outlines and curves any more."""

_STEP_OF_ROLE = {
    **dict.fromkeys((SPECT, CT, TIME_POINTS, FINDINGS), "Images"),
    **dict.fromkeys(
        (QUANTIFIED, TRANSFORM, SERIES, QUALITY, DENSITY, MATERIAL, REFERENCE_CT), "Registration"
    ),
    **dict.fromkeys((SEGMENTATION, WEIGHTS, SOURCE_VOI), "Segmentation"),
    **dict.fromkeys((ACTIVITIES, CURVES, CURVE_CHART), "Kinetics"),
    **dict.fromkeys((VOXEL, TIA, DOSE, DOSE_U, ENGINES), "Dose"),
    **dict.fromkeys((VOIS, DVH, DVH_CHART, ISODOSE, COMPARISON), "Evaluation"),
}


class Case:
    """The nodes and records of one treatment cycle; ``node`` is its scripted module node."""

    def __init__(self, node) -> None:
        if node is None or node.GetAttribute(CASE_FLAG) != "1":
            raise InputError("Choose a treatment cycle first, or load a study, which makes one.")
        self.node = node

    @classmethod
    def create(cls, name: str = "Cycle 1") -> Case:
        """Add a case to the scene."""
        import slicer

        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(name))
        # Selectors look at a node when it joins the scene, and not again at one that they turned down.
        case = cls.adopt(node)
        slicer.mrmlScene.AddNode(node)
        return case

    @classmethod
    def adopt(cls, node) -> Case:
        """Make a case of an empty scripted module node (one that the user added in a selector)."""
        # Shown in the cycle selector; in the tree the case is its folder.
        node.SetHideFromEditors(False)
        node.SetModuleName(MODULE_NAME)
        node.SetAttribute("ModuleName", MODULE_NAME)
        node.SetAttribute(CASE_FLAG, "1")
        if not node.GetAttribute(hierarchy.CASE_ATTRIBUTE):
            node.SetAttribute(hierarchy.CASE_ATTRIBUTE, uuid.uuid4().hex[:12])
        return cls(node)

    @property
    def name(self) -> str:
        """The name the user gave it."""
        return self.node.GetName()

    @property
    def folder(self) -> int:
        """Its folder in the subject hierarchy."""
        return hierarchy.case_folder(self.name, self.node.GetAttribute(hierarchy.CASE_ATTRIBUTE))

    def get(self, role: str):
        """Return the node of a role; ``None`` where there is none or it was deleted."""
        return self.node.GetNodeReference(role)

    def require(self, role: str, what: str):
        """Return the node of a role, or raise with ``what`` is missing and how to get it."""
        node = self.get(role)
        if node is None:
            raise InputError(what)
        return node

    def set(self, role: str, node) -> None:
        """Make ``node`` the one of a role and put it into the folder of its step; ``None`` clears the role."""
        self.node.SetNodeReferenceID(role, node.GetID() if node is not None else None)
        step = _STEP_OF_ROLE.get(role if "/" not in role else role[: role.index("/") + 1])
        if node is not None and step and not node.IsA("vtkMRMLColorNode"):
            hierarchy.put(node, self.folder, step)

    def labels(self, prefix: str) -> list[str]:
        """Return the second halves of the roles that begin with ``prefix`` and have a node, in order."""
        roles = []
        self.node.GetNodeReferenceRoles(roles)
        found = [role for role in roles if role.startswith(prefix)]
        return [role[len(prefix) :] for role in found if self.node.GetNodeReference(role) is not None]

    def remove(self, role: str) -> None:
        """Delete the node of a role from the scene."""
        node = self.get(role)
        self.node.SetNodeReferenceID(role, None)
        if node is not None:
            remove_node(node)

    def remove_all(self, prefix: str) -> None:
        """Delete the nodes of all roles that begin with ``prefix``."""
        for label in self.labels(prefix):
            self.remove(prefix + label)

    def record(self, key: str, default: Any = None) -> Any:
        """Return a JSON parameter."""
        text = self.node.GetParameter(key)
        return json.loads(text) if text else default

    def set_record(self, key: str, value: Any) -> None:
        """Set a JSON parameter."""
        from TheranosticDoseSlicer import exchange

        self.node.SetParameter(key, json.dumps(exchange.plain(value)))


def remove_node(node) -> None:
    """Remove a node from the scene with its display and storage nodes, which would stay there without it."""
    import slicer

    others = []
    if node.IsA("vtkMRMLDisplayableNode"):
        others += [node.GetNthDisplayNode(number) for number in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        others += [node.GetNthStorageNode(number) for number in range(node.GetNumberOfStorageNodes())]
    for other in [node, *filter(None, others)]:
        slicer.mrmlScene.RemoveNode(other)


def cases() -> list[Case]:
    """Return the cases of the scene."""
    import slicer

    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLScriptedModuleNode")
    nodes.UnRegister(None)
    found = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
    return [Case(node) for node in found if node.GetAttribute(CASE_FLAG) == "1"]


def nodes_of_cases() -> set[str]:
    """Return the identifiers of all nodes that belong to a case, with what its time points are browsed in."""
    import vtk

    found: set[str] = set()
    for case in cases():
        referred: list[str] = []
        case.node.GetNodeReferenceRoles(referred)
        for role in referred:
            for number in range(case.node.GetNumberOfNodeReferences(role)):
                node = case.node.GetNthNodeReference(role, number)
                found.add(node.GetID() if node is not None else "")
        browser = case.get(BROWSER)
        if browser is not None:
            proxies = vtk.vtkCollection()
            browser.GetAllProxyNodes(proxies)
            found |= {proxies.GetItemAsObject(i).GetID() for i in range(proxies.GetNumberOfItems())}
    return found
