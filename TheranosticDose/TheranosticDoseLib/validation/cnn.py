"""Network dose against the Monte Carlo, on patients, a real CT and fields that were never trained on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.progress import Progress, part_of, report
from TheranosticDoseLib.validation.dvh import reference_folder
from TheranosticDoseLib.validation.figure import Figure, at_least, at_most, reported

if TYPE_CHECKING:
    from TheranosticDoseLib.commission.engine_cases import Case, Measured

ENGINES = ("cnn", "vsv_density", "vsv", "led")
SEEDS = (950, 951, 952)
"""Virtual patients and fields; none of them is in the record of the training."""
SPACING_MM = 4.8
SURE = 0.003
"""VOIs whose mean the Monte Carlo knows less well are left out of the table of organs."""
QUIET = 0.02
"""The same for D95 and D50, which noise of the voxels widens: median noise of a voxel of the VOI."""
CONCENTRATION = (0.0, 2.0, 6.0, 5.0, 5.0, 20.0, 20.0, 20.0, 0.1)
"""Of the labels of the real CT: liver, spleen, kidneys, three tumours, rest (EGSnrc case, REFERENCES B0)."""
CT_NAMES = {1: "liver", 2: "spleen", 3: "kidney_L", 4: "kidney_R", 5: "T1", 6: "T2", 7: "T3"}


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return the figures of the networks; one that says why where they cannot run."""
    from TheranosticDoseLib.dose import engines

    listed = engines()
    if not listed["cnn"]["available"]:
        return [reported("Network dose", 0, "cases", detail=f"left out: {listed['cnn']['reason']}")]
    seeds = SEEDS[:1] if quick else SEEDS
    groups = {
        "virtual patients": [patient_case(seed)[0] for seed in seeds],
        "real CT": real_ct_cases(),
        "fields of sharp borders": [field_case(seed) for seed in seeds],
    }
    found, measured = [], []
    total = sum(len(cases) for cases in groups.values())
    for name, cases in groups.items():
        some = []
        for case in cases:
            done = len(measured) + len(some)
            part = part_of(progress, 0.7 * done / total, 0.7 * (done + 1) / total)
            some.append(_measured(case, quick, part))
        measured += some
        found += accuracy(name, some) if some else []
    found += calibration(measured, out)
    report(progress, 0.75, "Network dose: speed")
    found += [*speed(quick), *out_of_domain()]
    if listed["cnn_pvc"]["available"]:
        report(progress, 0.85, "De-blurring network")
        found += deblurring(seeds[:1] if quick else (*seeds, 953, 954))
    else:
        found.append(
            reported("De-blurring network", 0, "cases", detail=f"left out: {listed['cnn_pvc']['reason']}")
        )
    return found


def _measured(case: Case, quick: bool, progress: Progress | None) -> Measured:
    from TheranosticDoseLib.commission.engine_cases import measure

    histories = 10_000_000 if quick else 200_000_000
    return measure(case, ENGINES, 0.03 if quick else 0.007, histories, progress=progress)


def patient_case(seed: int, **more: Any) -> tuple[Case, Any]:
    """Return a virtual patient with its true VOIs, and the patient."""
    from TheranosticDoseLib.commission.engine_cases import Case
    from TheranosticDoseLib.dose import Anatomy
    from TheranosticDoseLib.dose.training.samples import patient_settings
    from TheranosticDoseLib.phantom import virtual_patient
    from TheranosticDoseLib.study import Voi

    rng = np.random.default_rng([seed, 51])
    settings = patient_settings(rng, SPACING_MM, **{"spect_size": (96, 72, 76), "top_mm": 60.0, **more})
    patient = virtual_patient(seed, settings)
    tia = patient.tia_mbq_h_ml
    vois = tuple(
        Voi(voi.name, image_like(patient.mask(voi), tia), kind=voi.kind)
        for voi in patient.vois
        if voi.kind != "body"
    )
    return Case(f"virtual patient {seed}", tia, Anatomy(patient.density_g_cm3), vois), patient


