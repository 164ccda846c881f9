"""Write DICOM files for tests: series of slices and enhanced multi-frame files, with patient data in many tags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)
"""Directions as unit vectors, whose normal is not along an axis."""

NAME, BIRTH, DATE, HOSPITAL = "Planted^Patient", "19610203", "20210417", "Planted Hospital"
PLANTED = ("Planted", "planted", BIRTH, DATE, "1961", "2021-04-17", "PID-77-1234", "ACC998877", "123456.7")
"""Texts that must not be in a store."""


def header(series: str = "1.2.3.20210417.1", study: str = "1.2.3.20210417", **more: Any) -> Dataset:
    """Return the common tags of all files, including patient data."""
    found = Dataset()
    found.PatientName, found.PatientID, found.PatientBirthDate = NAME, "PID-77-1234", BIRTH
    found.OtherPatientIDs, found.PatientAddress, found.PatientComments = "PID-77-1234", "Planted Road 1", "planted"
    found.InstitutionName, found.InstitutionAddress, found.StationName = HOSPITAL, "Planted Road 2", "PLANTED1"
    found.ReferringPhysicianName, found.OperatorsName, found.AccessionNumber = NAME, NAME, "ACC998877"
    found.StudyDate = found.SeriesDate = found.AcquisitionDate = found.ContentDate = DATE
    found.StudyTime = found.SeriesTime = found.AcquisitionTime = found.ContentTime = "123456.7"
    found.StudyDescription = found.SeriesDescription = found.ProtocolName = f"planted on {DATE}"
    found.StudyInstanceUID, found.SeriesInstanceUID, found.StudyID = study, series, "1961"
    found.FrameOfReferenceUID, found.Modality, found.SeriesNumber = f"{study}.9", "CT", 1
    for name, value in more.items():
        setattr(found, name, value)
    return found


def save(path: Path, dataset: Dataset, kind: str, pixels: np.ndarray) -> Path:
    """Write a file of pixels (rows, columns) or (frames, rows, columns)."""
    signed = pixels.dtype.kind == "i"
    bits = 8 * pixels.dtype.itemsize
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel = 1
    defaults = {
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(signed),
    }
    for name, value in defaults.items():
        if name not in dataset:
            setattr(dataset, name, value)
    if "HighBit" not in dataset:
        dataset.HighBit = dataset.BitsStored - 1
    dataset["PixelData"] = pydicom.DataElement(0x7FE00010, "OW" if bits > 8 else "OB", pixels.tobytes())
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    FileDataset(str(path), dataset, file_meta=meta, preamble=bytes(128)).save_as(path, enforce_file_format=True)
    return path


def positions(
    count: int, step: float = 2.5, directions: Sequence[float] = AXIAL, start: Sequence[float] = (-20.0, 11.5, 4.25)
) -> list[list[float]]:
    """Return the positions of evenly spaced slices along their normal."""
    normal = np.cross(directions[:3], directions[3:])
    return [[round(float(mm), 6) for mm in np.add(start, n * step * normal)] for n in range(count)]


def write_series(
    folder: Path,
    voxels: np.ndarray,
    places: Sequence[Sequence[float]],
    *,
    directions: Sequence[float] = AXIAL,
    each: Sequence[dict[str, Any]] = (),
    first: int = 0,
    **more: Any,
) -> list[Path]:
    """Write one file per slice; `each` has tags of single slices, `more` tags of all."""
    files = []
    for n, (pixels, place) in enumerate(zip(voxels, places, strict=True)):
        dataset = header(**{**more, **(each[n] if each else {})})
        dataset.SOPInstanceUID = f"{dataset.SeriesInstanceUID}.{first + n + 1}"
        dataset.InstanceNumber, dataset.SliceThickness = first + n + 1, 2.5
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = list(place), list(directions)
        if "PixelSpacing" not in dataset:
            dataset.PixelSpacing = [0.75, 0.5]
        # The names of files are not in the order of the slices.
        files.append(save(folder / f"IM{(first + n) * 7919 % 1000:03d}", dataset, CT, pixels))
    return files


def write_enhanced(
    path: Path, voxels: np.ndarray, places: Sequence[Sequence[float]], each: Sequence[dict[str, Any]] = (), **more: Any
) -> Path:
    """Write one enhanced multi-frame file; `each` has slope and intercept of the frames."""
    dataset = header(**more)
    dataset.SOPInstanceUID, dataset.NumberOfFrames = f"{dataset.SeriesInstanceUID}.1", len(voxels)
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.75, 0.5], 2.5
    orientation.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for n, place in enumerate(places):
        frame, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = list(place)
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
        for name, value in (each[n] if each else {}).items():
            setattr(values, name, value)
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [values]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    return save(path, dataset, ENHANCED_CT, voxels)
