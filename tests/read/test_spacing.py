"""Test crops of resampled volumes against NumPy, SciPy and torch, with the same bits on all paths."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import dali_cr
from dali_cr.pipeline import graph as graphs
from dali_cr.plan.crops.planner import CropPlanner
from dali_cr.plan.window import shape_at
from dali_cr.tools import preview
from dali_cr.volume.geometry import Triple
from dali_cr.volume.grid import crop_map, nearest_voxels, resampled_shape
from tests.cuda_on_cpu.host import HostCuda
from tests.helpers.recipes import INDEXES, SPACED, content, finished, outputs_of, raw
from tests.helpers.volumes import write_nifti

FINE, COARSE = (0.45, 0.7, 0.52), (2.5, 1.7, 1.0)
RECIPES = {
    "zscore": SPACED,
    "fine": replace(SPACED, spacing=FINE),
    "coarse": replace(SPACED, spacing=COARSE, normalize="percentile"),
    "float16": replace(SPACED, dtype="float16", normalize=("window", 0, 100)),
    "thick crop": replace(SPACED, crop=(45, 8, 61)),
    "plain, thin crop": replace(SPACED, normalize=None, crop=(1, 33, 7)),
    "inpaint": replace(SPACED, pretext="inpaint", normalize=None),
    "the same": replace(SPACED, spacing=(1.0, 1.0, 1.0)),
}


def whole(index: dali_cr.Index, recipe: dali_cr.Restoration, case: int) -> np.ndarray:
    """Return a case resampled by SciPy to the recipe's spacing, float64, with 0 in place of NaN."""
    there = shape_at(index.cases[case], recipe.spacing)
    channels = []
    for volume in index.cases[case].volumes:
        values = dali_cr.read_volume(index.root / volume.path)[volume.frame].astype(np.float64)
        low, high = recipe.normalize[1:]  # type: ignore[index]
        scaled = np.where(np.isfinite(values), np.clip((values - low) / (high - low), 0, 1), 0)
        places = [(np.arange(n) + 0.5) * (own / n) - 0.5 for n, own in zip(there, values.shape, strict=True)]
        grid = np.meshgrid(*places, indexing="ij")
        channels.append(ndimage.map_coordinates(scaled, grid, order=1, mode="nearest"))
    return np.array(channels)


