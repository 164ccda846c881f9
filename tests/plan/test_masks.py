"""Test masked blocks: their number, a uniform distribution over all sets, a pure function of seed and sample number."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

import dali_cr
from dali_cr.plan.crops.masks import MaskSampler
from dali_cr.recipe.mask import divide_into_blocks

Triple = tuple[int, int, int]

CROPS: list[tuple[Triple, int | Triple, float, int]] = [
    ((64, 64, 64), 16, 0.75, 48),
    ((1, 70, 33), 16, 0.6, 9),
    ((12, 14, 17), (4, 5, 6), 0.5, 14),
    ((5, 4, 3), 1, 0.9, 54),
    ((1, 1, 10), 4, 0.75, 2),
]
"""Crop, block, ratio, and number of blocks: round(2.25) is 2, round(13.5) is 14."""


@pytest.mark.parametrize(("crop", "block", "ratio", "masked"), CROPS, ids=str)
def test_exact_number_of_blocks(crop: Triple, block: int | Triple, ratio: float, masked: int) -> None:
    """Check that they are distinct, that all blocks together fill the crop, and that blocks at its end are cropped."""
    grid = divide_into_blocks(crop, block, ratio)
    assert grid.masked == masked == round(ratio * np.prod(grid.blocks))
    drawn = MaskSampler(7, crop, grid).draw(np.arange(50))
    assert drawn.shape == (50, 1, masked, 3, 3)
    for origins, zeros, sizes in np.moveaxis(drawn[:, 0], 2, 1):
        assert len({tuple(origin) for origin in origins.tolist()}) == masked
        assert not (origins % grid.block).any()
        assert not zeros.any()
        np.testing.assert_array_equal(sizes, np.minimum(grid.block, np.array(crop) - origins))
    ends = drawn[:, 0, :, 0] + drawn[:, 0, :, 2]
    assert drawn[:, 0, :, 0].min() == 0
    assert ends.max((0, 1)).tolist() == list(crop)


def test_every_set_of_blocks_is_equally_likely() -> None:
    """Test three of six blocks, 20 sets."""
    grid = divide_into_blocks((1, 7, 9), (1, 4, 3), 0.5)
    drawn = MaskSampler(3, (1, 7, 9), grid).draw(np.arange(20_000))[:, 0, :, 0]
    counts = Counter(frozenset(map(tuple, origins)) for origins in drawn.tolist())
    places = [(0, row, column) for row in (0, 4) for column in (0, 3, 6)]
    assert set(counts) == {frozenset(some) for some in itertools.combinations(places, 3)}
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 43.8  # 19 degrees of freedom, p = 0.001


def test_a_batch_is_its_samples_and_seeds_differ() -> None:
    crop, grid = (64, 64, 64), divide_into_blocks((64, 64, 64), 16, 0.75)
    numbers = np.array([4, 0, 2**40, -1])
    together = MaskSampler(3, crop, grid).draw(numbers)
    for number, drawn in zip(numbers, together, strict=True):
        np.testing.assert_array_equal(drawn, MaskSampler(3, crop, grid).draw(np.array([number]))[0])
    assert (MaskSampler(4, crop, grid).draw(numbers) != together).any((1, 2, 3, 4)).all()
    with pytest.raises(ValueError, match="seed: expected"):
        MaskSampler(-1, crop, grid)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mask_ratio": 0.0}, "mask_ratio: expected a number between 0 and 1, got 0.0"),
        ({"mask_ratio": True}, "mask_ratio: expected a number"),
        ({"mask_ratio": 0.001}, "mask_ratio: expected masked and visible blocks, got 0 of 64 masked"),
        ({"mask_block": 100}, "mask_ratio: expected masked and visible blocks, got . of 1 masked"),
        ({"mask_block": 0}, "mask_block: expected a positive integer, or three"),
        ({"mask_block": (4, 4)}, "mask_block: expected a positive integer, or three"),
        ({"mask_block": 1}, "mask_block: expected at most 65535 masked blocks, got 196608"),
        ({"mask_value": float("nan")}, "mask_value: expected a finite number"),
        ({"mask_value": "0"}, "mask_value: expected a finite number"),
        ({"pretext": "masked"}, "pretext: expected 'swap', 'inpaint', 'autoencode', 'mae', got 'masked'"),
    ],
    ids=str,
)
def test_refuses_impossible_masks(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        dali_cr.Restoration(**{"crop": (64, 64, 64), "pretext": "mae", **wrong})  # type: ignore[arg-type]


def test_fields_of_a_mask_count_only_where_blocks_are_masked() -> None:
    crop = (64, 64, 64)
    masked = dali_cr.Restoration(crop, pretext="mae", mask_block=[16, 16, 8])  # type: ignore[arg-type]
    assert (masked.mask_block, masked.swap.iterations) == ((16, 16, 8), 0)
    others = [
        dali_cr.Restoration(crop, pretext="mae"),
        dali_cr.Restoration(crop, pretext="mae", mask_ratio=0.5),
        dali_cr.Restoration(crop, pretext="mae", mask_value=-1),
        dali_cr.Restoration(crop, pretext="autoencode"),
    ]
    assert len({recipe.fingerprint for recipe in (masked, *others)}) == 5
    swapped = dali_cr.Restoration(crop, mask_ratio=0.5, mask_block=8, mask_value=1.0)
    assert swapped == dali_cr.Restoration(crop)
    assert swapped.mask_grid is None
