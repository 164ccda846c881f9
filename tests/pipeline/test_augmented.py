"""Augmented samples: rotated and scaled as SciPy has it, with noise and gamma in the input alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

import dali_cr
from dali_cr.ops.contrast import adjust_contrast_ref
from dali_cr.ops.gather import gather_box
from dali_cr.ops.noise import add_noise_ref
from dali_cr.plan.crops.planner import CropPlanner
from dali_cr.plan.sample import SamplePlan, views_of
from dali_cr.plan.window import shape_at
from tests.helpers.recipes import CHANGED, INDEXES, PAIRS, SPACED, TURNED, finished, loader

ALWAYS = replace(TURNED, affine_probability=1.0, normalize=("window", -10, 100))


def whole(index: dali_cr.Index, plan: SamplePlan) -> np.ndarray:
    """Return the case of a plan as its recipe's window shows it, float32."""
    volumes = [dali_cr.read_volume(index.root / volume.path)[volume.frame] for volume in index.cases[plan.case].volumes]
    values = np.array(volumes).astype(np.float64)
    scaled = (values + 10) * (1 / 110)
    return np.where(np.isfinite(values), np.clip(scaled, 0, 1), 0).astype(np.float32)


@pytest.mark.parametrize("spacing", [None, (1.3, 0.8, 0.6)], ids=str)
@pytest.mark.parametrize("name", INDEXES)
def test_crops_are_what_scipy_makes_of_the_whole_volume(
    name: str, spacing: Any, request: pytest.FixtureRequest
) -> None:
    """In the interior by SciPy; up to the edges and beyond by the gather of the whole volume, to the bit."""
    index, recipe = request.getfixturevalue(name), replace(ALWAYS, spacing=spacing)
    source, interior, padded = finished(index, recipe, 5, 8), 0, 0
    input, target, numbers = source.batch(0).values()
    source.close()
    for i, plan in enumerate(source.planner.plan(numbers)):
        (view,), volume = views_of(plan), whole(index, plan)
        places = np.indices(recipe.crop).reshape(3, -1)
        sources = (view.matrix @ places + view.offset[:, None]).reshape(3, *recipe.crop)
        lengths = np.array(volume.shape[1:])[:, None, None, None]
        inside = ((sources >= 0) & (sources <= lengths - 1)).all(0)
        padded += ((sources < -0.5) | (sources > lengths - 0.5)).any(0).sum()
        for channel, got in zip(volume, target[i], strict=True):
            wanted = ndimage.affine_transform(channel, view.matrix, view.offset, recipe.crop, order=1)
            np.testing.assert_allclose(got[inside], wanted[inside], atol=2e-6)
            from_whole = np.empty(recipe.crop, np.float32)
            gather_box(channel, (0, 0, 0), 0.0, view.matrix, view.offset, from_whole, clamped=True)
            np.testing.assert_allclose(got, from_whole, atol=2e-6)
        interior += inside.sum()
        assert input[i].tobytes() == dali_cr.swap_patches(target[i], plan.swaps).tobytes()
    assert interior > 0.3 * len(numbers) * math.prod(recipe.crop)
    assert padded


@pytest.mark.parametrize("recipe", [ALWAYS, replace(ALWAYS, spacing=(1.3, 0.8, 0.6))], ids=["own", "resampled"])
def test_maps_are_rotations_and_scalings_in_mm_about_the_centre(
    mixed_index: dali_cr.Index, recipe: dali_cr.Restoration
) -> None:
    factors, angles = [], []
    for plan in CropPlanner(mixed_index, recipe, 3).plan(np.arange(200)):
        (view,), case = views_of(plan), mixed_index.cases[plan.case]
        there, own = np.array(shape_at(case, recipe.spacing)), np.array(case.volumes[0].spacing)
        middle = (np.array(recipe.crop) - 1) / 2
        centre = (np.array(view.origin) + middle + 0.5) * np.array(case.shape) / there - 0.5
        np.testing.assert_allclose(view.matrix @ middle + view.offset, centre, atol=1e-9)
        units = own * case.shape / there
        turn = own[:, None] * view.matrix / units * np.where(view.flips, -1, 1) * view.scales
        # SciPy's axes are x, y, z: D is the first here; extrinsic W, then H, then D.
        wanted = Rotation.from_euler("zyx", view.angles[::-1], degrees=True).as_matrix()
        np.testing.assert_allclose(turn, wanted, atol=1e-12)
        assert len(set(view.scales)) == 1
        factors.append(view.scales[0])
        angles.append(view.angles)
    assert np.abs(angles).max() <= 40 < 41 * np.abs(angles).max()
    np.testing.assert_allclose(np.quantile(angles, [0.25, 0.5, 0.75]), [-20, 0, 20], atol=3)
    np.testing.assert_allclose(np.quantile(factors, [0, 0.5, 1]), [0.7, 1.05, 1.4], atol=0.07)


def test_samples_that_are_not_moved_are_those_of_the_plain_recipe(mixed_index: dali_cr.Index) -> None:
    """And what is drawn is shown, with the probability asked for."""
    with loader(mixed_index, TURNED) as stream, loader(mixed_index, PAIRS) as plain:
        for _, batch, other in zip(range(4), stream.stream(), plain.stream(), strict=False):
            for i, number in enumerate(batch["sample"].tolist()):
                (view,) = views_of(stream.plan(number))
                same = all(np.array_equal(batch[name][i], other[name][i]) for name in ("input", "target"))
                assert same != view.moved
        plans = stream._planner.plan(np.arange(3000)).augmentation
    assert plans is not None
    rotated, scaled = (plans.angles != 0).all(1), (plans.scales != 1).all(1)
    np.testing.assert_allclose([rotated.mean(), scaled.mean(), (rotated & scaled).mean()], [0.6, 0.6, 0.36], atol=0.03)


