"""Slicer's own image reader opens what the library writes: the dose of an RTDOSE, in its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from TheranosticDoseLib.dicom_io import load_study
from TheranosticDoseLib.dicom_io.out_common import Place
from TheranosticDoseLib.dicom_io.out_dose import write_rtdose
from TheranosticDoseLib.geometry import array_of, image_like
from tiny_study import tiny_study


def test_slicer_reads_the_dose(world, tmp_path: Path) -> None:
    vtk_itk = pytest.importorskip("slicer_core.vtkITK")
    from vtk.util.numpy_support import vtk_to_numpy

    study = load_study(tiny_study(tmp_path / "in") / "manifest.json")
    grid = study.acquisitions[0].spect
    dose = image_like(np.random.default_rng(1).lognormal(0, 2, array_of(grid).shape), grid)
    path = write_rtdose(dose, tmp_path / "dose.dcm", Place(study, study.acquisitions[0].label))
    reader = vtk_itk.vtkITKArchetypeImageSeriesScalarReader()
    reader.SetArchetype(str(path))
    reader.SetSingleFile(1)
    reader.SetUseOrientationFromFile(1)
    reader.SetUseNativeOriginOn()
    reader.SetOutputScalarTypeToNative()
    reader.SetDesiredCoordinateOrientationToNative()
    reader.Update()
    assert reader.GetErrorCode() == 0
    output = reader.GetOutput()
    assert output.GetDimensions() == dose.GetSize()
    stored = vtk_to_numpy(output.GetPointData().GetScalars()).reshape(array_of(dose).shape)
    scaling = float(dcmread(path).DoseGridScaling)
    assert np.allclose(stored * scaling, array_of(dose), rtol=1e-6, atol=2e-10 * array_of(dose).max())
    ras_to_ijk = reader.GetRasToIjkMatrix()
    for index in ((0, 0, 0), (5, 7, 9)):
        x, y, z = sitk.Image(dose).TransformIndexToPhysicalPoint(index)
        assert ras_to_ijk.MultiplyPoint((-x, -y, z, 1.0))[:3] == pytest.approx(index, abs=1e-3)
