"""Run by a Python of its own: ``python child.py FOLDER``; builds the simulation of FOLDER/simulation.json.

Stands alone: it imports nothing of this package, and it is the only file that imports opengate.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def build(folder: Path):
    """Return the opengate simulation of a folder; nothing runs yet."""
    import opengate as gate

    wanted = json.loads((folder / "simulation.json").read_text(encoding="utf-8"))
    units = gate.g4_units
    simulation = gate.Simulation()
    simulation.number_of_threads = wanted["threads"]
    simulation.random_seed = wanted["seed"]
    simulation.visu = False
    simulation.progress_bar = False
    simulation.output_dir = str(folder)
    size_mm = [n * s for n, s in zip(wanted["size"], wanted["spacing_mm"])]  # noqa: B905
    simulation.world.size = [(s + 20) * units.mm for s in size_mm]
    simulation.world.material = "G4_Galactic"
    for material in wanted["materials"]:
        simulation.volume_manager.material_database.add_material_weights(
            material["name"],
            material["elements"],
            material["weights"],
            material["density_g_cm3"] * units.g_cm3,
        )
    patient = simulation.add_volume("Image", "patient")
    patient.image = str(folder / "labels.mhd")
    patient.material = wanted["materials"][0]["name"]
    patient.voxel_materials = [
        [number - 0.5, number + 0.5, material["name"]] for number, material in enumerate(wanted["materials"])
    ]
    physics = simulation.physics_manager
    physics.physics_list_name = wanted["physics"]
    for volume in ("world", "patient"):
        physics.set_production_cut(volume, "all", wanted["cut_mm"] * units.mm)
    physics.set_max_step_size("patient", wanted["max_step_mm"] * units.mm)
    physics.user_limits_particles = ["electron", "positron"]
    for number, entry in enumerate(wanted["sources"]):
        source = simulation.add_source("VoxelSource", f"source_{number}")
        source.attached_to = "patient"
        source.image = str(folder / "activity.mhd")
        source.particle = entry["particle"]
        source.direction.type = "iso"
        source.energy.type = "spectrum_discrete"
        source.energy.spectrum_energies = [e * units.keV for e in entry["energies_kev"]]
        source.energy.spectrum_weights = entry["weights"]
        source.n = entry["primaries_per_thread"]
    actor = simulation.add_actor("DoseActor", "dose")
    actor.attached_to = "patient"
    actor.size = wanted["size"]
    actor.spacing = [s * units.mm for s in wanted["spacing_mm"]]
    actor.hit_type = wanted["hit_type"]
    actor.output_filename = "dose.mhd"
    actor.edep.active = True
    actor.edep_uncertainty.active = True
    return simulation


def main() -> int:
    """Build and run."""
    folder = Path(sys.argv[1])
    simulation = build(folder)
    simulation.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
