"""What the panels take and hold, measured: the tests ask these functions, and so does the validation page.

``python -m gui.measure --out FILE`` writes the records as JSON, each with the seconds on the clock and those of
the processor, so that a busy machine shows as such.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .qt_missing import make_none_immortal, missing_qt

CHECKOUT = Path(__file__).resolve().parents[2]
MODULES = ("TheranosticDose", "DoseSegmentation")
CONFIGURATIONS = ("led", "vsv", "vsv_density", "gtm + vsv_density")
FWHM_MM = 11.0
HEAVY = ("torch", "monai", "numba", "matplotlib", "plotly", "pydicom", "highdicom", "pandas", "jinja2")
LARGE_CT = {
    "spect_size": [128, 128, 128],
    "refinement": 1,
    "ct_size": [512, 512],
    "ct_slice_mm": 4.7,
    "truth_engine": "led",
}
"""A virtual patient with a SPECT of 128^3 and a CT of 512 x 512 x 130."""


@contextmanager
def stopwatch(record: dict[str, Any]):
    """Put the seconds inside into a record: on the clock, and of the processor (this process, all threads)."""
    start = time.perf_counter(), time.process_time()
    yield record
    record["wall_s"] = time.perf_counter() - start[0]
    record["cpu_s"] = time.process_time() - start[1]


# --------------------------------------------------------------------------- opening

_OPENING = """
import json, os, sys, time
from gui.standin import application
from gui.way import MODULE_FILES
application.install()
start = time.perf_counter(), time.process_time()
panel = application.load_module(MODULE_FILES[sys.argv[1]]).widgetRepresentation()
panel.enter()
seconds = {"wall_s": time.perf_counter() - start[0], "cpu_s": time.process_time() - start[1]}
print("MEASURED", json.dumps({**seconds, "imported": sorted(sys.modules)}))
sys.stdout.flush()
os._exit(0)
"""


def opening(name: str, times: int = 3) -> dict[str, Any]:
    """Return the median seconds from the module file to the shown panel, each in a fresh process."""
    folders = [str(CHECKOUT / folder) for folder in ("Testing", "TheranosticDose", "DoseSegmentation")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    found = []
    for _ in range(times):
        command = [sys.executable, "-c", _OPENING, name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        [line] = [line for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
        found.append(json.loads(line[len("MEASURED ") :]))
    found.sort(key=lambda record: record["wall_s"])
    heavy = sorted({name for record in found for name in record.pop("imported")} & set(HEAVY))
    return {**found[times // 2], "least_cpu_s": min(record["cpu_s"] for record in found), "heavy": heavy}


# --------------------------------------------------------------------------- what follows the mouse


def show_balls(way, size: int, engines: tuple[str, ...]):
    """Show a case of four balls in the panel, up to date."""
    from mrml.ball_case import made_case
    from TheranosticDoseSlicer.case import SEGMENTATION

    case, _settings = made_case(size, engines)
    parameters = way.widget._parameterNode
    parameters.caseNode = case.node
    parameters.segmentation = case.get(SEGMENTATION)
    controller = way.widget.controller
    way.wait(lambda: controller.live is not None and controller.case.node is case.node, 120, "case shown")
    way.settle("first update")
    way.open("kinetics")
    way.settle("kinetics")
    return case


def paint(way, name: str, radius_voxels: int) -> None:
    """Add a ball to a segment at its edge, or take it away where it is, as the brush of the Segment Editor."""
    import numpy as np
    import SimpleITK as sitk
    from TheranosticDoseLib.geometry import array_of, image_like
    from TheranosticDoseSlicer import case as roles
    from TheranosticDoseSlicer import segments

    node = way.case.get(roles.SEGMENTATION)
    segment = segments.read_segment(node, node.GetSegmentation().GetSegmentIdBySegmentName(name))
    grid = way.widget.controller.live.registered().grid
    mask = array_of(sitk.Resample(segment.mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor)) > 0
    inside = np.argwhere(mask)
    place = inside[inside[:, 0] == int(np.median(inside[:, 0]))].max(axis=0)
    distance = sum(((np.arange(n) - c) ** 2).reshape([-1 if a == i else 1 for a in range(3)])
                   for i, (n, c) in enumerate(zip(mask.shape, place, strict=True)))  # fmt: skip
    image = image_like((mask | (distance <= radius_voxels**2)).astype(np.float32), grid)
    segments.set_segment(node, name, image, kind=segment.kind, code=segment.code)


def restoring(way, name: str):
    """Return what gives a segment the voxels back that it has now."""
    from TheranosticDoseSlicer import case as roles
    from TheranosticDoseSlicer import segments

    node = way.case.get(roles.SEGMENTATION)
    kept = segments.read_segment(node, node.GetSegmentation().GetSegmentIdBySegmentName(name))
    return lambda: segments.set_segment(node, name, kept.mask, kind=kept.kind, code=kept.code)


def live_updates(way, curve: str, segment: str) -> list[dict[str, Any]]:
    """Return how long the panel takes until everything is up to date, for each kind of edit: the median of three.

    The clock runs from the edit to the idle panel: with the delay that gathers edits and all drawing.
    """
    from .actions import check_cell, choose, edit_cell

    way.open("kinetics")
    choose(way.ui.voiBox, curve)
    live = way.widget.controller.live
    activity, use = 1, 3
    measured = live.measured(curve).activity_mbq[0]
    take_back = restoring(way, segment)
    edits = {
        "moving a point": [
            lambda factor=factor: edit_cell(way.ui.pointsTable, 0, activity, f"{factor * measured}")
            for factor in (1.2, 1.3, 1.2)
        ],
        "leaving a point out": [
            lambda used=used: check_cell(way.ui.pointsTable, 1, use, used) for used in (False, True, False)
        ],
        "another model": [
            lambda model=model: choose(way.ui.voiModelBox, model)
            for model in ("physical decay", "one exponential", "physical decay")
        ],
        "editing a segment": [lambda: paint(way, segment, 4), take_back, lambda: paint(way, segment, 4)],
    }
    found = []
    for name, times in edits.items():
        records = []
        for edit in times:
            before = live.result(curve), live.result(segment).volume_ml
            with stopwatch({"edit": name}) as record:
                edit()
                way.settle(name)
            after = live.result(curve), live.result(segment).volume_ml
            changed = before[1] != after[1] if name == "editing a segment" else before[0].fit != after[0].fit
            assert changed, f"{name} changed nothing"
            records.append(record)
        found.append(sorted(records, key=lambda record: record["wall_s"])[len(records) // 2])
    # The next measurement on this case makes the same edits.
    way.click(way.ui.undoEditsButton)
    way.settle("undo")
    return found


# --------------------------------------------------------------------------- numbers


def numbers_of(folder: Path) -> dict[str, float]:
    """Return every number of the VOIs of a ``results.json`` by its path; one that is missing is not a number."""
    results = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
    found: dict[str, float] = {}

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{path}/{key}", item)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                walk(f"{path}/{number}", item)
        elif value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            found[path] = math.nan if value is None else float(value)

    for voi in results["vois"]:
        walk(voi["name"], {key: item for key, item in voi.items() if key != "name"})
    return found


def difference(first: dict[str, float], second: dict[str, float]) -> tuple[float, str]:
    """Return the largest relative difference of two sets of numbers, and where; infinite where one lacks a number."""
    worst = 0.0, ""
    for path in first.keys() | second.keys():
        a, b = first.get(path), second.get(path)
        if a is None or b is None or math.isnan(a) != math.isnan(b):
            return math.inf, path
        if not math.isnan(a) and a != b:
            worst = max(worst, (abs(a - b) / max(abs(a), abs(b)), path))
    return worst


def scene_content() -> dict[str, float]:
    """Return what the scene holds as numbers: voxels and cells (their sums), nodes by class, segments, links."""
    import slicer
    from TheranosticDoseSlicer import case as cases

    found: dict[str, float] = {}
    for kind in ("vtkMRMLScalarVolumeNode", "vtkMRMLTableNode", "vtkMRMLSegmentationNode", "vtkMRMLSequenceNode",
                 "vtkMRMLTransformNode", "vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode"):  # fmt: skip
        for node in slicer.util.getNodesByClass(kind):
            found[f"{kind}/{node.GetName()}"] = _content(node)
    for case in cases.cases():
        roles: list[str] = []
        case.node.GetNodeReferenceRoles(roles)
        for role in roles:
            if case.node.GetNodeReference(role) is not None:
                found[f"{case.name}/{role}"] = 1.0
        for name in case.node.GetParameterNames():
            found[f"{case.name}/record/{name}"] = float(len(case.node.GetParameter(name)))
    return found


def _content(node) -> float:
    """Return one number for what a node holds."""
    import slicer
    from TheranosticDoseSlicer import tables

    if node.IsA("vtkMRMLScalarVolumeNode"):
        return float(slicer.util.arrayFromVolume(node).sum(dtype="float64")) if node.GetImageData() else 0.0
    if node.IsA("vtkMRMLTableNode"):
        return float(sum(v for row in tables.rows_of(node) for v in row.values()
                         if isinstance(v, (int, float)) and math.isfinite(v)))  # fmt: skip
    if node.IsA("vtkMRMLSegmentationNode"):
        return float(node.GetSegmentation().GetNumberOfSegments())
    if node.IsA("vtkMRMLSequenceNode"):
        return float(node.GetNumberOfDataNodes())
    return 1.0


# --------------------------------------------------------------------------- panels


def least_contrast(panel, dark: bool) -> float:
    """Return the least contrast of text against its ground, all sections open, in one palette."""
    import qt

    from .actions import contrast, use_palette

    use_palette(dark)
    try:
        labels = [label for label in panel.parent.findChildren(qt.QLabel) if label.visible and label.text]
        return min(contrast(label) for label in labels)
    finally:
        use_palette(False)


def not_reached_by_tab(panel) -> list[str]:
    """Return the names of the fields that the Tab key does not reach."""
    import qt

    from .actions import tab_order

    reached = set(tab_order(panel.parent))
    fields = (qt.QPushButton, qt.QCheckBox, qt.QComboBox, qt.QLineEdit, qt.QAbstractSpinBox)
    return [
        widget.name
        for widget in panel.parent.findChildren(qt.QWidget)
        if isinstance(widget, fields) and widget.name and not widget.name.startswith("qt_")
        and widget.visible and widget.enabled and widget not in reached
    ]  # fmt: skip


def open_sections(panel) -> None:
    """Open every section of a panel."""
    import ctk

    for section in panel.parent.findChildren(ctk.ctkCollapsibleButton):
        section.collapsed = False


# --------------------------------------------------------------------------- all of it


def held(watchdog) -> dict[str, Any]:
    """Return the longest stretch during which the event loop stood still, by the clock."""
    longest = max(watchdog.passes, key=lambda item: item.wall_s)
    return {
        "what": longest.what,
        "wall_s": longest.wall_s,
        "cpu_s": longest.cpu_s,
        "longest_cpu_s": watchdog.longest.cpu_s,
        "passes": len(watchdog.passes),
        "over_limit": sum(item.wall_s > watchdog.limit for item in watchdog.passes),
    }


def walk(way, watchdog, out: Path, phantom: dict, method: str, engines: tuple[str, ...]) -> dict[str, Any]:
    """Go the whole way with clicks from an empty scene, then save and open it; return what was held and differs."""
    found: dict[str, Any] = {"method": method, "engines": engines}
    way.widget.controller.phantom = phantom
    watchdog.start()
    way.ready()  # what it imports counts
    with stopwatch(found):
        way.click(way.ui.tryButton)
        way.settle("virtual patient")
        way.register(method)
        way.dose(*engines)
        way.export(out / "panel")
    watchdog.stop()
    found["held"] = held(watchdog)
    shell = numbers_of(_shell_run(out / "shell", way, engines))
    found["numbers"] = len(shell)
    found["difference"], found["where"] = difference(numbers_of(out / "panel"), shell)
    before = scene_content()
    way.save_and_open_again(out / "case.mrb")
    after = scene_content()
    found["kept"], found["lost"] = len(before), lost(before, after)
    way.export(out / "again")
    found["again"], found["again_where"] = difference(numbers_of(out / "again"), numbers_of(out / "panel"))
    return found


def lost(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """Return what of a scene's content another one lacks or holds with another value."""
    return sorted(
        name
        for name, value in before.items()
        if not math.isclose(after.get(name, math.nan), value, rel_tol=1e-6)
    )


