"""Random raw voxels in the loader's layout, with their records and their decoding on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.operations.subject import Case, Numbers, distinct, repeated
from dali_cr.ops.decode import decode_channel
from dali_cr.ops.records.crops import make_record
from dali_cr.ops.records.rescale import Rescale

RESCALE = Rescale(1 / 300, -0.25, -5.0, 5.0)


def draw_raw(case: Case, rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return random raw boxes in the loader's layout with their records; half of them are flipped along W."""
    stored = np.dtype(case.dtype)
    numbers = draw_numbers((distinct(case), case.edge**3), stored, rng)
    padding = -numbers[0].nbytes % 16
    raw = repeated(np.pad(numbers.view(np.uint8).reshape(len(numbers), -1), ((0, 0), (0, padding))), case)
    records = [
        make_record(
            dtype=stored.name,
            big_endian=case.dtype.startswith(">"),
            first_byte=0,
            itemsize=stored.itemsize,
            strides=(case.edge**2, case.edge, 1),
            origin=(0, 0, 0),
            flips=(False, False, bool(flip)),
            crop=case.crop,
            shape=case.crop,
            rescale=RESCALE,
        )
        for flip in rng.integers(0, 2, case.batch)
    ]
    return raw, np.stack(records)[:, None]


def draw_numbers(shape: tuple[int, ...], stored: np.dtype[Any], rng: np.random.Generator) -> Numbers:
    """Return random integers over the range of a dtype, or normal floats with a standard deviation of 1000."""
    if stored.kind == "f":
        return rng.normal(0, 1000, shape).astype(stored)
    limits, native = np.iinfo(stored), stored.newbyteorder("=")
    return rng.integers(limits.min, limits.max, shape, native, endpoint=True).astype(stored)


def decoder(case: Case, raw: Numbers, records: Numbers) -> Callable[[], Numbers]:
    """Return the decoding on the CPU as the reader threads do it, into reused memory."""
    target = np.empty((case.batch, 1, *case.crop), np.float32)
    size = case.edge**3 * np.dtype(case.dtype).itemsize
    boxes = [row[:size].view(case.dtype).reshape(case.crop) for row in raw]
    boxes = [box[..., :: int(record[0, 4])] for box, record in zip(boxes, records, strict=True)]

    def run() -> Numbers:
        for box, out in zip(boxes, target, strict=True):
            decode_channel(box, RESCALE, out[0])
        return target

    return run
