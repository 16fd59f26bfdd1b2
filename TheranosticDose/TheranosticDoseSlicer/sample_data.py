"""Sample data: the virtual patient, made on this computer, and the page of a public dataset."""

from __future__ import annotations

from pathlib import Path

CATEGORY = "Theranostic Dosimetry"
PUBLIC_DATASET = "https://doi.org/10.7302/0n8e-rz46"
# The name of the picture, and what the user reads below it.
SOURCES = (
    {"name": "VirtualPatient", "sampleName": "Virtual patient, made here"},
    {"name": "Lu177DotatatePatients", "sampleName": "177Lu-DOTATATE patients (web page)"},
)


def register(icons: Path) -> None:
    """Add the sources to the Sample Data module."""
    import SampleData

    for source, function in zip(SOURCES, (load_virtual_patient, open_public_dataset), strict=True):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=source["sampleName"],
            # Never fetched, as there is a downloader; but the module asks every source for one.
            uris=PUBLIC_DATASET,
            thumbnailFileName=str(icons / f"{source['name']}.png"),
            customDownloader=function,
        )


def load_virtual_patient(_source=None):
    """Make the virtual patient in the panel, with its progress and Cancel: it takes a while."""
    import slicer

    slicer.util.selectModule("TheranosticDose")
    slicer.modules.theranosticdose.widgetRepresentation().self().tryVirtualPatient()
    return []


def open_public_dataset(_source=None):
    """Open the page of the public dataset; nothing is downloaded."""
    import webbrowser

    webbrowser.open(PUBLIC_DATASET)
    return []
