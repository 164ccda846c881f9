"""Test Philox against published vectors, and the numbers drawn from its words."""

import numpy as np
import pytest

from dali_cr import rng
from dali_cr.ops.cpu.philox import draw_pair, unit
from dali_cr.ops.cpu.philox import philox as compiled_philox

# kat_vectors of Random123 1.14 (Salmon et al.), philox4x32 10: counter, key, block.
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN, ids=["zeros", "ones", "pi"])
def test_published_vectors(counter: list[int], key: list[int], block: list[int]) -> None:
    assert rng.philox(counter, key).tolist() == block
    seed = np.uint64(key[0] | key[1] << 32)
    assert list(compiled_philox(*map(np.uint64, counter), seed)) == block


def test_counters_are_independent_rows() -> None:
    together = rng.philox([k[0] for k in KNOWN], [k[1] for k in KNOWN])
    assert together.tolist() == [k[2] for k in KNOWN]


def test_words_depend_on_the_arguments_only() -> None:
    words = rng.draw_words(7, [3, 2**40], rng.Purpose.SWAP, 4)
    assert words.shape == (2, 8)
    pairs = [draw_pair(np.uint64(7), np.uint64(2**40), block, int(rng.Purpose.SWAP)) for block in range(4)]
    assert words[1].tolist() == [word for pair in pairs for word in pair]
    assert (rng.draw_words(7, [2**40], rng.Purpose.SWAP, 2) == words[1:, :4]).all()
    streams = [
        words[0],
        words[1],
        rng.draw_words(8, [3], rng.Purpose.SWAP, 4)[0],
        rng.draw_words(7 + 2**32, [3], rng.Purpose.SWAP, 4)[0],
        rng.draw_words(7, [3], rng.Purpose.FLIP, 4)[0],
        rng.draw_words(7, [3], rng.Purpose.SWAP, 4, attempt=1)[0],
    ]
    assert np.unique(np.concatenate(streams)).size == sum(map(len, streams))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "0", True])
def test_refuses_invalid_seeds(seed: object) -> None:
    with pytest.raises(ValueError, match="seed"):
        rng.draw_words(seed, [0], rng.Purpose.SWAP, 1)  # type: ignore[arg-type]


def test_below_and_unit_are_uniform() -> None:
    words = rng.draw_words(0, np.arange(20_000), rng.Purpose.ORIGIN, 1).ravel()
    counts = np.bincount(rng.below(words, 10), minlength=10)
    assert ((counts - 4000) ** 2 / 4000).sum() < 27.9  # chi-square, 9 degrees of freedom, p = 0.001
    units = np.array([unit(word) for word in words])
    assert units.min() >= 0
    assert units.max() < 1
    assert abs(units.mean() - 0.5) < 0.01
