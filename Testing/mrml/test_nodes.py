"""Images, sequences, transforms, segments, tables: library to MRML and back, through a saved scene."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
pytestmark = pytest.mark.slicer

from TheranosticDoseLib.errors import InputError  # noqa: E402
from TheranosticDoseSlicer import case as roles  # noqa: E402
from TheranosticDoseSlicer import (  # noqa: E402
    codes,
    display,
    dose_nodes,
    hierarchy,
    images,
    segments,
    sequences,
    tables,
    transforms,
)
from TheranosticDoseSlicer.case import Case  # noqa: E402

OBLIQUE = (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def image(seed: int = 0, shape=(4, 5, 6)) -> sitk.Image:
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    result = sitk.GetImageFromArray(values)
    result.SetSpacing((2.0, 3.0, 4.0))
    result.SetOrigin((10.0, -20.0, 30.0))
    result.SetDirection(OBLIQUE)
    return result


def mask(low=(5, 3, 8), high=(9, 13, 20), shape=(20, 30, 40)) -> sitk.Image:
    values = np.zeros(shape, np.uint8)
    values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    result = sitk.GetImageFromArray(values)
    result.SetSpacing((2.0, 3.0, 4.0))
    result.SetOrigin((10.0, -20.0, 30.0))
    result.SetDirection(OBLIQUE)
    return result


def same(first: sitk.Image, second: sitk.Image) -> bool:
    """Whether the second image holds the first one's voxels at the same places."""
    moved = sitk.Resample(second, first, sitk.Transform(), sitk.sitkNearestNeighbor, -7.0)
    return np.array_equal(sitk.GetArrayFromImage(first), sitk.GetArrayFromImage(moved))


@pytest.mark.parametrize("quantity", sorted(codes.QUANTITIES))
def test_volume_keeps_voxels_geometry_and_codes(scene, quantity: str) -> None:
    original = image()
    node = images.volume_from(original, "volume", quantity)
    back = images.image_of(node)
    assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(original))
    assert back.GetOrigin() == pytest.approx(original.GetOrigin())
    assert back.GetSpacing() == pytest.approx(original.GetSpacing())
    assert back.GetDirection() == pytest.approx(original.GetDirection())
    record = codes.quantity_of(node)
    assert record.name == quantity
    units = node.GetVoxelValueUnits()
    assert (units.GetCodeValue(), units.GetCodingSchemeDesignator()) == record.unit_code[:2]


def test_a_point_lies_where_slicer_says(scene) -> None:
    original = image()
    node = images.volume_from(original, "volume")
    matrix = images.ijk_to_ras(original)
    stored = slicer.vtkMatrix4x4() if hasattr(slicer, "vtkMatrix4x4") else type(matrix)()
    node.GetIJKToRASMatrix(stored)
    lps = original.TransformIndexToPhysicalPoint((3, 2, 1))
    ras = stored.MultiplyPoint((3, 2, 1, 1))
    assert ras[:3] == pytest.approx((-lps[0], -lps[1], lps[2]))


def test_volumes_of_other_modules_are_recognised_by_their_unit(scene) -> None:
    node = images.volume_from(image(), "CT")
    assert codes.quantity_of(node) is None
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    node.SetVoxelValueUnits(entry)
    assert codes.quantity_of(node).name == "ct_hu"


