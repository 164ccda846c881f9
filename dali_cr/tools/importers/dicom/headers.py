"""Read the header of a DICOM file: series, slices, positions, scaling and traits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dali_cr.extras import load_format
from dali_cr.tools.importers.dicom.quiet import without_warnings
from dali_cr.tools.importers.dicom.refusals import refusal
from dali_cr.volume.access import read_status
from dali_cr.volume.geometry import VolumeError

TRAITS = (
    "ImageType",
    "FrameType",
    "EchoNumbers",
    "EchoTime",
    "EffectiveEchoTime",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "DiffusionBValue",
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
    "InversionTime",
    "StackID",
    "AcquisitionNumber",
)
"""Attributes that may separate slices at the same position into volumes of a series."""

_TAGS = (
    *("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "Modality", "BurnedInAnnotation"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("SpacingBetweenSlices", "SliceThickness", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)

Floats = tuple[float, ...]


@dataclass(frozen=True)
class Slice:
    """One frame of one file.

    Attributes
    ----------
    file : str
        Path relative to the imported folder.
    frame : int
    instance : str
        SOPInstanceUID.
    shape : (2,) int
        Number of rows and columns.
    position : (3,) float, or empty
        Centre of the first pixel, mm, LPS.
    directions : (6,) float, or empty
        Unit vectors along a row and along a column, LPS.
    spacing : (2,) float, or empty
        Distance between rows and between columns, mm.
    thickness : float
        Distance between slices, or slice thickness, in mm; 0 if the header has neither.
    slope, intercept : float
        value = stored * slope + intercept.
    voxel : (4,) of str and int
        PhotometricInterpretation, bits allocated, bits stored, pixel representation (1 for signed).
    traits : tuple of str
        Values of `TRAITS`.
    """

    file: str
    frame: int
    instance: str
    shape: tuple[int, int]
    position: Floats
    directions: Floats
    spacing: Floats
    thickness: float
    slope: float
    intercept: float
    voxel: tuple[str, int, int, int]
    traits: tuple[str, ...]


@dataclass(frozen=True)
class Header:
    """Relevant content of the header of a file.

    Attributes
    ----------
    file : str
        Path relative to the imported folder.
    series, study, patient : str
        SeriesInstanceUID, StudyInstanceUID, PatientID; empty if missing.
    modality : str
    slices : tuple of Slice
    refused : str
        Reason why the file and its series cannot be imported; empty if they can.
    size, mtime_ns : int
    """

    file: str
    series: str
    study: str
    patient: str
    modality: str
    slices: tuple[Slice, ...]
    refused: str
    size: int
    mtime_ns: int


def read_header(top: Path, path: str) -> Header:
    """Read the header of a DICOM file.

    Parameters
    ----------
    top : Path
    path : str
        Relative to `top`.

    Raises
    ------
    VolumeError
        If it cannot be read.
    """
    pydicom = load_format("pydicom")
    status = read_status(top / path)
    try:
        with without_warnings():
            dataset = pydicom.dcmread(top / path, stop_before_pixels=True, specific_tags=list(_TAGS + TRAITS))
            names = ("SeriesInstanceUID", "StudyInstanceUID", "PatientID", "Modality")
            series, study, patient, modality = (str(dataset.get(name) or "") for name in names)
            slices, refused = _slices_or_reason(path, dataset)
    except Exception as error:  # pydicom raises many kinds on files that break the standard
        raise VolumeError(path, f"its header cannot be read: {type(error).__name__}: {error}") from error
    return Header(path, series, study, patient, modality, slices, refused, status.st_size, status.st_mtime_ns)


def _slices_or_reason(path: str, dataset: Any) -> tuple[tuple[Slice, ...], str]:
    """Return the slices of a file, one per frame, or the reason why it is refused."""
    if reason := refusal(dataset):
        return (), reason
    try:
        groups = _functional_groups(path, dataset, int(dataset.get("NumberOfFrames") or 1))
        return tuple(_slice(path, dataset, n, [*group, dataset]) for n, group in enumerate(groups)), ""
    except VolumeError as error:
        return (), error.reason


def _functional_groups(path: str, dataset: Any, frames: int) -> Sequence[list[Any]]:
    """Return the data sets that describe each frame in addition to the file's, the most specific first."""
    each = dataset.get("PerFrameFunctionalGroupsSequence")
    if not each:
        if frames > 1:
            raise VolumeError(path, f"{frames} frames without positions: expected an enhanced multi-frame file")
        return [[]]
    if len(each) != frames:
        raise VolumeError(path, f"expected {frames} descriptions of frames, got {len(each)}: the file is damaged")
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    common = [item for group in shared for item in _items(group)]
    return [[*_items(group), *common] for group in each]


def _items(group: Any) -> list[Any]:
    """Return the first data set of every sequence of a functional group."""
    return [element.value[0] for element in group if element.VR == "SQ" and element.value]


def _slice(path: str, dataset: Any, frame: int, places: Sequence[Any]) -> Slice:
    directions = _floats(path, places, "ImageOrientationPatient", 6)
    position = _floats(path, places, "ImagePositionPatient", 3)
    spacing = _floats(path, places, "PixelSpacing", 2)
    if not position or not directions:
        position, directions = (), ()
        spacing = spacing or _floats(path, places, "ImagerPixelSpacing", 2)
    slope, intercept = _floats(path, places, "RescaleSlope", 1), _floats(path, places, "RescaleIntercept", 1)
    if slope == (0.0,):
        raise VolumeError(path, "RescaleSlope: expected a number other than 0, got 0")
    between = _floats(path, places, "SpacingBetweenSlices", 1) or _floats(path, places, "SliceThickness", 1)
    return Slice(
        file=path,
        frame=frame,
        instance=str(dataset.get("SOPInstanceUID") or ""),
        shape=(int(dataset.Rows), int(dataset.Columns)),
        position=position,
        directions=directions,
        spacing=spacing,
        thickness=abs(between[0]) if between else 0.0,
        slope=(slope or (1.0,))[0],
        intercept=(intercept or (0.0,))[0],
        voxel=(
            str(dataset.PhotometricInterpretation),
            int(dataset.BitsAllocated),
            int(dataset.get("BitsStored") or dataset.BitsAllocated),
            int(dataset.get("PixelRepresentation") or 0),
        ),
        traits=tuple(str(_find(places, name)) for name in TRAITS),
    )


def _find(places: Sequence[Any], name: str) -> Any:
    """Return an attribute from the first data set that has it, or None."""
    return next((value for place in places if (value := place.get(name)) not in (None, "")), None)


def _floats(path: str, places: Sequence[Any], name: str, count: int) -> Floats:
    """Return numbers of a header attribute; empty if it is missing."""
    value = _find(places, name)
    if value is None:
        return ()
    numbers = tuple(map(float, value)) if count > 1 else (float(value),)
    if len(numbers) != count or not all(abs(number) < 1e9 for number in numbers):
        raise VolumeError(path, f"{name}: expected {count} finite numbers, got {value}")
    return numbers
