"""Batches by number, made ahead of time by threads: what DALI's `external_source` calls.

Where the samples are finished on the CPU, a thread reads, inflates, decodes and swaps a sample, several samples at a
time. Where a GPU finishes them, it only inflates and copies the crop's box, raw, into the batch.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import reader
from dali_cr.geometry import Triple, VolumeError
from dali_cr.index import Case, Volume
from dali_cr.normalize import affine_map, check_range
from dali_cr.ops.decode import RECORD_WORDS, decode_channel, make_record
from dali_cr.ops.swap import swap_in_place_ref
from dali_cr.plan import Planner, SamplePlan, View
from dali_cr.stream import Stream

Arrays = tuple[npt.NDArray[Any], ...]

_ALIGNMENT = 16
"""Bytes: a GPU cannot load a wide value from an address that is no multiple of its width."""


class Source(ABC):
    """Makes batches ahead of the caller.

    Parameters
    ----------
    planner : Planner
    stream : Stream
        Which sample numbers batch k has.
    threads : int, optional
        As many as this process may use cores, without it.
    lookahead : int
        Batches that are being made beyond the one asked for.
    on_error : "raise" or "skip"
        What follows when a file cannot be read: the error, or the sample numbers are drawn again from other cases.

    Raises
    ------
    ValueError
        If the recipe cannot be applied to the index, or an argument is not as above.
    """

    def __init__(
        self,
        planner: Planner,
        stream: Stream,
        *,
        threads: int | None = None,
        lookahead: int = 2,
        on_error: str = "raise",
    ) -> None:
        cores = len(os.sched_getaffinity(0))
        self.threads = cores if threads is None else threads
        if self.threads < 1 or lookahead < 0 or on_error not in ("raise", "skip"):
            raise ValueError(
                "wanted threads >= 1, lookahead >= 0 and on_error 'raise' or 'skip', "
                f"got {self.threads}, {lookahead} and {on_error!r}"
            )
        check_range(planner.index, planner.recipe)
        self.planner, self.stream = planner, stream
        self.channels = planner.index.channels
        self.broken: dict[int, str] = {}
        self._skip, self._lookahead = on_error == "skip", lookahead
        self._pool = ThreadPoolExecutor(self.threads, "dali_cr")
        self._started: dict[int, Future[tuple[Arrays, list[Future[None]]]]] = {}
        self._memory: list[dict[int, npt.NDArray[np.uint8]]] = [{} for _ in range(lookahead + 1)]

    def batch(self, k: int) -> Arrays:
        """Return batch k; its arrays are valid until batch k + 1 is asked for.

        Raises
        ------
        VolumeError
            If a file cannot be read and `on_error` is "raise", or none can.
        """
        for ahead in range(k, k + self._lookahead + 1):
            if ahead not in self._started and (ahead == k or self.stream.numbers(ahead).size):
                self._started[ahead] = self._pool.submit(self._start, ahead)
        while True:
            try:
                return self._finish(self._started.pop(k))
            except _BrokenCase as error:
                if not self._skip:
                    raise error.cause from error.cause.__cause__
                self.broken[error.case] = str(error.cause)
                self._started[k] = self._pool.submit(self._start, k)

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self, k: int) -> tuple[Arrays, list[Future[None]]]:
        """Plan batch k and set its samples going."""
        plans = self.planner.draw(self.stream.numbers(k), self.broken)
        arrays = self._allocate(plans, self._memory[k % len(self._memory)])
        fills = [self._pool.submit(self._fill_or_blame, plan, arrays, i) for i, plan in enumerate(plans)]
        return arrays, fills

    @staticmethod
    def _finish(started: Future[tuple[Arrays, list[Future[None]]]]) -> Arrays:
        """Wait for a batch; all of its samples have ended when this returns or raises."""
        arrays, fills = started.result()
        errors = [fill.exception() for fill in fills]
        for error in errors:
            if error is not None:
                raise error
        return arrays

    def _fill_or_blame(self, plan: SamplePlan, arrays: Arrays, i: int) -> None:
        try:
            self._fill(plan, self.planner.index.cases[plan.case], arrays, i)
        except VolumeError as error:
            raise _BrokenCase(plan.case, error) from error

    @abstractmethod
    def blank(self) -> Arrays:
        """Return a batch of one sample that means nothing, for a pipeline that must have a batch."""

    @abstractmethod
    def _allocate(self, plans: list[SamplePlan], memory: dict[int, npt.NDArray[np.uint8]]) -> Arrays:
        """Return the batch's arrays, in memory that is used again."""

    @abstractmethod
    def _fill(self, plan: SamplePlan, case: Case, arrays: Arrays, i: int) -> None:
        """Make sample i of the batch."""