def test_unusable_volumes_get_a_sentence(scene) -> None:
    with pytest.raises(InputError, match="removed from the scene"):
        images.image_of(None)
    with pytest.raises(InputError, match="scalar volume is needed"):
        images.image_of(scene.AddNewNodeByClass("vtkMRMLTableNode", "table"))
    with pytest.raises(InputError, match="has no voxels"):
        images.image_of(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    moved = images.volume_from(image(), "moved")
    moved.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift").GetID())
    with pytest.raises(InputError, match="'moved' lies under the transform 'shift'"):
        images.image_of(moved)


def test_sequence_is_in_hours_and_keeps_units(scene) -> None:
    nodes = [images.volume_from(image(seed), f"SPECT {seed}", "spect_bq_ml") for seed in range(3)]
    sequence = sequences.time_series("SPECT", nodes, [70.0, 4.25, 24.0])
    assert sequences.times_h(sequence) == [4.25, 24.0, 70.0]
    assert (sequence.GetIndexName(), sequence.GetIndexUnit()) == ("time", "h")
    stored = sequence.GetNthDataNode(0)
    assert stored.GetVoxelValueUnits().GetCodeValue() == "Bq/ml"
    assert same(images.image_of(nodes[1]), images.image_of(stored))
    browser = sequences.browser([sequence])
    assert browser.GetMasterSequenceNode() is sequence
    assert sequences.browser([sequence], browser) is browser
    assert browser.GetNumberOfSynchronizedSequenceNodes(True) == 1
    shown = browser.GetProxyNode(sequence).GetDisplayNode()
    assert shown.GetColorNode() is display.dose_color_node()
    # Colours that somebody chose stay.
    other = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "mine")
    shown.SetAndObserveColorNodeID(other.GetID())
    sequences.browser([sequence], browser)
    assert shown.GetColorNode() is other


@pytest.fixture
def slice_view(world, monkeypatch):
    """A slice view of the application, far away from every image; its composite node and its slice node."""
    import vtk

    logic, logics = slicer.vtkMRMLSliceLogic(), vtk.vtkCollection()
    logic.SetMRMLApplicationLogic(world.application_logic)
    logic.SetMRMLScene(world.scene)
    logic.AddSliceNode("Red")
    logics.AddItem(logic)
    world.application_logic.SetSliceLogics(logics)
    application = SimpleNamespace(applicationLogic=lambda: world.application_logic)
    monkeypatch.setattr(slicer, "app", application, raising=False)
    logic.GetSliceNode().SetDimensions(100, 100, 1)
    logic.GetSliceNode().SetXYZOrigin(0.0, 0.0, 0.0)
    logic.SetSliceOffset(1000.0)
    yield logic.GetSliceCompositeNode(), logic.GetSliceNode()
    world.application_logic.SetSliceLogics(None)


def test_a_volume_alone_is_shown_in_full_and_the_views_move_to_the_first(slice_view) -> None:
    composite, view = slice_view
    spect, ct = (images.volume_from(image(seed), name) for seed, name in enumerate(("SPECT", "CT")))
    bounds = [0.0] * 6
    spect.GetRASBounds(bounds)
    display.show(None, spect)
    assert composite.GetBackgroundVolumeID() == spect.GetID()
    assert composite.GetForegroundVolumeID() is None
    assert bounds[4] <= view.GetSliceOffset() <= bounds[5]
    # Where something is shown, the user's place stays; a study that was just loaded is shown anyway.
    view.SetSliceOffset(1000.0)
    display.show(ct, spect)
    assert (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()) == (
        ct.GetID(),
        spect.GetID(),
    )
    assert view.GetSliceOffset() == 1000.0
    case = Case.create()
    case.set(roles.SPECT + "24h", spect)
    display.show_study(case)
    assert composite.GetBackgroundVolumeID() == spect.GetID()
    assert spect.GetDisplayNode().GetColorNode() is display.dose_color_node()
    assert bounds[4] <= view.GetSliceOffset() <= bounds[5]


def composite() -> sitk.CompositeTransform:
    field = sitk.GetImageFromArray(np.random.default_rng(3).normal(size=(6, 7, 8, 3)), isVector=True)
    field.SetSpacing((2.0, 3.0, 4.0))
    field.SetOrigin((-3.0, -3.0, -3.0))
    result = sitk.CompositeTransform(3)
    result.AddTransform(sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6)))
    result.AddTransform(sitk.DisplacementFieldTransform(sitk.Image(field)))
    return result