def field_case(seed: int) -> Case:
    """Return a random field."""
    from TheranosticDoseLib.commission.engine_cases import Case
    from TheranosticDoseLib.dose import Anatomy
    from TheranosticDoseLib.dose.training.fields import random_field
    from TheranosticDoseLib.dose.training.samples import image_of

    field = random_field(seed)
    density = image_of(field.density, field.spacing_mm)
    return Case(field.name, image_of(field.tia, field.spacing_mm), Anatomy(density))


def real_ct_cases() -> list[Case]:
    """Return the real CT of a 177Lu patient with the activity of the EGSnrc case, where the data are there."""
    from TheranosticDoseLib.commission.engine_cases import Case
    from TheranosticDoseLib.dose import Anatomy
    from TheranosticDoseLib.dose.training.samples import image_of
    from TheranosticDoseLib.study import Voi

    folder = reference_folder("egsnrc")
    if folder is None:
        return []
    with np.load(folder / "patient_geometry.npz") as data:
        density, label = data["rho"], data["label"]
    spacing = (3.9063, 3.9063, 4.4196)
    tia = image_of(np.array(CONCENTRATION)[label], spacing)
    vois = tuple(
        Voi(name, image_like(label == number, tia), kind="lesion" if name[0] == "T" else "organ")
        for number, name in CT_NAMES.items()
    )
    return [Case("real CT", tia, Anatomy(image_of(density, spacing)), vois)]


def accuracy(group: str, measured: list[Measured]) -> list[Figure]:
    """Return voxel errors, borders, VOIs and gamma of a group of cases."""
    reference = f"mc, {', '.join(m.case.name for m in measured)}"
    own = [m.voxels["cnn"]["high"] for m in measured]
    kernel = [m.voxels["vsv_density"]["high"] for m in measured]
    noise = 100 * max(row["noise"] for row in own)
    detail = (
        f"vsv_density {100 * max(row['mean_absolute'] for row in kernel):.2f} %; noise of mc up to {noise:.2f} %, "
        f"which alone makes {0.8 * noise:.2f} %"
    )
    found = [
        at_most(f"{group}, voxels above 10 % of the maximum: mean absolute error, worst case",
                100 * max(row["mean_absolute"] for row in own), 1.5, "%", reference=reference, detail=detail),
    ]  # fmt: skip
    for region, words in (("border", "above 10 %"), ("border_low", "above 1 %")):
        found += _border(group, words, region, measured, reference)
    found += _vois(group, measured, reference)
    gamma = [m.comparison.gamma["cnn"] for m in measured]
    if all("pass_fraction" in one for one in gamma):
        others = ", ".join(
            f"{n} {100 * min(m.comparison.gamma[n]['pass_fraction'] for m in measured):.1f} %"
            for n in ENGINES[1:]
        )
        value = 100 * min(one["pass_fraction"] for one in gamma)
        found.append(
            at_least(
                f"{group}, gamma 2 %/2 mm, worst case", value, 99.0, "%", reference=reference, detail=others
            )
        )
    change = [100 * m.results["cnn"].record["kernel_energy_change"] for m in measured]
    found.append(
        reported(f"{group}, energy of the network dose against vsv_density", max(change, key=abs), "%")
    )
    return found


