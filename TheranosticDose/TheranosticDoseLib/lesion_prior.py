"""The prior of a diagnostic PET for the lesion network: checked, registered, on the grid that is segmented."""

from __future__ import annotations

from typing import TYPE_CHECKING

from TheranosticDoseLib.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk


def refused(pet: object | None, pet_ct: object | None, ct: object | None) -> str:
    """Return why these images make no prior, as a sentence; empty where they do, or where there are none."""
    if pet_ct is not None and pet is None:
        return "The CT of a diagnostic PET was given without the PET itself; give both, or none."
    if pet_ct is not None and ct is None:
        return "The CT of the PET registers it to the CT that is segmented; give that too."
    return ""


def prior_of_pet(
    pet: sitk.Image, pet_ct: sitk.Image | None, ct: sitk.Image | None, spect: sitk.Image | None
) -> tuple[sitk.Image, list[str]]:
    """Return the prior of ``DoseSegmentationLib.lesion_prior.pet_probability`` and what is to be said about it.

    Parameters
    ----------
    pet : SimpleITK.Image
    pet_ct : SimpleITK.Image or None
        Its CT, by which it is registered to ``ct``; without it PET and scan share their coordinates.
    ct, spect : SimpleITK.Image or None
        What is segmented; the prior is on the grid of the CT where there is one.

    Raises
    ------
    InputError
        Where the images do not go together.
    SegmentationError
        As ``pet_probability``.
    """
    from DoseSegmentationLib.lesion_prior import pet_probability

    from TheranosticDoseLib.registration import transform_between

    reason = refused(pet, pet_ct, ct)
    grid = spect if ct is None else ct
    if reason or grid is None:
        raise InputError(reason or "A PET is a prior for the lesions of a CT or SPECT; give one of them.")
    transform, messages = None, []
    if pet_ct is not None:
        transform, findings = transform_between(grid, pet_ct)
        messages = [finding.message for finding in findings]
    return pet_probability(pet, grid, transform), messages
