"""Write all results of a study as DICOM into one folder."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from TheranosticDoseLib.dicom_io.out_common import STAND_IN_CLASS, Place, study_module
from TheranosticDoseLib.dicom_io.out_dose import write_rtdose
from TheranosticDoseLib.dicom_io.out_parametric import write_parametric_map
from TheranosticDoseLib.dicom_io.out_registration import write_spatial_registration
from TheranosticDoseLib.dicom_io.out_report import Measurement, write_sr
from TheranosticDoseLib.dicom_io.out_save import save_result
from TheranosticDoseLib.dicom_io.out_seg import write_seg
from TheranosticDoseLib.files import staged
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.settings import Settings
from TheranosticDoseLib.study import Study, Voi

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclasses.dataclass(frozen=True)
class ExportSettings(Settings):
    """Which objects to write.

    Attributes
    ----------
    rtdose, seg, rtstruct, report, registration, maps : bool
        ``rtdose`` are absorbed dose, its uncertainty and BED; ``maps`` parametric maps of SPECT, TIA and
        uncertainty.
    deidentify : bool
        Apply the basic profile of PS3.15 to every object.
    """

    rtdose: bool = True
    seg: bool = True
    rtstruct: bool = True
    report: bool = True
    registration: bool = True
    maps: bool = True
    deidentify: bool = False


def export_dicom(
    study: Study,
    out: Path,
    *,
    reference: str,
    doses_gy: Mapping[str, sitk.Image] | None = None,
    errors_gy: Mapping[str, sitk.Image] | None = None,
    effective_gy: Mapping[str, sitk.Image] | None = None,
    maps: Mapping[str, sitk.Image] | None = None,
    vois: Sequence[Voi] = (),
    measurements: Mapping[str, Sequence[Measurement]] | None = None,
    transforms: Mapping[str, sitk.Transform] | None = None,
    settings: ExportSettings | None = None,
    now: dt.datetime | None = None,
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Write the results of a study as DICOM; all files appear together, or none.

    Parameters
    ----------
    study : Study
        As ``load_study`` gave it: patient, study, references.
    out : pathlib.Path
        Folder.
    reference : str
        Label of the acquisition whose frame of reference the results are in.
    doses_gy : mapping
        Engine to dose map, Gy.
    errors_gy : mapping
        Engine to standard uncertainty of each voxel, Gy.
    effective_gy : mapping
        What it is (``BED vsv``) to a map of BED or EQD2, Gy.
    maps : mapping
        Quantity (a key of ``out_parametric.QUANTITIES``) to image.
    vois : sequence of Voi
        On one grid.
    measurements : mapping
        VOI name to numbers.
    transforms : mapping
        Label of the moving acquisition to the transform from reference to moving points.
    settings : ExportSettings, optional
    now : datetime.datetime, optional
        Time of creation; the same one gives the same files.
    progress : callable, optional

    Returns
    -------
    dict
        Name of the result to its file.

    Raises
    ------
    TheranosticDoseError
        If a result cannot be written; nothing is left behind.
    """
    settings = settings or ExportSettings()
    place = Place(study, reference, now=now or dt.datetime.now().replace(microsecond=0))
    doses = (doses_gy or {}, errors_gy or {}, effective_gy or {}) if settings.rtdose else ({}, {}, {})
    jobs = _dose_jobs(place, *doses, settings.deidentify)
    jobs |= _jobs(place, maps or {}, vois, measurements or {}, transforms or {}, settings)
    written = {}
    with staged(Path(out)) as folder:
        for index, (name, write) in enumerate(jobs.items()):
            report(progress, index / len(jobs), f"Writing {name}")
            written[name] = Path(out) / write(folder / f"{name}.dcm").name
    report(progress, 1.0, "Exported")
    return written


def _dose_jobs(place: Place, doses_gy, errors_gy, effective_gy, hidden: bool) -> dict:
    """Return the writers of RTDOSE objects by file name; each takes its path."""
    listed = [(engine, f"Absorbed dose ({engine})", "PHYSICAL", image) for engine, image in doses_gy.items()]
    listed += [
        (f"u_{engine}", f"Standard uncertainty ({engine})", "ERROR", image)
        for engine, image in errors_gy.items()
    ]
    listed += [
        (name.replace(" ", "_"), f"{name} (model)", "EFFECTIVE", i) for name, i in effective_gy.items()
    ]
    return {
        f"RTDOSE_{name}": functools.partial(
            _write_dose, image, place, text, kind, number=9001 + number, hidden=hidden
        )
        for number, (name, text, kind, image) in enumerate(listed)
    }


def _write_dose(image, place: Place, text: str, kind: str, path: Path, *, number: int, hidden: bool) -> Path:
    return write_rtdose(
        image, path, place, description=text, dose_type=kind, number=number, deidentify=hidden
    )


def _jobs(place: Place, maps, vois, measurements, transforms, settings: ExportSettings) -> dict:
    """Return the other writers by file name; each takes its path."""
    jobs = {}
    hidden = settings.deidentify
    for number, (quantity, image) in enumerate(maps.items() if settings.maps else ()):
        jobs[f"PM_{quantity}"] = lambda path, image=image, quantity=quantity, number=number: (
            write_parametric_map(image, path, place, quantity, number=9101 + number, deidentify=hidden)
        )
    if vois and settings.seg:
        jobs["SEG"] = lambda path: write_seg(
            vois, vois[0].weights, path, place, number=9201, deidentify=hidden
        )
    if vois and settings.rtstruct:
        jobs["RTSTRUCT"] = lambda path: _write_structures(vois, path, place, hidden)
    if vois and measurements and settings.report:
        jobs["SR"] = lambda path: write_sr(
            dict(measurements),
            vois,
            vois[0].weights,
            path,
            place,
            segmentation=path.with_name("SEG.dcm") if settings.seg else None,
            number=9301,
            deidentify=hidden,
        )
    grid = place.study.acquisition(place.label).spect
    for number, (label, transform) in enumerate(transforms.items() if settings.registration else ()):
        moving = Place(place.study, label, now=place.now)
        # A label may be words of the site; a file name is not cleaned.
        name = f"REG_{number + 1}" if hidden else f"REG_{label}"
        jobs[name] = lambda path, t=transform, moving=moving, number=number: write_spatial_registration(
            t, path, place, moving, grid=grid, number=9401 + number, deidentify=hidden
        )
    return jobs


def _write_structures(vois: Sequence[Voi], path: Path, place: Place, deidentify: bool) -> Path:
    """Write the VOIs as RTSTRUCT on the source images, with the patient and study of the input."""
    import pydicom

    from TheranosticDoseLib.dicom_io.write_common import SeriesTags
    from TheranosticDoseLib.dicom_io.write_rtstruct import ReferencedSeries, write_rtstruct

    references = place.references
    grid = place.study.acquisition(place.label).spect
    series = ReferencedSeries(
        references["study"],
        references["series"],
        references["frame_of_reference"],
        references["sop_class"] or STAND_IN_CLASS,
        tuple(references["instances"] or [place.uid("instance", place.label, place.kind)]),
    )
    root = (place.uid("rtstruct", *(f"{voi.name}" for voi in vois)),)
    tags = SeriesTags(root, "", "", "", "", 9251, "Volumes of interest", place.now)
    write_rtstruct(vois, grid, series, path, tags, leave_out_empty=True)
    dataset = pydicom.dcmread(path)
    for keyword, value in study_module(place).items():
        setattr(dataset, keyword, value)
    return save_result(dataset, path, deidentify)