def _border(group: str, words: str, region: str, measured: list[Measured], reference: str) -> list[Figure]:
    """Return the net errors at tissue borders, the network's over the kernel's."""
    weights = [m.voxels["cnn"][region]["voxels"] for m in measured]
    if not sum(weights):
        return []
    pooled = {
        name: float(
            np.sqrt(np.average([m.voxels[name][region]["net"] ** 2 for m in measured], weights=weights))
        )
        for name in ("cnn", "vsv_density")
    }
    noise = float(np.mean([m.voxels["cnn"][region]["noise"] for m in measured]))
    detail = (
        f"cnn {100 * pooled['cnn']:.2f} %, vsv_density {100 * pooled['vsv_density']:.2f} % (root mean square, noise "
        f"of mc, {100 * noise:.2f} %, taken off), {sum(weights)} voxels"
    )
    name = f"{group}, tissue borders {words} of the maximum: error of cnn"
    if pooled["vsv_density"] < 0.3 * noise:
        detail += ": the kernel is within the noise, there is nothing to halve"
        return [reported(name, 100 * pooled["cnn"], "%", reference=reference, detail=detail)]
    name += " over that of vsv_density"
    return [at_most(name, pooled["cnn"] / pooled["vsv_density"], 0.5, "", reference=reference, detail=detail)]


def _vois(group: str, measured: list[Measured], reference: str) -> list[Figure]:
    """Return the worst mean, D95 and D50 of the VOIs that the Monte Carlo knows well."""
    rows: dict[str, list[tuple[float, str]]] = {"mean dose": [], "D95": [], "D50": []}
    for m in measured:
        for voi, dvhs in m.comparison.dvhs.items():
            own, exact = dvhs["cnn"], dvhs["mc"]
            if exact.mean_gy <= 0 or (exact.u_mean_gy or 0.0) > SURE * exact.mean_gy:
                continue
            pairs = {"mean dose": (own.mean_gy, exact.mean_gy)}
            if _noise_in(m, voi) <= QUIET:
                pairs |= {f"D{p}": (own.d(p), exact.d(p)) for p in (95, 50)}
            for key, (a, b) in pairs.items():
                rows[key].append((100 * abs(a / b - 1), f"{m.case.name}, {voi}"))
    found = []
    for key, limit in (("mean dose", 1.0), ("D95", 1.5), ("D50", 1.5)):
        if rows[key]:
            value, where = max(rows[key])
            median = float(np.median([v for v, _ in rows[key]]))
            detail = f"{where}; median {median:.2f} % of {len(rows[key])} VOIs"
            name = f"{group}, organs and lesions: {key}, worst"
            found.append(at_most(name, value, limit, "%", reference=reference, detail=detail))
    return found


def _noise_in(measured: Measured, name: str) -> float:
    """Return the median noise of the Monte Carlo in the voxels of a VOI."""
    voi = next(voi for voi in measured.case.vois if voi.name == name)
    exact = measured.results["mc"]
    inside = (array_of(voi.weights) >= 0.5) & (array_of(exact.dose) > 0)
    return float(np.median(array_of(exact.uncertainty)[inside] / array_of(exact.dose)[inside]))


def calibration(measured: list[Measured], out: Path) -> list[Figure]:
    """Return how large the errors are against their prediction, and draw it."""
    from TheranosticDoseLib.report.pictures import figure_of, png

    parts = []
    for m in measured:
        own, exact = m.results["cnn"], m.results["mc"]
        dose, truth = array_of(own.dose), array_of(exact.dose)
        noise = array_of(exact.uncertainty)
        here = (dose > 0.01 * dose.max()) & (noise < 0.1 * dose)
        scale = dose[here]
        parts.append(
            np.stack(
                [(scale - truth[here]) / scale, array_of(own.uncertainty)[here] / scale,
                 noise[here] / scale]
            )
        )  # fmt: skip
    error, predicted, noise = np.concatenate(parts, axis=1).astype(np.float64)
    edges = np.quantile(predicted, np.linspace(0, 1, 9))
    number = np.clip(np.digitize(predicted, edges) - 1, 0, 7)
    rows = []
    for index in range(8):
        chosen = number == index
        if chosen.any():
            net2 = np.mean(error[chosen] ** 2) - np.mean(noise[chosen] ** 2)
            rows.append(
                (np.sqrt(np.mean(predicted[chosen] ** 2)), np.sqrt(max(net2, 0.0)), noise[chosen].mean())
            )
    table = 100 * np.array(rows)
    figure, axes = figure_of(1, 5.0, 4.0)
    axis = axes[0, 0]
    axis.loglog(table[:, 0], np.maximum(table[:, 1], 0.05), "o-", label="network")
    axis.loglog([0.05, 50], [0.05, 50], color="0.5", linewidth=0.8, label="as predicted")
    axis.set_xlabel("predicted relative uncertainty, %")
    axis.set_ylabel("error, noise of mc taken off, %")
    axis.legend()
    (out / "cnn_calibration.png").write_bytes(png(figure))
    within = np.abs(error) <= np.hypot(predicted, noise)
    detail = "; ".join(f"predicted {p:.2f} %: {o:.2f} % (noise {n:.1f} %)" for p, o, n in table)
    return [
        reported("Confidence: errors within one predicted standard uncertainty (68 % expected)",
                 100 * float(within.mean()), "%", reference="mc", detail=detail),
    ]  # fmt: skip