def test_rigid_and_deformable_transform_round_trip(scene) -> None:
    import vtk

    original = composite()
    nodes = transforms.transform_nodes(original, "24h to 4h")
    assert [node.GetClassName() for node in nodes] == [
        "vtkMRMLGridTransformNode",
        "vtkMRMLLinearTransformNode",
    ]
    back = transforms.transform_of(nodes)
    general = vtk.vtkGeneralTransform()
    nodes[-1].GetTransformFromWorld(general)
    for point in np.random.default_rng(4).uniform(0.0, 10.0, size=(20, 3)):
        expected = original.TransformPoint(point.tolist())
        assert back.TransformPoint(point.tolist()) == pytest.approx(expected, abs=1e-9)
        ras = general.TransformPoint((-point[0], -point[1], point[2]))
        assert (-ras[0], -ras[1], ras[2]) == pytest.approx(expected, abs=1e-4)


def test_identity_is_one_linear_node(scene) -> None:
    nodes = transforms.transform_nodes(sitk.Transform(3, sitk.sitkIdentity), "identity")
    assert len(nodes) == 1
    assert nodes[0].IsLinear()
    assert transforms.transform_of(nodes).TransformPoint((1.0, 2.0, 3.0)) == pytest.approx((1.0, 2.0, 3.0))


def test_segments_keep_mask_kind_code_and_origin(scene) -> None:
    node = segments.new_segmentation("VOIs")
    code = {"scheme": "SCT", "value": "64033007", "meaning": "Kidney"}
    segments.set_segment(node, "Left kidney", mask(), kind="organ", code=code, origin="RTSTRUCT")
    overlapping = mask((6, 4, 9), (12, 14, 22))
    segments.set_segment(node, "Lesion", overlapping, kind="lesion", acquisition="24h")
    found, empty = segments.read_segments(node)
    assert empty == []
    assert [(s.name, s.kind, s.code, s.acquisition) for s in found] == [
        ("Left kidney", "organ", code, ""),
        ("Lesion", "lesion", None, "24h"),
    ]
    assert found[0].origin == "RTSTRUCT"
    assert same(found[0].mask, mask())
    assert int(sitk.GetArrayFromImage(found[1].mask).sum()) == 6 * 10 * 13


def test_replacing_a_segment_changes_its_fingerprint_only(scene) -> None:
    node = segments.new_segmentation("VOIs")
    first = segments.set_segment(node, "A", mask())
    before = segments.read_segment(node, first)
    assert segments.set_segment(node, "A", mask()) == first
    assert segments.read_segment(node, first).digest == before.digest
    segments.set_segment(node, "A", mask((5, 3, 9)))
    assert segments.read_segment(node, first).digest != before.digest
    assert node.GetSegmentation().GetNumberOfSegments() == 1


def test_segmentations_that_cannot_be_used_get_a_sentence(scene) -> None:
    with pytest.raises(InputError, match="No segmentation"):
        segments.read_segments(None)
    node = segments.new_segmentation("VOIs")
    with pytest.raises(InputError, match="'VOIs' has no segments"):
        segments.read_segments(node)
    segments.set_segment(node, "A", mask((0, 0, 0), (0, 0, 0)))
    with pytest.raises(InputError, match="All segments of 'VOIs' are empty: A"):
        segments.read_segments(node)


def test_closed_surface_only_gets_a_labelmap(scene) -> None:
    import vtk

    reference = images.volume_from(mask(shape=(30, 30, 40)), "CT", "ct_hu")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "from RTSTRUCT")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    centre = reference.GetImageData().GetDimensions()
    matrix = vtk.vtkMatrix4x4()
    reference.GetIJKToRASMatrix(matrix)
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(matrix.MultiplyPoint([n / 2 for n in centre] + [1.0])[:3])
    sphere.SetRadius(20.0)
    sphere.SetThetaResolution(60)
    sphere.SetPhiResolution(60)
    sphere.Update()
    segment = slicer.vtkSegment()
    segment.SetName("Sphere")
    segment.AddRepresentation("Closed surface", sphere.GetOutput())
    node.GetSegmentation().AddSegment(segment)
    found, _ = segments.read_segments(node)
    volume_ml = float(sitk.GetArrayFromImage(found[0].mask).sum()) * 2 * 3 * 4 / 1000
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 20**3 / 1000, rel=0.05)


