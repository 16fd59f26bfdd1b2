"""Doubles of the base classes of a scripted module: module, widget, logic, test."""

from __future__ import annotations

import os
import unittest

import qt
import slicer

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


def _resource(module_file: str, name: str) -> str:
    return os.path.join(os.path.dirname(module_file), "Resources", name)


class ScriptedLoadableModule:
    """Describes a module; unlike the real class it fills in no contributors, so that forgetting them shows."""

    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""
        for ending in (".svg", ".png"):
            icon = self.resourcePath(f"Icons/{self.moduleName}{ending}")
            if os.path.isfile(icon):
                parent.icon = qt.QIcon(icon)
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename):
        return _resource(self.parent.path, filename)

    def getDefaultModuleDocumentationLink(self, docPage=None):
        url = (
            slicer.app.documentationBaseUrl + docPage
            if docPage
            else slicer.app.moduleDocumentationUrl(self.moduleName)
        )
        return f'<p><a href="{url}">online documentation</a></p>'

    def runTest(self, msec=100, **kwargs):
        import sys

        case = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")()
        case.messageDelay = msec
        case.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The panel of a module: ``parent`` is the Qt widget, ``layout`` its layout."""

    def __init__(self, parent=None):
        super().__init__()
        name = type(self).__name__
        self.moduleName = name[: -len("Widget")] if name.endswith("Widget") else name
        self.developerMode = slicer.util.settingsValue(
            "Developer/DeveloperMode", False, converter=slicer.util.toBool
        )
        self.parent = parent
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect(
            "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
        )

    def resourcePath(self, filename):
        return _resource(slicer.util.modulePath(self.moduleName), filename)

    def setup(self):
        pass

    def cleanup(self):
        pass

    def _onModuleAboutToBeUnloaded(self, moduleName):
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect(
                "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
            )

    def onReload(self):
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    """Keeps the parameter nodes of a module."""

    def __init__(self, parent=None):
        super().__init__()
        name = type(self).__name__
        self.moduleName = name[: -len("Logic")] if name.endswith("Logic") else name
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        nodes = self.getAllParameterNodes()
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                node.SetAttribute("ModuleName", self.moduleName)
                return node
        elif nodes:
            return nodes[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self):
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self):
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the test class in a module file; may be made without a method name."""

    def __init__(self, methodName="runTest"):
        super().__init__(methodName)

    def runTest(self):
        """Run every test of the class, for the module's own test button."""
        for name in sorted(name for name in dir(self) if name.startswith("test")):
            self.setUp()
            getattr(self, name)()

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        slicer.util.delayDisplay(message)
