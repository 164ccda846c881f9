"""Subject that gathers a rotated view of each volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.measure.clock import HostClock
from benchmarks.operations.raw import RESCALE, draw_raw
from benchmarks.operations.subject import Case, Numbers, Operations, Subject, compared, difference
from dali_cr.ops.decode import decode_channel
from dali_cr.ops.gather import gather_box, gather_views, gather_views_ref
from dali_cr.ops.records.views import make_gather_record

_TURN = 10.0
"""Rotation of a view about each axis in degrees, the default maximum of TorchIO's RandomAffine."""


def list_cases(edges: tuple[int, ...], batches: tuple[int, ...]) -> list[Case]:
    """Return all cases."""
    return [Case("gather", "<i2", edge, batch) for edge in edges for batch in batches]


def prepare(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Draw inputs and return the subject: one rotated view per volume, of the size of the volume."""
    raw, flat = draw_raw(case, rng)
    matrix = _turned()
    offset = (np.eye(3) - matrix) @ (np.array(case.crop) - 1) / 2
    stored = np.dtype(case.dtype)
    records = np.stack(
        [
            make_gather_record(
                dtype=stored.name,
                big_endian=case.dtype.startswith(">"),
                first_byte=0,
                itemsize=stored.itemsize,
                strides=(case.edge**2, case.edge, 1),
                lo=(0, 0, 0),
                hi=case.crop,
                rescale=RESCALE,
                matrix=matrix,
                offset=offset,
            )
            for _ in flat
        ]
    )[:, None, None]
    out, box = np.empty((case.batch, 1, 1, *case.crop), np.float32), np.empty(case.crop, np.float32)

    def on_host(which: Sequence[int] = range(case.batch)) -> Numbers:
        for i in which:
            row = raw[i, : case.edge**3 * stored.itemsize]
            decode_channel(row.view(case.dtype).reshape(case.crop), RESCALE, box)
            gather_box(box, (0, 0, 0), RESCALE.padding, matrix, offset, out[i, 0, 0])
        return out

    inputs = clock.asarray(raw), clock.asarray(records)
    cpu = clock.arrays is np
    run: Callable[[], Any] = on_host if cpu else (lambda: gather_views(*inputs, case.crop))
    part = compared(case, clock)

    def wrong() -> str | None:
        got = clock.asnumpy(run()[part])
        exact = gather_views_ref(raw[:1], records[:1], case.crop)
        return difference(got[:1], exact) or (None if cpu else difference(got, on_host(part)[part]))

    moved = case.voxels * 4 + case.batch * _touched(case, matrix, offset) * stored.itemsize
    return Subject(run, wrong, None if cpu else on_host, moved, moved)


def _turned() -> Numbers:
    """Return a rotation by `_TURN` about each axis."""
    cos, sin = np.cos(np.radians(_TURN)), np.sin(np.radians(_TURN))
    about_d = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    turned: Numbers = about_d @ np.roll(about_d, 1, (0, 1)) @ np.roll(about_d, 2, (0, 1))
    return turned


def _touched(case: Case, matrix: Numbers, offset: Numbers) -> int:
    """Return the number of voxels of a volume that its view needs for interpolation."""
    seen = np.zeros(np.array(case.crop) + 2, bool)
    for d in range(case.edge):
        places = np.stack(np.broadcast_arrays(d, *np.ogrid[: case.edge, : case.edge]), -1) @ matrix.T + offset
        below = np.clip(np.floor(places).astype(int), -1, case.edge - 1) + 1
        inside = ((places > -1) & (places < case.edge)).all(-1)
        for corner in np.ndindex(2, 2, 2):
            seen[tuple((below[inside] + corner).T)] = True
    return int(seen[1:-1, 1:-1, 1:-1].sum())


OPERATIONS = Operations(("gather",), list_cases, prepare)
