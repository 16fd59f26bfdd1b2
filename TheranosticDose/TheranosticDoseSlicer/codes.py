"""What a volume holds: name, title, quantity and unit codes of every kind of image this extension makes.

The names are machine names and are never translated; quantity and unit are
coded entries as DICOM wants them (PS3.16, UCUM), so that what is exported keeps its meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

KIND_ATTRIBUTE = "TheranosticDose.Kind"
UNIT_ATTRIBUTE = "TheranosticDose.Unit"


@dataclass(frozen=True)
class Quantity:
    """A quantity with its codes ``(value, scheme, meaning)``."""

    name: str
    title: str
    unit: str
    quantity_code: tuple[str, str, str]
    unit_code: tuple[str, str, str]
    description: str


# 99TDOSIM marks codes that DICOM does not have.
QUANTITIES = {
    q.name: q
    for q in (
        Quantity(
            "spect_bq_ml",
            "Activity concentration",
            "Bq/mL",
            ("110821", "DCM", "Nuclear Medicine Tomographic Activity"),
            ("Bq/ml", "UCUM", "Becquerels/milliliter"),
            "SPECT in Bq/mL at the start of its acquisition",
        ),
        Quantity(
            "spect_counts",
            "Counts",
            "counts",
            ("110821", "DCM", "Nuclear Medicine Tomographic Activity"),
            ("{counts}", "UCUM", "Counts"),
            "SPECT in counts of the whole acquisition, not yet calibrated",
        ),
        Quantity(
            "ct_hu",
            "CT",
            "HU",
            ("112031", "DCM", "Attenuation Coefficient"),
            ("[hnsf'U]", "UCUM", "Hounsfield unit"),
            "CT in Hounsfield units",
        ),
        Quantity(
            "tia_mbq_h_ml",
            "Time-integrated activity concentration",
            "MBq h/mL",
            ("tia-concentration", "99TDOSIM", "Time-Integrated Activity Concentration"),
            ("MBq.h/ml", "UCUM", "Megabecquerel hours/milliliter"),
            "Time-integrated activity per volume, from the injection to infinity",
        ),
        Quantity(
            "dose_gy",
            "Absorbed dose",
            "Gy",
            ("128513", "DCM", "Absorbed Dose"),
            ("Gy", "UCUM", "Gray"),
            "Absorbed dose from the injection to infinity",
        ),
        Quantity(
            "dose_u_gy",
            "Uncertainty of the absorbed dose",
            "Gy",
            ("dose-uncertainty", "99TDOSIM", "Statistical Uncertainty of Absorbed Dose"),
            ("Gy", "UCUM", "Gray"),
            "Statistical standard uncertainty (k=1) of the absorbed dose",
        ),
        Quantity(
            "dose_difference_gy",
            "Dose difference",
            "Gy",
            ("dose-difference", "99TDOSIM", "Difference of Absorbed Dose"),
            ("Gy", "UCUM", "Gray"),
            "One engine minus another",
        ),
        Quantity(
            "bed_gy",
            "Biologically effective dose",
            "Gy",
            ("bed", "99TDOSIM", "Biologically Effective Dose"),
            ("Gy", "UCUM", "Gray"),
            "Biologically effective dose with the alpha/beta and repair half-time of the VOI",
        ),
    )
}


def set_quantity(node, name: str) -> None:
    """Write the codes of quantity ``name`` into a volume node."""
    import slicer

    quantity = QUANTITIES[name]
    node.SetVoxelValueQuantity(_entry(slicer, quantity.quantity_code))
    node.SetVoxelValueUnits(_entry(slicer, quantity.unit_code))
    node.SetAttribute(KIND_ATTRIBUTE, name)
    node.SetAttribute(UNIT_ATTRIBUTE, quantity.unit)
    node.SetDescription(quantity.description)


def quantity_of(node) -> Quantity | None:
    """Return what a volume node holds; ``None`` where nothing says so.

    The coded unit counts, so volumes of other modules (a CT from the DICOM browser,
    a PET in Bq/mL) are recognised too.
    """
    name = node.GetAttribute(KIND_ATTRIBUTE)
    if name in QUANTITIES:
        return QUANTITIES[name]
    units = node.GetVoxelValueUnits()
    if units is None:
        return None
    value = units.GetCodeValue()
    by_unit = {"[hnsf'U]": "ct_hu", "Bq/ml": "spect_bq_ml", "{counts}": "spect_counts", "Gy": "dose_gy"}
    return QUANTITIES.get(by_unit.get(value, ""))


def _entry(slicer, code: tuple[str, str, str]):
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(*code)
    return entry
