"""Slices across any axis: labels are sliced like images, and predictions are volumes on the original grids."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

import dali_cr
from dali_cr.recipe.slices import ORDERS
from tests.helpers import images as pictures
from tests.helpers.finetuning import dice, prepared, read_csv, run_pretraining, segment
from tests.helpers.volumes import ORIENTATIONS, write_nifti
from train import finetune, predict
from train.data.batches import LabelledBatches
from train.finetune import _build_loader, introduce
from train.run.exits import Refused
from train.tasks.segment import Segmentation
from train.tasks.task import TaskInput

pytestmark = pytest.mark.usefixtures("one_thread")

FLAT = {"dims": 2, "crop": (1, 16, 16)}


@pytest.mark.parametrize("axis", ["D", "H", "W"])
@pytest.mark.parametrize("flips", [(), ("D", "H")], ids=str)
def test_labels_are_cut_where_the_image_is(data, tmp_path, axis, flips):
    config = segment(data, tmp_path / "run", **FLAT, slices=axis, flips=flips, normalize="none")
    run = prepared(config)
    # The very label files as images: then both crops must be the same numbers.
    images = dali_cr.scan(data / "labels", include="*", progress=False)
    chosen = {case.name for case in run.training.cases}
    images = replace(images, cases=tuple(case for case in images.cases if case.name in chosen))
    loader = _build_loader(config, run.task.view, run.task.centre_crops(images), torch.device("cpu"))
    order, flipped = ORDERS[axis], np.zeros(3, bool)
    with loader:
        for _, batch in zip(range(15), LabelledBatches(loader, run.task.target).stream(), strict=False):
            assert torch.equal(batch["image"][:, 0], batch["labels"].float())
            for number, crop in zip(batch["sample"].tolist(), batch["labels"].numpy(), strict=True):
                plan = loader.plan(number)
                volume = dali_cr.read_volume(images.root / images.cases[plan.case].name)[0].transpose(order)
                place, row, column = plan.origin
                cut = volume[place : place + 1, row : row + 16, column : column + 16]
                turned = tuple(slice(None, None, -1 if yes else 1) for yes in plan.flips)
                np.testing.assert_array_equal(cut[turned], crop)
                flipped |= plan.flips
    # Named by the axes of the volume, drawn along those of the slice.
    assert flipped.tolist() == ["DHW"[number] in flips for number in order]


class Bright(nn.Module):
    """Predicts a body where a voxel is brighter than 50, and records its input slices."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.seen = []

    def forward(self, images):
        self.seen.extend(images[:, 0].numpy().copy())
        bright = (images - 50) * self.scale
        return torch.cat([-bright, bright], 1)


