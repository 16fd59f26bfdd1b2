"""What a run gives, in memory; ``report`` turns it into files."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.comparison import Comparison
    from TheranosticDoseLib.dose import Anatomy, DoseResult
    from TheranosticDoseLib.dvh import Dvh
    from TheranosticDoseLib.findings import Finding
    from TheranosticDoseLib.registration import RegisteredStudy
    from TheranosticDoseLib.study import Study, Voi
    from TheranosticDoseLib.time_activity import CurveFit, VoxelFit
    from TheranosticDoseLib.workflow.settings import RunSettings


@dataclasses.dataclass(frozen=True)
class VoiResult:
    """Everything about one VOI.

    Attributes
    ----------
    voi : Voi
        Its weights on the dose grid.
    volume_ml, mass_g : float
    activity_mbq, u_activity_mbq : tuple of float
        Per time point, recovery-corrected, at the start of each acquisition, with what is not common
        to all time points as uncertainty.  NaN where a scan does not hold the VOI.
    recovery : tuple of float
        What the measured activity was divided by, per time point.
    common_rel_u : float
        Relative uncertainty that all time points share (calibration, recovery), k=1.
    fit : CurveFit or None
        ``None`` where there is no activity to fit.
    dvh : dict
        Engine to :class:`Dvh`.
    bed_gy, eqd2_gy : float or None
        Of the mean dose of the first engine.
    prior : str
        Population prior of its tissue, for methods that need one.
    radiobiology : dict
        The parameters used, with their source.
    uncertainty : dict
        Engine to the budget of the mean dose.
    levels_gy : tuple of float
        Doses whose volume is reported.
    findings : tuple of Finding
        About its points; those of the fit are in ``fit``.
    """

    voi: Voi
    volume_ml: float
    mass_g: float
    activity_mbq: tuple[float, ...]
    u_activity_mbq: tuple[float, ...]
    recovery: tuple[float, ...]
    common_rel_u: float
    fit: CurveFit | None
    prior: str = ""
    dvh: dict[str, Dvh] = dataclasses.field(default_factory=dict)
    bed_gy: float | None = None
    eqd2_gy: float | None = None
    radiobiology: dict[str, Any] = dataclasses.field(default_factory=dict)
    uncertainty: dict[str, Any] = dataclasses.field(default_factory=dict)
    levels_gy: tuple[float, ...] = (10.0, 20.0, 40.0)
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        """The VOI's name."""
        return self.voi.name


@dataclasses.dataclass(frozen=True)
class Results:
    """All that a run found.

    Attributes
    ----------
    study : Study
        Quantified.
    registered : RegisteredStudy
    anatomy : Anatomy
        On the dose grid.
    tia : SimpleITK.Image
        Time-integrated activity, MBq h per mL, on the dose grid.
    voxel_fit : VoxelFit
    vois : tuple of VoiResult
    doses : dict
        Engine to :class:`DoseResult`, in the order asked for.
    comparison : Comparison or None
    findings : tuple of Finding
        Of all steps.
    timings_s : dict
        Step to wall time.
    settings : RunSettings
    finished : dict
        Step to the time (UTC, ISO 8601) at which it was done.
    request : dict
        What the files were loaded with: ``overrides`` and ``voi_files`` (name and SHA-256).
    features : tuple of dict
        Rows of :func:`dosiomics.feature_table`, where the settings ask for them.
    """

    study: Study
    registered: RegisteredStudy
    anatomy: Anatomy
    tia: sitk.Image
    voxel_fit: VoxelFit
    vois: tuple[VoiResult, ...]
    doses: dict[str, DoseResult]
    comparison: Comparison | None
    findings: tuple[Finding, ...]
    timings_s: dict[str, float]
    settings: RunSettings
    finished: dict[str, str] = dataclasses.field(default_factory=dict)
    request: dict[str, Any] = dataclasses.field(default_factory=dict)
    features: tuple[dict[str, Any], ...] = ()

    def voi(self, name: str) -> VoiResult:
        """Return the result of the VOI with this name; ``KeyError`` where there is none."""
        for result in self.vois:
            if result.name == name:
                return result
        raise KeyError(name)