def test_what_is_drawn_is_a_function_of_seed_and_number(mixed_index: dali_cr.Index) -> None:
    recipe = replace(TURNED, noise=0.5, gamma=0.7)
    planner, numbers = CropPlanner(mixed_index, recipe, 3), [0, 7, 2**33, 5]
    together = planner.plan(numbers)
    for number, plan in zip(numbers, together, strict=True):
        (one,), (other,) = views_of(plan), views_of(CropPlanner(mixed_index, recipe, 3).plan([number])[0])
        for name in ("angles", "scales", "noise", "gamma", "matrix", "offset"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert views_of(CropPlanner(mixed_index, recipe, 4).plan([0])[0])[0].noise != views_of(together[0])[0].noise


@pytest.mark.parametrize(
    "recipe", [replace(CHANGED, pretext="autoencode"), replace(CHANGED, pretext="mae", dtype="float16", mask_block=4)],
    ids=["autoencode", "mae, float16"],
)  # fmt: skip
def test_noise_and_gamma_are_in_the_input_alone(channel_index: dali_cr.Index, recipe: dali_cr.Restoration) -> None:
    plain, changed = replace(recipe, noise=0, gamma=0, dtype="float32"), 0
    with loader(channel_index, recipe) as stream, loader(channel_index, plain) as clean:
        for _, batch, other in zip(range(3), stream.stream(), clean.stream(), strict=False):
            np.testing.assert_array_equal(batch["target"], other["target"].numpy().astype(recipe.dtype))
            for i, number in enumerate(batch["sample"].tolist()):
                (view,) = views_of(stream.plan(number))
                wanted = other["target"][i].numpy()[:, None].copy()
                numbers = np.array([[number, channel] for channel in range(len(wanted))])
                noise, gamma = (np.full(len(wanted), value, np.float32) for value in (view.noise, view.gamma))
                add_noise_ref(wanted, noise, 5, numbers, wanted)
                adjust_contrast_ref(wanted, gamma, wanted)
                wanted = wanted[:, 0].astype(recipe.dtype)
                if "mask" in batch:
                    wanted = np.where(batch["mask"][i].numpy(), np.array(0, recipe.dtype), wanted)
                np.testing.assert_array_equal(batch["input"][i], wanted)
                changed += view.noise > 0 or view.gamma != 1
    assert 0 < changed < 12


def test_crops_of_slices_are_rotated_within_them(mixed_index: dali_cr.Index) -> None:
    recipe = replace(ALWAYS, crop=(1, 20, 24), slices=dali_cr.Slices("H", every=3))
    planner = CropPlanner(mixed_index, recipe, 3)
    turned = recipe.slices.turn(mixed_index)  # type: ignore[union-attr]
    for plan in planner.plan(np.arange(40)):
        (view,) = views_of(plan)
        assert (view.angles[0] != 0, view.angles[1:], view.scales[0]) == (True, (0.0, 0.0), 1.0)
        assert view.scales[1] == view.scales[2] != 1
        np.testing.assert_array_equal(view.matrix[0, 1:], 0)
        assert view.offset[0] == view.origin[0]
        _, high, wide = turned.cases[plan.case].volumes[0].spacing
        shear = view.matrix[1:, 1:] * [[1, high / wide], [wide / high, 1]] * np.where(view.flips[1:], -1, 1)
        np.testing.assert_allclose(shear @ shear.T, np.eye(2) / view.scales[1] ** 2, atol=1e-9)
    with loader(mixed_index, recipe, dims=2) as stream:
        assert next(iter(stream))["input"].shape == (4, 1, 20, 24)


def test_what_changes_nothing_is_the_plain_recipe() -> None:
    off = replace(PAIRS, degrees=0, scale=[1, 1], affine_probability=0.2, noise=0, gamma=0, intensity_probability=0.2)  # type: ignore[arg-type]
    assert off == PAIRS == replace(TURNED, affine_probability=0) == replace(CHANGED, intensity_probability=0)
    assert off.fingerprint == PAIRS.fingerprint != TURNED.fingerprint
    assert TURNED.fingerprint == replace(TURNED, degrees=40, scale=[0.7, 1.4]).fingerprint  # type: ignore[arg-type]


def test_operators_rotate_and_refuse_noise(mixed_index: dali_cr.Index) -> None:
    with pytest.raises(ValueError, match=r"noise, gamma: expected 0, got 0.5, 0.7; use dali_cr.restoration_pipeline"):
        dali_cr.fn.read_samples(mixed_index, CHANGED, batch_size=2)
    for recipe in (TURNED, replace(SPACED, noise=0.5)):
        pipe = dali_cr.restoration_pipeline(mixed_index, recipe, 4, "cpu", 5)
        input, target, _ = (np.array(output.as_array()) for output in pipe.run())
        with loader(mixed_index, recipe) as stream:
            batch = next(stream.stream())
        np.testing.assert_array_equal(input, batch["input"])
        np.testing.assert_array_equal(target, batch["target"])
