"""Work memory: the same array for the same name, one set a thread."""

import threading

import numpy as np

from dali_cr.ops.cpu.memory import WorkMemory


def test_a_name_keeps_its_room() -> None:
    memory = WorkMemory()
    first = memory.take("sum", (4, 5), np.float32)
    assert (first.shape, first.dtype, first.flags.c_contiguous) == ((4, 5), np.float32, True)
    assert memory.take("sum", (4, 5), np.float32) is first
    smaller = memory.take("sum", (3,), np.float32)
    assert smaller.shape == (3,)
    assert np.shares_memory(smaller, first)
    larger = memory.take("sum", (100,), np.float32)
    larger[:] = 7
    assert memory.take("sum", (4, 5), np.float32).tolist() == [[7] * 5] * 4
    assert not np.shares_memory(memory.take("pair", (4, 5), np.float32), larger)


def test_threads_have_their_own() -> None:
    memory = WorkMemory()
    here, there = memory.take("sum", (8,), np.float32), []
    thread = threading.Thread(target=lambda: there.append(memory.take("sum", (8,), np.float32)))
    thread.start()
    thread.join()
    assert not np.shares_memory(here, there[0])
