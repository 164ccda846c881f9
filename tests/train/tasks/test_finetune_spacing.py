"""Fine-tuning and prediction at a spacing: image and labels on one grid, predictions on the file's grid."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

import dali_cr
from tests.helpers.finetuning import WHOLE, classify, dice, localize, prepared, read_csv, run_pretraining, segment
from tests.helpers.volumes import write_nifti
from train import finetune, predict
from train.data.batches import LabelledBatches
from train.data.boxes import box_of, in_crop
from train.data.volumes import read_case, resample_labels, shape_at
from train.predict import PredictConfig
from train.tasks.localize import Localization
from train.tasks.segment import Segmentation
from train.tasks.task import TaskInput

SPACINGS = [(1.0, 1.0, 1.0), (2.4, 1.5, 0.8), (0.7, 0.9, 3.1)]
ORIENTATIONS = ["RAS", "LPI", "SAL"]
SIZE, CENTRE, RADII = np.array([42.0, 48.0, 45.0]), np.array([20.0, 26.0, 21.0]), np.array([13.0, 9.0, 16.0])
"""Voxel sizes in mm along D, H, W."""

AT = (1.5, 1.2, 1.3)
WINDOW = ("window", 0.0, 100.0)


pytestmark = pytest.mark.usefixtures("one_thread")


def body(spacing: tuple[float, float, float]) -> np.ndarray:
    """Return a mask (D, H, W) of a fixed ellipsoid for a voxel size."""
    counts = np.rint(SIZE / spacing).astype(int)
    places = [(np.arange(n) + 0.5) * mm for n, mm in zip(counts, spacing, strict=True)]
    distance = [((p - c) / r) ** 2 for p, c, r in zip(places, CENTRE, RADII, strict=True)]
    return distance[0][:, None, None] + distance[1][:, None] + distance[2] < 1


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> tuple[dali_cr.Index, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("bodies")
    rng = np.random.default_rng(0)
    files = {}
    for i, (spacing, orientation) in enumerate(zip(SPACINGS, ORIENTATIONS, strict=True)):
        inside = body(spacing).T
        image = np.where(inside, rng.integers(90, 100, inside.shape), rng.integers(0, 10, inside.shape))
        layout = {"orientation": orientation, "spacing": spacing[::-1]}
        write_nifti(folder / "images" / f"{i}.nii.gz", image, **layout)
        files[f"{i}.nii.gz"] = write_nifti(folder / "labels" / f"{i}.nii.gz", inside * 3, dtype="|u1", **layout)
    return dali_cr.scan(folder / "images", progress=False), files


def task_of(files: dict[str, Path], crop: tuple[int, int, int], *, regions: bool = False) -> Segmentation:
    view = TaskInput(crop=crop, normalize=WINDOW, batch_size=2, spacing=AT)
    return Segmentation(["body"], view, members=[[3]], values=[3], regions=regions, files=files)


class Threshold(nn.Module):
    """Predicts the body where a voxel is brighter than a threshold."""

    def __init__(self, regions: bool) -> None:
        super().__init__()
        self.sharpness, self.regions = nn.Parameter(torch.tensor(12.0)), regions

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        body = self.sharpness * (images - 0.5)
        return body if self.regions else torch.cat([-body, body], 1)


@pytest.mark.parametrize("flips", [(), ("D", "H", "W")], ids=str)
@pytest.mark.parametrize("crop", [(16, 16, 16), (30, 44, 16)], ids=str)
def test_labels_lie_on_their_images(bodies, crop, flips):
    """Also for crops that extend beyond the volume, and for each spacing of the files."""
    index, files = bodies
    task = task_of(files, crop)
    task.load_targets(index)
    recipe = dali_cr.Restoration(crop, dali_cr.Swap(0), flips, WINDOW, foreground=0.9, spacing=AT)
    loader = dali_cr.Loader(task.centre_crops(index), recipe, batch_size=3, device="cpu", seed=0)
    seen, both = np.zeros(3), np.zeros(3)
    with loader:
        for _, batch in zip(range(6), LabelledBatches(loader, task.target).stream(), strict=False):
            for image, labels, number in zip(batch["image"], batch["labels"], batch["sample"].tolist(), strict=True):
                bright, inside = image[0].numpy() > 0.5, labels.numpy() == 3
                assert labels.numpy().shape == crop
                case = loader.plan(number).case
                seen[case] += bright.sum() + inside.sum()
                both[case] += 2 * (bright & inside).sum()
    assert (seen > 0).all()
    assert (both / seen > 0.93).all()


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("regions", [False, True])
def test_a_mask_lies_on_the_files_own_grid(bodies, regions, case):
    """The network gets all files at one spacing, and predicts the same body for each."""
    index, files = bodies
    task, module = task_of(files, (16, 24, 20), regions=regions), Threshold(regions)
    mask = task.segment(module, index.root, index.cases[case])
    truth = body(SPACINGS[case])
    assert mask.shape == truth.shape == index.cases[case].shape
    assert set(np.unique(mask)) == {0, 3}
    assert dice(mask == 3, truth) > 0.93
    centre = [(hit.mean() + 0.5) * mm for hit, mm in zip(np.nonzero(mask), SPACINGS[case], strict=True)]
    np.testing.assert_allclose(centre, CENTRE, atol=0.3)
    row = task.score(module, replace(index, cases=(index.cases[case],))).rows[0]
    assert row["dice"] == pytest.approx(dice(mask == 3, truth), abs=1e-6)


def test_at_their_own_spacing_the_answer_is_as_without(bodies):
    index, files = bodies
    task = task_of(files, (16, 24, 20))
    case = index.cases[1]
    masks = []
    for spacing in (None, SPACINGS[1]):
        task.view = replace(task.view, spacing=spacing)
        masks.append(task.segment(Threshold(False), index.root, case))
    assert masks[0].tobytes() == masks[1].tobytes()


def test_decoding_on_another_grid_equals_all_classes_at_once(bodies):
    task = Segmentation(["a", "b"], task_of(bodies[1], (8, 8, 8)).view, members=[[1], [5]], values=[1, 5])
    answer = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (3, 5, 6, 7)).astype(np.float32))
    seen, own, box = (9, 8, 10), (13, 5, 10), (slice(2, 7), slice(0, 6), slice(3, 10))
    shares = torch.zeros(3, *seen)
    shares[0] = 1
    shares[(slice(None), *box)] = answer.softmax(0)
    wanted = nn.functional.interpolate(shares[None], own, mode="trilinear")[0].argmax(0).numpy()
    np.testing.assert_array_equal(task.decoder.decode_on(answer, box, seen, own), np.uint8([0, 1, 5])[wanted])


def test_a_whole_case_is_what_crops_are_cut_from(bodies):
    index, _ = bodies
    recipe = dali_cr.Restoration((8, 9, 10), dali_cr.Swap(0), (), "zscore", spacing=AT)
    with dali_cr.Loader(index, recipe, batch_size=6, device="cpu", seed=1) as loader:
        batch = next(iter(loader))
        for number, target in zip(batch["sample"].tolist(), batch["target"].numpy(), strict=True):
            plan = loader.plan(number)
            volume = read_case(index.root, index.cases[plan.case], "zscore", AT)
            assert volume.shape[1:] == shape_at(index.cases[plan.case], AT)
            cut = tuple(slice(o, o + n) for o, n in zip(plan.origin, recipe.crop, strict=True))
            np.testing.assert_allclose(target, volume[(slice(None), *cut)], atol=1e-5)


@pytest.mark.parametrize("flips", [(), ("D", "H", "W")], ids=str)
def test_boxes_go_to_the_crop_and_back(bodies, flips):
    index, _ = bodies
    boxes = {case.name: box_of(body(spacing)[None]) for case, spacing in zip(index.cases, SPACINGS, strict=True)}
    task = Localization(["body"], TaskInput(crop=(30, 44, 40), normalize=WINDOW, spacing=AT), boxes=boxes)
    task.load_targets(index)
    recipe = dali_cr.Restoration((30, 44, 40), dali_cr.Swap(0), flips, WINDOW, foreground=0, spacing=AT)
    with dali_cr.Loader(index, recipe, batch_size=6, device="cpu", seed=0) as loader:
        batch = next(iter(loader))
        for number, image in zip(batch["sample"].tolist(), batch["target"].numpy(), strict=True):
            plan = loader.plan(number)
            scaled = task.target(plan)["boxes"].astype(float)
            found = scaled * np.array(task.view.crop) / 2 + np.array(task.view.crop) / 2
            np.testing.assert_allclose(found, box_of(image > 0.5), atol=1.5)
            # Unflipped and sent back, they are the file's own.
            plain = in_crop(found, replace(plan.views[0], origin=(0, 0, 0)), task.view.crop)
            answer = (plain - np.array(task.view.crop) / 2) / (np.array(task.view.crop) / 2)
            one = replace(index, cases=(index.cases[plan.case],))
            ((case, back),) = task.locate(_Says(answer), one)
            np.testing.assert_allclose(back, boxes[case.name], atol=1e-4)
            assert task.score(_Says(answer), one).rows[0]["face_mm"] < 1e-3


class _Says(nn.Module):
    """Has the same output for every image."""

    def __init__(self, boxes: np.ndarray) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.from_numpy(boxes.reshape(1, -1)).float(), requires_grad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.answer.expand(len(images), -1)


def test_labels_of_the_nearest_voxels():
    labels = np.random.default_rng(0).integers(0, 9, (5, 6, 7)).astype(np.uint8)
    doubled = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(resample_labels(labels, doubled.shape), doubled)
    np.testing.assert_array_equal(resample_labels(doubled.repeat(3, 2), labels.shape), labels)
    assert resample_labels(labels, labels.shape) is labels


def test_runs_at_a_spacing(data, tmp_path):
    """Pre-training, fine-tuning with the spacing of --init, and prediction."""
    init = run_pretraining(data, tmp_path / "pre", spacing=(22.0, 14.0, 19.0))
    finetune.main(segment(data, tmp_path / "seg", init=str(init), steps=20, lr=1e-2))
    about = json.loads((tmp_path / "seg" / "config.json").read_text())["network"]
    assert about["view"]["spacing"] == [22.0, 14.0, 19.0]
    settings = {"data": (data / "images",), "split": tmp_path / "seg" / "splits.json", "device": "cpu"}
    predict.main(PredictConfig(run=tmp_path / "seg", out=tmp_path / "out", **settings))
    rows = read_csv(tmp_path / "seg" / "scores.csv")
    assert rows
    for row in rows:
        mask, truth, image = (
            nib.load(folder / row["case"]) for folder in (tmp_path / "out", data / "labels", data / "images")
        )
        assert mask.shape == image.shape
        np.testing.assert_array_equal(mask.affine, image.affine)
        value = {"trunk": 1, "right lung": 2, "left lung": 3}[row["class"]]
        one, other = (np.asarray(volume.dataobj) == value for volume in (mask, truth))
        assert dice(one, other) == pytest.approx(float(row["dice"]), abs=1e-6)


@pytest.mark.parametrize("kind", [localize, classify])
def test_whole_volumes_at_a_spacing(data, tmp_path, kind):
    config = kind(data, tmp_path / "run", spacing=(20.0, 13.0, 17.0))
    assert finetune.main(config)["steps"] == 2
    settings = {"data": (data / "images",), "device": "cpu"}
    assert predict.main(PredictConfig(run=tmp_path / "run", out=tmp_path / "out", **settings))["cases"] == 8


def test_which_spacing(data, tmp_path):
    init = str(run_pretraining(data, tmp_path / "pre", spacing=(20.0, 20.0, 20.0)))
    given = {"init": {"init": init}, "own": {"init": init, "spacing": "own"}, "none": {}}
    given["other"] = {"init": init, "spacing": (30.0, 25.0, 10.0)}
    found = {n: prepared(segment(data, tmp_path / n, **some)).task.view.spacing for n, some in given.items()}
    assert found == {"init": (20.0, 20.0, 20.0), "own": None, "none": None, "other": (30.0, 25.0, 10.0)}


def test_refuses(data, tmp_path):
    with pytest.raises(ValueError, match="contains every volume, .* or more; got 24 24 24"):
        prepared(localize(data, tmp_path / "out", spacing=(4.0, 4.0, 4.0), crop=WHOLE))
    with pytest.raises(ValueError, match="spacing: expected three positive numbers in mm"):
        segment(data, tmp_path / "out", spacing=(1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="spacing: expected none with slices"):
        run_pretraining(data, tmp_path / "out", spacing=(1.0, 1.0, 1.0), slices="D", crop=(1, 16, 16))
    assert not (tmp_path / "out").exists()
