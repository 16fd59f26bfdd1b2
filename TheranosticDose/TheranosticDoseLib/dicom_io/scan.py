"""Find the DICOM objects below a folder and sort them into series.

Only headers are read here: large elements are skipped and remembered by their
place in the file, so that the pixels are read once, later.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.progress import Progress, report

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LARGE = 4096
OBJECTS = "Objects"
_SKIPPED_SUFFIXES = {".json", ".md", ".txt", ".csv", ".png", ".jpg", ".html", ".xml", ".pdf", ".zip", ".py"}
_SOP_PREFIX = "1.2.840.10008.5.1.4.1.1."
KINDS = {
    "2": "CT",
    "2.1": "CT",
    "20": "NM",
    "128": "PT",
    "130": "PT",
    "481.2": "RTDOSE",
    "481.3": "RTSTRUCT",
    "66.4": "SEG",
    "66.7": "SEG",
    "66.1": "REG",
    "66.3": "REG",
    "30": "PM",
    "88.68": "RRDSR",
}


@dataclasses.dataclass(frozen=True)
class Header:
    """One DICOM file: its path, the name to show, and its header."""

    path: Path
    name: str
    dataset: Dataset

    def get(self, keyword: str, default: Any = None) -> Any:
        """Return a value of the header; a value that cannot be decoded counts as absent."""
        return value_of(self.dataset, keyword, default)


@dataclasses.dataclass(frozen=True)
class Series:
    """Files of one series of one kind, in no special order."""

    kind: str
    uid: str
    headers: tuple[Header, ...]

    @property
    def first(self) -> Header:
        """The first file; what all files share is read from it."""
        return self.headers[0]

    def get(self, keyword: str, default: Any = None) -> Any:
        """Return a value of the first file that has one."""
        for header in self.headers[:1] + self.headers[-1:]:
            value = header.get(keyword)
            if value is not None:
                return value
        return default

    @functools.cached_property
    def start(self) -> Any:
        """The :class:`clock.Moment` when the acquisition started, or ``None``."""
        from TheranosticDoseLib.dicom_io.clock import start_of_series

        return start_of_series(self)

    @property
    def title(self) -> str:
        """Words that a user knows the series by."""
        text = str(self.get("SeriesDescription", "") or "").strip() or "without description"
        return f"{self.kind} series {self.get('SeriesNumber', '')} {text!r}".replace("  ", " ")

    def tag(self, keyword: str) -> str:
        """Return "file (gggg,eeee) Keyword" for a message."""
        return f"{self.first.name} {tag_name(keyword)}"


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence the warnings of pydicom; what is wrong with a file is told in our words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def tag_name(keyword: str) -> str:
    """Return "(gggg,eeee) Keyword"."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword) or 0
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword}"


def value_of(dataset: Dataset | None, keyword: str, default: Any = None) -> Any:
    """Return a value, ``default`` where it is absent, empty or cannot be decoded."""
    if dataset is None:
        return default
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom raises many kinds for a corrupt element; it counts as absent
        return default
    if value is None or (isinstance(value, (str, bytes)) and not str(value).strip()):
        return default
    if hasattr(value, "__len__") and len(value) == 0:
        return default
    return value


def number_of(dataset: Dataset | None, keyword: str) -> float | None:
    """Return a finite number, ``None`` where there is none."""
    value = value_of(dataset, keyword)
    try:
        number = float(value[0] if isinstance(value, (list, tuple)) or hasattr(value, "append") else value)
    except (TypeError, ValueError, IndexError):
        return None
    return number if abs(number) < float("inf") else None


def numbers_of(dataset: Dataset | None, keyword: str, count: int) -> list[float] | None:
    """Return exactly ``count`` finite numbers, ``None`` where there are none."""
    value = value_of(dataset, keyword)
    try:
        numbers = [float(item) for item in value]
    except (TypeError, ValueError):
        return None
    if len(numbers) != count or not all(abs(number) < float("inf") for number in numbers):
        return None
    return numbers


def items_of(dataset: Dataset | None, keyword: str) -> list[Any]:
    """Return the items of a sequence, an empty list where there is none."""
    value = value_of(dataset, keyword)
    items = list(value) if value is not None and hasattr(value, "__iter__") else []
    return [item for item in items if hasattr(item, "get_item")]


def item_of(dataset: Dataset | None, keyword: str) -> Any:
    """Return the first item of a sequence, ``None`` where there is none."""
    items = items_of(dataset, keyword)
    return items[0] if items else None