class PairSource(Source):
    """Batches of finished samples: disordered and target (B, C, D, H, W), sample (B,) int64."""

    def blank(self) -> Arrays:
        """Return zeros."""
        pair = np.zeros((1, self.channels, *self.planner.recipe.crop), self.planner.recipe.dtype)
        return pair, pair, np.full(1, -1)

    def _allocate(self, plans: list[SamplePlan], memory: dict[int, npt.NDArray[np.uint8]]) -> Arrays:
        shape = (len(plans), self.channels, *self.planner.recipe.crop)
        dtype = np.dtype(self.planner.recipe.dtype)
        numbers = np.array([plan.number for plan in plans], np.int64)
        return _take(memory, 0, shape, dtype), _take(memory, 1, shape, dtype), numbers

    def _fill(self, plan: SamplePlan, case: Case, arrays: Arrays, i: int) -> None:
        disordered, target = arrays[0][i], arrays[1][i]
        view, recipe = plan.views[0], self.planner.recipe
        out = target if target.dtype == np.float32 else np.empty(target.shape, np.float32)
        for channel, volume, raw in read_boxes(self.planner.index.root, case, view, recipe.crop):
            affine = affine_map(volume, recipe.normalize)
            window = _window(view, recipe.crop, volume.shape)
            if raw.shape != recipe.crop:
                out[channel] = affine.fill
            decode_channel(_flip(raw, view), affine, out[channel][window])
        if out is not target:
            target[...] = out
        disordered[...] = target
        swap_in_place_ref(disordered, view.swaps)


