"""What can be checked on the Slicer modules without running them: panels, parameters, imports, CMake lists."""

from __future__ import annotations

import ast
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MODULES = ("TheranosticDose", "DoseSegmentation")
OWN = {
    "TheranosticDoseLib",
    "TheranosticDoseSlicer",
    "TheranosticDosePanels",
    "DoseSegmentationLib",
    "DoseSegmentationPanels",
}
# What a file that Slicer loads may import at its top: nothing that takes long or may be missing.
LIGHT = set(sys.stdlib_module_names) | {"slicer", "vtk", "qt", "ctk", "numpy", "DICOMLib"} | OWN
# Calls that make a constant.
HARMLESS_CALLS = {
    "Path", "pathlib.Path", "frozenset", "set", "tuple", "dict", "list", "len", "range", "sorted", "re.compile",
    "logging.getLogger", "TypeVar", "typing.TypeVar", "namedtuple", "collections.namedtuple", "MappingProxyType",
    "types.MappingProxyType", "float", "int", "str", "enum.auto", "os.environ.get", "_", "tr", "dict.fromkeys",
    "np.array", "np.diag",
}  # fmt: skip
# Widgets that get all they show from the node given to them.
WITHOUT_SCENE = {"qMRMLSequenceBrowserSeekWidget", "qMRMLSequenceBrowserPlayWidget", "qMRMLWidget"}
# Parameters without a widget of their own; each is set by a step of the panel.
UNBOUND = {
    # Check boxes, made for the engines of the library.
    "TheranosticDose": {"engines"},
    "DoseSegmentation": set(),
}


def python_files(module: str) -> list[Path]:
    """Everything that is installed with a module, without the computation libraries (checked elsewhere)."""
    files = sorted((CHECKOUT / module).rglob("*.py"))
    return [path for path in files if not {"Testing", "Training"} & set(path.relative_to(CHECKOUT).parts)]


def slicer_files() -> list[Path]:
    files = [path for module in MODULES for path in python_files(module)]
    return [path for path in files if not path.relative_to(CHECKOUT).parts[1].endswith("Lib")]