def _shell_run(out: Path, way, engines: tuple[str, ...]) -> Path:
    """Run ``theranostic-dose run`` on the files and with the settings of the panel."""
    settings = out.with_suffix(".json")
    settings.write_text(json.dumps(way.widget.controller.settings().to_dict()), encoding="utf-8")
    dicom = str(way.widget._parameterNode.inputFolder)
    command = [sys.executable, "-m", "TheranosticDoseLib", "run", dicom, "--out", str(out)]
    for engine in engines:
        command += ["--engine", engine]
    done = subprocess.run(
        [*command, "--settings", str(settings)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"theranostic-dose run: {done.stdout[-500:]} {done.stderr[-500:]}")
    return out


def _panels() -> list[dict[str, Any]]:
    from .actions import needed_width
    from .way import open_panel

    found = []
    for name in MODULES:
        panel = open_panel(name)
        open_sections(panel)
        contrast = min(least_contrast(panel, dark) for dark in (False, True))
        record = {"module": name, "width_px": needed_width(panel.parent), "contrast": contrast}
        found.append({**record, "not_reached": not_reached_by_tab(panel)})
    return found


def _live(way, watchdog, shown) -> list[dict[str, Any]]:
    """Measure the edits with each configuration; ``shown(engine)`` brings a case with its dose to the panel."""
    found = []
    parameters = way.widget._parameterNode
    for configuration in CONFIGURATIONS:
        parameters.recovery = type(parameters.recovery).none
        curve, segment = shown(configuration.rpartition(" ")[2])
        if configuration.startswith("gtm"):
            way.recover("geometric transfer matrix", FWHM_MM)
        watchdog.passes.clear()
        watchdog.start()
        records = live_updates(way, curve, segment)
        watchdog.stop()
        found.append({"configuration": configuration, "edits": records, "held": held(watchdog)})
    return found


def measured(quick: bool, folder: Path, progress) -> dict[str, Any]:
    """Measure everything; ``quick`` takes a small patient, and the live updates on four balls only."""
    from TheranosticDoseSlicer.in_slicer_test import SMALL

    from .actions import Watchdog
    from .standin import application
    from .way import Way, open_panel

    make_none_immortal()
    application.install()
    application.new_scene()
    progress(0.0, "Opening")
    found: dict[str, Any] = {"quick": quick, "opening": {name: opening(name) for name in MODULES}}
    found["panels"] = _panels()
    way, watchdog = Way(open_panel("TheranosticDose")), Watchdog()
    progress(0.1, "The whole way")
    phantom, method = (SMALL, "rigid") if quick else (LARGE_CT, "rigid, then deformable")
    found["way"] = walk(way, watchdog, folder, phantom, method, ("led",) if quick else ("vsv_density",))

    def patient(engine: str) -> tuple[str, str]:
        progress(0.6, f"Edits of the patient: {engine}")
        way.dose(engine)
        way.user.messages.clear()
        return "Kidney_L", "Liver"

    def balls(engine: str) -> tuple[str, str]:
        progress(0.8, f"Edits of four balls: {engine}")
        show_balls(way, 128, (engine,))
        return "VOI 1", "VOI 2"

    found["live"] = {} if quick else {"virtual patient": _live(way, watchdog, patient)}
    found["live"]["four balls"] = _live(way, watchdog, balls)
    return found


def main() -> None:
    """Write the records, or why nothing can be measured here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()

    def progress(fraction: float, message: str) -> None:
        print(json.dumps({"fraction": fraction, "message": message}), flush=True)

    missing = missing_qt()
    if missing:
        found = {"missing": missing}
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = measured(options.quick, Path(folder), progress)
    options.out.write_text(json.dumps(found), encoding="utf-8")
    # The stand-in's objects are not taken apart in the order in which Qt would like it.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
