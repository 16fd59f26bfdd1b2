"""What kind of virtual patient is made."""

from __future__ import annotations

from dataclasses import dataclass

from TheranosticDoseLib.settings import Settings


@dataclass(frozen=True)
class PhantomSettings(Settings):
    """Settings of a virtual patient; the defaults are one SPECT/CT of a 177Lu-DOTATATE therapy.

    Attributes
    ----------
    radiopharmaceutical : str
        Name of a table in ``Resources/Kinetics``: ``lu177_dotatate`` or ``lu177_psma``.
    activity_mbq : float
        Administered activity, MBq.
    time_h : tuple of float
        Start of each scan after the administration, h.
    reference : int
        Index of the time point whose posture is the reference; all truth is on it.
    spect_size : tuple of int
        SPECT matrix ``(x, y, z)``.
    spect_spacing_mm : float
        SPECT voxel, mm, isotropic.
    refinement : int
        The truth grid has voxels ``refinement`` times smaller than the SPECT's.
    top_mm : float
        Upper end of the field of view above the dome of the diaphragm, mm.
    ct : bool
        Make the CTs.
    ct_size : tuple of int
        In-plane matrix of the CT.
    ct_field_mm : float
        In-plane field of view of the CT, mm.
    ct_slice_mm : float
        Slice spacing of the CT, mm.
    ct_noise_hu : float
        Standard deviation of the CT noise in soft tissue at the centre, HU; 0 for none.
    table : bool
        A patient table in the CT.
    resolution_mm : tuple of float or None
        Full width at half maximum of the SPECT ``(x, y, z)``, mm; ``None`` draws 10 to 12 mm.
    counts : str
        Unit of the SPECT: ``BQML`` or ``CNTS``.
    camera_factor_cps_per_mbq : float
        Sensitivity of both heads together in the 208 keV window, counts/s per MBq.
    duration_s : float
        Duration of one SPECT, s.
    spect_noise : bool
        Poisson noise of the SPECT.
    noise_amplification : float
        Variance of a reconstructed voxel before its correlation over the Poisson variance of the
        counts that were emitted from it.
    noise_correlation_mm : float
        Full width at half maximum of the correlation of the noise, mm; part of the resolution.
    breathing_mm : float
        Largest shift of the dome of the diaphragm between time points, mm; 0 for none.
    rotation_deg : float
        Largest rotation of the body between time points, degrees.
    translation_mm : float
        Largest shift of the body between time points, mm.
    bladder_filling : bool
        The bladder has another filling at each time point.
    liver_lesions, node_lesions, bone_lesions : tuple of int
        Smallest and largest number of lesions.
    lesion_volume_ml : tuple of float
        Smallest and largest volume of a lesion, mL (bone and node lesions stop at what fits).
    heterogeneity : float
        Relative standard deviation of the concentration within an organ or lesion.
    truth_engine : str
        Dose engine of the truth, or ``none``.  Where it is not installed the next of Monte Carlo,
        voxel S values and local deposition stands in; the truth names the one that was used.
    truth_histories : int
        Decays that the Monte Carlo engine follows for the truth.
    """

    radiopharmaceutical: str = "lu177_dotatate"
    activity_mbq: float = 7400.0
    time_h: tuple[float, ...] = (4.0, 24.0, 96.0, 168.0)
    reference: int = 1
    spect_size: tuple[int, int, int] = (128, 128, 96)
    spect_spacing_mm: float = 4.8
    refinement: int = 2
    top_mm: float = 40.0
    ct: bool = True
    ct_size: tuple[int, int] = (256, 256)
    ct_field_mm: float = 500.0
    ct_slice_mm: float = 3.0
    ct_noise_hu: float = 18.0
    table: bool = True
    resolution_mm: tuple[float, float, float] | None = None
    counts: str = "BQML"
    camera_factor_cps_per_mbq: float = 9.5
    duration_s: float = 1800.0
    spect_noise: bool = True
    noise_amplification: float = 60.0
    noise_correlation_mm: float = 8.0
    breathing_mm: float = 12.0
    rotation_deg: float = 2.5
    translation_mm: float = 8.0
    bladder_filling: bool = True
    liver_lesions: tuple[int, int] = (1, 3)
    node_lesions: tuple[int, int] = (1, 2)
    bone_lesions: tuple[int, int] = (1, 2)
    lesion_volume_ml: tuple[float, float] = (2.0, 100.0)
    heterogeneity: float = 0.0
    truth_engine: str = "mc"
    truth_histories: int = 4_000_000

    def validate(self) -> None:
        """Raise :class:`SettingsError` where a value is out of range."""
        self.require(self.activity_mbq > 0, "activity_mbq", "more than 0 MBq")
        times = self.time_h
        increasing = all(a < b for a, b in zip(times, times[1:], strict=False))
        self.require(len(times) > 0 and times[0] > 0 and increasing, "time_h", "increasing times after 0 h")
        self.require(0 <= self.reference < len(times), "reference", "the index of a time point")
        self.require(min(self.spect_size) >= 8, "spect_size", "at least 8 voxels a side")
        self.require(2.0 <= self.spect_spacing_mm <= 10.0, "spect_spacing_mm", "2 to 10 mm")
        self.require(1 <= self.refinement <= 4, "refinement", "1 to 4")
        self.require(self.counts in ("BQML", "CNTS"), "counts", "BQML or CNTS")
        self.require(0 <= self.breathing_mm <= 25, "breathing_mm", "0 to 25 mm")
        self.require(0 <= self.rotation_deg <= 5, "rotation_deg", "0 to 5 degrees")
        self.require(0 <= self.translation_mm <= 20, "translation_mm", "0 to 20 mm")
        self.require(0 <= self.heterogeneity <= 0.5, "heterogeneity", "0 to 0.5")
        self.require(
            self.noise_amplification > 0 and self.duration_s > 0 and self.camera_factor_cps_per_mbq > 0,
            "noise_amplification",
            "positive, as duration_s and camera_factor_cps_per_mbq",
        )
        engines = ("none", "mc", "vsv_density", "vsv", "led", "gate")
        self.require(self.truth_engine in engines, "truth_engine", f"one of {', '.join(engines)}")
        self.require(self.truth_histories >= 1000, "truth_histories", "at least 1000 decays")
        low, high = self.lesion_volume_ml
        self.require(0.2 <= low <= high <= 300, "lesion_volume_ml", "0.2 to 300 mL")
        if self.resolution_mm is not None:
            smallest = min(self.resolution_mm)
            self.require(smallest > self.noise_correlation_mm, "resolution_mm", "above noise_correlation_mm")
