"""Both sources give the same views, which are what plan, nibabel, SciPy and NumPy say they are."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import dali_cr
from dali_cr import Views
from dali_cr.ops.gather import gather_views_ref
from dali_cr.ops.noise import add_noise_ref
from dali_cr.pipeline.cpu import PairSource
from dali_cr.pipeline.multiview import ViewPairSource, ViewRawSource
from dali_cr.plan.crops import CropPlanner
from dali_cr.plan.sample import AffineView, SamplePlan, views_of
from dali_cr.plan.stream import Stream
from dali_cr.plan.views import ViewPlanner
from dali_cr.plan.window import reach_of
from tests.helpers.volumes import write_nifti

RECIPE = Views(
    shape=(6, 10, 12),
    sizes=((6, 10, 12), (9, 9, 12), (12, 15, 20)),
    local_shape=(4, 5, 4),
    local_sizes=((4, 4, 4), (2, 3, 4), (6, 8, 6)),
    locals=3,
    swap=dali_cr.Swap(5, 2),
    flips=("D", "H", "W"),
    normalize=("window", -10, 100),
    foreground=0.5,
)
RECIPES = {
    "window": RECIPE,
    "percentile": replace(RECIPE, normalize="percentile"),
    "resampled": replace(RECIPE, spacing=(1.5, 0.7, 1.0)),
    "turned far": replace(RECIPE, degrees=180, scale=0.5),
    "flat": replace(
        RECIPE,
        shape=(1, 10, 12),
        sizes=((1, 10, 12), (1, 9, 12), (1, 15, 20)),
        local_shape=(1, 5, 4),
        local_sizes=((1, 4, 4), (1, 3, 4), (1, 8, 6)),
        swap=dali_cr.Swap(5, (1, 2, 2)),
    ),
    "untouched": replace(RECIPE, degrees=0, scale=0, blur=0, noise=0, gamma=0, swap=dali_cr.Swap(0)),
}
INDEXES = ["mixed_index", "channel_index"]


def scaled(index: dali_cr.Index, plan: SamplePlan, channel: int, normalize: object) -> np.ndarray:
    """Return a whole volume, normalised; what is not finite is 0."""
    volume = index.cases[plan.case].volumes[channel]
    values = dali_cr.read_volume(index.root / volume.path)[volume.frame].astype(np.float64)
    statistics = volume.statistics
    low, high = (statistics.low, statistics.high) if normalize == "percentile" else normalize[1:]  # type: ignore[index]
    return np.where(np.isfinite(values), np.clip((values - low) / (high - low), 0, 1), 0)


def by_hand(volume: np.ndarray, view: AffineView) -> np.ndarray:
    """Return a clean view by SciPy, with 0 outside of the volume."""
    return ndimage.affine_transform(
        volume, view.matrix, view.offset, view.shape, order=1, mode="grid-constant", cval=0.0
    )


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("name", INDEXES)
def test_clean_views_are_the_volume_seen_through_their_maps(
    name: str, recipe: Views, request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(name)
    bare = replace(recipe, blur=0, noise=0, gamma=0)
    source = ViewPairSource(ViewPlanner(index, bare, 5), Stream(4))
    for k in range(6):
        view, target, local, numbers = source.batch(k)
        for i, number in enumerate(numbers):
            plan = source.planner.draw([number])[0]
            views = views_of(plan)
            for channel in range(index.channels):
                volume = scaled(index, plan, channel, recipe.normalize)
                clean = [by_hand(volume, v) for v in views]
                for got, wanted in zip(target[i, :, channel], clean, strict=False):
                    np.testing.assert_allclose(got, wanted, atol=2e-5)
                for got, wanted in zip(local[i, :, channel], clean[2:], strict=True):
                    wanted = wanted - wanted.mean()
                    deviation = wanted.std(ddof=1)
                    if deviation > 1e-3:
                        np.testing.assert_allclose(got, wanted / deviation, atol=5e-5 / deviation)
            for v in range(2):
                # z-scoring changes no order: every voxel is where the swaps put it.
                swapped = dali_cr.swap_patches(target[i, v], views[v].swaps)
                unscored = view[i, v] * swapped.std((1, 2, 3), ddof=1, keepdims=True)
                np.testing.assert_allclose(unscored + swapped.mean((1, 2, 3), keepdims=True), swapped, atol=2e-5)
    source.close()


@pytest.mark.parametrize("name", INDEXES)
def test_a_view_as_large_as_its_box_is_the_crop_bit_for_bit(name: str, request: pytest.FixtureRequest) -> None:
    """Same cases, same origins: where nothing is turned, the target is context restoration's."""
    index = request.getfixturevalue(name)
    plain = replace(RECIPES["untouched"], shape=(16, 20, 24), sizes=((16, 20, 24),), flips=())
    crops = dali_cr.Restoration((16, 20, 24), dali_cr.Swap(0), flips=(), normalize=plain.normalize, foreground=0.5)
    ours = ViewPairSource(ViewPlanner(index, plain, 5), Stream(4))
    theirs = PairSource(CropPlanner(index, crops, 5), Stream(4))
    for k in range(6):
        assert ours.batch(k)[1][:, 0].tobytes() == theirs.batch(k)[1].tobytes()
    ours.close()
    theirs.close()


