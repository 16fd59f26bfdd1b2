"""Whatever is deleted or corrupted, the loader gives a study or a sentence."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from pathlib import Path

import dialects
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import DataElement
from TheranosticDoseLib.dicom_io import inspect_path, load_study
from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseLib.study import Study

START = dialects.INJECTION + dt.timedelta(hours=24)
NASTY = ["", " ", "x", "nan", "-1", "0", "1e308", "99999999", "20261399", "\\", "1\\2\\3\\4\\5\\6", "ü"]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    dialects.siemens_xspect(folder, START, "s1")
    dialects.mim(folder, START + dt.timedelta(hours=48), "s2")
    dialects.ct(folder, START + dt.timedelta(minutes=20), "s1")
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    circle = np.column_stack([8 * np.cos(angle), 8 * np.sin(angle), np.full(20, 115.0)])
    dialects.rtstruct(folder, {"Kidney": [circle], "Lesion": [circle + [1, 2, 5]]}, START)
    return folder


def elements(dataset, prefix=()):
    """Return the path of every element, also within sequences."""
    found = []
    for element in dataset:
        found.append((*prefix, element.tag))
        if element.VR == "SQ":
            for index, item in enumerate(element.value):
                found += elements(item, (*prefix, element.tag, index))
    return found


def attack(dataset, path, action, text):
    """Delete or overwrite the element at ``path``."""
    for step in path[:-1]:
        dataset = (
            dataset[step].value if not isinstance(step, int) or hasattr(step, "group") else dataset[step]
        )
    tag = path[-1]
    if action == "delete":
        del dataset[tag]
    elif action == "empty":
        dataset[tag].value = None
    else:
        dataset[tag] = DataElement(tag, "LO", text)


def outcome(folder):
    """Return the study or the sentence; anything else is a failure."""
    try:
        study = load_study(folder)
    except TheranosticDoseError as error:
        text = str(error)
        assert text
        assert "Traceback" not in text
        return text
    assert isinstance(study, Study)
    for acquisition in study.acquisitions:
        assert acquisition.time_h >= 0
        assert np.isfinite(acquisition.time_h)
    return study


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_deleted_and_corrupted_tags(template, data):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        shutil.copytree(template, folder)
        kinds = ["s1_siemens.dcm", "s2_mim_004.dcm", "s1_CT_007.dcm", "rtstruct.dcm"]
        path = folder / data.draw(st.sampled_from(kinds), label="file")
        dataset = dcmread(path)
        for _ in range(data.draw(st.integers(1, 3), label="attacks")):
            target = data.draw(st.sampled_from(elements(dataset)), label="element")
            action = data.draw(st.sampled_from(["delete", "empty", "text"]), label="action")
            attack(dataset, target, action, data.draw(st.sampled_from(NASTY), label="text"))
        try:
            dataset.save_as(path)
        except Exception:  # noqa: BLE001 - pydicom itself refuses to write some of these
            return
        outcome(folder)
        inspect_path(folder)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_flipped_bytes_and_truncation(template, data):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        shutil.copytree(template, folder)
        path = folder / data.draw(st.sampled_from(["s1_siemens.dcm", "s2_mim_004.dcm", "rtstruct.dcm"]))
        content = bytearray(path.read_bytes())
        if data.draw(st.booleans(), label="truncate"):
            content = content[: data.draw(st.integers(0, len(content) - 1))]
        else:
            for _ in range(data.draw(st.integers(1, 20))):
                content[data.draw(st.integers(132, min(len(content), 3000) - 1))] = data.draw(
                    st.integers(0, 255)
                )
        path.write_bytes(bytes(content))
        outcome(folder)
        inspect_path(folder)


@pytest.mark.slow
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_deleted_and_corrupted_tags_at_length(template, data):
    test_deleted_and_corrupted_tags.hypothesis.inner_test(template, data)
