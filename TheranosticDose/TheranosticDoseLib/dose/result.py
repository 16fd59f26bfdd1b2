"""What a dose engine gives."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclasses.dataclass(frozen=True)
class DoseResult:
    """A dose map with the record of the run.

    Attributes
    ----------
    dose : SimpleITK.Image
        Absorbed dose to the medium of each voxel, Gy, float32.
    uncertainty : SimpleITK.Image or None
        Standard uncertainty (k=1) of ``dose``, Gy, statistical or predicted (``uncertainty_correlated`` in the
        record); ``None`` for an engine without.
    record : dict
        JSON-serialisable: engine, version, seconds, nuclide, settings, HU table, decays,
        energy emitted and absorbed, findings, and what the engine adds.
    """

    dose: sitk.Image
    uncertainty: sitk.Image | None = None
    record: dict[str, Any] = dataclasses.field(default_factory=dict)
