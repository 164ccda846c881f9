"""Test the closed forms for pairs of origins against counting."""

import itertools

import pytest

from dali_cr.ops.draw import pairs as op


@pytest.mark.parametrize("m", range(1, 10))
@pytest.mark.parametrize("p", range(1, 10))
def test_pairs_of_an_axis_are_counted_once(m: int, p: int) -> None:
    apart, close, free = op.pair_counts(m, p)
    every = set(itertools.product(range(m), repeat=2))
    wide = {(a, b) for a, b in every if abs(a - b) >= p}
    for pair, count, wanted in ((op.pair_apart, apart, wide), (op.pair_close, close, every - wide)):
        drawn = [pair(rank, m, p) for rank in range(count)]
        assert set(drawn) == wanted
        assert len(drawn) == len(wanted)
    assert free == len(every)