class RawSource(Source):
    """Batches for a GPU.

    raw (B, bytes) uint8, records (B, C, 16) int64, swaps (B, T, 3, 3) int32, sample (B,) int64.
    """

    def blank(self) -> Arrays:
        """Return records without a window, and no swaps that move anything."""
        records = np.zeros((1, self.channels, RECORD_WORDS), np.int64)
        swaps = np.zeros((1, self.planner.recipe.swap.iterations, 3, 3), np.int32)
        swaps[..., 2, :] = 1
        return np.zeros((1, _ALIGNMENT), np.uint8), records, swaps, np.full(1, -1)

    def _allocate(self, plans: list[SamplePlan], memory: dict[int, npt.NDArray[np.uint8]]) -> Arrays:
        cases = [self.planner.index.cases[plan.case] for plan in plans]
        rows = [
            sum(self._box_bytes(v, plan.views[0]) for v in case.volumes)
            for plan, case in zip(plans, cases, strict=True)
        ]
        raw = _take(memory, 0, (len(plans), max(rows)), np.dtype(np.uint8))
        records = np.zeros((len(plans), self.channels, RECORD_WORDS), np.int64)
        swaps = np.stack([plan.views[0].swaps for plan in plans])
        return raw, records, swaps, np.array([plan.number for plan in plans], np.int64)

    def _box_bytes(self, volume: Volume, view: View) -> int:
        """Return the bytes of a volume's box, padded."""
        start, stop = _box(view, self.planner.recipe.crop, volume.shape)
        size = volume.geometry.numpy_dtype.itemsize
        for a, b in zip(start, stop, strict=True):
            size *= b - a
        return -(-size // _ALIGNMENT) * _ALIGNMENT

    def _fill(self, plan: SamplePlan, case: Case, arrays: Arrays, i: int) -> None:
        row, view, recipe = arrays[0][i], plan.views[0], self.planner.recipe
        sizes = [self._box_bytes(volume, view) for volume in case.volumes]
        for channel, volume, raw in read_boxes(self.planner.index.root, case, view, recipe.crop):
            first = sum(sizes[:channel])
            order = sorted(range(3), key=lambda axis: -abs(raw.strides[axis]))
            forward = raw.transpose(order)[tuple(slice(None, None, -1 if raw.strides[a] < 0 else 1) for a in order)]
            packed = row[first : first + raw.nbytes].view(raw.dtype).reshape(forward.shape)
            packed[...] = forward
            arrays[1][i, channel] = self._record(volume, view, raw, packed, order, first)

    def _record(
        self, volume: Volume, view: View, raw: npt.NDArray[Any], packed: npt.NDArray[Any], order: list[int], first: int
    ) -> npt.NDArray[np.int64]:
        """Return the record of a box packed in file order at byte `first` of its row."""
        size, strides, start = raw.dtype.itemsize, [0, 0, 0], _box(view, self.planner.recipe.crop, volume.shape)[0]
        for place, axis in enumerate(order):
            step = packed.strides[place] // size
            strides[axis] = -step if raw.strides[axis] < 0 else step
            first += size * step * (raw.shape[axis] - 1) if raw.strides[axis] < 0 else 0
        return make_record(
            dtype=volume.dtype,
            big_endian=volume.geometry.big_endian,
            first_byte=first - size * sum(s * a for s, a in zip(strides, start, strict=True)),
            itemsize=size,
            strides=strides,
            origin=view.origin,
            flips=view.flips,
            crop=self.planner.recipe.crop,
            shape=volume.shape,
            affine=affine_map(volume, self.planner.recipe.normalize),
        )


def read_boxes(root: Path, case: Case, view: View, crop: Triple) -> Iterator[tuple[int, Volume, npt.NDArray[Any]]]:
    """Read the part of a crop that lies in the volume, channel by channel; a file once for all of its frames.

    Yields
    ------
    channel : int
    volume : Volume
    raw : (D, H, W) at most the crop's
        Canonical view of the file's own voxels, valid until the next one is asked for.

    Raises
    ------
    VolumeError
        If a file cannot be read or is no longer the one that was scanned.
    """
    start, stop = _box(view, crop, case.shape)
    for data, group in groupby(enumerate(case.volumes), key=lambda item: item[1].data):
        members = list(group)
        upto = max(volume.geometry.end(volume.frame, start, stop) for _, volume in members)
        first = members[0][1]
        content = reader.read_data(root / data, upto, size=first.size, mtime_ns=first.mtime_ns)
        for channel, volume in members:
            yield channel, volume, volume.geometry.view(content, volume.frame, start, stop)


class _BrokenCase(Exception):
    """A case whose file could not be read."""

    def __init__(self, case: int, cause: VolumeError) -> None:
        super().__init__(str(cause))
        self.case, self.cause = case, cause


def _box(view: View, crop: Triple, shape: Triple) -> tuple[Triple, Triple]:
    """Return the canonical box [start, stop) of the volume that a crop covers."""
    (d, h, w), (cd, ch, cw), (ld, lh, lw) = view.origin, crop, shape
    return (max(0, d), max(0, h), max(0, w)), (min(ld, d + cd), min(lh, h + ch), min(lw, w + cw))


def _window(view: View, crop: Triple, shape: Triple) -> tuple[slice, ...]:
    """Return the part of the (flipped) crop that has voxels."""
    slices = []
    for origin, edge, length, flip in zip(view.origin, crop, shape, view.flips, strict=True):
        lo, hi = max(0, -origin), min(edge, length - origin)
        slices.append(slice(edge - hi, edge - lo) if flip else slice(lo, hi))
    return tuple(slices)


def _flip(raw: npt.NDArray[Any], view: View) -> npt.NDArray[Any]:
    return raw[tuple(slice(None, None, -1 if flip else 1) for flip in view.flips)]


def _take(
    memory: dict[int, npt.NDArray[np.uint8]], place: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """Return an array in kept memory: page faults on fresh memory cost as much as filling it."""
    size = int(np.prod(shape)) * dtype.itemsize
    if place not in memory or memory[place].size < size:
        memory[place] = np.empty(size, np.uint8)
    return memory[place][:size].view(dtype).reshape(shape)
