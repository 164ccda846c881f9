"""Test pairs against nibabel and NumPy with the same plans."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import dali_cr
from dali_cr.plan.sample import SamplePlan
from tests.helpers.recipes import INDEXES, PAIRS, finished


def by_hand(index: dali_cr.Index, recipe: dali_cr.Restoration, plan: SamplePlan) -> np.ndarray:
    """Return a target from whole z-scored volumes, padded, cropped and flipped in NumPy."""
    channels = []
    for volume in index.cases[plan.case].volumes:
        values = dali_cr.read_volume(index.root / volume.path)[volume.frame].astype(np.float64)
        scaled = np.clip((values - volume.statistics.mean) / volume.statistics.deviation, -5, 5)
        padded = np.pad(np.where(np.isfinite(values), scaled, 0), 24)
        window = tuple(slice(o + 24, o + 24 + c) for o, c in zip(plan.origin, recipe.crop, strict=True))
        channels.append(padded[window][tuple(slice(None, None, -1 if f else 1) for f in plan.flips)])
    return np.stack(channels)


@pytest.mark.parametrize("run", [1, 4])
@pytest.mark.parametrize("name", INDEXES)
def test_samples_are_what_they_should_be(name: str, run: int, request: pytest.FixtureRequest) -> None:
    index, recipe = request.getfixturevalue(name), replace(PAIRS, crops_per_volume=run)
    source = finished(index, recipe, 5, 4)
    for k in range(8):
        batch: dict[str, Any] = source.batch(k)
        for i, plan in enumerate(source.planner.plan(batch["sample"])):
            np.testing.assert_allclose(batch["target"][i], by_hand(index, recipe, plan), atol=2e-6)
            np.testing.assert_array_equal(batch["input"][i], dali_cr.swap_patches(batch["target"][i], plan.swaps))
    source.close()
