"""Check whether a DICOM file is an image of real numbers, and give the reason if it is not."""

from __future__ import annotations

from typing import Any

_NO_IMAGES = {"SEG": "a segmentation", "RTDOSE": "a dose", "PR": "a presentation"}
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
_QUANTITIES = ("CT", "PT")
"""Modalities whose values are physical quantities and must not be inverted."""


def refusal(dataset: Any) -> str:
    """Return the reason why a file is refused; empty if its header describes an image.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Header without pixels.
    """
    modality = str(dataset.get("Modality") or "unknown")
    if not dataset.get("Rows") or not dataset.get("Columns"):
        return f"not an image (modality {modality})"
    if modality in _NO_IMAGES:
        return f"{_NO_IMAGES[modality]}, not an image (modality {modality})"
    if str(dataset.get("BurnedInAnnotation") or "").upper() == "YES":
        return "BurnedInAnnotation is YES: its pixels may show a name or a date; remove them first"
    if "MOSAIC" in (dataset.get("ImageType") or ()):
        return "a mosaic: slices as tiles of one image; convert it with dcm2niix"
    if dataset.get("ModalityLUTSequence"):
        return "Modality LUT: expected a linear scaling, got a table"
    if not dataset.get("SeriesInstanceUID"):
        return "no SeriesInstanceUID: the series is unknown"
    return _refused_pixels(dataset)


def _refused_pixels(dataset: Any) -> str:
    photometric = str(dataset.get("PhotometricInterpretation") or "missing")
    if photometric not in _MONOCHROME or int(dataset.get("SamplesPerPixel") or 1) != 1:
        return f"color: PhotometricInterpretation {photometric}, expected MONOCHROME1 or MONOCHROME2"
    modality = dataset.get("Modality")
    if photometric == "MONOCHROME1" and (modality in _QUANTITIES or not dataset.get("BitsStored")):
        return f"MONOCHROME1 with modality {modality}: whether its values are inverted is unclear"
    allocated = int(dataset.get("BitsAllocated") or 0)
    if allocated not in (8, 16, 32, 64):
        return f"BitsAllocated {allocated}: expected 8, 16, 32 or 64"
    stored = int(dataset.get("BitsStored") or allocated)
    high = dataset.get("HighBit")
    if not 1 <= stored <= allocated or (high is not None and int(high) != stored - 1):
        return f"BitsStored {stored} of {allocated} with HighBit {high}: expected HighBit to be one less"
    return ""
