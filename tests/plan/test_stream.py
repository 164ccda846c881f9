"""Test the stream of sample numbers: each once, for any batch size and number of ranks."""

import numpy as np
import pytest

from dali_cr.plan.stream import Stream


@pytest.mark.parametrize("end", [0, 1, 5, 24, 25, 100])
@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_each_number_once(batch_size: int, world_size: int, end: int) -> None:
    streams = [Stream(batch_size, end=end, rank=r, world_size=world_size) for r in range(world_size)]
    steps = -(-end // (batch_size * world_size))
    seen = [s.numbers(k) for k in range(steps) for s in streams]
    assert np.concatenate([*seen, np.arange(0)]).tolist() == list(range(end))
    assert all(s.numbers(steps).size == 0 and s.after(steps) == end for s in streams)


def test_ranks_take_slices_and_start_anywhere() -> None:
    stream = Stream(4, start=100, rank=1, world_size=3)
    assert stream.numbers(2).tolist() == [128, 129, 130, 131]
    assert stream.after(2) == 124


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": 1, "rank": 2, "world_size": 2}])
def test_refuses(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Stream(**wrong)
