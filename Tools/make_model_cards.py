"""Measure the shipped segmentation networks and write their cards.

Usage: ``python Tools/make_model_cards.py [--patients N] [FOLDER ...]``; without folders, those of
``Resources/Models``.  Patients have seeds that are never trained on; real images are measured where the
reference data are there.  Run again after every training.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "TheranosticDose"), str(ROOT / "DoseSegmentation")]


def main() -> int:
    """Measure and write."""
    from DoseSegmentationLib.card import model_card
    from DoseSegmentationLib.networks import CARD, read_description
    from TheranosticDoseLib.phantom import virtual_patient
    from TheranosticDoseLib.segmentation_samples import random_settings
    from TheranosticDoseLib.validation.segmentation import FIRST_HELD_OUT
    from TheranosticDoseLib.validation.segmentation_networks import card_tables

    models = ROOT / "Resources" / "Models"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folders", nargs="*", type=Path, default=[models / "organs_ct", models / "lesions_spect_ct"]
    )
    parser.add_argument("--patients", type=int, default=20)
    arguments = parser.parse_args()
    patients = []
    for seed in range(FIRST_HELD_OUT, FIRST_HELD_OUT + arguments.patients):
        settings = dataclasses.replace(random_settings(seed), ct_size=(192, 192), ct_slice_mm=3.0)
        patients.append(virtual_patient(seed, settings))
        sys.stderr.write(f"patient {seed}\n")
    for folder in arguments.folders:
        description = read_description(folder)
        lines = card_tables(description.task, patients, f"network:{folder}")
        source = str(description.training.get("source", ""))
        part = folder / f".part-{CARD}"
        part.write_text(model_card(description, None, source, lines), encoding="utf-8")
        os.replace(part, folder / CARD)
        sys.stderr.write("\n".join([str(folder / CARD), *lines, ""]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