def name_of(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def need(path: Path) -> Path:
    assert path.exists(), f"{name_of(path)} is missing"
    return path


# --------------------------------------------------------------------------- parameters and panels


def parameter_fields(module: str) -> set[str]:
    """The annotated fields of the class that carries ``@parameterNodeWrapper`` in the module file."""
    for node in tree_of(need(CHECKOUT / module / f"{module}.py")).body:
        decorators = [ast.unparse(item) for item in getattr(node, "decorator_list", [])]
        if "parameterNodeWrapper" in decorators:
            return {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}
    raise AssertionError(f"{module}.py has no class with @parameterNodeWrapper")


def panels(module: str) -> list[Path]:
    return sorted((CHECKOUT / module / "Resources" / "UI").glob("*.ui"))


def bound_names(path: Path) -> list[str]:
    found = []
    for item in ElementTree.parse(path).iter("property"):
        if item.get("name") == "SlicerParameterName":
            assert item.get("stdset") == "0", f"{name_of(path)}: SlicerParameterName needs stdset=0"
            found.append("".join(item.itertext()).strip())
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_bound_name_is_a_parameter_and_back(module: str) -> None:
    fields = parameter_fields(module)
    bound = [name for path in panels(module) for name in bound_names(path)]
    assert len(bound) == len(set(bound)), (
        f"bound twice: {sorted({name for name in bound if bound.count(name) > 1})}"
    )
    assert set(bound) - fields == set(), "the .ui file binds names that the parameter node does not have"
    assert fields - set(bound) == UNBOUND[module], "parameters without a widget (or now with one)"


@pytest.mark.parametrize("module", MODULES)
def test_no_misspelt_binding_property(module: str) -> None:
    """The property name itself must be right: a box named ``SlicerParameterNam`` is silently unbound."""
    for path in panels(module):
        widgets = ElementTree.parse(path).iter("widget")
        own = [item for widget in widgets for item in widget.findall("property")]
        dynamic = {item.get("name") for item in own if item.get("stdset") == "0"}
        assert dynamic <= {"SlicerParameterName"}, f"{name_of(path)}: {dynamic}"


@pytest.mark.parametrize("module", MODULES)
def test_every_custom_widget_is_declared_and_known(module: str) -> None:
    listed = json.loads((CHECKOUT / "Testing" / "gui" / "qt-surface.json").read_text())["classes"]
    for path in panels(module):
        root = ElementTree.parse(path).getroot()
        used = {
            item.get("class")
            for item in root.iter("widget")
            if not item.get("class").startswith(("Q", "Line"))
        }
        declared = {item.findtext("class") for item in root.iter("customwidget")}
        assert used <= declared, f"{name_of(path)} does not declare {used - declared}"
        assert used <= set(listed), f"{name_of(path)} uses unknown {used - set(listed)}"


@pytest.mark.parametrize("module", MODULES)
def test_object_names_are_unique_and_scene_reaches_every_mrml_widget(module: str) -> None:
    for path in panels(module):
        root = ElementTree.parse(path).getroot()
        names = [item.get("name") for item in root.iter("widget")]
        assert len(names) == len(set(names)), f"{name_of(path)} uses a name twice"
        wired = [item for item in root.iter("connection") if "setMRMLScene" in item.findtext("slot", "")]
        receivers = {item.findtext("receiver") for item in wired}
        widgets = [item for item in root.iter("widget") if item.get("class").startswith("qMRML")]
        top = root.find("widget").get("name")
        needing = {item.get("name") for item in widgets if item.get("class") not in WITHOUT_SCENE} - {top}
        assert needing <= receivers, f"{name_of(path)}: no scene for {needing - receivers}"


# --------------------------------------------------------------------------- imports


def top_imports(tree: ast.AST) -> set[str]:
    """The first names of what is imported outside functions."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or is_guarded(node):
            continue
        if isinstance(node, ast.Import):
            found.update(item.name.split(".")[0] for item in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
        found |= top_imports(node)
    return found


def is_guarded(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and any(
        word in ast.unparse(node.test) for word in ("TYPE_CHECKING", "__name__ == '__main__'")
    )


@pytest.mark.parametrize("path", slicer_files(), ids=name_of)
def test_no_heavy_import_at_the_top(path: Path) -> None:
    assert top_imports(tree_of(path)) - LIGHT == set()


@pytest.mark.parametrize("path", slicer_files(), ids=name_of)
def test_nothing_runs_at_import(path: Path) -> None:
    """Only imports, definitions and constants stand at the top of a file."""
    for node in tree_of(path).body:
        if is_guarded(node):
            continue
        allowed = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.Assign, ast.AnnAssign)
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert isinstance(node, allowed) or is_text, (
            f"line {node.lineno} runs at import: {ast.unparse(node)[:80]}"
        )
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            made = {ast.unparse(item.func) for item in ast.walk(node.value) if isinstance(item, ast.Call)}
            known = {name for name in made if name in HARMLESS_CALLS or name.split(".")[-1][:1].isupper()}
            known |= {name for name in made if name.startswith(("Path(", "pathlib.Path("))}
            assert made <= known, f"line {node.lineno} calls {made - known} at import"


@pytest.mark.parametrize("module", MODULES)
def test_every_file_beside_the_module_is_a_module(module: str) -> None:
    """Slicer takes each .py file in a module folder for a module: it needs a class of its name."""
    need(CHECKOUT / module / f"{module}.py")
    for path in (CHECKOUT / module).glob("*.py"):
        classes = {node.name for node in tree_of(path).body if isinstance(node, ast.ClassDef)}
        assert path.stem in classes, f"{name_of(path)} has no class {path.stem}"


def test_no_package_name_that_others_may_use() -> None:
    """All extensions share one path: the packages carry our names."""
    for module in MODULES:
        for package in (CHECKOUT / module).glob("*/__init__.py"):
            assert package.parent.name in OWN


# --------------------------------------------------------------------------- CMake lists


def cmake_list(text: str, variable: str, module: str) -> set[str]:
    match = re.search(rf"set\(\s*{variable}\s+([^)]*)\)", text)
    assert match, f"no set({variable} ...)"
    entries = re.sub(r"#.*", "", match[1]).replace("${MODULE_NAME}", module).split()
    return {entry.strip('"') for entry in entries}


@pytest.mark.parametrize("module", MODULES)
def test_cmake_lists_every_script(module: str) -> None:
    text = need(CHECKOUT / module / "CMakeLists.txt").read_text()
    listed = cmake_list(text, "MODULE_PYTHON_SCRIPTS", module)
    present = {str(path.relative_to(CHECKOUT / module)) for path in python_files(module)}
    assert listed == present, f"not listed: {sorted(present - listed)}; not there: {sorted(listed - present)}"


@pytest.mark.parametrize("module", MODULES)
def test_cmake_lists_every_resource(module: str) -> None:
    text = need(CHECKOUT / module / "CMakeLists.txt").read_text()
    listed = {
        entry for entry in cmake_list(text, "MODULE_PYTHON_RESOURCES", module) if not entry.startswith("$")
    }
    files = [path for path in (CHECKOUT / module / "Resources").rglob("*") if path.is_file()]
    present = {str(path.relative_to(CHECKOUT / module)) for path in files if "__pycache__" not in path.parts}
    assert listed == present, f"not listed: {sorted(present - listed)}; not there: {sorted(listed - present)}"
