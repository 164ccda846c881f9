"""Create rows of every dtype at every alignment, to test decoding of whole rows."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from dali_cr.ops.records.crops import make_record
from dali_cr.ops.records.rescale import Rescale
from dali_cr.volume.geometry import DTYPES
from tests.helpers.volumes import random_numbers

ORDERED = [order + np.dtype(name).str[1:] for name in DTYPES for order in "<>"]
RESCALES = [
    Rescale(),
    Rescale(0.1, -3.5, -5, 5, 0),
    Rescale(-1 / 3, 1e3, 0, 1, 0),
    Rescale(1e-40, 0, padding=-7),
    Rescale(keep=True, scale=2),
    Rescale(1e30, 0, -1e38, 1e38, 3),
]
SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, -1e-40, 1.17549435e-38, 65504, 65520, 1e-7, 6e-8, 3e-8]


def numbers(dtype: str, shape: tuple[int, ...], seed: int = 0) -> npt.NDArray:
    """Return random numbers of a dtype and byte order, with all special values of the dtype."""
    values = random_numbers(np.random.default_rng(seed), shape, dtype)
    if values.dtype.kind == "f":
        values.ravel()[: len(SPECIAL)] = SPECIAL[: values.size]
    return values.astype(dtype)


def aligned_rows(
    crop: tuple[int, int, int], dtypes: list[str], shape: tuple[int, int, int] = (3, 4, 37)
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return a raw row for each dtype, and records of crops from every place along W, flipped and not.

    Crops start and end before, in and after the volume. The volume starts one item after a multiple of 16 bytes and
    ends the row; with an odd W, its rows start at any item.
    """
    rows, records = [], []
    for dtype in dtypes:
        volume = numbers(dtype, shape)
        row = bytes(volume.itemsize) + volume.tobytes()
        rows.append(np.frombuffer(row + bytes(-len(row) % 16), np.uint8))
        places = itertools.product(range(-crop[2] - 1, shape[2] + 2), (False, True))
        records.append(
            [
                make_record(
                    dtype=volume.dtype.newbyteorder("=").name,
                    big_endian=dtype[0] == ">",
                    first_byte=volume.itemsize,
                    itemsize=volume.itemsize,
                    strides=(shape[1] * shape[2], shape[2], 1),
                    origin=(i % 3 - 1, i % 2, x),
                    flips=(i % 5 == 0, i % 7 == 0, flip),
                    crop=crop,
                    shape=shape,
                    rescale=RESCALES[i % len(RESCALES)],
                )
                for i, (x, flip) in enumerate(places)
            ]
        )
    longest = max(row.size for row in rows)
    return np.stack([np.pad(row, (0, longest - row.size)) for row in rows]), np.array(records)


def check_bits(got: npt.NDArray, expected: npt.NDArray) -> None:
    """Compare bits, except for NaN, which has several."""
    quiet = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(got), quiet)
    assert np.where(quiet, 0, got).tobytes() == np.where(quiet, 0, expected).tobytes()
