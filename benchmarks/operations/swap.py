"""Subject that swaps patches in place, and the check of where voxels came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure.clock import HostClock
from benchmarks.operations.subject import Case, Numbers, Operations, Subject, compared, difference, distinct, repeated
from dali_cr import Swap
from dali_cr.ops.swap import swap_in_place, swap_in_place_ref
from dali_cr.plan.swaps import draw_batch

_POINTS = 4096
"""Voxels of each sample that are traced back through its swaps."""


def list_cases(edges: tuple[int, ...], batches: tuple[int, ...]) -> list[Case]:
    """Return all cases, the most informative first."""
    cases = [
        Case("swap", d, e, b, t, p)
        for d in ("<f4", "<f2")
        for e in edges
        for b in batches
        for t in (100, 10, 1)
        for p in (15, 4, 32)
    ]
    return [case for case in cases if 2 * case.patch <= case.edge]


def prepare(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Draw inputs and return the subject."""
    swaps = draw_swaps(case, rng)
    words = np.dtype(f"u{np.dtype(case.dtype).itemsize}")
    start = repeated(rng.integers(0, np.iinfo(words).max, (distinct(case), 1, *case.crop), words), case)
    array, on_device = clock.asarray(start), clock.asarray(swaps)
    array = start.copy() if array is start else array
    part, cpu = compared(case, clock), clock.arrays is np
    # Looked up at run time, since tests replace it by a wrong one.
    run: Callable[[], Any]
    run = (lambda: swap_in_place_ref(array, swaps)) if cpu else (lambda: swap_in_place(array, on_device))

    def wrong() -> str | None:
        array[...] = clock.asarray(start)
        run()
        if moved := misplaced(start, array, swaps, rng, clock):
            return moved
        return None if cpu else difference(clock.asnumpy(array[part]), _swapped(start[part], swaps[part]))

    reference = None if cpu else (lambda: swap_in_place_ref(start, swaps))
    return Subject(run, wrong, reference, *swap_bytes(case, swaps, words.itemsize))


def draw_swaps(case: Case, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Draw the swaps of all samples."""
    seed = int(rng.integers(2**63))
    return draw_batch(seed, range(case.batch), case.crop, Swap(iterations=case.iterations, patch=case.patch))


def _swapped(start: Numbers, swaps: Numbers) -> Numbers:
    array = start.copy()
    swap_in_place_ref(array, swaps)
    return array


def swap_bytes(case: Case, swaps: Numbers, itemsize: int) -> tuple[int, int]:
    """Return the bytes of the voxels that end up elsewhere, and the bytes that T successive swaps move.

    In a large batch, the former are counted in the first samples and scaled.
    """
    changed = 0
    numbers = np.arange(case.edge**3, dtype=np.int32).reshape(case.crop)
    for own in swaps[: distinct(case)]:
        changed += int((_swapped(numbers, own) != numbers).sum())
    moved = case.patch**3 * case.iterations * case.batch
    return 2 * itemsize * changed * case.batch // distinct(case), 4 * itemsize * moved


def misplaced(start: Any, got: Any, swaps: Numbers, rng: np.random.Generator, clock: HostClock) -> str | None:
    """Trace random voxels of each sample back through its swaps; return the number of wrong ones as text, or None.

    Parameters
    ----------
    start, got : B arrays (1, D, H, W), on the host or the device
    swaps : (B, T, 3, 3) int32
    rng : numpy.random.Generator
    clock : HostClock
    """
    wrong = 0
    for before, after, own in zip(start, got, swaps, strict=True):
        to = np.stack([rng.integers(0, n, _POINTS) for n in before.shape[-3:]], axis=-1)
        source = to.copy()
        for a, b, size in own[::-1]:
            in_a, in_b = (((source >= box) & (source < box + size)).all(-1) for box in (a, b))
            source[in_a] += b - a
            source[in_b] += a - b
        wrong += int((_picked(after, to, clock) != _picked(before, source, clock)).sum())
    return f"{wrong} of {_POINTS * len(swaps)} checked voxels came from elsewhere" if wrong else None


def _picked(array: Any, places: Numbers, clock: HostClock) -> Numbers:
    """Return voxels of an array (1, D, H, W), indexed on its device."""
    if isinstance(array, np.ndarray):
        picked: Numbers = array[0][tuple(places.T)]
        return picked
    return np.asarray(clock.asnumpy(array[0][tuple(clock.asarray(axis) for axis in places.T)]))


OPERATIONS = Operations(("swap",), list_cases, prepare)