@pytest.mark.parametrize("axis", ["D", "H", "W"])
@pytest.mark.parametrize("orientation", ORIENTATIONS[::9])
def test_a_volume_is_put_together_again(tmp_path, axis, orientation):
    random = np.random.default_rng(0)
    canonical = random.integers(20, 80, (10, 12, 14))
    layout = {"orientation": orientation, "spacing": (1, 2, 3)}
    path = write_nifti(tmp_path / "images" / "x.nii.gz", canonical, **layout)
    index = dali_cr.scan(tmp_path / "images", progress=False)
    file = write_nifti(tmp_path / "labels" / "x.nii.gz", (canonical > 50) * 3, dtype="|u1", **layout)
    view = TaskInput(crop=(1, 14, 14), normalize=None, dims=2, slices=axis)
    task = Segmentation(["body"], view, members=[[3]], values=[3], files={"x.nii.gz": file})
    module = Bright()
    list(task.predict(module, index, tmp_path / "out"))
    mask, source = nib.load(tmp_path / "out" / "x.nii.gz"), nib.load(path)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), (source.get_fdata() > 50) * 3)
    np.testing.assert_array_equal(mask.affine, source.affine)
    # It saw every slice across that axis, once, in the middle of its window.
    slices = np.moveaxis(canonical.transpose(2, 1, 0), "DHW".index(axis), 0)
    assert len(module.seen) == len(slices)
    for shown, own in zip(module.seen, slices, strict=True):
        first = [(14 - length) // 2 for length in own.shape]
        inner = tuple(slice(f, f + length) for f, length in zip(first, own.shape, strict=True))
        np.testing.assert_array_equal(shown[inner], own)
    (row,) = task.score(module, index).rows
    assert (row["dice"], row["hd95_mm"]) == (1, 0)


def test_distances_are_in_mm_whatever_the_axis(tmp_path):
    truth = np.zeros((10, 12, 14))
    truth[2:6, 2:6, 2:6] = 1
    layout = {"spacing": (1, 2, 3)}
    write_nifti(tmp_path / "images" / "x.nii", 100 * np.roll(truth, 2, 2), **layout)
    index = dali_cr.scan(tmp_path / "images", progress=False)
    file = write_nifti(tmp_path / "labels" / "x.nii", truth, dtype="|u1", **layout)
    for axis in "DHW":
        view = TaskInput(crop=(1, 14, 14), normalize=None, dims=2, slices=axis)
        task = Segmentation(["body"], view, members=[[1]], values=[1], files={"x.nii": file})
        (row,) = task.score(Bright(), index).rows
        assert (row["dice"], row["hd95_mm"]) == (pytest.approx(0.5), pytest.approx(6))


@pytest.mark.parametrize("axis", ["H", "W"])
def test_slices_from_pretraining_to_prediction(data, tmp_path, axis):
    """The axis is that of --init, and predictions equal what was scored."""
    init = run_pretraining(data, tmp_path / "init", **FLAT, slices=axis, foreground=0.0)
    config = segment(data, tmp_path / "run", init=str(init), dims=2, crop=None, steps=25, lr=1e-2, foreground=0.9)
    run = finetune.prepare(config)
    assert f"slices     across {axis}" in list(introduce(run))
    report = finetune.train(run)
    assert json.loads((config.out / "config.json").read_text())["network"]["view"]["slices"] == axis
    settings = {"data": (data / "images",), "split": config.out / "splits.json", "device": "cpu"}
    predict.main(predict.PredictConfig(run=config.out, out=tmp_path / "masks", **settings))
    found = 0
    for row in read_csv(config.out / "scores.csv"):
        mask, truth = (nib.load(folder / row["case"]) for folder in (tmp_path / "masks", data / "labels"))
        np.testing.assert_array_equal(mask.affine, truth.affine)
        value = ["", "trunk", "right lung", "left lung"].index(row["class"])
        one, other = (np.asarray(volume.dataobj) == value for volume in (mask, truth))
        assert dice(one, other) == pytest.approx(float(row["dice"]), abs=1e-6)
        found += one.sum()
    assert found
    assert report["dice"] > 0
    with pytest.raises(Refused, match=f"--slices was not set, got {'HW'.replace(axis, '')}"):
        finetune.main(replace(config, resume=True, steps=30, slices="HW".replace(axis, "")))


def test_images_are_slices_already(data, tmp_path):
    init = run_pretraining(data, tmp_path / "init", **FLAT, slices="H", foreground=0.0)
    images = pictures.write_images(tmp_path / "images")
    run = prepared(pictures.segment(images, tmp_path / "run", init=str(init)))
    assert (run.task.view.slices, run.about["view"]["slices"]) == ("D", "D")
    assert run.batches.loader.recipe.crop == pictures.CROP


def test_refuses(data, tmp_path):
    with pytest.raises(ValueError, match="slices: expected --dims 2 with --slices, got H with --dims 3"):
        segment(data, tmp_path / "run", slices="H")
    with pytest.raises(Refused, match="spacing: expected own with slices across W"):
        finetune.main(segment(data, tmp_path / "run", **FLAT, slices="W", spacing=(1.0, 1.0, 1.0)))
    with pytest.raises(ValueError, match="expected one voxel along D with --dims 2"):
        segment(data, tmp_path / "run", slices="W", dims=2, crop=(16, 1, 16))
    assert not (tmp_path / "run").exists()
