"""Subjects that draw boxes: swaps, swaps without overlap, masked blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure.clock import HostClock
from benchmarks.operations.subject import Case, Numbers, Operations, Subject, difference
from dali_cr import Swap
from dali_cr.ops.draw.blocks import draw_blocks_on_gpu, draw_blocks_ref
from dali_cr.ops.draw.disjoint import draw_disjoint_on_gpu, draw_disjoint_ref
from dali_cr.ops.draw.swaps import draw_swaps_on_gpu, draw_swaps_ref
from dali_cr.ops.swap import check_swaps

_LEAST_EDGE = 4
"""Minimum edge of drawn boxes, unless the maximum is smaller."""

_EDGE = 16
"""Maximum edge of a box, and edge of a block."""

_MASKED = 0.75
"""Share of masked blocks, as of a masked autoencoder."""


def list_cases(edges: tuple[int, ...], batches: tuple[int, ...]) -> list[Case]:
    """Return all cases of these operations."""
    cases = []
    for edge in edges:
        cells = (edge // _EDGE) ** 3
        counts = {
            "draw_swaps": (100, 1000),
            "draw_disjoint": (min(100, cells // 2),),
            "draw_blocks": (int(_MASKED * cells),),
        }
        cases += [Case(op, "<i4", edge, batch, t, _EDGE) for op in counts for batch in batches for t in counts[op]]
    return [case for case in cases if case.iterations and 2 * case.patch <= case.edge]


def prepare(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Draw inputs and return the subject."""
    seed, numbers = int(rng.integers(2**63)), rng.integers(2**40, size=case.batch)
    groups = (1,) if case.op == "draw_disjoint" else ()
    out = np.empty((case.batch, *groups, case.iterations, 3, 3), np.int32)
    cpu = clock.arrays is np
    there, drawn = clock.asarray(numbers), clock.arrays.empty(out.shape, np.int32)
    on_cpu, on_device, sizes = _functions(case)

    def on_host() -> Numbers:
        on_cpu(seed, numbers, case.crop, sizes, out)
        return out

    def on_gpu() -> Any:
        on_device(seed, there, case.crop, sizes, drawn)
        return drawn

    run: Callable[[], Any] = on_host if cpu else on_gpu

    def wrong() -> str | None:
        got = clock.asnumpy(run())
        return _wrong(case, got) or (None if cpu else difference(got, on_host()))

    return Subject(run, wrong, None if cpu else on_host, out.nbytes, out.nbytes)


def _functions(case: Case) -> tuple[Callable[..., Any], Callable[..., Any], Any]:
    """Return the CPU reference, the function for a GPU, and the edges of the boxes."""
    if case.op == "draw_blocks":
        return draw_blocks_ref, draw_blocks_on_gpu, (case.patch,) * 3
    swap = Swap(case.iterations, (min(_LEAST_EDGE, case.patch), case.patch), overlap=case.op == "draw_swaps")
    functions = (draw_swaps_ref, draw_swaps_on_gpu) if swap.overlap else (draw_disjoint_ref, draw_disjoint_on_gpu)
    return *functions, swap.edges(case.crop)


def _wrong(case: Case, got: Numbers) -> str | None:
    """Return what is wrong with drawn boxes, None if nothing is."""
    if case.op == "draw_blocks":
        different = [len(np.unique(own[:, 0], axis=0)) for own in got]
        return None if set(different) == {case.iterations} else "a block was drawn twice"
    for own in got.reshape(case.batch, case.iterations, 3, 3):
        try:
            check_swaps(own, case.crop)
        except ValueError as error:
            return str(error)
        if case.op == "draw_disjoint" and _overlap(own):
            return "two boxes overlap"
    return None


def _overlap(swaps: Numbers) -> bool:
    """Return whether two boxes of a sample have a voxel in common."""
    first, size = swaps[:, :2].reshape(-1, 3), np.repeat(swaps[:, 2], 2, axis=0)
    apart = ((first[:, None] + size[:, None] <= first) | (first + size <= first[:, None])).any(-1)
    return not (apart | np.eye(len(first), dtype=bool)).all()


OPERATIONS = Operations(("draw_swaps", "draw_disjoint", "draw_blocks"), list_cases, prepare)
