"""Packages on demand, sample data and the DICOM plugin."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types

import pytest


def test_nothing_is_asked_for_when_everything_is_there(slicer_app) -> None:
    from gui.standin.own import packaging
    from TheranosticDoseSlicer import install

    assert install.requirements_of("vsv")
    assert install.missing("led") == []
    assert install.ensure("led")
    assert packaging.requests == []


def test_an_older_version_is_not_enough() -> None:
    from TheranosticDoseSlicer import install

    assert install._satisfied("numpy>=1.26")
    assert not install._satisfied("numpy>=999.0")
    assert not install._satisfied("a-package-that-nobody-has>=1.0")
    assert install._numbers("3.10.0rc1") == (3, 10, 0)


def test_a_missing_package_goes_through_slicer_packaging(slicer_app, monkeypatch) -> None:
    from gui.standin.own import packaging
    from TheranosticDoseSlicer import install

    monkeypatch.setattr(install, "missing", lambda step: ["numba>=0.60"])
    monkeypatch.setattr(packaging, "pip_check", lambda given: False)
    install.ensure("vsv")
    assert packaging.requests == [("TheranosticDose", ["numba>=0.60"])]


def test_who_declines_is_not_told_about_an_error(slicer_app, user, monkeypatch) -> None:
    from gui.standin.own import packaging
    from TheranosticDoseSlicer import install

    monkeypatch.setattr(install, "missing", lambda step: ["numba>=0.60"])
    monkeypatch.setattr(packaging, "pip_check", lambda given: False)
    user.answers = [False]
    assert install.ensure("vsv") is False
    assert packaging.requests == []


def test_an_older_slicer_asks_and_then_installs(slicer_app, user, monkeypatch) -> None:
    import slicer
    from TheranosticDoseSlicer import install

    installed = []
    monkeypatch.setattr(install, "missing", lambda step: [] if installed else ["numba>=0.60"])
    monkeypatch.setattr(install, "_slicer_packaging", lambda: None)
    monkeypatch.setattr(slicer.util, "pip_install", installed.append, raising=False)
    user.answers = [False]
    assert install.ensure("vsv") is False
    assert installed == []
    user.answers = [True]
    install.ensure("vsv")
    assert installed == [["numba>=0.60"]]


def failing_pip(*_arguments, **_options):
    """What ``pip_install`` of Slicer does without internet."""
    raise subprocess.CalledProcessError(1, ["pip", "install"])


@pytest.mark.parametrize("older", [False, True])
def test_a_pip_that_fails_is_told_with_the_way_out(slicer_app, monkeypatch, older: bool) -> None:
    import slicer
    from gui.standin.own import packaging
    from TheranosticDoseLib.errors import EngineUnavailableError
    from TheranosticDoseSlicer import install

    monkeypatch.setattr(install, "missing", lambda step: ["numba>=0.60"])
    if older:
        monkeypatch.setattr(install, "_slicer_packaging", lambda: None)
    monkeypatch.setattr(slicer.util, "pip_install", failing_pip, raising=False)
    monkeypatch.setattr(packaging, "pip_ensure", failing_pip)
    with pytest.raises(EngineUnavailableError, match="Without internet"):
        install.ensure("vsv")


class InstallError(Exception):
    """The error class of the TotalSegmentator extension."""


@pytest.mark.parametrize("error", [InstallError("User cancelled."), subprocess.CalledProcessError(1, "pip")])
def test_the_installer_of_another_extension_may_fail_in_its_own_way(slicer_app, monkeypatch, error) -> None:
    from TheranosticDoseLib.errors import EngineUnavailableError
    from TheranosticDoseSlicer import install

    class Logic:
        def setupPythonRequirements(self):
            raise error

        def torchInstalled(self):
            return False

        def installTorch(self, askConfirmation=False):
            raise subprocess.CalledProcessError(1, "light_the_torch")

    monkeypatch.setitem(sys.modules, "totalsegmentator", None)
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: None)
    module = types.SimpleNamespace(TotalSegmentatorLogic=Logic, PyTorchUtilsLogic=Logic)
    monkeypatch.setitem(sys.modules, "TotalSegmentator", module)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    with pytest.raises(EngineUnavailableError, match="could not install"):
        install.ensure("totalsegmentator")
    monkeypatch.setattr(install, "missing", lambda step: ["torch"])
    with pytest.raises(EngineUnavailableError, match="could not install torch"):
        install.ensure("cnn")


def test_torch_is_left_to_the_pytorch_extension(slicer_app, monkeypatch) -> None:
    from TheranosticDoseLib.errors import EngineUnavailableError
    from TheranosticDoseSlicer import install

    monkeypatch.setattr(install, "missing", lambda step: ["torch"])
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(EngineUnavailableError, match="PyTorch extension"):
        install.ensure("cnn")


def test_sample_data_are_registered_and_nothing_is_downloaded(
    slicer_app, monkeypatch, checkout, module_widget
) -> None:
    from TheranosticDoseSlicer import sample_data

    registered = []

    # The parameters of Slicer 5.10 to 5.13; it asks for the number of addresses of every source.
    def register(category="Custom", sampleName=None, uris=None, fileNames=None, nodeNames=None, customDownloader=None,
                 thumbnailFileName=None, loadFileTypes=None, loadFiles=None, loadFileProperties=None, checksums=None,
                 loadFileType=None):  # fmt: skip
        assert isinstance(uris, (str, list, tuple))
        registered.append(
            {
                "sampleName": sampleName,
                "thumbnailFileName": thumbnailFileName,
                "customDownloader": customDownloader,
            }
        )

    logic = types.SimpleNamespace(registerCustomSampleDataSource=register)
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    icons = checkout / "TheranosticDose" / "Resources" / "Icons"
    sample_data.register(icons)
    assert [source["sampleName"] for source in registered] == [
        source["sampleName"] for source in sample_data.SOURCES
    ]
    for source in registered:
        assert (icons / source["thumbnailFileName"]).is_file()
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    registered[1]["customDownloader"](None)
    assert opened == ["https://doi.org/10.7302/0n8e-rz46"]
    # It takes a while, so it runs in the panel, and the application goes on.
    widget = module_widget("TheranosticDose")
    widget.parent.exit()
    assert registered[0]["customDownloader"](None) == []
    assert widget.parent.isEntered
    assert widget.controller.task.title == "Virtual patient"
    assert widget.controller.busy
    widget.controller.stop()


@pytest.fixture
def plugin(slicer_app, monkeypatch):
    """The DICOM plugin, with a database of ``{file: modality}``."""
    import slicer

    class Loadable:
        files, name, tooltip, selected, confidence = [], "", "", False, 0.0

    class Plugin:
        def __init__(self):
            self.tags = {}

    library = types.SimpleNamespace(DICOMLoadable=Loadable, DICOMPlugin=Plugin)
    monkeypatch.setitem(sys.modules, "DICOMLib", library)
    monkeypatch.delitem(sys.modules, "TheranosticDoseDICOMPlugin", raising=False)
    module = importlib.import_module("TheranosticDoseDICOMPlugin")
    modality = {}
    database = types.SimpleNamespace(fileValue=lambda file, tag: modality[file])
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    yield module.TheranosticDoseDICOMPluginClass(), modality
    sys.modules.pop("TheranosticDoseDICOMPlugin", None)


def test_the_plugin_offers_spect_with_its_ct_and_nothing_else(plugin) -> None:
    reader, modality = plugin
    modality.update({"a": "NM", "b": "CT", "c": "RTSTRUCT", "d": "MR"})
    offered = reader.examineForImport([["a"], ["b"], ["c"], ["d"]])
    # One for each series: the browser compares the readers of a series, and the others must not load it again.
    assert [loadable.files for loadable in offered] == [["a"], ["b"], ["c"]]
    assert all(loadable.selected and loadable.confidence > 1.0 for loadable in offered)
    assert all("1 SPECT, 2 CT or structure series" in loadable.name for loadable in offered)
    assert reader.examineForImport([["b"], ["d"]]) == []
    [alone] = reader.examineForImport([["a"]])
    assert not alone.selected
    assert alone.confidence < 0.5


def test_series_of_a_study_are_loaded_once_and_without_those_unselected(plugin, monkeypatch) -> None:
    from TheranosticDoseSlicer import display, tasks
    from TheranosticDoseSlicer.case import cases

    reader, modality = plugin
    modality.update({"a": "NM", "b": "NM", "c": "CT", "d": "CT"})
    loaded = []

    def load_files(case, files):
        loaded.append([str(file) for file in files])
        return types.SimpleNamespace(wait=lambda: None)

    monkeypatch.setattr(tasks, "load_files", load_files)
    monkeypatch.setattr(display, "show_study", lambda case: None)
    offered = reader.examineForImport([["a"], ["b"], ["c"], ["d"]])
    offered[3].selected = False
    for times in (1, 2):  # whoever loads the same selection again gets another case
        assert all(reader.load(loadable) for loadable in offered[:3])
        assert loaded == [["a", "b", "c"]] * times
        assert len(cases()) == times


def test_a_study_that_cannot_be_read_leaves_no_case(plugin, user, tmp_path) -> None:
    from TheranosticDoseSlicer.case import cases

    reader, modality = plugin
    files = [tmp_path / "a.dcm", tmp_path / "b.dcm"]
    for file in files:
        file.write_bytes(b"not DICOM")
        modality[str(file)] = "NM"
    offered = reader.examineForImport([[str(file)] for file in files])
    assert [reader.load(loadable) for loadable in offered] == [False, False]
    assert len(user.texts("error")) == 1
    assert cases() == []