def find_objects(
    path: Path, journal: Journal, progress: Progress | None = None, patient_id: str | None = None
) -> list[Series]:
    """Return the series below ``path``, each file once.

    Raises
    ------
    InputError
        If the folder does not exist, is empty, holds no DICOM, or mixes patients.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.")
    root = path if path.is_dir() else path.parent
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    files = [p for p in files if not p.name.startswith(".") and p.name != "DICOMDIR"]
    if not files:
        raise InputError(f"{path}: the folder is empty; give the folder that holds the DICOM files.")
    headers = []
    for index, file in enumerate(files):
        if index % 50 == 0:
            report(progress, index / len(files), f"Reading headers ({index} of {len(files)})")
        header = _read_header(file, str(file.relative_to(root)), journal)
        if header is not None:
            headers.append(header)
    if not headers:
        raise InputError(f"{path}: no DICOM file among {len(files)} files; give the folder of one patient.")
    headers = _one_patient(headers, journal, patient_id)
    return _group(_without_copies(headers, journal))


def _read_header(path: Path, name: str, journal: Journal) -> Header | None:
    """Return the header of a DICOM file, ``None`` where it is not one."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    if path.suffix.lower() in _SKIPPED_SUFFIXES:
        return None
    try:
        dataset = pydicom.dcmread(path, defer_size=LARGE)
    except InvalidDicomError:
        dataset = _read_without_preamble(path)
    except Exception as error:  # noqa: BLE001 - a damaged file is reported, whatever it breaks in the parser
        text = f"{name}: cannot be read as DICOM ({type(error).__name__}); copy the file again."
        journal.find("warning", "files", text, source=name, section=OBJECTS, item=name, status="unusable")
        return None
    if dataset is None or len(dataset) == 0:
        if path.suffix.lower() in (".dcm", ".ima", ".dicom"):
            text = f"{name}: is not a DICOM file although its name says so; it was left out."
            journal.find("warning", "files", text, source=name, section=OBJECTS, item=name, status="unusable")
        return None
    return Header(path, name, dataset)


def _read_without_preamble(path: Path) -> Dataset | None:
    """Return a dataset that was stored without the 128-byte preamble, if it is one."""
    import pydicom

    try:
        dataset = pydicom.dcmread(path, defer_size=LARGE, force=True)
        return dataset if str(dataset.get("SOPClassUID", "")).startswith("1.2.840.10008.") else None
    except Exception:  # noqa: BLE001 - anything at all may stand in a file that is not DICOM
        return None


def _one_patient(headers: list[Header], journal: Journal, wanted: str | None) -> list[Header]:
    """Return the headers of one patient; the error names all where there are several."""
    groups: dict[str, list[Header]] = {}
    for header in headers:
        name = str(header.get("PatientID") or header.get("PatientName") or "").strip()
        groups.setdefault(name, []).append(header)
    if wanted is not None:
        if wanted not in groups:
            known = ", ".join(repr(name) for name in sorted(groups))
            raise InputError(f"No file of patient {wanted!r}; the folder holds {known}.")
        return groups[wanted]
    named = {name: group for name, group in groups.items() if name}
    if len(named) > 1:
        text = " and ".join(
            f"{name!r} ({len(group)} files, e.g. {group[0].name})" for name, group in sorted(named.items())
        )
        error = InputError(
            f"Files of {len(named)} patients are mixed, (0010,0020) PatientID: {text}; "
            "give the folder of one patient, or set patient_id."
        )
        journal.fail(error, "Patient", "PatientID", "set patient_id or separate the folders")
        return headers
    if "" in groups:
        journal.find(
            "warning",
            "patient_id",
            f"{len(groups[''])} files carry no patient ID or name; they are taken as one patient.",
            source=f"{groups[''][0].name} {tag_name('PatientID')}",
            remedy="Check that the folder holds one patient only.",
            section="Patient",
            item="PatientID",
        )
    return headers


def _without_copies(headers: list[Header], journal: Journal) -> list[Header]:
    """Drop second copies of the same object; two different objects of one UID are an error."""
    seen: dict[str, Header] = {}
    kept, copies = [], []
    for header in headers:
        uid = str(
            header.get("SOPInstanceUID") or header.dataset.file_meta.get("MediaStorageSOPInstanceUID", "")
        )
        first = seen.setdefault(uid, header) if uid else header
        if first is header:
            kept.append(header)
        elif file_hash(first.path) == file_hash(header.path):
            copies.append(header.name)
        else:
            error = InputError(
                f"{first.name} and {header.name} share the SOP Instance UID {uid} but differ; "
                "remove the one that is not wanted."
            )
            journal.fail(error, OBJECTS, header.name)
    if copies:
        text = f"{len(copies)} files are copies of others and were left out (e.g. {copies[0]})."
        journal.find("info", "files", text, value=len(copies), section=OBJECTS, item="copies")
    return kept


def _group(headers: list[Header]) -> list[Series]:
    """Sort headers into series; what no step can use keeps the kind ``""``."""
    groups: dict[tuple[str, str], list[Header]] = {}
    for header in headers:
        uid = str(header.get("SeriesInstanceUID", "") or header.path.parent)
        groups.setdefault((kind_of(header), uid), []).append(header)
    return [Series(kind, uid, tuple(group)) for (kind, uid), group in groups.items()]


def kind_of(header: Header) -> str:
    """Return one of the values of ``KINDS``, else the modality in brackets."""
    meta = getattr(header.dataset, "file_meta", {})
    uid = str(header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID", ""))
    kind = KINDS.get(uid[len(_SOP_PREFIX) :]) if uid.startswith(_SOP_PREFIX) else None
    modality = str(header.get("Modality", "") or "")
    if kind is None and not header.get("SOPClassUID") and modality in ("CT", "NM", "PT"):
        return modality
    return kind or f"({modality or 'unknown'})"


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