def speed(quick: bool = False) -> list[Figure]:
    """Return the time of 128^3 voxels, and the Monte Carlo at 2 % beside it."""
    from TheranosticDoseLib.benchmark import benchmark_body
    from TheranosticDoseLib.dose import Anatomy, absorbed_dose
    from TheranosticDoseLib.dose.training.samples import image_of

    density, _, spacing, source = benchmark_body(128)
    tia, anatomy = image_of(source, spacing), Anatomy(image_of(density, spacing))
    absorbed_dose(tia, anatomy, "cnn")  # kernels and network at hand, as from the second patient on
    walls = []
    for _ in range(3):
        started, cpu = time.perf_counter(), time.process_time()
        absorbed_dose(tia, anatomy, "cnn")
        walls.append((time.perf_counter() - started, time.process_time() - cpu))
    wall, cpu = min(walls)
    result = absorbed_dose(
        tia, anatomy, "mc", histories=10**9, target_relative_uncertainty=0.02, max_seconds=10 if quick else 60
    )
    dose, noise = array_of(result.dose), array_of(result.uncertainty)
    high = dose > 0.5 * dose.max()
    reached = float(np.median(noise[high] / dose[high]))
    seconds = result.record["seconds"] * max((reached / 0.02) ** 2, 1.0)
    detail = (
        f"processor time {cpu:.2f} s; mc to 2 % a voxel {seconds:.0f} s ({100 * reached:.1f} % reached in "
    )
    detail += f"{result.record['seconds']:.0f} s), {seconds / wall:.0f} times as long"
    return [
        at_most("cnn: 128^3 voxels", wall, 3.0, "s", reference="two cores", detail=detail),
        *_gpu_speed(tia, anatomy),
    ]


def _gpu_speed(tia: Any, anatomy: Any) -> list[Figure]:
    """Return the time on a GPU, or that there was none to measure."""
    import torch

    from TheranosticDoseLib.dose import absorbed_dose

    name = "cnn: 128^3 voxels on a GPU"
    if not torch.cuda.is_available():
        return [reported(f"{name} (limit 0.3 s): runs", 0, "", detail="not measured: this machine has none")]
    walls = []
    for _ in range(4):  # the first one warms up
        started = time.perf_counter()
        absorbed_dose(tia, anatomy, "cnn", device="cuda")
        walls.append(time.perf_counter() - started)
    return [at_most(name, min(walls), 0.3, "s", reference=torch.cuda.get_device_name())]


