"""Subject that does the loader's work: decode into a target and a copy, and swap in the copy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.measure.clock import HostClock
from benchmarks.operations.raw import decoder, draw_raw
from benchmarks.operations.subject import Case, Operations, Subject, compared, difference
from benchmarks.operations.swap import draw_swaps, misplaced, swap_bytes
from dali_cr import Restoration, Swap
from dali_cr.ops.decode import decode_volume_ref
from dali_cr.ops.swap import swap_in_place_ref
from dali_cr.pipeline.pairs.gpu import finish_batch


def list_cases(edges: tuple[int, ...], batches: tuple[int, ...]) -> list[Case]:
    """Return all cases, the most informative first."""
    cases = [Case("restore", "<i2", e, b, t, p) for e in edges for b in batches for t in (100, 10) for p in (15, 4, 32)]
    return [case for case in cases if 2 * case.patch <= case.edge]


def prepare(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Draw inputs and return the subject."""
    (raw, records), swaps = draw_raw(case, rng), draw_swaps(case, rng)
    decode, input = decoder(case, raw, records), np.empty((case.batch, 1, *case.crop), np.float32)

    def on_host() -> tuple[Any, Any]:
        target = decode()
        input[...] = target
        swap_in_place_ref(input, swaps)
        return input, target

    run: Callable[[], Any]
    if clock.arrays is np:
        run, reference = on_host, None
    else:
        named = {"raw": raw, "records": records, "swaps": swaps}
        inputs, reference = {name: clock.asarray(array) for name, array in named.items()}, on_host
        run = partial(finish_batch, inputs, recipe=Restoration(case.crop, Swap(case.iterations, case.patch)), seed=0)

    part = compared(case, clock)

    def wrong() -> str | None:
        got, target = run()
        wanted = decode_volume_ref(raw[part], records[part], case.crop)
        first = difference(np.stack([clock.asnumpy(target[i]) for i in part]), wanted)
        return first or misplaced(target, got, swaps, rng, clock)

    # Raw, target and input once each: swapping need not move more bytes.
    must = case.voxels * (np.dtype(case.dtype).itemsize + 2 * 4)
    return Subject(run, wrong, reference, must, must + swap_bytes(case, swaps, 4)[1])


OPERATIONS = Operations(("restore",), list_cases, prepare)
