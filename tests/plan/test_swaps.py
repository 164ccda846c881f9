"""Test drawn swaps: disjoint boxes, a uniform distribution over all disjoint pairs, all positions."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_cr import Swap, draw_swaps
from dali_cr.plan import swaps

Triple = tuple[int, int, int]


def chi_square(shape: Triple, size: Triple, draws: int, seed: int) -> tuple[float, int]:
    """Return chi-square of the drawn pairs against a uniform distribution, and the number of disjoint pairs."""
    places = list(itertools.product(*(range(n - p + 1) for n, p in zip(shape, size, strict=True))))
    disjoint = {
        (*a, *b) for a in places for b in places if any(abs(x - y) >= p for x, y, p in zip(a, b, size, strict=True))
    }
    drawn = draw_swaps(seed, 0, shape, Swap(iterations=draws, patch=size))
    counts = Counter(tuple(row) for row in drawn[:, :2].reshape(draws, 6).tolist())
    assert set(counts) <= disjoint
    expected = draws / len(disjoint)
    return sum((counts[pair] - expected) ** 2 for pair in disjoint) / expected, len(disjoint)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((4, 3, 5), (2, 2, 2)),
        ((1, 6, 6), (1, 2, 3)),
        ((1, 1, 9), (1, 1, 2)),
        ((4, 5, 4), (2, 3, 4)),
        ((6, 2, 2), (3, 2, 2)),
        ((5, 5, 5), (1, 1, 4)),
        ((3, 7, 3), (3, 3, 3)),
    ],
    ids=str,
)
def test_uniform_over_disjoint_pairs(shape: Triple, size: Triple) -> None:
    statistic, pairs = chi_square(shape, size, draws=max(10_000, 20 * 2000), seed=11)
    freedom = pairs - 1
    # Wilson-Hilferty: the cube root of chi-square / freedom is near normal; 3.1 standard deviations is p = 0.001.
    limit = freedom * (1 - 2 / (9 * max(freedom, 1)) + 3.1 * np.sqrt(2 / (9 * max(freedom, 1)))) ** 3
    assert statistic <= limit


@pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((64, 64, 64), (4, 16)),
        ((128, 128, 128), 15),
        ((32, 64, 64), (4, 4, 8)),
        ((1, 512, 512), (1, 256, 512)),
        ((32, 32, 32), 16),
        ((9, 8, 31), ((1, 9), (1, 8), (1, 15))),
    ],
    ids=str,
)
def test_ten_thousand_draws(shape: Triple, patch: object) -> None:
    """Check that boxes are disjoint and inside, and that the first and last origin of every axis are drawn."""
    swap = Swap(iterations=100, patch=patch)  # type: ignore[arg-type]
    drawn = swaps.draw_batch(5, np.arange(100), shape, swap).reshape(-1, 3, 3)
    a, b, size = np.moveaxis(drawn, 1, 0)
    assert (np.minimum(a, b) >= 0).all()
    assert (np.maximum(a, b) + size <= shape).all()
    assert (np.abs(a - b) >= size).any(-1).all()
    for axis, (low, high) in enumerate(swap.edges(shape)):
        assert (size[:, axis].min(), size[:, axis].max()) == (low, high)
        assert (a[:, axis] == 0).any()
        assert (b[:, axis] == 0).any()
        assert (a[:, axis] + size[:, axis] == shape[axis]).any()
        assert (b[:, axis] + size[:, axis] == shape[axis]).any()


def test_every_edge_is_equally_likely() -> None:
    sizes = draw_swaps(0, 0, (64, 64, 64), Swap(iterations=13_000, patch=(4, 16)))[:, 2]
    for axis in range(3):
        counts = np.bincount(sizes[:, axis], minlength=17)[4:]
        assert ((counts - 1000) ** 2 / 1000).sum() < 32.9  # 12 degrees of freedom, p = 0.001
    assert np.abs(np.corrcoef(sizes.T) - np.eye(3)).max() < 0.05


@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    low=st.integers(1, 20),
    more=st.integers(0, 10),
    sample=st.integers(0, 2**63),
    seed=st.integers(0, 2**64 - 1),
)
@settings(max_examples=200, deadline=None)
def test_possible_swaps_are_drawn_and_impossible_ones_raise(
    shape: Triple, low: int, more: int, sample: int, seed: int
) -> None:
    swap = Swap(iterations=50, patch=(low, low + more))
    high = [pair[1] for pair in swap.edges(shape)]
    fits = all(h <= n for h, n in zip(high, shape, strict=True)) and any(
        2 * h <= n for h, n in zip(high, shape, strict=True)
    )
    if not fits:
        with pytest.raises(ValueError, match="do not fit"):
            draw_swaps(seed, sample, shape, swap)
        return
    a, b, size = np.moveaxis(draw_swaps(seed, sample, shape, swap), 1, 0)
    assert (np.minimum(a, b) >= 0).all()
    assert (np.maximum(a, b) + size <= shape).all()
    assert (np.abs(a - b) >= size).any(-1).all()


def test_a_batch_is_its_samples() -> None:
    swap, numbers = Swap(iterations=9, patch=(2, 5)), [4, 0, 2**40]
    together = swaps.draw_batch(3, numbers, (12, 13, 14), swap)
    for number, drawn in zip(numbers, together, strict=True):
        np.testing.assert_array_equal(drawn, draw_swaps(3, number, (12, 13, 14), swap))
    assert together.dtype == np.int32


def test_no_iterations() -> None:
    assert draw_swaps(0, 0, (4, 4, 4), Swap(iterations=0, patch=9)).shape == (0, 3, 3)


APART: list[tuple[Triple, object, int]] = [
    ((64, 64, 64), (4, 16), 32),
    ((128, 128, 128), 15, 100),
    ((1, 70, 50), (3, 9), 17),
    ((9, 8, 31), ((1, 4), (1, 8), (1, 15)), 2),
    ((7, 5, 6), 2, 9),
]
"""Crops, patches and numbers of swaps without overlap; for some crops the largest possible number."""


@pytest.mark.parametrize(("shape", "patch", "iterations"), APART, ids=str)
def test_ten_thousand_draws_without_overlap(shape: Triple, patch: object, iterations: int) -> None:
    """Check that all boxes of a sample are disjoint and inside, and that all sizes are drawn."""
    swap = Swap(iterations=iterations, patch=patch, overlap=False)  # type: ignore[arg-type]
    drawn = swaps.draw_batch(5, np.arange(-(-10_000 // iterations)), shape, swap)
    a, b, size = np.moveaxis(drawn, 2, 0)
    assert (np.minimum(a, b) >= 0).all()
    assert (np.maximum(a, b) + size <= shape).all()
    for number in range(len(drawn)):
        origins, sizes = np.concatenate([a[number], b[number]]), np.concatenate([size[number]] * 2)
        apart = (origins[:, None] + sizes[:, None] <= origins).any(-1)
        assert (apart | apart.T | np.eye(len(origins), dtype=bool)).all()
    for axis, (low, high) in enumerate(swap.edges(shape)):
        assert (size[..., axis].min(), size[..., axis].max()) == (low, high)
        assert np.minimum(a, b)[..., axis].min() == 0
        assert (np.maximum(a, b) + size)[..., axis].max() == shape[axis]


@pytest.mark.parametrize(
    ("shape", "size", "iterations", "turn"),
    [
        ((5, 7, 4), (2, 3, 2), 1, 0),
        ((5, 7, 4), (2, 3, 2), 4, 3),
        ((1, 8, 11), (1, 3, 4), 2, 1),
        ((1, 1, 9), (1, 1, 2), 2, 1),
    ],
    ids=str,
)
def test_distribution_without_overlap(shape: Triple, size: Triple, iterations: int, turn: int) -> None:
    """Check that each swap has two cells, uniform over pairs, and boxes uniform in the cells, as `Swap` documents."""
    axes = [
        [(i, range(i * n // (n // p), (i + 1) * n // (n // p) - p + 1)) for i in range(n // p)]
        for n, p in zip(shape, size, strict=True)
    ]
    cells = [list(itertools.product(*(places for _, places in cell))) for cell in itertools.product(*axes)]
    pairs = list(itertools.permutations(cells, 2))
    expected = {(*a, *b): 1 / (len(pairs) * len(one) * len(other)) for one, other in pairs for a in one for b in other}
    draws = 20 * len(expected)
    swap = Swap(iterations=iterations, patch=size, overlap=False)
    drawn = swaps.draw_batch(11, np.arange(draws), shape, swap)[:, turn, :2].reshape(draws, 6)
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) <= set(expected)
    statistic = sum((counts[pair] - draws * share) ** 2 / (draws * share) for pair, share in expected.items())
    freedom = len(expected) - 1
    assert statistic <= freedom * (1 - 2 / (9 * freedom) + 3.1 * np.sqrt(2 / (9 * freedom))) ** 3


def test_every_sequence_of_cells_is_equally_likely() -> None:
    """Test four cells in a row, each one patch wide, where the origins of two swaps are one of 24 sequences."""
    drawn = swaps.draw_batch(3, np.arange(24_000), (1, 1, 8), Swap(iterations=2, patch=2, overlap=False))
    counts = Counter(map(tuple, drawn[:, :, :2, 2].reshape(-1, 4).tolist()))
    assert set(counts) == set(itertools.permutations((0, 2, 4, 6)))
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 49.7  # 23 degrees of freedom, p = 0.001


def test_a_batch_without_overlap_is_its_samples_and_arrays_of_one_sample_differ() -> None:
    swap, shape = Swap(iterations=9, patch=(2, 4), overlap=False), (12, 13, 14)
    sampler = swaps.SwapSampler(3, shape, swap, groups=2)
    together = sampler.draw(np.array([4, 0, 2**40]))
    for number, drawn in zip([4, 0, 2**40], together, strict=True):
        np.testing.assert_array_equal(drawn[0], draw_swaps(3, number, shape, swap))
        np.testing.assert_array_equal(drawn, sampler.draw(np.array([number]))[0])
        assert (drawn[0] != drawn[1]).any()
    none = swaps.SwapSampler(3, (4, 4, 4), Swap(iterations=0, patch=9, overlap=False))
    assert none.draw(np.arange(2)).shape == (2, 1, 0, 3, 3)
