"""Subjects that decode: crops into one array, and crops of cached volumes into a target and a copy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.measure.clock import HostClock
from benchmarks.operations.raw import RESCALE, decoder, draw_numbers, draw_raw
from benchmarks.operations.subject import Case, Operations, Subject, compared, difference
from dali_cr.ops.decode import decode_channel, decode_volume, decode_volume_ref
from dali_cr.ops.records.crops import make_record

_KEPT = {"decode_twice": "float32", "decode_half": "float16"}
"""Dtype of the target and the copy of each operation on cached volumes."""

_MARGIN = 16
"""Voxels by which a cached volume is longer than its crop."""


def list_cases(edges: tuple[int, ...], batches: tuple[int, ...]) -> list[Case]:
    """Return all cases."""
    one = [Case("decode", d, e, b) for e in edges for b in batches for d in ("<i2", ">i2", "|u1", "<f4", "<f8")]
    kept = [Case(op, d, e, b) for op in _KEPT for e in edges for b in batches for d in ("<i2", "<f4")]
    return [*one, *kept]


def prepare(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Draw inputs and return the subject."""
    return (_decode if case.op == "decode" else _decode_kept)(case, clock, rng)


def _decode(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    raw, records = draw_raw(case, rng)
    moved = case.voxels * (np.dtype(case.dtype).itemsize + 4)
    if clock.arrays is np:
        run, reference = decoder(case, raw, records), None
    else:
        inputs = clock.asarray(raw), clock.asarray(records)
        run, reference = (lambda: decode_volume(*inputs, case.crop)), decoder(case, raw, records)

    part = compared(case, clock)

    def wrong() -> str | None:
        return difference(clock.asnumpy(run()[part]), decode_volume_ref(raw[part], records[part], case.crop))

    return Subject(run, wrong, reference, moved, moved)


def _decode_kept(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Prepare the decoding of crops of cached volumes into a target and a copy; rows start at any voxel."""
    dtype = _KEPT[case.op]
    stored, length = np.dtype(case.dtype), case.edge + _MARGIN
    volumes = draw_numbers((case.batch, length, length, length), stored, rng)
    arena, raw = volumes.reshape(-1).view(np.uint8), np.zeros((case.batch, 16), np.uint8)
    origins, flips = rng.integers(0, _MARGIN, (case.batch, 3), endpoint=True), rng.integers(0, 2, case.batch)
    records = np.stack(
        [
            make_record(
                dtype=stored.name,
                big_endian=case.dtype.startswith(">"),
                first_byte=i * volumes[0].nbytes,
                itemsize=stored.itemsize,
                strides=(length**2, length, 1),
                origin=origin,
                flips=(False, False, bool(flip)),
                crop=case.crop,
                shape=volumes.shape[1:],
                rescale=RESCALE,
                in_arena=True,
            )
            for i, (origin, flip) in enumerate(zip(origins.tolist(), flips, strict=True))
        ]
    )[:, None]
    outputs = np.empty((2, case.batch, *case.crop), dtype)
    boxes = [
        volume[tuple(slice(start, start + case.edge) for start in origin)][..., :: 1 - 2 * int(flip)]
        for volume, origin, flip in zip(volumes, origins.tolist(), flips, strict=True)
    ]

    def on_host() -> Any:
        for i, box in enumerate(boxes):
            decode_channel(box, RESCALE, outputs[0, i], outputs[1, i])
        return outputs

    run: Callable[[], Any] = on_host
    if clock.arrays is not np:
        inputs, kept = (clock.asarray(raw), clock.asarray(records)), clock.asarray(arena)
        run = partial(decode_volume, *inputs, case.crop, dtype, arena=kept, twice=True)

    def wrong() -> str | None:
        wanted = decode_volume_ref(raw, records, case.crop, dtype, arena=arena)
        found = (difference(clock.asnumpy(one).reshape(wanted.shape), wanted) for one in run())
        return next((what for what in found if what), None)

    moved = case.voxels * (stored.itemsize + 2 * outputs.itemsize)
    return Subject(run, wrong, None if clock.arrays is np else on_host, moved, moved)


OPERATIONS = Operations(("decode", "decode_twice", "decode_half"), list_cases, prepare)
