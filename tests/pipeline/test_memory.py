"""Test reused buffers: never reused while an array refers to them or the GPU reads them."""

import gc
import threading
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dali_cr
from dali_cr.pipeline.memory import Buffers, Section, cut, size_of
from tests.cuda_on_cpu.host import HostCuda
from tests.helpers.recipes import PAIRS, RECIPES, by_reference, finished, outputs_of_whole, raw

SECTIONS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 5), max_size=4).map(tuple),
        st.sampled_from(["u1", "i2", "f2", "f4", "f8", "i8"]),
    ),
    max_size=6,
)


@given(SECTIONS)
def test_arrays_are_aligned_and_consecutive(drawn: list[tuple[tuple[int, ...], str]]) -> None:
    sections = [Section(str(i), *one) for i, one in enumerate(drawn)]
    buffer = np.arange(size_of(sections) + 5, dtype=np.uint32).astype(np.uint8)
    base, end = buffer.ctypes.data, 0
    arrays = cut(buffer, iter(sections))
    assert list(arrays) == [section.name for section in sections]
    for section in sections:
        array = arrays[section.name]
        assert (array.shape, array.dtype) == (section.shape, np.dtype(section.dtype))
        assert array.flags.c_contiguous
        if array.size:
            first = array.ctypes.data - base
            assert first % 64 == 0
            assert end <= first < end + 64
            end = first + array.nbytes
            assert np.shares_memory(array, buffer)
    assert end <= size_of(sections) < end + 64 * (len(sections) + 1)


def counted() -> tuple[Buffers, list[int]]:
    """Return buffers, and the sizes that were allocated."""
    sizes: list[int] = []
    return Buffers(lambda size: (sizes.append(size), np.empty(size, np.uint8))[1]), sizes


def test_a_returned_buffer_is_reused_if_it_is_large_enough() -> None:
    buffers, sizes = counted()
    one = buffers.take(100)
    buffers.give(one)
    assert buffers.take(125) is one
    assert sizes == [125]
    buffers.give(one)
    larger = buffers.take(126)  # the small buffer is dropped, because sizes differ little between batches
    assert larger.size == 158
    buffers.give(larger)
    assert buffers.take(1) is larger
    assert sizes == [125, 158]


def test_a_lent_buffer_returns_with_its_last_array() -> None:
    buffers, sizes = counted()
    lent = buffers.lend(64)
    assert lent.size == 64
    address = lent.ctypes.data
    view: Any = torch.from_numpy(lent[8:40].view(np.float32).reshape(2, 4).T[1:])
    del lent
    gc.collect()
    assert buffers.lend(64).ctypes.data != address  # and dropped immediately
    assert buffers.lend(80).ctypes.data != address
    del view
    addresses = {lent.ctypes.data for lent in [buffers.lend(64) for _ in range(3)]}
    assert address in addresses
    assert len(sizes) == 3


def test_lent_memory_outlives_the_buffers() -> None:
    buffers, _ = counted()
    lent = buffers.lend(16)
    lent[...] = np.arange(16)
    del buffers
    gc.collect()
    assert lent.tolist() == list(range(16))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_as_many_buffers_as_live_batches(mixed_index: dali_cr.Index, recipe: Any) -> None:
    """Check that each kept batch needs one more buffer, and that memory does not grow with the number of batches."""
    source = finished(mixed_index, recipe, 2, 3, lookahead=2)
    kept = [source.batch(0), source.batch(1)]
    addresses = set()
    for k in range(2, 40):
        batch = source.batch(k)
        addresses.add(batch["sample"].ctypes.data)
        assert not any(np.shares_memory(batch[name], old[name]) for old in kept for name in batch)
    assert len(addresses) <= 5
    source.close()


class Mark:
    """Replacement for a GPU event."""

    def __init__(self) -> None:
        self.done = False


def test_a_buffer_waits_until_the_gpu_has_read_it(mixed_index: dali_cr.Index, cuda_on_cpu: HostCuda) -> None:
    marks: list[Mark] = []
    buffers: list[np.ndarray] = []

    def allocate(size: int) -> np.ndarray:
        buffers.append(np.empty(size + (1 << 20), np.uint8))
        return buffers[-1]

    source = raw(
        mixed_index, PAIRS, 7, 3, whole=True, allocate=allocate, mark=lambda: (marks.append(Mark()), marks[-1])[1],
        threads=1, lookahead=0,
    )  # fmt: skip
    used = []
    for k in range(4):
        buffer = source.batch(k)["buffer"]
        used.append(buffer.ctypes.data)
        source.make(buffer)
    assert len(set(used)) == len(buffers) == 4
    marks[1].done = True  # the first is still read, and events finish in order
    source.make(source.batch(4)["buffer"])
    assert len(buffers) == 5
    marks[0].done = True
    for k in (5, 6):
        again = source.batch(k)["buffer"]
        assert again.ctypes.data == used[k - 5]
        source.make(again)
    assert len(buffers) == 5
    source.close()


def test_concurrent_threads_get_no_buffer_that_is_read(mixed_index: dali_cr.Index, cuda_on_cpu: HostCuda) -> None:
    """Check that if two threads see a finished event, only one gets its buffer, and neither gets the next one."""
    meet = threading.Barrier(2)

    class Slow(Mark):
        @property  # type: ignore[override]
        def done(self) -> bool:
            with suppress(threading.BrokenBarrierError):
                meet.wait(0.2)
            return True

        @done.setter
        def done(self, value: bool) -> None:
            pass

    marks = iter([Slow(), Mark(), Mark(), Mark(), Mark()])
    source = raw(mixed_index, PAIRS, 7, 3, whole=True, mark=lambda: next(marks), threads=1, lookahead=0)
    buffers = [source.batch(k)["buffer"] for k in range(2)]
    for buffer in buffers:
        source.make(buffer)
    taken: list[int] = []
    threads = [threading.Thread(target=lambda: taken.append(source._take(3, 16).buffer.ctypes.data)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert buffers[0].ctypes.data in taken
    assert buffers[1].ctypes.data not in taken
    source.close()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_small_batch_after_a_large_one(mixed_index: dali_cr.Index, recipe: Any, cuda_on_cpu: HostCuda) -> None:
    """Check that it reuses the memory of the large batch, without bytes of the large batch."""
    source, alone = raw(mixed_index, recipe, 7, 8, whole=True), finished(mixed_index, recipe, 7, 8)
    for one in (source, alone):
        one.stream = replace(one.stream, end=19)
    large, _, small = (source.batch(k)["buffer"] for k in range(3))
    assert small.size < large.size / 2
    source.close()
    source = raw(mixed_index, recipe, 7, 8, whole=True)
    source.stream = replace(source.stream, end=19)
    made = outputs_of_whole(source, 3)
    wanted = by_reference(alone, alone.batch(2))
    assert [array[1:] for array in made[2]] == [
        (wanted[name].shape, wanted[name].tobytes()) for name in alone.samples.names
    ]
    source.close()
    alone.close()


def test_no_memory_is_allocated_after_the_first_batches(mixed_index: dali_cr.Index, cuda_on_cpu: HostCuda) -> None:
    sizes = count()
    source = raw(mixed_index, PAIRS, 7, 3, whole=True, allocate=lambda size: (next(sizes), np.empty(size, np.uint8))[1])
    outputs_of_whole(source, 60)
    assert next(sizes) < 30  # some were too small: raw boxes differ
    source.close()
