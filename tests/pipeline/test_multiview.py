"""Test views against nibabel, SciPy and NumPy with the same plans."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import dali_cr
from dali_cr import Views
from dali_cr.ops.noise import add_noise_ref
from dali_cr.plan.sample import AffineView, SamplePlan, views_of
from tests.helpers.recipes import INDEXES, RADIOGRAPHS, VIEWS, VIEWS_OF, finished
from tests.helpers.volumes import write_nifti


def scaled(index: dali_cr.Index, plan: SamplePlan, channel: int, normalize: object) -> np.ndarray:
    """Return a whole normalised volume, with 0 in place of NaN and Inf."""
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


@pytest.mark.parametrize("recipe", VIEWS_OF.values(), ids=VIEWS_OF)
@pytest.mark.parametrize("name", INDEXES)
def test_clean_views_are_the_volume_seen_through_their_maps(
    name: str, recipe: Views, request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(name)
    bare = replace(recipe, blur=0, noise=0, gamma=0)
    source = finished(index, bare, 5, 4)
    for k in range(6):
        view, target, local, numbers = source.batch(k).values()
        for i, number in enumerate(numbers):
            plan = source.planner.plan([number])[0]
            views = views_of(plan)
            for channel in range(index.channels):
                volume = scaled(index, plan, channel, recipe.normalize)
                clean = [by_hand(volume, v) for v in views]
                for got, wanted in zip(target[i, :, channel], clean, strict=False):
                    np.testing.assert_allclose(got, wanted, atol=2e-5)
                for got, wanted in zip(local[i, :, channel], clean[2:], strict=True):
                    wanted = wanted - wanted.mean()
                    std = wanted.std(ddof=1)
                    if std > 1e-3:
                        np.testing.assert_allclose(got, wanted / std, atol=5e-5 / std)
            for v in range(2):
                # The z-score keeps the order of values, so it shows where the swaps moved each voxel.
                swapped = dali_cr.swap_patches(target[i, v], views[v].swaps)
                unscored = view[i, v] * swapped.std((1, 2, 3), ddof=1, keepdims=True)
                np.testing.assert_allclose(unscored + swapped.mean((1, 2, 3), keepdims=True), swapped, atol=2e-5)
    source.close()


@pytest.mark.parametrize("name", INDEXES)
def test_a_view_as_large_as_its_box_is_the_crop_bit_for_bit(name: str, request: pytest.FixtureRequest) -> None:
    """Check that without rotation the target equals that of context restoration for the same cases and origins."""
    index = request.getfixturevalue(name)
    plain = replace(VIEWS_OF["untouched"], shape=(16, 20, 24), sizes=((16, 20, 24),), flips=())
    crops = dali_cr.Restoration((16, 20, 24), dali_cr.Swap(0), flips=(), normalize=plain.normalize, foreground=0.5)
    ours = finished(index, plain, 5, 4)
    theirs = finished(index, crops, 5, 4)
    for k in range(6):
        assert ours.batch(k)["target"][:, 0].tobytes() == theirs.batch(k)["target"].tobytes()
    ours.close()
    theirs.close()


def test_corruption_is_blur_noise_gamma_swap_and_score(channel_index: dali_cr.Index) -> None:
    source = finished(channel_index, VIEWS, 5, 3)
    for k in range(4):
        view, target, _, numbers = source.batch(k).values()
        for i, number in enumerate(numbers):
            for v, own in enumerate(views_of(source.planner.plan([number])[0])[:2]):
                wanted = ndimage.gaussian_filter(target[i, v], (0, *own.blur))[None]
                wanted = add_noise_ref(wanted, np.float32([own.noise]), 5, np.array([[number, v]]))[0].astype(float)
                wanted = dali_cr.swap_patches(np.sign(wanted) * np.abs(wanted) ** own.gamma, own.swaps)
                wanted -= wanted.mean((1, 2, 3), keepdims=True)
                wanted /= wanted.std((1, 2, 3), ddof=1, keepdims=True)
                np.testing.assert_allclose(view[i, v], wanted, atol=2e-4)
    source.close()


def jittered(image: np.ndarray, view: AffineView) -> np.ndarray:
    """Return an image with the brightness and contrast of a plan."""
    for change in "cb" if view.contrast_first else "bc":
        mean = image.mean((1, 2, 3), keepdims=True)
        image = np.clip(view.brightness * image if change == "b" else mean + view.contrast * (image - mean), 0, 1)
    return image


def test_corruption_of_radiographs_is_blur_jitter_and_holes_in_standardized_views(
    channel_index: dali_cr.Index,
) -> None:
    source, (mean, std) = finished(channel_index, RADIOGRAPHS, 5, 3), RADIOGRAPHS.standardize
    first, blurred = 0, 0
    for k in range(4):
        view, target, local, numbers = source.batch(k).values()
        for i, number in enumerate(numbers):
            views = views_of(source.planner.plan([number])[0])
            for v, own in enumerate(views):
                volume = [scaled(channel_index, source.planner.plan([number])[0], c, "percentile") for c in (0, 1)]
                clean = np.stack([by_hand(one, own) for one in volume])
                wanted = (jittered(ndimage.gaussian_filter(clean, (0, *own.blur)), own) - mean) / std
                for origin, size in own.holes:
                    wanted[(slice(None), *map(slice, origin, origin + size))] = 0
                np.testing.assert_allclose(view[i, v] if v < 2 else local[i, v - 2], wanted, atol=2e-4)
                if v < 2:
                    np.testing.assert_allclose(target[i, v], (clean - mean) / std, atol=1e-4)
                assert (own.noise, own.gamma, len(own.holes)) == (0, 1, 3 if v < 2 else 0)
                first, blurred = first + own.contrast_first, blurred + any(own.blur)
    source.close()
    assert (0 < first < 60, 0 < blurred < 60) == (True, True)


def test_views_are_scored_and_targets_lie_in_0_to_1(mixed_index: dali_cr.Index) -> None:
    source = finished(mixed_index, VIEWS, 5, 22)
    view, target, local, _ = source.batch(0).values()
    assert target.min() >= 0
    assert target.max() <= 1
    for array in (view, local):
        np.testing.assert_allclose(array.mean((-1, -2, -3)), 0, atol=1e-5)
        np.testing.assert_allclose(array.std((-1, -2, -3), ddof=1), 1, atol=1e-5)
    source.close()


def test_outside_of_the_volume_is_the_lower_bound(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(50, 150, (9, 8, 7))
    write_nifti(tmp_path / "v.nii", numbers)
    index = dali_cr.scan(tmp_path, progress=False)
    edges = (16, 16, 16)
    recipe = replace(
        VIEWS_OF["untouched"], normalize=("window", 0, 200), sizes=(edges,), shape=edges, flips=(), local_sizes=(edges,)
    )
    source = finished(index, recipe, 0, 1)
    padded = np.pad(numbers.transpose(2, 1, 0) / 200, ((4, 5), (4, 4), (3, 4)))
    for target in source.batch(0)["target"][0]:
        np.testing.assert_array_equal(target[0], padded.astype(np.float32))
    source.close()