@pytest.mark.parametrize("spacing", [FINE, COARSE, (1.3, 0.8, 0.6)], ids=str)
@pytest.mark.parametrize("name", INDEXES)
def test_a_crop_is_cut_from_the_resampled_volume(
    name: str, spacing: tuple[float, float, float], request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(name)
    recipe = replace(SPACED, spacing=spacing, normalize=("window", -10, 100))
    source = finished(index, recipe, 5, 4)
    padded = 0
    for k in range(5):
        input, target, numbers = source.batch(k).values()
        for i, plan in enumerate(source.planner.plan(numbers)):
            volume = whole(index, recipe, plan.case)
            wide = np.pad(volume, ((0, 0), *((60, 60),) * 3))
            cut = tuple(slice(60 + o, 60 + o + n) for o, n in zip(plan.origin, recipe.crop, strict=True))
            wanted = wide[(slice(None), *cut)]
            wanted = np.flip(wanted, [axis + 1 for axis in range(3) if plan.flips[axis]])
            np.testing.assert_allclose(target[i], wanted, atol=1e-5)
            assert input[i].tobytes() == dali_cr.swap_patches(target[i], plan.swaps).tobytes()
            padded += any(n < edge for n, edge in zip(volume.shape[1:], recipe.crop, strict=True))
    assert padded or spacing != COARSE
    source.close()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("name", INDEXES)
def test_the_gpus_graph_equals_the_fast_path(
    name: str, recipe: dali_cr.Restoration, cuda_on_cpu: HostCuda, request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(name)
    source = raw(index, recipe, 7, 3)
    wanted = outputs_of(dali_cr.restoration_pipeline(index, recipe, 3, "cpu", 7), 5)
    assert outputs_of(graphs.build_pipeline(source, "cpu"), 5) == wanted
    source.close()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("name", INDEXES)
def test_at_their_own_spacing_nothing_changes(
    name: str, recipe: dali_cr.Restoration, cuda_on_cpu: HostCuda, request: pytest.FixtureRequest
) -> None:
    """All volumes here have voxels of 1 mm."""
    index = request.getfixturevalue(name)
    same, plain = replace(recipe, spacing=(1.0, 1.0, 1.0)), replace(recipe, spacing=None)
    fast, source = finished(index, same, 7, 5), raw(index, same, 7, 5)
    without = outputs_of(dali_cr.restoration_pipeline(index, plain, 5, "cpu", 7), 3)
    assert outputs_of(graphs.build_pipeline(source, "cpu"), 3) == without
    assert [[content(fast, k)[name] for name in ("input", "target")] for k in range(3)] == without
    fast.close()
    source.close()


def test_a_sample_is_a_function_of_its_number(mixed_index: dali_cr.Index, tmp_path: Path) -> None:
    """Test other batch sizes, threads, caches and starts of the stream."""
    wanted = {}
    with dali_cr.Loader(mixed_index, SPACED, batch_size=5, device="cpu", seed=3, threads=1) as loader:
        for _ in range(4):
            batch = next(iter(loader))
            for place, number in enumerate(batch["sample"].tolist()):
                wanted[number] = [batch[name][place].clone() for name in ("input", "target")]
    caches = [f"disk:{tmp_path}"]
    with dali_cr.Loader(
        mixed_index, SPACED, batch_size=3, device="cpu", seed=3, threads=3, cache=caches, epochs=2
    ) as other:
        state = None
        for batch in other:
            for place, number in enumerate(batch["sample"].tolist()):
                if number in wanted:
                    for name, tensor in zip(("input", "target"), wanted[number], strict=True):
                        assert torch.equal(batch[name][place], tensor)
            state = state or other.state_dict()
        other.load_state_dict(state)
        again = next(iter(other))
        assert again["sample"].tolist() == [3, 4, 5]
        assert torch.equal(again["target"][0], wanted[3][1])


def test_only_voxels_that_a_crop_needs_are_sent(mixed_index: dali_cr.Index) -> None:
    small = replace(SPACED, crop=(4, 4, 4), swap=dali_cr.Swap(1, 1), spacing=(0.5, 0.5, 0.5))
    source = raw(mixed_index, small, 0, 1)
    for k in range(len(mixed_index)):
        volume = mixed_index.cases[source.planner.plan([k])[0].case].volumes[0]
        # Four voxels of 0.5 mm need at most four voxels of 1 mm along each axis.
        assert source.batch(k)["raw"].shape[1] <= 4**3 * volume.geometry.itemsize + 16
    source.close()


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> dali_cr.Index:
    """Return a volume of 14 x 18 x 22 voxels whose values rise by 3, 5 and 7 along D, H and W."""
    z, y, x = np.ogrid[:14, :18, :22]
    numbers = (3 * z + 5 * y + 7 * x).astype(np.int16)
    folder = tmp_path_factory.mktemp("ramp")
    write_nifti(folder / "ramp.nii.gz", numbers.transpose(2, 1, 0), orientation="LPI", spacing=(2.0, 1.5, 4.0))
    return dali_cr.scan(folder, progress=False)


@given(
    spacing=st.tuples(*[st.floats(0.4, 9.0)] * 3),
    flips=st.sampled_from([(), ("D",), ("H", "W"), ("D", "H", "W")]),
    number=st.integers(0, 10**6),
)
@settings(max_examples=40, deadline=None)
def test_a_ramp_is_the_ramp_at_the_new_centres(
    ramp: dali_cr.Index, spacing: tuple[float, float, float], flips: tuple[str, ...], number: int
) -> None:
    recipe = dali_cr.Restoration((6, 7, 8), dali_cr.Swap(0), flips=flips, normalize=None, spacing=spacing)
    source = finished(ramp, recipe, 0, 1, start=number, threads=1, lookahead=0)
    target, plan = source.batch(0)["target"][0, 0], source.planner.plan([number])[0]
    source.close()
    own, there = ramp.cases[0].shape, shape_at(ramp.cases[0], recipe.spacing)
    places = []
    for axis, (edge, length, count) in enumerate(zip(recipe.crop, own, there, strict=True)):
        voxels = plan.origin[axis] + np.arange(edge)
        voxels = voxels[::-1] if plan.flips[axis] else voxels
        centres = (voxels + 0.5) * length / count - 0.5
        places.append(np.where((voxels >= 0) & (voxels < count), np.clip(centres, 0, length - 1), np.nan))
    d, h, w = np.meshgrid(*places, indexing="ij")
    wanted = 3 * d + 5 * h + 7 * w
    minimum = ramp.cases[0].volumes[0].statistics.minimum
    np.testing.assert_allclose(target, np.where(np.isnan(wanted), minimum, wanted), rtol=3e-7, atol=3e-5)


@pytest.mark.parametrize("own", [(9, 10, 11), (5, 40, 1)])
@pytest.mark.parametrize("there", [(18, 10, 7), (3, 55, 4)])
def test_whole_volumes_agree_with_torch_and_scipy(own: tuple[int, int, int], there: tuple[int, int, int]) -> None:
    """Compare with `align_corners=False` and SciPy's grid mode."""
    from dali_cr.read.whole import resample

    values = np.random.default_rng(0).normal(0, 1, own).astype(np.float32)
    got = resample(values, there)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], there, mode="trilinear")[0, 0]
    np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5)
    zoom = [b / a for a, b in zip(own, there, strict=True)]
    other = ndimage.zoom(values.astype(np.float64), zoom, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(got, other, atol=1e-5)
    assert resample(values, own).tobytes() == values.tobytes()


@given(own=st.integers(1, 300), there=st.integers(1, 300))
def test_the_nearest_voxel_is_nearest(own: int, there: int) -> None:
    got, centres = nearest_voxels(own, there), (np.arange(there) + 0.5) * own / there - 0.5
    assert got.min() >= 0
    assert got.max() < own
    assert (np.abs(got - centres) <= 0.5 + 1e-9).all()
    wanted = torch.nn.functional.interpolate(torch.arange(own)[None, None].double(), there, mode="nearest-exact")
    clear = np.abs(centres % 1 - 0.5) > 1e-4
    np.testing.assert_array_equal(got[clear], wanted[0, 0].numpy()[clear])


@given(
    own=st.tuples(*[st.integers(1, 60)] * 3),
    there=st.tuples(*[st.integers(1, 60)] * 3),
    crop=st.tuples(*[st.integers(1, 60)] * 3),
    origin=st.tuples(*[st.integers(-9, 60)] * 3),
    flips=st.tuples(*[st.booleans()] * 3),
    within=st.tuples(*[st.floats(0, 1)] * 3),
)
def test_edges_coincide(
    own: Triple, there: Triple, crop: Triple, origin: Triple, flips: tuple[bool, bool, bool], within: tuple[float, ...]
) -> None:
    matrix, offset = crop_map((0, 0, 0), (False,) * 3, there, own, there)
    np.testing.assert_allclose(matrix @ np.full(3, -0.5) + offset, -0.5, atol=1e-9)
    np.testing.assert_allclose(matrix @ (np.array(there) - 0.5) + offset, np.array(own) - 0.5, atol=1e-9)
    turned, ours = crop_map(origin, flips, crop, own, there), crop_map(origin, (False,) * 3, crop, own, there)
    place = np.rint(np.array(within) * (np.array(crop) - 1))
    mirrored = np.where(flips, np.array(crop) - 1 - place, place)
    np.testing.assert_allclose(turned[0] @ place + turned[1], ours[0] @ mirrored + ours[1], atol=1e-9)


def test_shapes_are_rounded_and_never_empty() -> None:
    assert resampled_shape((10, 20, 30), (3.0, 1.0, 0.5), (1.5, 1.0, 1.0)) == (20, 20, 15)
    assert resampled_shape((1, 3, 3), (1.0, 0.7, 0.7), (5.0, 1.0, 50.0)) == (1, 2, 1)
    assert resampled_shape((7, 8, 9), (1.0, 2.0, 3.0), None) == (7, 8, 9)


def test_foreground_stays_in_the_middle(tmp_path: Path) -> None:
    """Check that crops centred on foreground contain it, for any spacing."""
    numbers = np.zeros((40, 50, 60), np.int16)
    numbers[30:36, 6:12, 44:50] = np.random.default_rng(0).integers(50, 90, (6, 6, 6))
    write_nifti(tmp_path / "v.nii.gz", numbers, spacing=(1.0, 2.0, 3.0))
    index = dali_cr.scan(tmp_path, progress=False)
    for spacing in ((1.0, 1.0, 1.0), (4.0, 3.0, 2.0), None):
        recipe = dali_cr.Restoration((8, 8, 8), dali_cr.Swap(0), normalize=None, foreground=1.0, spacing=spacing)
        source = finished(index, recipe, 0, 30)
        assert (source.batch(0)["target"] > 20).any((1, 2, 3, 4)).all()
        source.close()


def test_images_count_as_a_millimetre(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    index = dali_cr.scan(tmp_path, "*.png", progress=False)
    recipe = dali_cr.Restoration(
        (1, 10, 15), dali_cr.Swap(0), flips=(), normalize=None, foreground=0, spacing=(1.0, 2.0, 2.0)
    )
    source = finished(index, recipe, 0, 1)
    halved = pixels.reshape(10, 2, 15, 2).astype(np.float32).mean((1, 3))
    np.testing.assert_allclose(source.batch(0)["target"][0, 0, 0], halved)
    source.close()


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1, 0, 1), (1, 1, -2.0), (1, 1, float("nan")), 1.0, "mm"], ids=str)
def test_refuses_invalid_spacings(spacing: object) -> None:
    with pytest.raises(ValueError, match="spacing: expected three positive numbers in mm"):
        replace(SPACED, spacing=spacing)


