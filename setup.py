"""Packages of the wheel; the tree is laid out as a Slicer extension, the wheel takes its packages from there."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages("TheranosticDose", include=["TheranosticDoseLib*"]),
        *find_packages("DoseSegmentation", include=["DoseSegmentationLib*"]),
        "TheranosticDosimetryResources",
    ],
    package_dir={
        "TheranosticDoseLib": "TheranosticDose/TheranosticDoseLib",
        "DoseSegmentationLib": "DoseSegmentation/DoseSegmentationLib",
        "TheranosticDosimetryResources": "Resources",
    },
    package_data={"TheranosticDosimetryResources": ["**/*"]},
)
