"""Subjects of `benchmarks.kernels`: random inputs, the function to time, its check, and the bytes that must move.

With a `HostClock` the function is the CPU implementation; with a clock whose arrays are not NumPy's, the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure.clock import HostClock
from benchmarks.workloads.workload import Triple
from dali_cr import Restoration, Swap
from dali_cr.ops.decode import decode_channel, decode_volume, decode_volume_ref
from dali_cr.ops.record import Rescale, make_record
from dali_cr.ops.swap import swap_in_place, swap_in_place_ref
from dali_cr.pipeline.pairs.gpu import finish_batch
from dali_cr.plan.swaps import draw_batch

Numbers = npt.NDArray[Any]

RESCALE = Rescale(1 / 300, -0.25, -5.0, 5.0)
DECODES = {"decode": ("float32", False), "decode_twice": ("float32", True), "decode_half": ("float16", True)}
"""Outputs of each decoding operation: the dtype, and whether it writes a target and a copy from cached volumes."""

_MARGIN = 16
"""Voxels by which a cached volume is longer than its crop."""

_POINTS = 4096
"""Voxels of each sample that are traced back through its swaps."""

_DISTINCT = 8
"""Number of different samples in a batch; larger batches repeat them with other swaps and flips."""


@dataclass(frozen=True)
class Case:
    """A row: an operation with its dtype and sizes."""

    op: str
    """decode, swap, restore (both, as in the loader), or an operation of `DECODES` or the other modules here."""
    dtype: str
    """Dtype of the file's voxels, or of the swapped voxels."""
    edge: int
    batch: int
    iterations: int = 0
    patch: int = 0

    @property
    def crop(self) -> Triple:
        """The crop (D, H, W)."""
        return (self.edge, self.edge, self.edge)

    @property
    def voxels(self) -> int:
        """The number of voxels of the batch."""
        return self.batch * self.edge**3


@dataclass(frozen=True)
class Subject:
    """A case with its inputs, ready to run."""

    run: Callable[[], Any]
    """The function to time, on the device."""
    wrong: Callable[[], str | None]
    """The check: runs once on fresh inputs and returns the error in the outputs, or None."""
    reference: Callable[[], Any] | None
    """The same work on the CPU, unless `run` is that; must run after the check, as it may change the inputs."""
    must_move: int
    """Minimum number of bytes to move: each needed voxel is read once, each changed voxel is written once."""
    moves: int
    """Number of bytes that this implementation moves."""


def list_cases(edges: tuple[int, ...], batches: tuple[int, ...]) -> list[Case]:
    """Return all cases, the most informative first."""
    pairs = [Case("restore", "<i2", e, b, t, p) for e in edges for b in batches for t in (100, 10) for p in (15, 4, 32)]
    decode = [Case("decode", d, e, b) for e in edges for b in batches for d in ("<i2", ">i2", "|u1", "<f4", "<f8")]
    kept = [
        Case(op, d, e, b) for op in DECODES for e in edges for b in batches for d in ("<i2", "<f4") if DECODES[op][1]
    ]
    swaps = [
        Case("swap", d, e, b, t, p)
        for d in ("<f4", "<f2")
        for e in edges
        for b in batches
        for t in (100, 10, 1)
        for p in (15, 4, 32)
    ]
    return [case for case in (*pairs, *decode, *kept, *swaps) if 2 * case.patch <= case.edge]