def test_refuses_slices_and_numbers_too_large(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="spacing: expected none with slices"):
        replace(SPACED, crop=(1, 20, 20), swap=dali_cr.Swap(2, (2, 4)), slices=dali_cr.Slices("H"))
    numbers = np.random.default_rng(0).normal(0, 1, (9, 9, 9)).astype(np.float32)
    numbers[0, 0, 0] = 3e38
    write_nifti(tmp_path / "v.nii", numbers, dtype="<f4")
    index = dali_cr.scan(tmp_path, progress=False)
    plain = replace(SPACED, normalize=None)
    finished(index, replace(plain, spacing=None), 0, 1).close()
    with pytest.raises(ValueError, match="dtype: expected values within float32's 1.7"):
        finished(index, plain, 0, 1)


def test_refuses_a_file_with_an_impossible_spacing(mixed_index: dali_cr.Index) -> None:
    case = mixed_index.cases[3]
    wild = replace(case.volumes[0], geometry=replace(case.volumes[0].geometry, spacing=(1.0, 1e12, 1.0)))
    index = replace(mixed_index, cases=(*mixed_index.cases[:3], replace(case, volumes=(wild,))))
    CropPlanner(index, replace(SPACED, spacing=None), 0)
    with pytest.raises(ValueError, match=rf"{case.name}: spacing: expected fewer than 2"):
        CropPlanner(index, SPACED, 0)


