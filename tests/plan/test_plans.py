"""Test the arrays of a batch's plans against plain definitions, with other batches, threads and caches."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import dali_cr
from dali_cr.plan.crops.planner import CropPlanner
from dali_cr.plan.foreground import Foreground
from dali_cr.plan.plans import Plans
from dali_cr.plan.views.planner import ViewPlanner
from tests.helpers import plans as definitions
from tests.helpers.recipes import RADIOGRAPHS

SWAP = dali_cr.Swap(4, (2, 6))
CROPS = dali_cr.Restoration(crop=(16, 20, 24), swap=SWAP, flips=("D", "W"), foreground=0.5)
VIEWS = dali_cr.Views(
    shape=(6, 10, 12),
    sizes=((6, 10, 12), (9, 9, 12), (12, 15, 20), (30, 40, 12)),
    local_shape=(4, 4, 4),
    local_sizes=((4, 4, 4), (2, 3, 4), (6, 8, 6)),
    locals=3,
    swap=dali_cr.Swap(5, 2),
    flips=("H", "W"),
    normalize="percentile",
    foreground=0.5,
)
FLAT = replace(
    VIEWS,
    shape=(1, 10, 12),
    sizes=((1, 10, 12), (1, 15, 20)),
    local_shape=(1, 4, 4),
    local_sizes=((1, 4, 4),),
    swap=dali_cr.Swap(2, (1, 2, 2)),
    degrees=30,
)
RECIPES: dict[str, Any] = {
    "crops": CROPS,
    "crops, runs": replace(CROPS, crops_per_volume=3, foreground=1, flips=()),
    "crops, uniform": replace(CROPS, foreground=0.0),
    "crops, spacing": replace(CROPS, spacing=(1.5, 0.7, 1.0)),
    "slices": replace(CROPS, crop=(1, 20, 24), slices=dali_cr.Slices(), swap=dali_cr.Swap(2, (1, 4, 4))),
    "slices across W": replace(
        CROPS,
        crop=(1, 13, 24),
        slices=dali_cr.Slices("W", 2, False),
        swap=dali_cr.Swap(2, (1, 4, 4)),
        foreground=0.9,
        crops_per_volume=2,
    ),
    "views": VIEWS,
    "views, spacing": replace(VIEWS, spacing=(1.5, 0.7, 1.0), crops_per_volume=2),
    "views, one slice": FLAT,
    "views, holes": replace(VIEWS, cutout=(2, 5), blur_probability=0.3, isotropic_blur=True),
    "views, areas": RADIOGRAPHS,
}
NUMBERS = np.array([0, 7, 5, 6, 41, 100, 2**33, 2**33 + 1, 2**40 + 3, *range(11, 30)])
ARRAYS = ("numbers", "cases", "attempts", "boxes", "origins", "flips", "swaps", "matrices", "offsets")
MORE = ("sizes", "angles", "scales", "intensities", "holes")


def planner_of(index: dali_cr.Index, recipe: Any, seed: int = 3) -> Any:
    return (ViewPlanner if isinstance(recipe, dali_cr.Views) else CropPlanner)(index, recipe, seed)


def arrays(plans: Plans) -> dict[str, Any]:
    found = {name: getattr(plans, name) for name in (*ARRAYS, *MORE) if hasattr(plans, name)}
    return {name: array for name, array in found.items() if array is not None}


def assert_same(one: Plans, other: Plans) -> None:
    for name, array in arrays(one).items():
        np.testing.assert_array_equal(array, getattr(other, name), err_msg=name)
    assert arrays(one).keys() == arrays(other).keys()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("fixture", ["mixed_index", "channel_index"])
def test_arrays_are_those_of_the_definitions(name: str, fixture: str, request: pytest.FixtureRequest) -> None:
    index, recipe = request.getfixturevalue(fixture), RECIPES[name]
    planner = planner_of(index, recipe)
    broken = {1, 3}
    plans = planner.plan(NUMBERS, broken)
    for i, number in enumerate(NUMBERS.tolist()):
        case, sliced = int(plans.cases[i]), isinstance(recipe, dali_cr.Restoration) and recipe.slices
        if not sliced:
            wanted = definitions.case_of(3, number, len(index), recipe.crops_per_volume, broken)
            assert (case, plans.attempts[i]) == wanted
        if isinstance(recipe, dali_cr.Views):
            plan = definitions.views_of(3, number, planner.index.cases[case], recipe)
        else:
            plane = int(plans.origins[i, 0, 0]) if sliced else None
            plan = definitions.crop_of(3, number, planner.index.cases[case], recipe, plane)
        assert plan.keys() == arrays(plans).keys() - {"numbers", "cases", "attempts"}
        for key, value in plan.items():
            found = getattr(plans, key)[i]
            np.testing.assert_array_equal(found, np.array(value).reshape(found.shape), err_msg=f"{number} {key}")


@pytest.mark.parametrize("name", RECIPES)
def test_plans_do_not_depend_on_the_batch(mixed_index: dali_cr.Index, name: str) -> None:
    together = planner_of(mixed_index, RECIPES[name]).plan(NUMBERS, {2})
    other = planner_of(mixed_index, RECIPES[name])
    for i in reversed(range(len(NUMBERS))):
        alone = other.plan(int(NUMBERS[i]), {2})
        for key, array in arrays(together).items():
            np.testing.assert_array_equal(array[i : i + 1], getattr(alone, key), err_msg=key)


@pytest.mark.parametrize("name", RECIPES)
def test_the_plan_of_one_sample_is_a_row_of_the_arrays(mixed_index: dali_cr.Index, name: str) -> None:
    recipe = RECIPES[name]
    planner = planner_of(mixed_index, recipe)
    plans, later = planner.plan(NUMBERS), planner.plan(NUMBERS, swaps=False)
    assert later.swaps is None
    assert not plans.swaps.flags.writeable
    assert len(plans) == len(list(plans)) == len(NUMBERS)
    for i, (plan, other) in enumerate(zip(plans, later, strict=True)):
        case = planner.index.cases[plan.case]
        assert (plan.number, plan.case, plan.attempt) == (NUMBERS[i], plans.cases[i], 0)
        assert plan.path == case.volumes[0].path
        assert [view.origin for view in plan.views] == [tuple(row) for row in plans.origins[i].tolist()]
        for v, (one, two) in enumerate(zip(plan.views, other.views, strict=True)):
            np.testing.assert_array_equal(one.swaps, two.swaps)
            assert one.swaps.shape == ((recipe.swap.iterations if v < plans.swaps.shape[1] else 0), 3, 3)
    np.testing.assert_array_equal(later[-1].swaps, plans[len(NUMBERS) - 1].swaps)
    with pytest.raises(IndexError):
        plans[len(NUMBERS)]


def test_no_samples(mixed_index: dali_cr.Index) -> None:
    for name in ("crops, spacing", "views"):
        plans = planner_of(mixed_index, RECIPES[name]).plan([], {1})
        assert len(plans) == len(list(plans)) == len(plans.boxes) == 0


@pytest.mark.parametrize("name", ["crops, runs", "slices", "views"])
def test_threads_share_a_planner(mixed_index: dali_cr.Index, name: str) -> None:
    planner, batches = planner_of(mixed_index, RECIPES[name]), [np.arange(k, k + 5) for k in range(0, 200, 5)]
    # A small limit, so that sums are dropped and computed again all the time.
    planner._foreground = Foreground(planner.index, most=6)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(planner.plan, batches))
    other = planner_of(mixed_index, RECIPES[name])
    for batch, plans in zip(batches, found, strict=True):
        assert_same(plans, other.plan(batch))


def test_sums_are_cached_for_few_cases(mixed_index: dali_cr.Index) -> None:
    foreground = Foreground(mixed_index, most=4)
    first = foreground.sums(np.array([3, 1, 3]))
    assert (first.starts >= 0).nonzero()[0].tolist() == [1, 3]
    assert (foreground.sums(np.array([0, 1])).starts >= 0).sum() == 3
    assert (foreground.sums(np.array([0, 1, 3, 4, 5, 6])).starts >= 0).nonzero()[0].tolist() == [0, 1, 3, 4, 5, 6]
    later = foreground.sums(np.array([9]))  # clears the cache; sums returned earlier are unchanged
    assert (later.starts >= 0).nonzero()[0].tolist() == [9]
    for sums, case in ((first, 1), (first, 3), (later, 9)):
        cells = sum(volume.foreground.astype(int) for volume in mixed_index.cases[case].volumes).ravel()
        start = sums.starts[case]
        assert sums.values[start : start + cells.size + 1].tolist() == [0, *np.cumsum(cells)]