def test_corruption_is_blur_noise_gamma_swap_and_score(channel_index: dali_cr.Index) -> None:
    source = ViewPairSource(ViewPlanner(channel_index, RECIPE, 5), Stream(3))
    for k in range(4):
        view, target, _, numbers = source.batch(k)
        for i, number in enumerate(numbers):
            for v, own in enumerate(views_of(source.planner.draw([number])[0])[:2]):
                wanted = ndimage.gaussian_filter(target[i, v], (0, *own.blur))[None]
                wanted = add_noise_ref(wanted, np.float32([own.noise]), 5, np.array([[number, v]]))[0].astype(float)
                wanted = dali_cr.swap_patches(np.sign(wanted) * np.abs(wanted) ** own.gamma, own.swaps)
                wanted -= wanted.mean((1, 2, 3), keepdims=True)
                wanted /= wanted.std((1, 2, 3), ddof=1, keepdims=True)
                np.testing.assert_allclose(view[i, v], wanted, atol=2e-4)
    source.close()


def test_views_are_scored_and_targets_lie_in_0_to_1(mixed_index: dali_cr.Index) -> None:
    source = ViewPairSource(ViewPlanner(mixed_index, RECIPE, 5), Stream(22))
    view, target, local, _ = source.batch(0)
    assert target.min() >= 0
    assert target.max() <= 1
    for array in (view, local):
        np.testing.assert_allclose(array.mean((-1, -2, -3)), 0, atol=1e-5)
        np.testing.assert_allclose(array.std((-1, -2, -3), ddof=1), 1, atol=1e-5)
    source.close()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("name", INDEXES)
def test_raw_and_finished_views_agree(name: str, recipe: Views, request: pytest.FixtureRequest) -> None:
    index = request.getfixturevalue(name)
    finished, raw = (kind(ViewPlanner(index, recipe, 2), Stream(5)) for kind in (ViewPairSource, ViewRawSource))
    bare = ViewPairSource(ViewPlanner(index, replace(recipe, blur=0, noise=0, gamma=0), 2), Stream(5))
    for k in range(4):
        _, target, _, numbers = finished.batch(k)
        data, globals_, locals_, swaps, intensities, counters, again = raw.batch(k)
        assert gather_views_ref(data, globals_, recipe.shape).tobytes() == target.tobytes()
        assert np.array_equal(numbers, again)
        plans = raw.planner.draw(numbers)
        assert np.array_equal(swaps, [[view.swaps for view in plan.views[:2]] for plan in plans])
        assert np.array_equal(counters, [[(plan.number, v) for v in range(5)] for plan in plans])
        drawn = [[(*view.blur, view.noise, view.gamma) for view in views_of(plan)] for plan in plans]
        assert np.array_equal(intensities, np.float32(drawn))
        local = gather_views_ref(data, locals_, recipe.local_shape).astype(np.float64)
        spread = local.std((-1, -2, -3), ddof=1, keepdims=True)
        scores = (local - local.mean((-1, -2, -3), keepdims=True)) / np.where(spread > 1e-3, spread, np.inf)
        np.testing.assert_allclose(scores, np.where(spread > 1e-3, bare.batch(k)[2], 0), atol=1e-4)
    for source in (finished, raw, bare):
        source.close()


