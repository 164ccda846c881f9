"""`Rescale`: the map from the raw numbers of a file to values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.records.layout import BIG_ENDIAN, IN_ARENA, KEEP
from dali_cr.volume.geometry import DTYPES

_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Rescale:
    """The map from raw numbers to values: ``clip(raw * scale + shift, low, high)``, and the padding value.

    The padding value also replaces NaN and Inf, unless `keep` is true. Limits and padding value are stored as float32;
    a subnormal padding value becomes 0.
    """

    scale: float = 1.0
    shift: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    padding: float = 0.0
    keep: bool = False

    def __post_init__(self) -> None:
        # Round to float32 as in a record; rounding a float64 directly to float16 could give another value.
        with np.errstate(over="ignore"):
            padding = np.float32(self.padding)
        object.__setattr__(self, "padding", 0.0 if abs(padding) < _TINY else float(padding))


def describe(dtype: str, big_endian: bool, rescale: Rescale, record: npt.NDArray[Any]) -> None:
    """Write the fields of a record that do not depend on the position of the voxels.

    Parameters
    ----------
    dtype : str
        One of `DTYPES`.
    big_endian : bool
    rescale : Rescale
    record : () of `RECORD` or `VIEW_RECORD`
    """
    record["code"] = DTYPES.index(dtype)
    record["flags"] = BIG_ENDIAN * big_endian | KEEP * rescale.keep
    for name in ("scale", "shift", "low", "high", "padding"):
        record[name] = getattr(rescale, name)


def new_record(
    layout: np.dtype[Any], *, dtype: str, itemsize: int, big_endian: bool, rescale: Rescale, in_arena: bool
) -> npt.NDArray[Any]:
    """Return a record (1,) whose voxels have no position yet; see `describe`.

    Raises
    ------
    ValueError
        If the item size does not match the dtype.
    """
    if itemsize != np.dtype(dtype).itemsize:
        raise ValueError(f"itemsize: expected {np.dtype(dtype).itemsize} for {dtype}, got {itemsize}")
    record = np.zeros(1, layout)
    describe(dtype, big_endian, rescale, record)
    record["flags"] |= IN_ARENA * in_arena
    return record
