"""Test plans of crops: pure functions of (seed, n), the index and the recipe."""

from dataclasses import replace

import numpy as np
import pytest

import dali_cr
from dali_cr.plan.crops.planner import CropPlanner
from dali_cr.plan.sample import SamplePlan

RECIPE = dali_cr.Restoration(crop=(16, 20, 24), swap=dali_cr.Swap(5, (2, 6)), flips=("D", "W"), foreground=0.5)


def same(one: SamplePlan, other: SamplePlan) -> bool:
    alike = (one.number, one.case, one.path, one.origin, one.flips, one.attempt) == (
        other.number, other.case, other.path, other.origin, other.flips, other.attempt,
    )  # fmt: skip
    return alike and np.array_equal(one.swaps, other.swaps)


def test_plans_do_not_depend_on_the_batch(mixed_index: dali_cr.Index) -> None:
    planner = CropPlanner(mixed_index, RECIPE, 3)
    numbers = [0, 7, 2**33, 5, 6]
    together = list(planner.plan(numbers))
    for number, plan in zip(numbers, together, strict=True):
        assert same(plan, CropPlanner(mixed_index, RECIPE, 3).plan([number])[0])
    assert not same(together[0], CropPlanner(mixed_index, RECIPE, 4).plan([0])[0])


def test_each_epoch_has_every_case_once_in_another_order(mixed_index: dali_cr.Index) -> None:
    planner, length = CropPlanner(mixed_index, RECIPE, 0), len(mixed_index)
    epochs = [[plan.case for plan in list(planner.plan(np.arange(length) + e * length))] for e in range(4)]
    assert all(sorted(epoch) == list(range(length)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_origins_reach_every_place_and_small_volumes_are_centred(mixed_index: dali_cr.Index) -> None:
    recipe = replace(RECIPE, foreground=0.0)
    plans = list(CropPlanner(mixed_index, recipe, 1).plan(np.arange(len(mixed_index) * 400)))
    for case, entry in enumerate(mixed_index.cases):
        origins = np.array([plan.origin for plan in plans if plan.case == case])
        for axis, (edge, length) in enumerate(zip(recipe.crop, entry.shape, strict=True)):
            if length >= edge:
                assert set(origins[:, axis]) == set(range(length - edge + 1))
            else:
                assert set(origins[:, axis]) == {-((edge - length) // 2)}


def test_flips_are_even_and_only_where_allowed(mixed_index: dali_cr.Index) -> None:
    flips = np.array([plan.flips for plan in list(CropPlanner(mixed_index, RECIPE, 1).plan(np.arange(4000)))])
    assert not flips[:, 1].any()
    assert (np.abs(flips[:, [0, 2]].mean(0) - 0.5) < 0.04).all()
    assert abs(np.corrcoef(flips[:, 0], flips[:, 2])[0, 1]) < 0.08


def test_foreground_centres_lie_in_the_foreground(tmp_path: object) -> None:
    from pathlib import Path

    from tests.helpers.volumes import write_nifti

    numbers = np.zeros((64, 48, 40))
    numbers[40:56, 8:12, 30:33] = np.random.default_rng(0).integers(1, 99, (16, 4, 3))
    write_nifti(Path(str(tmp_path)) / "v.nii", numbers)
    index = dali_cr.scan(Path(str(tmp_path)), progress=False)
    recipe = dali_cr.Restoration(crop=(8, 8, 8), swap=dali_cr.Swap(1, 2), foreground=1.0)
    origins = np.array([plan.origin for plan in list(CropPlanner(index, recipe, 0).plan(np.arange(500)))])
    centres = origins + 4
    edges = np.array([3, 3, 4])  # a cell of the coarse map
    box = np.array([[30, 8, 40], [33, 12, 56]])
    assert (centres >= box[0] - edges).all()
    assert (centres < box[1] + edges).all()
    uniform = np.array(
        [p.origin for p in list(CropPlanner(index, replace(recipe, foreground=0.0), 0).plan(np.arange(500)))]
    )
    assert uniform.std(0).min() > 2 * origins.std(0).min()


def test_broken_cases_are_replaced(mixed_index: dali_cr.Index) -> None:
    planner = CropPlanner(mixed_index, RECIPE, 0)
    numbers = np.arange(200)
    whole, broken = list(planner.plan(numbers)), {2, 5, 9}
    redrawn = list(planner.plan(numbers, broken))
    for before, after in zip(whole, redrawn, strict=True):
        if before.case in broken:
            assert after.case not in broken
            assert after.attempt >= 1
        else:
            assert same(before, after)
    assert len({plan.case for plan in redrawn}) == len(mixed_index) - 3
    with pytest.raises(dali_cr.VolumeError, match="none of its"):
        planner.plan([0], set(range(len(mixed_index))))


def test_refuses_the_other_kind_of_recipe(mixed_index: dali_cr.Index) -> None:
    with pytest.raises(TypeError, match=r"recipe: expected dali_cr.Restoration, got Views"):
        dali_cr.fn.read_samples(mixed_index, dali_cr.Views(normalize="percentile"), batch_size=2)
    with pytest.raises(TypeError, match=r"recipe: expected dali_cr.Views, got Restoration"):
        dali_cr.fn.read_views(mixed_index, RECIPE, batch_size=2)


def test_refuses_an_empty_index(mixed_index: dali_cr.Index) -> None:
    with pytest.raises(ValueError, match="at least one case"):
        CropPlanner(replace(mixed_index, cases=()), RECIPE, 0)


def test_crops_per_volume_are_consecutive(mixed_index: dali_cr.Index) -> None:
    length = len(mixed_index)
    planner = CropPlanner(mixed_index, replace(RECIPE, crops_per_volume=3), 0)
    assert planner.epoch_length == 3 * length
    plans = list(planner.plan(np.arange(3 * length)))
    assert [plan.case for plan in plans[::3]] == [
        plan.case for plan in list(CropPlanner(mixed_index, RECIPE, 0).plan(range(length)))
    ]
    assert all(plans[i].case == plans[i + 1].case == plans[i + 2].case for i in range(0, 3 * length, 3))
    assert len({plan.swaps.tobytes() for plan in plans}) == 3 * length
