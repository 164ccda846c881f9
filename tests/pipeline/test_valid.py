"""Anonymisation masks: read like the image's crop, the nearest voxel of each, and left out of the loss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dali_cr
from dali_cr.index.corpus.masks import with_masks
from tests.helpers.recipes import MASKED, PAIRS, VIEWS, loader
from tests.helpers.volumes import write_nifti
from train.methods.restoration import counted_voxels, mean_square

RECIPES: dict[str, Any] = {
    "pairs": PAIRS,
    "mae, float16, resampled, rotated": replace(MASKED, dtype="float16", spacing=(1.4, 0.8, 1.0), degrees=20),
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> dali_cr.Index:
    folder, random = tmp_path_factory.mktemp("masks"), np.random.default_rng(0)
    for i in range(3):
        shape = tuple(int(n) for n in random.integers(14, 26, 3))
        write_nifti(folder / f"{i}.nii", random.integers(0, 99, shape), orientation="LPS")
        write_nifti(folder / "masks" / f"{i}.nii.gz", 2 * random.integers(0, 2, shape), orientation="RAS", dtype="|u1")
    images = dali_cr.scan(folder, "*.nii", progress=False)
    masks = dali_cr.scan(folder, "masks/*", include="masks/*", progress=False)
    cases = [replace(case, mask=mask.volumes[0]) for case, mask in zip(images.cases, masks.cases, strict=True)]
    return replace(images, cases=(cases[0], images.cases[1], cases[2]))


def valid_of(index: dali_cr.Index, planner: Any, number: int) -> np.ndarray:
    """Return the definition of what is valid in a sample."""
    plans = planner.plan(np.array([number]))
    case, crop = index.cases[int(plans.cases[0])], np.array(planner.recipe.crop)
    if case.mask is None:
        return np.ones((1, *crop), bool)
    mask = dali_cr.read_volume(index.root / case.mask.path)[0]
    places = np.stack(np.meshgrid(*map(np.arange, crop), indexing="ij"), -1)
    if plans.matrices is None:
        places = np.where(plans.flips[0, 0], crop - 1 - places, places) + plans.origins[0, 0]
    else:
        places = np.floor(places @ plans.matrices[0, 0].T + plans.offsets[0, 0] + 0.5).astype(int)
    inside = ((places >= 0) & (places < mask.shape)).all(-1)
    found = mask[tuple(np.moveaxis(np.clip(places, 0, np.array(mask.shape) - 1), -1, 0))]
    return ~(inside & (found != 0))[None]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("cache", ["", "gpu:1GB"])
def test_what_is_valid(index: dali_cr.Index, each_device: str, name: str, cache: str) -> None:
    if each_device == "cpu" and cache:
        cache = "host:100MB"
    bare = replace(index, cases=tuple(replace(case, mask=None) for case in index.cases))
    with loader(index, RECIPES[name], cache=cache or ()) as stream, loader(bare, RECIPES[name]) as plain:
        for batch, other, _ in zip(stream.stream(), plain.stream(), range(2), strict=False):
            assert batch["valid"].dtype == torch.bool
            assert set(batch) == {*other, "valid"}
            for key in other.keys() - {"case"}:
                assert torch.equal(batch[key], other[key])  # the image's own voxels do not change
            for valid, number in zip(batch["valid"], batch["sample"].tolist(), strict=True):
                np.testing.assert_array_equal(valid.cpu().numpy(), valid_of(index, stream._planner, number))


def test_views_say_that_they_do_not_use_masks(index: dali_cr.Index) -> None:
    with pytest.warns(dali_cr.DataWarning, match="masks: 2 of 3 cases have an anonymisation mask"):
        loader(index, VIEWS).close()
    assert with_masks(index).channels == 2
    assert with_masks(index[1:2])[0] is index[1]


def test_the_loss_leaves_masked_voxels_out() -> None:
    target, answer = torch.zeros(2, 1, 2, 2, 2), torch.ones(2, 1, 2, 2, 2)
    answer[0, 0, 0] = 5
    valid = torch.ones(2, 1, 2, 2, 2, dtype=torch.bool)
    valid[0, 0, 0] = False
    mask = torch.zeros_like(valid)
    mask[:, :, 1] = True
    assert mean_square(answer, target, counted_voxels({"valid": valid})) == 1
    assert mean_square(answer, target, counted_voxels({"valid": valid, "mask": mask})) == 1
    assert mean_square(answer, target, counted_voxels({"mask": ~mask})) == 13
    assert mean_square(answer, target, torch.zeros_like(valid)) == 0
    assert counted_voxels({}) is None


def test_a_saved_and_packed_index_keeps_its_masks(index: dali_cr.Index, tmp_path: Path) -> None:
    index.save(tmp_path / "index.json")
    dali_cr.pack(tmp_path / "index.json", tmp_path / "packed", progress=False)
    packed = dali_cr.Index.load(tmp_path / "packed" / "index.json")
    assert packed.fingerprint == index.fingerprint
    assert packed[0].mask is not None
    assert packed[0].mask.packed
    with loader(index, PAIRS) as one, loader(packed, PAIRS) as other:
        assert torch.equal(next(iter(one))["valid"], next(iter(other))["valid"])
