"""Test slices: their selection, each once per epoch, against NumPy, with the same bits on all paths."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dali_cr
from dali_cr.pipeline import graph as graphs
from dali_cr.plan.crops.planner import CropPlanner
from dali_cr.plan.sample import SamplePlan
from dali_cr.recipe.slices import ORDERS, Slices
from tests.helpers.recipes import INDEXES, content, finished, outputs_of, outputs_of_whole, raw, samples
from tests.helpers.recipes import loader as loader_of
from tests.helpers.volumes import write_nifti

AXES = "DHW"
CROP = (1, 13, 24)
"""A crop smaller than every volume along the rows, larger than some along the columns."""


def recipe_of(axis: str = "D", **options: Any) -> dali_cr.Restoration:
    slices = Slices(axis=axis, **{name: options.pop(name) for name in ("every", "skip_empty") if name in options})  # type: ignore[arg-type]
    base = dali_cr.Restoration(crop=CROP, swap=dali_cr.Swap(6, (2, 5)), flips=("D", "H", "W"), foreground=0.5)
    return replace(base, slices=slices, **options)


@pytest.fixture(scope="module")
def holes(tmp_path_factory: pytest.TempPathFactory) -> dali_cr.Index:
    """Volumes of zeros with a body in part of the slices of each axis, stored in several orientations."""
    folder = tmp_path_factory.mktemp("holes")
    rng = np.random.default_rng(3)
    for i, orientation in enumerate(("RAS", "PIR", "LSA", "SPL")):
        numbers = np.zeros((16 + i, 20, 23), np.int16)
        numbers[3:9, 2:15, [4, 5, 9, 17 + i]] = rng.integers(1, 400, (6, 13, 4))
        write_nifti(folder / f"{i}.nii.gz", numbers, orientation=orientation)
    return dali_cr.scan(folder, progress=False)


def masks(index: dali_cr.Index) -> list[np.ndarray]:
    """Return the foreground of each case, (D, H, W)."""
    return [dali_cr.read_volume(index.root / case.volumes[0].path)[0] != 0 for case in index.cases]


def visited(plans: Iterable[SamplePlan]) -> list[tuple[int, int]]:
    return [(plan.case, plan.origin[0]) for plan in plans]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("every", [1, 2, 3, 50])
@pytest.mark.parametrize("skip_empty", [True, False])
def test_an_epoch_has_every_slice_once(holes: dali_cr.Index, axis: str, every: int, skip_empty: bool) -> None:
    wanted = set()
    for case, mask in enumerate(masks(holes)):
        planes = np.moveaxis(mask, AXES.index(axis), 0)
        middle = len(planes) // 2
        numbers = [n for n in range(len(planes)) if (n - middle) % every == 0]
        wanted |= {(case, n) for n in numbers if planes[n].any() or not skip_empty}
    recipe = recipe_of(axis, every=every, skip_empty=skip_empty)
    if not wanted:
        with pytest.raises(ValueError, match="slices: expected at least one slice"):
            CropPlanner(holes, recipe, 0)
        return
    planner = CropPlanner(holes, recipe, 7)
    assert planner.epoch_length == len(wanted)
    epochs = [visited(list(planner.plan(np.arange(len(wanted)) + e * len(wanted)))) for e in range(3)]
    assert all(len(epoch) == len(set(epoch)) and set(epoch) == wanted for epoch in epochs)
    assert len(wanted) < 5 or len(set(map(tuple, epochs))) == 3


@pytest.mark.parametrize("run", [2, 5, 40])
def test_runs_are_of_one_volume_and_each_slice_comes_once(mixed_index: dali_cr.Index, run: int) -> None:
    planner = CropPlanner(mixed_index, recipe_of(crops_per_volume=run), 1)
    length = planner.epoch_length
    epochs = [visited(list(planner.plan(np.arange(length) + e * length))) for e in range(2)]
    assert set(epochs[0]) == set(visited(list(CropPlanner(mixed_index, recipe_of(), 1).plan(np.arange(length)))))
    for epoch in epochs:
        assert len(set(epoch)) == length
        cases = [case for case, _ in epoch]
        left = {case: cases.count(case) for case in cases}
        place = 0
        while place < length:  # a run has the requested length, or is the last of its volume
            case = cases[place]
            taken = [c for c in cases[place : place + min(run, left[case])] if c == case]
            assert len(taken) == min(run, left[case]) or left[case] % run == len(taken)
            left[case] -= len(taken)
            place += len(taken)
    assert epochs[0] != epochs[1]


def test_permutations_are_even() -> None:
    """Check that every slice is equally likely at every position, with and without runs."""
    from dali_cr import rng
    from dali_cr.plan.order.cases import _order_in_runs

    owners = np.repeat([0, 1, 2], [4, 2, 1])
    for run in (1, 2):
        counts = np.zeros((7, 7))
        for seed in range(4000):
            order = _order_in_runs(rng.draw_words(seed, np.arange(7), rng.Purpose.ORDER, 1), owners, run)
            counts[np.arange(7), order] += 1
        if run == 1:
            assert abs(counts - 4000 / 7).max() < 5 * np.sqrt(4000 / 7)
        for own in (slice(0, 4), slice(4, 6)):  # slices of one volume may be in any order
            spread = counts[:, own]
            assert abs(spread - spread.mean(1, keepdims=True)).max() < 5 * np.sqrt(4000 / 7)


def by_hand(index: dali_cr.Index, recipe: dali_cr.Restoration, plan: SamplePlan) -> np.ndarray:
    """Return a target cropped from whole z-scored volumes."""
    assert recipe.slices is not None
    channels = []
    for volume in index.cases[plan.case].volumes:
        values = dali_cr.read_volume(index.root / volume.path)[volume.frame].astype(np.float64)
        scaled = np.clip((values - volume.statistics.mean) / volume.statistics.deviation, -5, 5)
        scaled = np.where(np.isfinite(values), scaled, 0)
        number, row, column = plan.origin
        picture = np.pad(np.take(scaled, number, AXES.index(recipe.slices.axis)), 24)
        picture = picture[row + 24 : row + 24 + CROP[1], column + 24 : column + 24 + CROP[2]]
        channels.append(picture[tuple(slice(None, None, -1 if f else 1) for f in plan.flips[1:])])
    return np.stack(channels)[:, None]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", INDEXES)
def test_samples_are_what_they_should_be(name: str, axis: str, request: pytest.FixtureRequest) -> None:
    index, recipe = request.getfixturevalue(name), recipe_of(axis, every=2)
    source = finished(index, recipe, 5, 4)
    for k in range(8):
        input, target, numbers = source.batch(k).values()
        for i, plan in enumerate(source.planner.plan(numbers)):
            np.testing.assert_allclose(target[i], by_hand(index, recipe, plan), atol=2e-6)
            np.testing.assert_array_equal(input[i], dali_cr.swap_patches(target[i], plan.swaps))
    source.close()


@pytest.mark.parametrize("run", [1, 4])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", INDEXES)
def test_raw_and_finished_samples_agree(name: str, axis: str, run: int, request: pytest.FixtureRequest) -> None:
    index, recipe = request.getfixturevalue(name), recipe_of(axis, crops_per_volume=run)
    ours, theirs = (kind(index, recipe, 2, 5) for kind in (finished, raw))
    for k in range(6):
        assert content(ours, k) == content(theirs, k)
    ours.close()
    theirs.close()


def test_a_volume_is_read_once_for_its_slices_in_a_batch(mixed_index: dali_cr.Index) -> None:
    source = finished(mixed_index, recipe_of(crops_per_volume=4), 2, 4, lookahead=0)
    reads: list[str] = []
    read = source.cache.read
    source.cache.read = lambda root, volume, upto: (reads.append(volume.data), read(root, volume, upto))[1]  # type: ignore[method-assign]
    length = sum(len(set(visited(source.planner.plan(np.arange(4 * k, 4 * k + 4))))) == 4 for k in range(6))
    for k in range(6):
        source.batch(k)
    assert length == 6
    assert len(reads) == sum(len({p.case for p in source.planner.plan(np.arange(4 * k, 4 * k + 4))}) for k in range(6))
    source.close()


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("levels", [[], ["gpu:1GB"], ["gpu:200KB", "host:1GB"]], ids=str)
def test_the_kernels_agree(
    cuda_on_cpu: Any, mixed_index: dali_cr.Index, monkeypatch: pytest.MonkeyPatch, levels: list[str], axis: str
) -> None:
    """Test the emulated GPU graph with its arena against the CPU path."""
    from dali_cr.read.cache import open_cache, parse_cache
    from dali_cr.read.gpu_cache import Arena

    recipe, cache = recipe_of(axis), open_cache(levels, mixed_index)
    budgets = [budget for kind, _, budget in map(parse_cache, levels) if kind == "gpu"]
    wanted = outputs_of(dali_cr.restoration_pipeline(mixed_index, recipe, 5, "cpu", seed=4), 12)
    for whole in (False, True):
        source = raw(mixed_index, recipe, 4, 5, cache=cache, whole=whole)
        source.arena = Arena(sum(budgets), source.planner.index) if budgets else None
        got = outputs_of_whole(source, 12, 1) if whole else outputs_of(graphs.build_pipeline(source, "cpu"), 12)
        assert got == wanted
        assert not source.arena or source.arena.hits > 0
        source.close()
    cache.close()


def loader(index: dali_cr.Index, **options: Any) -> dali_cr.Loader:
    return loader_of(index, options.pop("recipe", recipe_of("H")), **options)


@pytest.fixture(scope="module", params=[1, 3])
def known(request: pytest.FixtureRequest, holes: dali_cr.Index) -> tuple[dali_cr.Restoration, dict[int, bytes]]:
    recipe = recipe_of("H", crops_per_volume=request.param)
    with loader(holes, recipe=recipe, batch_size=1, threads=1, epochs=2) as stream:
        return recipe, samples(stream)


@pytest.mark.parametrize(("batch_size", "threads", "world_size"), [(3, 1, 1), (8, 4, 1), (4, 2, 2)])
def test_any_batch_size_threads_and_ranks(
    holes: dali_cr.Index,
    known: tuple[dali_cr.Restoration, dict[int, bytes]],
    batch_size: int,
    threads: int,
    world_size: int,
) -> None:
    recipe, wanted = known
    got: dict[int, bytes] = {}
    for rank in range(world_size):
        options = {"batch_size": batch_size, "threads": threads, "rank": rank, "world_size": world_size}
        with loader(holes, recipe=recipe, epochs=2, **options) as stream:
            own = samples(stream)
        assert not own.keys() & got.keys()
        got |= own
    assert got == wanted


def test_resumes(holes: dali_cr.Index, known: tuple[dali_cr.Restoration, dict[int, bytes]]) -> None:
    recipe, wanted = known
    with loader(holes, recipe=recipe, batch_size=5) as first:
        got, state = samples(first, 3), first.state_dict()
    with loader(holes, recipe=recipe, batch_size=4) as second:
        second.load_state_dict(state)
        got |= samples(second, 4)
    assert sorted(got) == list(range(31))
    assert all(wanted[n] == content for n, content in got.items())
    with loader(holes, recipe=recipe_of("H", every=2)) as other, pytest.raises(ValueError, match="but recipe differ"):
        other.load_state_dict(state)


@pytest.mark.parametrize("run", [1, 3])
def test_skipping_draws_slices_of_other_cases(holes: dali_cr.Index, run: int) -> None:
    planner = CropPlanner(holes, recipe_of(crops_per_volume=run), 0)
    numbers = np.arange(100)
    whole, redrawn = list(planner.plan(numbers)), list(planner.plan(numbers, {1, 2}))
    filled = [mask.any((1, 2)) for mask in masks(holes)]
    for before, after in zip(whole, redrawn, strict=True):
        assert after.case not in (1, 2)
        assert (after.attempt > 0) == (before.case in (1, 2))
        assert filled[after.case][after.origin[0]]
        if not after.attempt:
            assert visited([before]) == visited([after])
    with pytest.raises(dali_cr.VolumeError, match="none of its 4 cases"):
        list(planner.plan([0], range(4)))


def test_flips_are_of_the_volumes_axes(mixed_index: dali_cr.Index) -> None:
    """Check that left and right are exchanged only by a flip of W, never in a slice across W."""
    for axis, allowed in (("D", (0, 0, 1)), ("H", (0, 0, 1)), ("W", (1, 0, 0))):
        plans = CropPlanner(mixed_index, recipe_of(axis, flips=("W",)), 0).plan(np.arange(200))
        assert tuple(np.array([plan.flips for plan in plans]).any(0)) == tuple(map(bool, allowed))


def test_foreground_lies_in_the_slice(holes: dali_cr.Index) -> None:
    recipe = replace(recipe_of("D", foreground=1.0), crop=(1, 4, 4), swap=dali_cr.Swap(1, 1))
    filled = masks(holes)
    for plan in list(CropPlanner(holes, recipe, 0).plan(np.arange(200))):
        number, row, column = plan.origin
        around = filled[plan.case][number, max(0, row) : row + 5, max(0, column) : column + 5]
        assert around.any()


def test_an_empty_slice_has_crops_anywhere(holes: dali_cr.Index) -> None:
    plans = list(CropPlanner(holes, recipe_of("D", skip_empty=False, foreground=1.0), 0).plan(np.arange(300)))
    assert len({plan.origin for plan in plans}) > 100


def test_reordered_geometry_is_another_view(mixed_index: dali_cr.Index) -> None:
    for axis, order in ORDERS.items():
        turned = Slices(axis=axis).turn(mixed_index)  # type: ignore[arg-type]
        assert turned.fingerprint == mixed_index.fingerprint
        for before, after in zip(mixed_index.cases, turned.cases, strict=True):
            one, other = before.volumes[0].geometry, after.volumes[0].geometry
            assert other.shape == tuple(one.shape[a] for a in order)
            assert other.spacing == tuple(one.spacing[a] for a in order)
            place = np.array([2, 3, 5])
            there = np.array(other.affine) @ [*place[::-1], 1]
            here = np.array(one.affine) @ [*(place[order.index(a)] for a in (2, 1, 0)), 1]
            np.testing.assert_array_equal(there, here)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"axis": "X"}, "slices: expected the axis"),
        ({"every": 0}, "every to be an integer of at least 1"),
        ({"every": 1.5}, "every to be an integer of at least 1"),
        ({"every": True}, "every to be an integer of at least 1"),
        ({"skip_empty": "no"}, "skip_empty to be True or False"),
    ],
    ids=str,
)
def test_refuses_invalid_slices(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Slices(**wrong)


def test_refuses_a_thick_crop() -> None:
    with pytest.raises(ValueError, match=r"crop: expected \(1, rows, columns\) with slices, got \(2, 8, 8\)"):
        dali_cr.Restoration(crop=(2, 8, 8), swap=dali_cr.Swap(1, 1), slices=Slices())


def test_refuses_an_index_without_slices(tmp_path: Path) -> None:
    numbers = np.zeros((5, 5, 9))
    numbers[1, 1:3, 1] = 1, 2
    write_nifti(tmp_path / "v.nii", numbers)
    index = dali_cr.scan(tmp_path, include="*", progress=False)
    with pytest.raises(ValueError, match="at least one slice, got none by .*every=9.* in 1 cases"):
        loader(index, recipe=recipe_of(every=9))
    assert CropPlanner(index, recipe_of(), 0).epoch_length == 1


def test_fingerprints_of_slices_differ() -> None:
    recipes = [replace(recipe_of(), slices=None), recipe_of(), recipe_of("H"), recipe_of(every=2)]
    assert len({recipe.fingerprint for recipe in recipes}) == 4


def test_two_dimensions_for_the_network(holes: dali_cr.Index) -> None:
    with loader(holes, dims=2) as flat, loader(holes) as thick:
        one, other = next(iter(flat)), next(iter(thick))
    for name in ("input", "target"):
        assert one[name].shape == (4, 1, *CROP[1:])
        assert torch.equal(one[name], other[name][:, :, 0])
    with pytest.raises(ValueError, match=r"dims: expected a crop of \(1, rows, columns\)"):
        loader(holes, recipe=dali_cr.Restoration(crop=(8, 8, 8), swap=dali_cr.Swap(1, 2)), dims=2)
    with pytest.raises(ValueError, match="dims: expected 2 or 3, got 4"):
        loader(holes, dims=4)