def test_what_is_read_is_what_the_views_reach(mixed_index: dali_cr.Index) -> None:
    raw = ViewRawSource(ViewPlanner(mixed_index, RECIPE, 2), Stream(1))
    finished = ViewPairSource(ViewPlanner(mixed_index, replace(RECIPE, crops_per_volume=4), 2), Stream(8), lookahead=0)
    for k in range(len(mixed_index)):
        plan = raw.planner.draw([k])[0]
        case = mixed_index.cases[plan.case]
        start, stop = reach_of(plan, case.shape)
        size = np.prod(np.subtract(stop, start)) * case.volumes[0].geometry.itemsize
        assert size <= raw.batch(k)[0].shape[1] < size + 32
    reads: list[str] = []
    read = finished.cache.read
    finished.cache.read = lambda root, volume, upto: (reads.append(volume.data), read(root, volume, upto))[1]  # type: ignore[method-assign]
    finished.batch(0)
    assert len(reads) == 2
    raw.close()
    finished.close()


def test_batches_do_not_depend_on_what_came_before(mixed_index: dali_cr.Index) -> None:
    """Memory is used again; nothing of an older batch may show."""
    steady = ViewPairSource(ViewPlanner(mixed_index, RECIPE, 2), Stream(3), threads=3, lookahead=3)
    for k in range(8):
        got = [array.copy() for array in steady.batch(k)]
        fresh = ViewPairSource(ViewPlanner(mixed_index, RECIPE, 2), Stream(3), threads=1, lookahead=0)
        for one, other in zip(got, fresh.batch(k), strict=True):
            assert one.tobytes() == other.tobytes()
        fresh.close()
    steady.close()


@pytest.mark.parametrize("kind", [ViewPairSource, ViewRawSource])
def test_blank_batches_have_the_shapes_of_real_ones(kind: type, mixed_index: dali_cr.Index) -> None:
    source = kind(ViewPlanner(mixed_index, RECIPE, 2), Stream(1))
    blank, real = source.blank(), source.batch(0)
    assert len(blank) == len(real) == source.arrays
    first = 1 if kind is ViewRawSource else 0
    assert [(a.shape, a.dtype) for a in blank[first:]] == [(a.shape, a.dtype) for a in real[first:]]
    source.close()


@pytest.mark.parametrize("kind", [ViewPairSource, ViewRawSource])
def test_skipping_is_pure(kind: type, mixed_index: dali_cr.Index, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(mixed_index.root, root, copy_function=shutil.copy2)
    index = replace(mixed_index, root=root)
    for case in (1, 4, 7):
        (root / index.cases[case].volumes[0].path).unlink()
    source = kind(ViewPlanner(index, RECIPE, 0), Stream(4), on_error="skip")
    known = kind(ViewPlanner(index, RECIPE, 0), Stream(4), on_error="skip")
    known.broken.update(dict.fromkeys((1, 4, 7), "gone"))
    for k in range(8):
        one, other = source.batch(k), known.batch(k)
        if kind is ViewRawSource:
            one, other = ((gather_views_ref(*batch[:2], RECIPE.shape), *batch[1:]) for batch in (one, other))
        assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
    assert set(source.broken) == {1, 4, 7}
    source.close()
    known.close()


def test_outside_of_the_volume_is_the_lower_bound(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(50, 150, (9, 8, 7))
    write_nifti(tmp_path / "v.nii", numbers)
    index = dali_cr.scan(tmp_path, progress=False)
    edges = (16, 16, 16)
    recipe = replace(
        RECIPES["untouched"], normalize=("window", 0, 200), sizes=(edges,), shape=edges, flips=(), local_sizes=(edges,)
    )
    source = ViewPairSource(ViewPlanner(index, recipe, 0), Stream(1))
    padded = np.pad(numbers.transpose(2, 1, 0) / 200, ((4, 5), (4, 4), (3, 4)))
    for target in source.batch(0)[1][0]:
        np.testing.assert_array_equal(target[0], padded.astype(np.float32))
    source.close()