def prepare(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Draw inputs and return the subject of a case.

    Parameters
    ----------
    case : Case
    clock : HostClock or GpuClock
        Clock of the device.
    rng : numpy.random.Generator
    """
    kinds = dict.fromkeys(DECODES, _decode_kept) | {"decode": _decode, "swap": _swap, "restore": _restore}
    return kinds[case.op](case, clock, rng)


def _decode(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    raw, records = draw_raw(case, rng)
    moved = case.voxels * (np.dtype(case.dtype).itemsize + 4)
    if clock.arrays is np:
        run, reference = _decoder(case, raw, records), None
    else:
        inputs = clock.asarray(raw), clock.asarray(records)
        run, reference = (lambda: decode_volume(*inputs, case.crop)), _decoder(case, raw, records)

    part = compared(case, clock)

    def wrong() -> str | None:
        return difference(clock.asnumpy(run()[part]), decode_volume_ref(raw[part], records[part], case.crop))

    return Subject(run, wrong, reference, moved, moved)


def _decode_kept(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Prepare the decoding of crops of cached volumes into a target and a copy; rows start at any voxel."""
    dtype, _ = DECODES[case.op]
    stored, length = np.dtype(case.dtype), case.edge + _MARGIN
    volumes = _draw_numbers((case.batch, length, length, length), stored, rng)
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


def _swap(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    swaps = _draw_swaps(case, rng)
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
        if moved := _misplaced(start, array, swaps, rng, clock):
            return moved
        return None if cpu else difference(clock.asnumpy(array[part]), _swapped(start[part], swaps[part]))

    reference = None if cpu else (lambda: swap_in_place_ref(start, swaps))
    return Subject(run, wrong, reference, *_swap_bytes(case, swaps, words.itemsize))


def _restore(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    (raw, records), swaps = draw_raw(case, rng), _draw_swaps(case, rng)
    decode, input = _decoder(case, raw, records), np.empty((case.batch, 1, *case.crop), np.float32)

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
        return first or _misplaced(target, got, swaps, rng, clock)

    # Raw, target and input once each: swapping need not move more bytes.
    must = case.voxels * (np.dtype(case.dtype).itemsize + 2 * 4)
    return Subject(run, wrong, reference, must, must + _swap_bytes(case, swaps, 4)[1])


def compared(case: Case, clock: HostClock) -> list[int]:
    """Return the samples to compare with the reference: all on a CPU, the first and the last on a GPU.

    This limits the time of the reference; tests compare whole batches.
    """
    return list(range(case.batch)) if clock.arrays is np else sorted({0, case.batch - 1})


def distinct(case: Case) -> int:
    """Return the number of different samples in a batch."""
    return min(case.batch, _DISTINCT)


def repeated(samples: Numbers, case: Case) -> Numbers:
    """Repeat samples to fill a batch."""
    return samples if len(samples) == case.batch else samples[np.arange(case.batch) % len(samples)]


def draw_raw(case: Case, rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return random raw boxes in the loader's layout with their records; half of them are flipped along W."""
    stored = np.dtype(case.dtype)
    numbers = _draw_numbers((distinct(case), case.edge**3), stored, rng)
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


def _draw_numbers(shape: tuple[int, ...], stored: np.dtype[Any], rng: np.random.Generator) -> Numbers:
    """Return random integers over the range of a dtype, or normal floats with a standard deviation of 1000."""
    if stored.kind == "f":
        return rng.normal(0, 1000, shape).astype(stored)
    limits, native = np.iinfo(stored), stored.newbyteorder("=")
    return rng.integers(limits.min, limits.max, shape, native, endpoint=True).astype(stored)


def _draw_swaps(case: Case, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    seed = int(rng.integers(2**63))
    return draw_batch(seed, range(case.batch), case.crop, Swap(iterations=case.iterations, patch=case.patch))


def _decoder(case: Case, raw: Numbers, records: Numbers) -> Callable[[], Numbers]:
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


def _swapped(start: Numbers, swaps: Numbers) -> Numbers:
    array = start.copy()
    swap_in_place_ref(array, swaps)
    return array


def _swap_bytes(case: Case, swaps: Numbers, itemsize: int) -> tuple[int, int]:
    """Return the bytes of the voxels that end up elsewhere, and the bytes that T successive swaps move.

    In a large batch, the former are counted in the first samples and scaled.
    """
    changed = 0
    numbers = np.arange(case.edge**3, dtype=np.int32).reshape(case.crop)
    for own in swaps[: distinct(case)]:
        changed += int((_swapped(numbers, own) != numbers).sum())
    return 2 * itemsize * changed * case.batch // distinct(
        case
    ), 4 * itemsize * case.patch**3 * case.iterations * case.batch


def difference(got: Numbers, wanted: Numbers) -> str | None:
    """Return the bitwise difference of two arrays as text, or None."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return f"expected {wanted.dtype} {wanted.shape}, got {got.dtype} {got.shape}"
    words = f"u{got.itemsize}"
    count = int((got.view(words) != wanted.view(words)).sum())
    return f"{count} of {got.size} voxels differ from the reference" if count else None


def _misplaced(start: Any, got: Any, swaps: Numbers, rng: np.random.Generator, clock: HostClock) -> str | None:
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