def test_tables_keep_types_units_and_edits(scene) -> None:
    node = tables.table_from(
        [
            tables.Column("time", [4.0, 24.0], "h", "after the administration"),
            tables.Column("use", [True, False]),
            tables.Column("label", ["4h", "24h"]),
        ],
        "Time points",
    )
    assert tables.rows_of(node)[1] == {"time": 24.0, "use": False, "label": "24h"}
    assert node.GetColumnUnitLabel("time") == "h"
    # The view shows titles, not A, B, C with the names as a first row.
    assert node.GetUseColumnTitleAsColumnHeader()
    assert [node.GetColumnTitle(name) for name in ("time", "use", "label")] == ["time", "use", "label"]
    # The view writes the unit behind the title, so a unit in the name of the column does not stand in it.
    shown = tables.table_from([tables.Column("time (h)", [4.0], "h")], "Shown")
    assert (shown.GetColumnTitle("time (h)"), shown.GetColumnUnitLabel("time (h)")) == ("time", "h")
    events = []
    node.AddObserver("ModifiedEvent", lambda *_: events.append(1))
    tables.set_cell(node, 1, "use", True)
    tables.set_cell(node, 0, "time", 4)
    assert tables.rows_of(node)[1]["use"] is True
    assert tables.rows_of(node)[0]["time"] == 4.0
    assert events
    with pytest.raises(KeyError, match="no column 'nonsense'"):
        tables.set_cell(node, 0, "nonsense", 1)


@pytest.mark.parametrize(
    ("name", "unit", "header"),
    [("displacement_mean_mm", "mm", "displacement mean (mm)"), ("folded_fraction", "", "folded fraction")],
)
def test_headers_of_the_registration_quality_hold_their_unit(name: str, unit: str, header: str) -> None:
    assert dose_nodes._header(name, unit) == header


def test_chart_reuses_and_removes_its_series(scene) -> None:
    table = tables.table_from([tables.Column("x", [1.0]), tables.Column("y", [2.0])], "T")
    chart = tables.chart_from(
        [tables.Series(name, table, "x", "y") for name in "AB"], "Chart", "time (h)", "activity (MBq)"
    )
    assert chart.GetNumberOfPlotSeriesNodes() == 2
    added = []
    scene.AddObserver(scene.NodeAddedEvent, lambda *_: added.append(1))
    for name in "CDB":
        tables.chart_from([tables.Series(name, table, "x", "y", marker=True)], "Chart", "h", "MBq", chart)
        assert chart.GetNthPlotSeriesNode(0).GetName() == name
    assert not added
    assert chart.GetNumberOfPlotSeriesNodes() == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 1


def test_one_folder_per_case(scene) -> None:
    tree = hierarchy.subject_hierarchy()
    folder = hierarchy.case_folder("Cycle 1", "case-a")
    assert hierarchy.case_folder("Cycle 1 renamed", "case-a") == folder
    assert hierarchy.case_folder("Cycle 2", "case-b") != folder
    node = images.volume_from(image(), "SPECT", "spect_bq_ml")
    hierarchy.put(node, folder, "Images")
    hierarchy.put(node, folder, "Images")
    parent = tree.GetItemParent(tree.GetItemByDataNode(node))
    assert tree.GetItemName(parent) == "Images"
    assert tree.GetItemParent(parent) == folder


@pytest.mark.parametrize("origin", [0.0, 0.005, 12.345, -3.5, -189.0, 0.025, 1e-12])
def test_a_fingerprint_does_not_depend_on_rounding(scene, origin: float) -> None:
    """Text files keep some 15 digits: a place comes back a little beside where it was."""
    node = segments.new_segmentation("VOIs")
    found = set()
    for shift in (-1e-7, 0.0, 1e-7):
        label = mask()
        label.SetOrigin((origin + shift, origin - shift, origin))
        segment_id = segments.set_segment(node, "A", label)
        found.add(segments.read_segment(node, segment_id).digest)
    assert len(found) == 1


