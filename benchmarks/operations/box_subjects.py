"""Subjects of `benchmarks.kernels` for boxes: drawing swaps, and erasing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure.clock import HostClock
from benchmarks.operations.subjects import Case, Subject, difference
from dali_cr import Swap
from dali_cr.ops.draw import draw_swaps_on_gpu, draw_swaps_ref
from dali_cr.ops.erase import erase_in_place, erase_in_place_ref
from dali_cr.ops.swap import check_swaps
from dali_cr.plan.swaps import draw_batch

Numbers = npt.NDArray[Any]

BOX_OPS = ("draw", "erase")

_LEAST_EDGE = 4
"""Minimum edge of drawn boxes, unless the maximum is smaller."""


def list_boxes(edges: tuple[int, ...], batches: tuple[int, ...]) -> list[Case]:
    """Return all cases of these operations."""
    drawn = [Case("draw", "<i4", edge, batch, t, 16) for edge in edges for batch in batches for t in (100, 1000)]
    erased = [
        Case("erase", dtype, edge, batch, 100, patch)
        for dtype in ("<f4", "<f2")
        for edge in edges
        for batch in batches
        for patch in (15, 4, 32)
    ]
    return [case for case in (*drawn, *erased) if 2 * case.patch <= case.edge]


def prepare_boxes(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Draw inputs and return the subject; see `benchmarks.operations.subjects.prepare`."""
    return (_draw if case.op == "draw" else _erase)(case, clock, rng)


def _draw(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Prepare the drawing of a batch's swaps."""
    edges = Swap(case.iterations, (min(_LEAST_EDGE, case.patch), case.patch)).edges(case.crop)
    seed, numbers = int(rng.integers(2**63)), rng.integers(2**40, size=case.batch)
    out = np.empty((case.batch, case.iterations, 3, 3), np.int32)
    cpu = clock.arrays is np
    there, drawn = clock.asarray(numbers), clock.arrays.empty(out.shape, np.int32)

    def on_host() -> Numbers:
        draw_swaps_ref(seed, numbers, case.crop, edges, out)
        return out

    def on_gpu() -> Any:
        draw_swaps_on_gpu(seed, there, case.crop, edges, drawn)
        return drawn

    run: Callable[[], Any] = on_host if cpu else on_gpu

    def wrong() -> str | None:
        got = clock.asnumpy(run())
        try:
            for own in got:
                check_swaps(own, case.crop)
        except ValueError as error:
            return str(error)
        return None if cpu else difference(got, on_host())

    return Subject(run, wrong, None if cpu else on_host, out.nbytes, out.nbytes)


def _erase(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Prepare the erasing of the first box of each swap."""
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
