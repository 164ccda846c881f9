"""Subject that erases boxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure.clock import HostClock
from benchmarks.operations.subject import Case, Operations, Subject, difference
from dali_cr import Swap
from dali_cr.ops.erase import erase_in_place, erase_in_place_ref
from dali_cr.plan.swaps import draw_batch


def list_cases(edges: tuple[int, ...], batches: tuple[int, ...]) -> list[Case]:
    """Return all cases."""
    cases = [
        Case("erase", dtype, edge, batch, 100, patch)
        for dtype in ("<f4", "<f2")
        for edge in edges
        for batch in batches
        for patch in (15, 4, 32)
    ]
    return [case for case in cases if 2 * case.patch <= case.edge]


def prepare(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Draw inputs and return the subject, which erases the first box of each swap."""
    stored = np.dtype(case.dtype)
    swaps = draw_batch(int(rng.integers(2**63)), range(case.batch), case.crop, Swap(case.iterations, case.patch))
    start = rng.normal(0, 1, (case.batch, 1, *case.crop)).astype(stored)
    fills = rng.normal(0, 1, (case.batch, 1)).astype(stored)
    erased = np.zeros(start.shape, bool)
    for own, boxes in zip(erased, swaps, strict=True):
        for a, _, size in boxes:
            own[0][tuple(slice(begin, begin + n) for begin, n in zip(a, size, strict=True))] = True
    array, host, cpu = clock.asarray(start.copy()), start.copy(), clock.arrays is np
    there = clock.asarray(swaps), clock.asarray(fills)

    def on_host() -> None:
        erase_in_place_ref(host, swaps, fills)

    run: Callable[[], Any] = on_host if cpu else (lambda: erase_in_place(array, *there))

    def wrong() -> str | None:
        result = host if cpu else array
        result[...] = clock.asarray(start)
        run()
        return difference(clock.asnumpy(result), np.where(erased, fills[:, :, None, None, None], start))

    moves = case.patch**3 * case.iterations * case.batch * stored.itemsize
    return Subject(run, wrong, None if cpu else on_host, int(erased.sum()) * stored.itemsize, moves)


OPERATIONS = Operations(("erase",), list_cases, prepare)
