"""The application around the modules: ``slicer.app``, ``slicer.modules``, and their installation."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# Enum values that compare with integers, as PythonQt's do; read when PySide6 is first imported.
os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "0x0E")

import slicer  # noqa: E402
import slicer.util  # noqa: E402
from PySide6 import QtCore, QtWidgets  # noqa: E402

from . import clock, ctk_paths, ctk_widgets, doubles, mrml_trees, mrml_views, mrml_widgets, pythonqt  # noqa: E402, F401
from . import user as user_module  # noqa: E402
from .classes import behavior, standin, standins  # noqa: E402
from .modules import CtkModule, QtModule  # noqa: E402
from .scene import SceneWithLogics  # noqa: E402


class _State:
    """What the running stand-in holds."""

    application = None
    world: SceneWithLogics | None = None
    folder: tempfile.TemporaryDirectory | None = None
    manager = None
    layout = None
    io = None
    testing = False
    modules: dict = {}
    saved: dict = {}
    path = ""


state = _State()


@behavior("qSlicerCoreApplication")
class CoreApplication:
    """``slicer.app`` as far as scripted modules use it."""

    def mrmlScene(self):
        return state.world.scene

    def applicationLogic(self):
        return state.world.application_logic

    def moduleLogic(self, name):
        return state.world.logics.get(name.lower())

    def moduleManager(self):
        return state.manager

    def coreIOManager(self):
        return state.io

    @staticmethod
    def testingEnabled():
        return state.testing

    def settings(self):
        return QtCore.QSettings()

    def userSettings(self):
        return QtCore.QSettings()

    def revisionUserSettings(self):
        return QtCore.QSettings()

    def startupEnvironment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    def environment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    def moduleDocumentationUrl(self, name):
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    @property
    def temporaryPath(self):
        return str(Path(state.folder.name) / "temporary")

    @property
    def cachePath(self):
        return str(Path(state.folder.name) / "cache")

    @property
    def slicerHome(self):
        return state.folder.name

    @property
    def majorVersion(self):
        return 5

    @property
    def minorVersion(self):
        return 12

    @property
    def isInstalled(self):
        return True

    def processEvents(self, *arguments):
        with clock.measure("event loop"):
            QtCore.QCoreApplication.processEvents(*arguments)


@behavior("qSlicerApplication")
class Application:
    """The parts of ``slicer.app`` that need a window system."""

    def layoutManager(self):
        return state.layout

    def ioManager(self):
        return state.io


@behavior("qSlicerModuleManager")
class ModuleManager:
    """Knows the modules."""

    def module(self, name):
        return state.modules.get(name)

    def modulesNames(self):
        return list(state.modules)

    def factoryManager(self):
        return state.factory


@behavior("qSlicerAbstractModuleFactoryManager")
class FactoryManager:
    """Knows the names of the modules."""

    def instantiatedModuleNames(self):
        return list(state.modules)

    def registeredModuleNames(self):
        return list(state.modules)


@behavior("qSlicerModuleFactoryManager")
class LoadedFactoryManager:
    """Knows the loaded modules."""

    def loadedModuleNames(self):
        return list(state.modules)


@behavior("qMRMLLayoutManager")
class LayoutManager:
    """No views are drawn; the layout and the names of the slice views are kept."""

    def sliceViewNames(self):
        return ["Red", "Yellow", "Green"]

    def mrmlScene(self):
        return state.world.scene

    def layoutLogic(self):
        return None


@behavior("qSlicerAbstractCoreModule")
class CoreModule:
    """A module as ``slicer.modules.<name>`` shows it."""

    @property
    def name(self):
        return self._module_name

    @property
    def path(self):
        return vars(self).get("_path", "")

    def logic(self):
        return vars(self).get("_logic")

    def mrmlScene(self):
        return vars(self).get("_scene", state.world.scene)

    def setMRMLScene(self, scene):
        self._scene = scene
        widget = vars(self).get("_widget")
        if widget is not None:
            widget.setMRMLScene(scene)


@behavior("qSlicerAbstractModule")
class Module:
    """A module with a panel."""

    def widgetRepresentation(self):
        if vars(self).get("_widget") is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self):
        widget = standin("qSlicerScriptedLoadableModuleWidget")()
        widget._bind(self)
        return widget


@behavior("qSlicerScriptedLoadableModule")
class ScriptedModule:
    """A module written in Python."""


@behavior("qSlicerAbstractModuleWidget")
class ModuleWidget:
    """A panel knows whether it is the one shown."""

    def enter(self):
        self._entered = True

    def exit(self):
        self._entered = False

    @property
    def isEntered(self):
        return vars(self).get("_entered", False)


@behavior("qSlicerScriptedLoadableModuleWidget")
class ScriptedModuleWidget:
    """The panel in which the Python widget of a module lives."""

    def _build(self):
        QtWidgets.QVBoxLayout(self)

    def _bind(self, module):
        self._module = module
        self.setMRMLScene(module.mrmlScene())
        self._instantiate()

    def _instantiate(self):
        name = self._module._module_name
        widget_class = getattr(sys.modules[name], f"{name}Widget")
        self._python = widget_class(self)
        setattr(slicer.modules, f"{name}Widget", self._python)
        self._python.setup()

    def reload(self):
        self._instantiate()

    def self(self):
        return self._python

    def enter(self):
        self._entered = True
        if hasattr(self._python, "enter"):
            self._python.enter()

    def exit(self):
        self._entered = False
        if hasattr(self._python, "exit"):
            self._python.exit()

    @property
    def moduleName(self):
        return self._module._module_name


class _LoadableModule:
    """A C++ module of the application, as far as its logic."""

    def __init__(self, name, logic):
        self.name, self._logic = name, logic

    def logic(self):
        return self._logic


def load_module(path: Path):
    """Load a scripted module file as the application does; return ``slicer.modules.<name>``."""
    name = path.stem
    if name in state.modules:
        return state.modules[name]
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    specification = importlib.util.spec_from_file_location(name, path)
    source = importlib.util.module_from_spec(specification)
    sys.modules[name] = source
    specification.loader.exec_module(source)
    module = standin("qSlicerScriptedLoadableModule")()
    module._module_name, module._path = name, str(path)
    module._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
    instance = getattr(source, name)(module)
    if hasattr(instance, "setup"):
        instance.setup()
    state.modules[name] = module
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.modules, f"{name}Instance", instance)
    return module


def unload_module(name: str) -> None:
    """Take a scripted module away, with its panel and its source."""
    module = state.modules.pop(name, None)
    if module is None:
        return
    state.manager.moduleAboutToBeUnloaded.emit(name)
    widget = vars(module).get("_widget")
    if widget is not None:
        widget.delete()
    for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
        if hasattr(slicer.modules, attribute):
            delattr(slicer.modules, attribute)
    sys.modules.pop(name, None)


def _select_module(module) -> None:
    """Show another module: first the one that is shown is left, then the new one is entered."""
    name = module if isinstance(module, str) else module.name
    if name not in state.modules:
        raise RuntimeError(f"there is no module {name}")
    for other in state.modules.values():
        widget = vars(other).get("_widget")
        if other.name != name and widget is not None and widget.isEntered:
            widget.exit()
    widget = state.modules[name].widgetRepresentation()
    if not widget.isEntered:
        widget.enter()


class _Modules:
    """``slicer.modules``."""


def new_scene() -> None:
    """Start over with an empty scene, as a fresh application does."""
    old = state.world
    state.world = SceneWithLogics()
    slicer.mrmlScene = state.world.scene
    for name, logic in state.world.logics.items():
        setattr(slicer.modules, name, _LoadableModule(name, logic))
    if state.layout is not None:
        state.layout.setMRMLScene(state.world.scene)
    if old is not None:
        old.close()


def _python_slicer(folder: Path) -> None:
    """Put a ``PythonSlicer`` on the PATH that is this Python."""
    folder.mkdir()
    script = folder / "PythonSlicer"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    state.path = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{folder}{os.pathsep}{state.path}"


def _install_settings(folder: Path) -> None:
    """Keep settings of the tests away from those of the person who runs them."""
    core = QtCore.QCoreApplication
    core.setOrganizationName("StandIn")
    core.setApplicationName("Slicer")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
        QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, scope, str(folder / "settings"))


def _save(module, name: str, value) -> None:
    state.saved[(module, name)] = getattr(module, name, state)
    setattr(module, name, value)


def install():
    """Put ``qt``, ``ctk`` and the rest of ``slicer`` in place; return ``slicer.app``."""
    if state.application is not None and state.saved:
        return state.application
    pythonqt.install()
    state.folder = tempfile.TemporaryDirectory(prefix="standin-")
    folder = Path(state.folder.name)
    (folder / "temporary").mkdir()
    _python_slicer(folder / "bin")
    if state.application is None:
        state.application = standin("qSlicerApplication")(["Slicer"])
    _install_settings(folder)
    for name, module in (("qt", QtModule("qt")), ("ctk", CtkModule("ctk"))):
        state.saved[name] = sys.modules.get(name, state)
        sys.modules[name] = module
    _save(slicer, "app", state.application)
    _save(slicer, "modules", _Modules())
    _save(slicer, "mrmlScene", None)
    _save(slicer.util, "selectModule", _select_module)
    for name in standins("qMRML") + standins("qSlicer"):
        _save(slicer, name, standin(name))
    state.manager = standin("qSlicerModuleManager")()
    state.factory = standin("qSlicerModuleFactoryManager")()
    state.io = standin("qSlicerIOManager")()
    new_scene()
    state.layout = standin("qSlicerLayoutManager")()
    state.saved["doubles"] = doubles.install()
    user_module.install()
    return state.application


def uninstall() -> None:
    """Give everything back as it was before :func:`install` (the QApplication stays)."""
    for name in list(state.modules):
        unload_module(name)
    user_module.uninstall()
    doubles.uninstall(state.saved.pop("doubles"))
    state.world.close()
    state.world = None
    for key, value in state.saved.items():
        if isinstance(key, str):
            if value is state:
                sys.modules.pop(key, None)
            else:
                sys.modules[key] = value
        elif value is state:
            delattr(*key)
        else:
            setattr(*key, value)
    state.saved.clear()
    os.environ["PATH"] = state.path
    pythonqt.uninstall()
    state.folder.cleanup()
