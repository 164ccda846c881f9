"""Scores against values computed by hand, and independence of padding."""

import numpy as np
import pytest
import torch
from torch import nn

import dali_cr
from tests.helpers.volumes import write_nifti
from train.data.classes import written_values
from train.data.volumes import content_box, pad_evenly, read_case
from train.tasks.classify import Classification, score_classes
from train.tasks.loss import hide_unlabelled
from train.tasks.scoring import OVERLAP, score_masks, slide
from train.tasks.segment import Segmentation
from train.tasks.task import TaskInput

VIEW = TaskInput(crop=(16, 16, 16), normalize="zscore", batch_size=4)


def cube(shape, low, high):
    mask = np.zeros((1, *shape), bool)
    mask[(0, *(slice(a, b) for a, b in zip(low, high, strict=True)))] = True
    return mask


def test_a_mask_that_is_off_by_three_voxels():
    truth = cube((20, 20, 20), (5, 5, 5), (10, 10, 10))
    (score,) = score_masks(cube((20, 20, 20), (5, 5, 8), (10, 10, 13)), truth, (1.0, 1.0, 2.0))
    assert score.dice == pytest.approx(2 * 50 / 250)
    assert score.hd95 == pytest.approx(6.0)
    assert not score.missed
    (same,) = score_masks(truth, truth, (1.0, 1.0, 2.0))
    assert (same.dice, same.hd95) == (1.0, 0.0)


def test_empty_masks():
    nothing, something = cube((6, 8, 24), (0, 0, 0), (0, 0, 0)), cube((6, 8, 24), (1, 1, 1), (3, 3, 3))
    diagonal = pytest.approx((12**2 + 16**2 + 24**2) ** 0.5)
    both, missed, invented = (
        score_masks(*masks, (2.0, 2.0, 1.0))[0]
        for masks in ((nothing, nothing), (nothing, something), (something, nothing))
    )
    assert (both.dice, both.hd95, both.missed) == (1.0, 0.0, False)
    assert (missed.dice, missed.hd95, missed.missed) == (0.0, diagonal, True)
    assert (invented.dice, invented.hd95, invented.missed) == (0.0, diagonal, False)


def test_classes_by_hand():
    said = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]], dtype=torch.bool)
    truth = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=torch.bool)
    probabilities = torch.tensor([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.3, 0.7, 0], [0.8, 0.2, 0]])
    first, second, absent = score_classes(probabilities, said, truth)
    assert (first["precision"], first["recall"]) == pytest.approx((2 / 3, 2 / 3))
    assert first["f1"] == pytest.approx(2 / 3)
    assert first["auroc"] == pytest.approx(1 / 3)
    assert (second["precision"], second["recall"], second["f1"]) == (0, 0, 0)
    assert second["auroc"] == pytest.approx(1 / 3)
    assert all(np.isnan(value) for value in absent.values())


def test_a_class_that_is_never_said_has_no_precision():
    truth = torch.tensor([[True], [True]])
    (score,) = score_classes(torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.bool), truth)
    assert (score["precision"], score["recall"], score["f1"]) == (0, 0, 0)
    assert np.isnan(score["auroc"])


def test_rare_classes_weigh_more():
    task = Classification(["a", "b", "c"], VIEW)
    task._training = [np.array([True, False, False])] * 3 + [np.array([False, True, False])]
    np.testing.assert_allclose(task.weights, [4 / 6, 2, 1])
    counts = np.sum(task._training, 0)
    assert (task.weights * counts).sum() == pytest.approx(4)


@pytest.mark.parametrize(("multilabel", "baseline"), [(False, [False, True, False]), (True, [False, True, True])])
def test_the_baseline_ignores_the_image(multilabel, baseline):
    task = Classification(["a", "b", "c"], VIEW, multilabel=multilabel)
    several = [[1, 0, 1], [0, 1, 1], [0, 1, 1]]
    single = [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    task._training = [np.array(row, bool) for row in (several if multilabel else single)]
    assert task.baseline.tolist() == baseline


class Bright(nn.Module):
    """Predicts the class where a voxel is brighter than the mean of its window, as instance norm would allow."""

    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm3d(1)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image):
        bright = self.norm(image) * self.scale
        return torch.cat([torch.full_like(bright, 0.5), bright], 1)


@pytest.fixture
def padded_and_not(tmp_path):
    """A volume and a heavily padded copy, with their labels."""
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 20, 22)), indexing="ij"))
    truth = ((grid**2).sum(0) < 0.6).astype(np.uint8)
    image = 100 + 60 * truth + random.normal(0, 8, truth.shape)
    for name, margin in (("plain", 0), ("padded", 24)):
        write_nifti(tmp_path / "images" / f"{name}.nii", np.pad(image, margin))
        write_nifti(tmp_path / "labels" / f"{name}.nii", np.pad(truth, margin), dtype="|u1")
    return tmp_path


