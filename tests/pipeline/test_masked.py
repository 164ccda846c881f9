"""Test masked samples: input, target and mask against the plan, on every path."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import dali_cr
from tests.helpers.recipes import INDEXES, MASKED, PAIRS, loader


def mask_of(plan: Any, crop: tuple[int, ...]) -> np.ndarray:
    """Return the mask of a plan."""
    mask = np.zeros(crop, bool)
    for origin, size in plan.mask:
        mask[tuple(slice(start, start + edge) for start, edge in zip(origin, size, strict=True))] = True
    return mask


@pytest.mark.parametrize(
    "change",
    [{}, {"mask_value": -2.5, "dtype": "float16"}, {"spacing": (1.3, 0.8, 0.6)}, {"normalize": None, "mask_block": 7}],
    ids=str,
)
@pytest.mark.parametrize("name", INDEXES)
def test_input_equals_the_target_outside_of_the_mask(
    name: str, change: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """Check also that crops equal those of other pretexts, and that all channels share one mask."""
    index, recipe = request.getfixturevalue(name), replace(MASKED, **change)
    plain = replace(recipe, pretext="autoencode")
    with loader(index, recipe) as masked, loader(index, plain) as clean:
        for _, batch, other in zip(range(3), masked.stream(), clean.stream(), strict=False):
            assert list(batch) == ["input", "target", "mask", "sample", "case"]
            mask = batch["mask"].numpy()
            assert (mask.dtype, mask.shape) == (bool, (4, 1, *recipe.crop))
            np.testing.assert_array_equal(batch["target"], other["target"])
            value = np.array(recipe.mask_value, batch["target"].numpy().dtype)
            np.testing.assert_array_equal(batch["input"], np.where(mask, value, batch["target"]))
            for i, number in enumerate(batch["sample"].tolist()):
                plan = masked.plan(number)
                assert plan.mask.shape == (recipe.mask_grid.masked, 2, 3)  # type: ignore[union-attr]
                assert plan.swaps.shape == (0, 3, 3)
                np.testing.assert_array_equal(mask[i, 0], mask_of(plan, recipe.crop))


def test_slices_without_the_axis_d(mixed_index: dali_cr.Index) -> None:
    recipe = dali_cr.Restoration((1, 20, 24), pretext="mae", mask_block=3, slices=dali_cr.Slices("H", every=2))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "crop: ", dali_cr.DataWarning)
        warnings.filterwarnings("error", "mask_block: ", dali_cr.DataWarning)
        with loader(mixed_index, recipe, dims=2) as stream:
            batch = next(iter(stream))
            assert batch["mask"].shape == (4, 1, 20, 24)
            assert len(stream.plan(2).mask) == round(0.75 * 7 * 8)
            np.testing.assert_array_equal(batch["mask"][2], mask_of(stream.plan(2), recipe.crop))


def test_continues_with_the_same_samples(mixed_index: dali_cr.Index) -> None:
    with loader(mixed_index, MASKED) as one, loader(mixed_index, MASKED) as other:
        batches = one.stream()
        next(batches)
        other.load_state_dict(one.state_dict())
        wanted, got = next(batches), next(other.stream())
        for name in ("input", "target", "mask", "sample"):
            np.testing.assert_array_equal(wanted[name], got[name])
        state = one.state_dict()
    with (
        loader(mixed_index, replace(MASKED, mask_ratio=0.5)) as third,
        pytest.raises(ValueError, match="recipe differ"),
    ):
        third.load_state_dict(state)


def test_a_pipeline_has_the_mask_as_bytes(mixed_index: dali_cr.Index) -> None:
    pipe = dali_cr.restoration_pipeline(mixed_index, MASKED, 4, "cpu", 5)
    input, target, mask, sample = (np.array(output.as_array()) for output in pipe.run())
    assert (mask.dtype, mask.max(), sample.tolist()) == (np.uint8, 1, [0, 1, 2, 3])
    np.testing.assert_array_equal(input, np.where(mask, np.float32(0), target))


def test_few_blocks_are_warned_of(mixed_index: dali_cr.Index) -> None:
    few = r"mask_block: a crop of 16 × 20 × 24 voxels has 4 × 5 × 6 blocks of 4 × 4 × 4, fewer than 6 along an axis"
    with pytest.warns(dali_cr.DataWarning, match=few):
        loader(mixed_index, replace(MASKED, mask_block=4)).close()
    with pytest.warns(dali_cr.DataWarning, match=few):
        dali_cr.restoration_pipeline(mixed_index, replace(MASKED, mask_block=4), 4, "cpu")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "mask_block: ", dali_cr.DataWarning)
        loader(mixed_index, replace(MASKED, mask_block=(2, 3, 4))).close()


def test_operators_have_no_mask(mixed_index: dali_cr.Index) -> None:
    with pytest.raises(ValueError, match="pretext: expected one with swaps, got 'mae'"):
        dali_cr.fn.read_samples(mixed_index, MASKED, batch_size=2)
    assert PAIRS.mask_grid is None