def test_a_preview_shows_the_voxels_as_they_are_resampled(mixed_index: dali_cr.Index) -> None:
    row = preview._make(CropPlanner(mixed_index, SPACED, 0), 2)
    assert row.target.shape == SPACED.crop[1:]
    assert row.aspect == pytest.approx(0.8 / 0.6)


@pytest.mark.parametrize("name", ["a.nii", "b.nii.gz"])
def test_a_file_is_resampled_to_a_spacing(tmp_path: Path, name: str) -> None:
    numbers = np.random.default_rng(0).integers(-99, 99, (12, 10, 8, 2))
    path = write_nifti(tmp_path / name, numbers, orientation="PSR", spacing=(1.0, 2.0, 0.5))
    own = dali_cr.read_volume(path)
    assert dali_cr.read_volume(path, (0.5, 2.0, 1.0)).tobytes() == own.tobytes()
    got = dali_cr.read_volume(path, (1.0, 1.5, 3.0))
    wanted = torch.nn.functional.interpolate(torch.from_numpy(own)[None], got.shape[1:], mode="trilinear")[0]
    assert got.shape == (2, 4, 13, 4)
    np.testing.assert_allclose(got, wanted.numpy(), atol=1e-4)
    with pytest.raises(ValueError, match="spacing: expected three positive numbers"):
        dali_cr.read_volume(path, (1.0, 1.0, 0.0))


def test_a_recipe_with_another_spacing_is_another_recipe() -> None:
    prints = {replace(SPACED, spacing=spacing).fingerprint for spacing in (None, (1.0, 1.0, 1.0), (1.0, 1.0, 2.0))}
    assert len(prints) == 3
    assert replace(SPACED, spacing=[1.3, 0.8, 0.6]) == SPACED