def test_padding_does_not_move_the_score(padded_and_not):
    index = dali_cr.scan(padded_and_not / "images", progress=False)
    files = {case.name: padded_and_not / "labels" / case.name for case in index.cases}
    task = Segmentation(["bright"], VIEW, members=[[1]], values=[1], files=files)
    module = Bright()
    dice = {row["case"]: row["dice"] for row in task.score(module, index).rows}
    assert dice["plain.nii"] > 0.8
    assert dice["padded.nii"] == pytest.approx(dice["plain.nii"], abs=0.005)
    # Shown all of the padded volume at once, the same weights do far worse: that is what the windows are for.
    case = next(case for case in index.cases if case.name == "padded.nii")
    whole = read_case(index.root, case, "zscore")
    with torch.no_grad():
        answer = module(torch.from_numpy(whole)[None])[0].argmax(0).numpy() == 1
    (naive,) = score_masks(answer[None], task.masks(task.read(case)), (1.0, 1.0, 1.0))
    assert naive.dice < dice["padded.nii"] - 0.1


def test_windows_cover_a_volume_and_pad_no_further_than_one(padded_and_not):
    index = dali_cr.scan(padded_and_not / "images", progress=False)
    case = next(case for case in index.cases if case.name == "plain.nii")
    volume = read_case(index.root, case, "zscore")
    sizes = []

    class Identity(nn.Module):
        def __init__(self):
            super().__init__()
            self.anything = nn.Parameter(torch.zeros(1))

        def forward(self, image):
            sizes.extend([tuple(image.shape[2:])] * len(image))
            return image

    for window, count in (((16, 16, 16), 2 * 2 * 2), ((32, 32, 32), 1), ((8, 32, 16), 5 * 2)):
        sizes.clear()
        answer, box = slide(Identity(), volume, case, TaskInput(crop=window, normalize="zscore", batch_size=4))
        assert box == tuple(slice(0, length) for length in case.shape)
        np.testing.assert_allclose(answer.numpy(), volume, atol=1e-5)
        assert sizes == [window] * count
    assert OVERLAP >= 0.5


def test_the_content_of_a_padded_volume_is_what_was_padded(padded_and_not):
    index = dali_cr.scan(padded_and_not / "images", progress=False)
    plain, padded = (next(c for c in index.cases if c.name == f"{name}.nii") for name in ("plain", "padded"))
    for normalize in ("zscore", "percentile", ("window", 0.0, 200.0), None):
        box = content_box(read_case(index.root, padded, normalize), padded, normalize)
        assert box == tuple(slice(24, 24 + length) for length in plain.shape)
        assert content_box(read_case(index.root, plain, normalize), plain, normalize)[0] == slice(0, plain.shape[0])


def test_a_whole_volume_has_the_bits_of_a_crop(channel_index):
    shape = tuple(np.max([case.shape for case in channel_index.cases], axis=0).tolist())
    recipe = dali_cr.Restoration(crop=shape, swap=dali_cr.Swap(iterations=0), flips=())
    with dali_cr.Loader(channel_index, recipe, batch_size=4, device="cpu") as loader:
        batch = next(iter(loader))
        for number, image in zip(batch["sample"].tolist(), batch["target"], strict=True):
            case = channel_index.cases[loader.plan(number).case]
            padded, _ = pad_evenly(read_case(channel_index.root, case, "zscore"), shape, [0.0, 0.0])
            np.testing.assert_array_equal(padded, image.numpy())


def test_what_nobody_has_drawn_moves_no_loss():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 3, 3, 3)
    present = torch.tensor([[True, True, True], [True, False, True]])
    hidden = hide_unlabelled(logits, present)
    torch.testing.assert_close(hidden[0], logits[0])
    before, after = logits.softmax(1)[1], hidden.softmax(1)[1]
    torch.testing.assert_close(after[0], before[0] + before[2])
    torch.testing.assert_close(after[[1, 3]], before[[1, 3]])
    assert float(after[2].max()) == 0
    # Whether a voxel is called background or the class that is not drawn makes no difference to the loss.
    swapped = logits.clone()
    swapped[1, [0, 2]] = swapped[1, [2, 0]]
    torch.testing.assert_close(hide_unlabelled(swapped, present)[1].softmax(0), after)


@pytest.mark.parametrize("regions", [False, True])
def test_the_loss_is_least_for_the_truth(regions):
    members = [[1, 2], [2]] if regions else [[1], [2]]
    task = Segmentation(["a", "b"], VIEW, members=members, values=[1, 2], regions=regions)
    labels = torch.randint(0, 3, (2, 4, 4, 4), dtype=torch.uint8)
    masks = torch.from_numpy(task.masks(labels.numpy())).transpose(0, 1)
    truth = masks if regions else torch.cat([~masks.any(1, keepdim=True), masks], 1)

    class Say(nn.Module):
        def __init__(self, answer):
            super().__init__()
            self.answer = answer

        def forward(self, image):
            return self.answer

    batch = {"image": torch.zeros(2, 1, 4, 4, 4), "labels": labels, "present": torch.ones(2, 2, dtype=torch.bool)}
    right, wrong, unsure = (task.loss(Say(20.0 * sign * (truth.float() - 0.5)), batch) for sign in (1, -1, 0))
    assert right < 0.01 < unsure < wrong
    assert np.array_equal(task.decoder.decode(20.0 * (truth[0].float() - 0.5)), labels[0].numpy())


def test_regions_are_written_with_a_label_of_their_own():
    assert written_values({"whole": [1, 2, 4], "core": [1, 4], "enhancing": [4]}) == [2, 1, 4]
    with pytest.raises(ValueError, match="every label of core is also in a later region"):
        written_values({"core": [1, 4], "whole": [1, 2, 4]})