def test_segments_that_share_a_labelmap_are_told_apart(scene) -> None:
    """A saved segmentation comes back with one labelmap of several labels."""
    node = segments.new_segmentation("VOIs")
    places = {"A": ((2, 2, 2), (6, 8, 9)), "B": ((7, 2, 2), (12, 20, 9)), "C": ((2, 9, 12), (6, 20, 30))}
    for name, (low, high) in places.items():
        segments.set_segment(node, name, mask(low, high))
    before = {segment.name: segment.digest for segment in segments.read_segments(node)[0]}
    node.GetSegmentation().CollapseBinaryLabelmaps(True)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    found = segments.read_segments(node)[0]
    assert {segment.name: segment.digest for segment in found} == before
    for segment in found:
        assert same(segment.mask, mask(*places[segment.name])), segment.name
    segments.set_segment(node, "B", mask((7, 2, 2), (12, 20, 10)))
    after = {segment.name: segment.digest for segment in segments.read_segments(node)[0]}
    assert [name for name in before if before[name] != after[name]] == ["B"]


def test_a_saved_scene_comes_back(scene, tmp_path: Path) -> None:
    volume = images.volume_from(image(), "SPECT", "spect_bq_ml")
    sequence = sequences.time_series("Series", [volume], [24.0])
    nodes = transforms.transform_nodes(composite(), "T")
    node = segments.new_segmentation("VOIs")
    segments.set_segment(node, "A", mask(), kind="lesion", origin="drawn")
    digest = segments.read_segments(node)[0][0].digest
    table = tables.table_from([tables.Column("use", [True, False]), tables.Column("t", [1.0, 2.0])], "T")
    stored = (volume, sequence, *nodes, node, table)
    folder = tmp_path / "scene"
    folder.mkdir()
    assert scene.WriteToMRB(str(tmp_path / "case.mrb"))
    for item in stored:
        scene.RemoveNode(item)
    scene.Clear(True)
    scene.SetURL(str(tmp_path / "case.mrb"))
    assert scene.ReadFromMRB(str(tmp_path / "case.mrb"), True)
    back = scene.GetFirstNodeByName("SPECT")
    assert same(image(), images.image_of(back))
    assert codes.quantity_of(back).name == "spect_bq_ml"
    assert sequences.times_h(scene.GetFirstNodeByName("Series")) == [24.0]
    segment = segments.read_segments(scene.GetFirstNodeByName("VOIs"))[0][0]
    assert (segment.digest, segment.kind, segment.origin) == (digest, "lesion", "drawn")
    grids = [scene.GetFirstNodeByName("T deformable"), scene.GetNodesByClass("vtkMRMLLinearTransformNode")]
    rigid = grids[1].GetItemAsObject(0)
    restored = transforms.transform_of([grids[0], rigid])
    expected = composite().TransformPoint((2.0, 3.0, 4.0))
    assert restored.TransformPoint((2.0, 3.0, 4.0)) == pytest.approx(expected, abs=1e-4)
    rows = tables.rows_of(scene.GetNodesByClass("vtkMRMLTableNode").GetItemAsObject(0))
    assert [bool(int(row["use"])) for row in rows] == [True, False]


def test_a_volume_that_is_stopped_on_the_way_leaves_nothing(scene) -> None:
    """Large enough that copying the voxels takes more than one step."""
    image = sitk.Image([300, 300, 200], sitk.sitkFloat32)
    before = scene.GetNumberOfNodes()
    steps = images.showing(image, "SPECT")
    next(steps)
    steps.close()
    assert scene.GetNumberOfNodes() == before
    hidden = images.volume_from(image, "weights", hidden=True)
    assert hidden.GetHideFromEditors()
    assert hidden.GetDisplayNode() is None


def test_a_removed_volume_takes_its_display_with_it(scene) -> None:
    case = Case.create("Cycle")
    before = scene.GetNumberOfNodes()
    case.set("tia", images.volume_from(sitk.Image([4, 4, 4], sitk.sitkFloat32), "TIA"))
    assert scene.GetNumberOfNodes() > before + 1
    displays = scene.GetNumberOfNodesByClass("vtkMRMLVolumeDisplayNode")
    case.remove("tia")
    assert scene.GetNumberOfNodesByClass("vtkMRMLVolumeDisplayNode") == displays - 1
    assert scene.GetFirstNodeByName("TIA") is None
