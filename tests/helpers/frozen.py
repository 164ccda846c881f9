"""Create inputs independent of library versions: NIfTI files byte by byte, with fixed statistics.

Hashes of samples from these files depend on this project only: nibabel writes no header, and samples depend on no
percentile or standard deviation computed by NumPy.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import dali_cr
from dali_cr.index.values.statistics import Statistics

LARGEST = 119
"""Largest raw number, valid in every dtype."""

MTIME = 1_700_000_000
"""Modification time of every file in seconds."""

_CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}
_HEADER = "i10s18sihcb8h3f4h8f3fhcc4f2i80s24s2h18f16s4s"
_OFFSET = 352


@dataclass(frozen=True)
class Frozen:
    """A file: dtype with byte order, stored axes, lengths in voxels and spacing in mm along (x, y, z)."""

    dtype: str
    axes: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    slope: float = 1.0
    intercept: float = 0.0
    frames: int = 1
    classes: int = 0
    """Of a label volume, in blocks; 0 for an image."""


SINGLE = {
    "a.nii": Frozen("|u1", "RAS", (24, 20, 18)),
    "b.nii": Frozen("<i2", "LPS", (17, 26, 21), (1.0, 1.0, 2.5), 0.5, -3.0),
    "c.nii": Frozen(">i2", "PIR", (30, 12, 19), (0.75, 1.5, 1.0), 2.0, 1.0),
    "d.nii": Frozen(">u2", "SAL", (19, 22, 9), (1.0, 0.5, 3.0), 0.25),
    "e.nii": Frozen("<f4", "ILA", (22, 23, 24), (1.25, 1.25, 1.25)),
    "f.nii": Frozen(">f8", "LAI", (16, 17, 25), (2.0, 1.0, 1.0), -0.5, 10.0),
    "g.nii": Frozen("|i1", "ASR", (21, 21, 21), (1.0, 1.0, 1.0), 3.0, -7.0),
    "h.nii": Frozen("<u4", "RSP", (18, 29, 16), (0.5, 0.5, 1.0)),
    "i.nii": Frozen("<i8", "LAS", (25, 15, 20), (1.0, 2.0, 1.0), 0.125, 4.0),
    "j.nii": Frozen(">f4", "PSL", (20, 18, 23), (1.5, 1.0, 0.75), 1.5),
}
"""Cases of one volume: ten dtypes with byte orders, each with a different orientation."""

CHANNELS = {
    "p/t1.nii": Frozen("<i2", "LPS", (18, 20, 22), (1.0, 1.0, 1.5), 0.5, -3.0),
    "p/t2.nii": Frozen(">f4", "RAS", (18, 20, 22), (1.0, 1.0, 1.5)),
    "q/t1.nii": Frozen("|u1", "SAL", (21, 17, 19), (1.0, 0.75, 1.0)),
    "q/t2.nii": Frozen(">u2", "SAL", (21, 17, 19), (1.0, 0.75, 1.0), 0.25, 2.0),
}
"""Cases of two channels in separate files."""

FRAMES = {
    "v.nii": Frozen("<i2", "LAS", (19, 21, 16), (1.0, 1.0, 2.0), 0.5, frames=3),
    "w.nii": Frozen(">f4", "IPR", (16, 18, 20), (1.0, 1.0, 1.0), frames=3),
}
"""Cases of three channels in one 4-D file."""


def write_frozen(folder: Path, files: dict[str, Frozen]) -> Path:
    """Write files with the modification time `MTIME`; return the folder."""
    for place, (name, file) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_header(file) + bytes(_OFFSET - 348) + _voxels(file, place))
        os.utime(path, (MTIME, MTIME))
    return folder


def frozen_index(folder: Path, files: dict[str, Frozen], pattern: str = "*.nii") -> dali_cr.Index:
    """Write files and return their index, with fixed statistics and foreground."""
    index = dali_cr.scan(write_frozen(folder, files), pattern, progress=False)
    assert sum(len(case.volumes) for case in index.cases) == sum(file.frames for file in files.values())
    cases = (replace(case, volumes=tuple(map(_given, case.volumes))) for case in index.cases)
    return replace(index, cases=tuple(cases))


def digest(*values: Any) -> str:
    """Return the SHA-256 of the dtypes, shapes and little-endian bytes of arrays."""
    content = hashlib.sha256()
    for value in map(np.asarray, values):
        content.update(f"{value.dtype.newbyteorder('<').str} {value.shape}\n".encode())
        content.update(value.astype(value.dtype.newbyteorder("<")).tobytes())
    return content.hexdigest()


def _header(file: Frozen) -> bytes:
    """Return a NIfTI-1 header."""
    order, signs = _order(file.axes)
    sizes = [file.shape[axis] for axis in order]
    rows = [[0.0] * 4 for _ in range(3)]
    for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        rows[axis][column] = sign * file.spacing[axis]
        rows[axis][3] = file.spacing[axis] * (file.shape[axis] - 1) * (sign < 0)  # the canonical origin is 0
    lengths = [3 if file.frames == 1 else 4, *sizes, file.frames, 1, 1, 1]
    steps = [1.0, *(file.spacing[axis] for axis in order), 1.0, 1.0, 1.0, 1.0]
    code, bits = _CODES[file.dtype[1:]], 8 * int(file.dtype[2:])
    return struct.pack(
        (">" if file.dtype[0] == ">" else "<") + _HEADER,
        *(348, b"", b"", 0, 0, b"r", 0, *lengths, 0.0, 0.0, 0.0, 0, code, bits, 0, *steps),
        *(float(_OFFSET), file.slope, file.intercept, 0, b"\0", b"\2", 0.0, 0.0, 0.0, 0.0, 0, 0, b"", b""),
        *(0, 1, *[0.0] * 6, *(number for row in rows for number in row), b"", b"n+1\0"),
    )


def _order(axes: str) -> tuple[list[int], list[int]]:
    """Return the axis (x, y or z) and direction of each axis of a file."""
    places = ("RL", "AP", "SI")
    order = [next(axis for axis, pair in enumerate(places) if letter in pair) for letter in axes]
    return order, [1 if places[axis].index(letter) == 0 else -1 for axis, letter in zip(order, axes, strict=True)]


def _voxels(file: Frozen, place: int) -> bytes:
    """Return the voxels in file order: a pattern of integers, different in each file and frame."""
    x, y, z, t = np.indices((*file.shape, file.frames), np.int64)
    numbers = (37 * x + 53 * y + 71 * z + x * y * z + (x * x + 3 * y * z) // 7 + 11 * place + 29 * t) % (LARGEST + 1)
    if file.classes:
        numbers = (x // 5 + y // 6 + z // 7 + t) % file.classes
    order, signs = _order(file.axes)
    stored = numbers.transpose(*order, 3)[tuple(slice(None, None, sign) for sign in signs)]
    return stored.astype(file.dtype).tobytes(order="F")


def _given(volume: Any) -> Any:
    """Return a volume with fixed statistics, foreground and occupied slices."""
    slope, intercept = volume.geometry.slope, volume.geometry.intercept
    ends = sorted((intercept, LARGEST * slope + intercept))
    percentiles = sorted((2 * slope + intercept, 117 * slope + intercept))
    statistics = Statistics(
        minimum=ends[0],
        maximum=ends[1],
        mean=60 * slope + intercept,
        deviation=abs(32 * slope),
        low=percentiles[0],
        high=percentiles[1],
        background=None,
        foreground=volume.geometry.voxels // 2,
        nonfinite=0,
        distinct=LARGEST + 1,
        classes=False,
        image_mean=45 * slope + intercept,
        image_deviation=abs(41 * slope),
    )
    z, y, x = np.indices(volume.foreground.shape)
    foreground = ((5 * z + 3 * y + 2 * x) % 4 * 85).astype(np.uint8)
    d, h, w = (np.arange(length) % 5 != 1 for length in volume.shape)
    return replace(volume, statistics=statistics, foreground=foreground, occupied=(d, h, w))
