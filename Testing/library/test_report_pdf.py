"""The PDF report: pages, numbers, empty fields for signatures."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from TheranosticDoseLib import workflow
from TheranosticDoseLib.dicom_io import ExportSettings, read_parametric_map
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import image_like
from TheranosticDoseLib.registration import RegistrationSettings
from TheranosticDoseLib.report import results_document
from TheranosticDoseLib.report.dicom import export_results
from TheranosticDoseLib.report.html import number
from TheranosticDoseLib.report.pdf import pdf_report
from TheranosticDoseLib.report.sheet import RIGHT, Sheet
from TheranosticDoseLib.workflow import RunSettings
from tiny_study import tiny_study

SETTINGS = RunSettings(registration=RegistrationSettings(method="none"))
needs_poppler = pytest.mark.skipif(
    shutil.which("pdftotext") is None, reason="needs the Debian package poppler-utils"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pdf")


@pytest.fixture(scope="module")
def results(folder: Path) -> workflow.Results:
    return workflow.run(tiny_study(folder / "in"), folder / "out", SETTINGS, ("led",))


def pages_of(path: Path) -> list[str]:
    command = ["pdftotext", "-layout", str(path), "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\f")[:-1]


@needs_poppler
def test_the_first_page_says_it_all(results: workflow.Results, folder: Path) -> None:
    document = json.loads((folder / "out" / "results.json").read_text(encoding="utf-8"))
    pages = pages_of(folder / "out" / "report.pdf")
    assert len(pages) >= 5
    first = " ".join(pages[0].split())
    for text in (
        "not a medical device",
        "Patient: tiny",
        "7.400 GBq",
        "Computed by",
        "Approved by",
        "Signature",
    ):
        assert text in first
    kidney = next(voi for voi in document["vois"] if voi["name"] == "Kidney_L")
    row = next(line for line in pages[0].splitlines() if line.strip().startswith("Kidney_L"))
    assert number(kidney["dose"]["led"]["mean_gy"]) in row
    assert "of dose 23 Gy" in row or "of BED" in row
    seal = document["integrity"]["sha256"]
    assert all(seal[:16] in page and "not a medical device" in page for page in pages)
    assert all(part in "".join(pages) for part in (seal[:32], seal[32:]))


def test_a_voxel_of_unknown_uncertainty_is_written(results: workflow.Results, tmp_path: Path) -> None:
    u = sitk.GetArrayFromImage(results.voxel_fit.relative_uncertainty)
    u[0, 0, :2] = np.inf, np.nan
    fit = dataclasses.replace(results.voxel_fit, relative_uncertainty=image_like(u, results.tia))
    changed = dataclasses.replace(results, voxel_fit=fit)
    chosen = ExportSettings(rtdose=False, seg=False, rtstruct=False, report=False, registration=False)
    export_results(changed, results_document(results), tmp_path, chosen)
    written, unit = read_parametric_map(tmp_path / "PM_relative_uncertainty.dcm")
    assert unit == "1"
    values = sitk.GetArrayFromImage(written)
    assert values[0, 0, :2].tolist() == [10.0, 10.0]
    assert np.array_equal(values[1:], np.minimum(u[1:], 10.0))


def test_the_models_are_reported_and_mapped(results: workflow.Results, folder: Path) -> None:
    document = json.loads((folder / "out" / "results.json").read_text(encoding="utf-8"))
    with (folder / "out" / "tables" / "radiobiology.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["voi"]: row for row in csv.DictReader(file)}
    vois = {voi["name"]: voi for voi in document["vois"]}
    kidney, lesion = vois["Kidney_L"], vois["Lesion_1"]
    dose, models = kidney["dose"]["led"], kidney["radiobiology"]
    factor = models["lea_catcheside"] / 2.6
    assert kidney["bed_gy"] == pytest.approx(dose["mean_gy"] * (1 + factor * dose["mean_gy"]), rel=1e-6)
    assert models["u_bed_gy"] == pytest.approx(dose["u_mean_gy"] * (1 + 2 * factor * dose["mean_gy"]))
    assert models["limits"][0]["fraction_used"] == pytest.approx(dose["mean_gy"] / 23)
    assert 0 < lesion["radiobiology"]["eud_gy"] < lesion["dose"]["led"]["mean_gy"]
    assert float(rows["Lesion_1"]["eubed_gy"]) == lesion["radiobiology"]["eubed_gy"]
    assert float(rows["Kidney_L"]["ntcp"]) == models["ntcp"]["probability"]
    assert rows["Kidney_L"]["eud_gy"] == ""
    images = folder / "out" / "images"
    bed, eqd2, gray = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(images / f"{name}_led.nii.gz")))
        for name in ("bed", "eqd2", "dose")
    )
    inside = sitk.GetArrayFromImage(results.voi("Kidney_L").voi.weights) >= 0.5
    assert np.allclose(bed[inside], gray[inside] * (1 + factor * gray[inside]), rtol=1e-5)
    assert np.allclose(eqd2[inside], bed[inside] / (1 + 2 / 2.6), rtol=1e-5)
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert number(lesion["radiobiology"]["eubed_gy"]) in page.partition("Radiobiology (models)")[2]


@needs_poppler
def test_no_finding_is_lost_however_many(results: workflow.Results, folder: Path) -> None:
    many = tuple(Finding("warning", f"f{n}", f"number{n}! " + "word " * 60) for n in range(60))
    many += (Finding("info", "long", "x" * 5000),)
    document = results_document(dataclasses.replace(results, findings=many))
    path = folder / "many.pdf"
    path.write_bytes(pdf_report(results, document))
    pages = pages_of(path)
    listed = "".join(pages[1:])
    assert all(f"number{n}!" in listed for n in range(60))
    assert "Signature" in pages[0]


def test_nothing_leaves_the_page(results: workflow.Results) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from TheranosticDoseLib.report.pdf import _sheets
    from TheranosticDoseLib.report.pictures import overview

    for sheet in _sheets(results, results_document(results), overview(results)):
        canvas = FigureCanvasAgg(sheet.figure)
        renderer = canvas.get_renderer()
        width = sheet.figure.bbox.width
        for text in sheet.figure.texts:
            box = text.get_window_extent(renderer)
            assert box.x0 > 0, text.get_text()
            assert box.x1 < (RIGHT + 0.03) * width, text.get_text()
            assert box.y0 > 0


def test_a_table_reports_what_did_not_fit() -> None:
    sheet = Sheet("header", "footer")
    rows = [[str(n), "value"] for n in range(200)]
    done = sheet.table(("number", "word"), rows, (1, 2), (1,))
    assert 20 < done < 200
    assert sheet.room >= 0