def out_of_domain() -> list[Figure]:
    """Return how many of four foreign cases are flagged or refused."""
    from TheranosticDoseLib.dose import Anatomy, absorbed_dose
    from TheranosticDoseLib.dose.training.samples import image_of

    case, _ = patient_case(SEEDS[0])
    spacing = case.tia.GetSpacing()
    tia, density = np.array(array_of(case.tia)), np.array(array_of(case.anatomy.density))
    metal, hot = density.copy(), tia.copy()
    place = np.unravel_index(int(np.argmax(tia)), tia.shape)
    metal[tuple(slice(p + 3, p + 6) for p in place)] = 4.5
    hot[tuple(slice(max(p - 1, 0), p + 2) for p in place)] *= 100
    attempts: dict[str, dict[str, Any]] = {
        "as it is": {},
        "Y-90": {"nuclide": "Y-90"},
        "metal implant": {"density": metal},
        "1 mm voxels": {"spacing": (1.0, 1.0, 1.0)},
        "lesion 100 times hotter": {"tia": hot},
    }
    said = {}
    for name, change in attempts.items():
        grid = change.get("spacing", spacing)
        anatomy = Anatomy(image_of(change.get("density", density), grid))
        try:
            result = absorbed_dose(
                image_of(change.get("tia", tia), grid), anatomy, "cnn", change.get("nuclide", "Lu-177")
            )
            outside = result.record["confidence"]["out_of_domain"]
            said[name] = f"score {outside['score']:.2f}" if outside["score"] > 1 else ""
        except InputError:
            said[name] = "refused"
    foreign = [name for name in attempts if name != "as it is"]
    detail = "; ".join(f"{name}: {said[name] or 'not flagged'}" for name in attempts)
    return [
        at_least("Out of domain: foreign cases flagged or refused", sum(bool(said[n]) for n in foreign), 4, "",
                 detail=detail),
    ]  # fmt: skip


def deblurring(seeds: tuple[int, ...]) -> list[Figure]:
    """Return the mean doses of kidneys and lesions from a blurred TIA, against those of the true one."""
    from TheranosticDoseLib.dose import absorbed_dose
    from TheranosticDoseLib.dvh import dose_volume_histogram
    from TheranosticDoseLib.phantom.acquisition import spect_of

    errors: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        case, patient = patient_case(seed, spect_noise=True, resolution_mm=(11.0,) * 3)
        scale = float(
            array_of(patient.concentration_bq_ml(24.0)).sum() / array_of(patient.tia_mbq_h_ml).sum()
        )
        rng = np.random.default_rng([seed, 53])
        shown = spect_of(case.tia * scale, case.tia, (11.0,) * 3, patient.settings, rng) / scale
        true = absorbed_dose(case.tia, case.anatomy, "vsv_density")
        doses = {
            "vsv_density": absorbed_dose(shown, case.anatomy, "vsv_density"),
            "cnn_pvc": absorbed_dose(shown, case.anatomy, "cnn_pvc", resolution_mm=11.0),
        }
        for voi in case.vois:
            group = "kidneys" if voi.name.startswith("Kidney") else voi.kind
            volume = float(array_of(voi.weights).sum()) * SPACING_MM**3 * 1e-3
            if group not in ("kidneys", "lesion") or volume < 5:
                continue
            exact = dose_volume_histogram(true.dose, voi.weights).mean_gy
            for name, result in doses.items():
                value = dose_volume_histogram(result.dose, voi.weights).mean_gy / exact - 1
                errors.setdefault(group, {}).setdefault(name, []).append(100 * value)
    found = []
    for group, per in errors.items():
        mean = {name: float(np.mean(np.abs(values))) for name, values in per.items()}
        detail = f"cnn_pvc {mean['cnn_pvc']:.1f} %, vsv_density {mean['vsv_density']:.1f} % (mean absolute), "
        detail += f"{len(per['cnn_pvc'])} VOIs of virtual patients {', '.join(map(str, seeds))}"
        words = "lesions of 5 mL or more" if group == "lesion" else group
        name = f"Blurred TIA, {words}: error of cnn_pvc over that of vsv_density"
        found.append(at_most(name, mean["cnn_pvc"] / mean["vsv_density"], 0.5, "", detail=detail))
    return found
