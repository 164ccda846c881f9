"""`Volume`, `Case` and `Problem`: the entries of an index."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.index.values.cells import Flags
from dali_cr.index.values.statistics import Statistics
from dali_cr.volume.access import describe_change
from dali_cr.volume.geometry import Geometry
from dali_cr.volume.packed.layout import is_store


@dataclass(frozen=True, eq=False)
class Volume:
    """One channel of a case: one frame of a file.

    Attributes
    ----------
    path : str
        Header file, relative to the index's root, with forward slashes; for a brick store the path of its original.
    data : str
        File with the voxels, relative to the root; equal to `path` except for .hdr/.img pairs and brick stores
        (`.ozx`).
    frame : int
    geometry : Geometry
    statistics : Statistics
    foreground : (cells_d, cells_h, cells_w) uint8
        The coarse foreground map.
    occupied : tuple of (D,), (H,) and (W,) bool
        Whether each slice across D, H and W contains foreground.
    sha256 : str
        Hash of the data file as stored on disk (and of the .hdr of a pair); for a brick store the hash of its original.
    size, mtime_ns : int
        Size and modification time of the data file.
    content_sha256 : str
        Hash of the values, independent of the file format (see `dali_cr.index.values.content.content_hash`); empty in
        an index of an earlier version, until the next scan.
    """

    path: str
    data: str
    frame: int
    geometry: Geometry
    statistics: Statistics
    foreground: npt.NDArray[np.integer[Any]]
    occupied: tuple[Flags, Flags, Flags]
    sha256: str
    size: int
    mtime_ns: int
    content_sha256: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether all fields of this version are known; false for volumes of an earlier version's index."""
        return bool(self.content_sha256 and self.statistics.image_mean is not None)

    @property
    def identities(self) -> frozenset[str]:
        """Keys that are equal for the same image, also if one of two indexes lacks the hash of the content."""
        return frozenset({f"{self.sha256}#{self.frame}", self.content_sha256} - {""})

    def __repr__(self) -> str:
        return f"Volume({self.path!r}, {self.dtype}, {_times(self.shape)})"

    @property
    def packed(self) -> bool:
        """Whether the voxels are in a brick store."""
        return is_store(self.data)

    @property
    def file(self) -> str:
        """The file on disk with the header: the brick store, or `path`."""
        return self.data if self.packed else self.path

    @property
    def cache_key(self) -> str:
        """Key of the decompressed content in caches, 64 hexadecimal digits.

        It differs between a brick store and its original, which have the same `sha256` but another order of voxels.
        """
        return hashlib.sha256(f"{self.sha256} canonical".encode()).hexdigest() if self.packed else self.sha256

    @property
    def shape(self) -> tuple[int, int, int]:
        """Canonical (D, H, W)."""
        return self.geometry.shape

    @property
    def dtype(self) -> str:
        """The file's dtype, without byte order."""
        return self.geometry.dtype

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along (D, H, W)."""
        return self.geometry.spacing

    @property
    def orientation(self) -> str:
        """Axes of the file, such as "LPS"; "XYZ" for images."""
        return self.geometry.orientation


@dataclass(frozen=True, eq=False)
class Case:
    """One subject: its channels, all on one grid.

    Attributes
    ----------
    name : str
        With data sets, ``"dataset/name"``.
    volumes : tuple of Volume
    dataset : str
        Data set of the case, one of `Index.datasets`; empty without data sets.
    modality, licence : str
        Free text; empty if unknown.
    mask : Volume, optional
        Volume on the same grid; not 0 where the image was anonymised. Losses exclude these voxels.
    """

    name: str
    volumes: tuple[Volume, ...]
    dataset: str = ""
    modality: str = ""
    licence: str = ""
    mask: Volume | None = None

    @property
    def files(self) -> tuple[Volume, ...]:
        """The channels, and the mask."""
        return (*self.volumes, self.mask) if self.mask else self.volumes

    def __repr__(self) -> str:
        return f"Case({self.name!r}, {counted(len(self.volumes), 'channel')}, {_times(self.shape)})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Canonical (D, H, W)."""
        return self.volumes[0].shape


@dataclass(frozen=True)
class Problem:
    """A file that was refused, and why."""

    path: str
    reason: str


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}{'s' * (number != 1)}"


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def find_change(path: Path, volume: Volume) -> str:
    """Return how a volume's data file differs from the scanned one; empty if it does not."""
    try:
        status = os.stat(path)
    except OSError as error:
        return f"cannot be found any more: {error.strerror or error}"
    return describe_change(status, volume.size, volume.mtime_ns)
