"""The fields of records, which `kernels/record.cuh` reads in CUDA.

A record has 16 int64 words for `decode_volume`, and 32 with an affine map for `gather_views`. DALI passes records as
int64 arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.int64]

_FIELDS: dict[str, tuple[Any, int]] = {
    "start": ("i8", 0),  # byte offset of voxel (0, 0, 0) in the sample's row or the arena; may be virtual
    "code": ("u1", 8),  # index in DTYPES
    "flags": ("u1", 9),  # BIG_ENDIAN | KEEP | IN_ARENA
    "strides": (("i8", 3), 16),  # signed, in elements
    "lo": (("i8", 3), 40),  # first index inside of the volume
    "hi": (("i8", 3), 64),  # one past the last index
    "scale": ("f8", 88),  # value = raw * scale + shift
    "shift": ("f8", 96),
    "low": ("f4", 104),  # values are clipped to [low, high]
    "high": ("f4", 108),
    "padding": ("f4", 112),  # padding value, also for NaN and Inf
    "mode": ("i8", 120),  # TRILINEAR, NEAREST or CLAMPED
}
_AFFINE: dict[str, tuple[Any, int]] = {"matrix": (("f8", (3, 3)), 128), "offset": (("f8", 3), 200)}


def _dtype(fields: dict[str, tuple[Any, int]], words: int) -> np.dtype[Any]:
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": 8 * words})


RECORD = _dtype(_FIELDS, 16)
"""Record of a crop: indices and strides are those of the crop, so that strides include flips."""

VIEW_RECORD = _dtype({**_FIELDS, **_AFFINE}, 32)
"""Record of a view: indices and strides are those of the volume; ``source = matrix @ (d, h, w) + offset``."""

RECORD_WORDS, VIEW_WORDS = 16, 32
BIG_ENDIAN, KEEP, IN_ARENA = 1, 2, 4
TRILINEAR, NEAREST, CLAMPED = 0, 1, 2


def padding_values(records: Any, dtype: str) -> Any:
    """Return the padding value of each record, on the records' device.

    Parameters
    ----------
    records : (B, C, 16) int64
    dtype : "float32" or "float16"

    Returns
    -------
    padding : (B, C) of `dtype`
    """
    halves = records[..., 14].copy(order="C").view(np.float32)
    return halves[..., ::2].astype(dtype, order="C")
