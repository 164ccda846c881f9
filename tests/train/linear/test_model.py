"""Test that a linear model sees the image that it was fitted to."""

from __future__ import annotations

import numpy as np
import torch

from train.linear.model import LinearModel, average_blocks, choose_block, fit_linear
from train.tasks.classify import Classification
from train.tasks.task import TaskInput


def test_the_smallest_blocks_that_suffice() -> None:
    for crop, most, block in (
        ((64, 64, 64), 4096, (4, 4, 4)),
        ((5, 7, 90), 50, (5, 5, 5)),
        ((1, 30, 30), 1, (1, 30, 30)),
    ):
        assert choose_block(crop, most) == block
        assert average_blocks(torch.zeros(1, 1, *crop), block).numel() <= most


def test_blocks_at_the_end_of_an_axis_are_averages_of_fewer_voxels() -> None:
    image = torch.arange(2 * 3 * 5.0).reshape(1, 2, 3, 5)
    found = average_blocks(image, (2, 2))
    assert found.shape == (1, 2, 2, 3)
    assert found[0, 1, 1, 2] == image[0, 1, 2, 4]
    assert found[0, 0, 0, 0] == image[0, 0, :2, :2].mean()


def test_a_model_maps_averaged_voxels_of_all_channels() -> None:
    random = np.random.default_rng(0)
    weight, bias = random.normal(size=(3, 2 * 4)), random.normal(size=3)
    images = torch.from_numpy(random.normal(size=(5, 2, 4, 4))).float()
    averaged = average_blocks(images, (2, 2)).flatten(1).double().numpy()
    outputs = LinearModel((2, 2), weight, bias)(images)
    np.testing.assert_allclose(outputs.numpy(), averaged @ weight.T + bias, atol=1e-5)


def fit(classes: list[int]) -> LinearModel:
    """Fit a model to random images of three classes."""
    targets = np.eye(3)[classes]
    task = Classification("abc", TaskInput(crop=(2, 2, 2), normalize="zscore"))
    task._training = [row > 0 for row in targets]
    images = np.random.default_rng(0).normal(size=(len(classes), 8))
    return fit_linear(task, images, targets, [f"{number}" for number in range(len(classes))], (1, 1, 1), 4).model


def test_a_class_without_labelled_cases_is_never_predicted() -> None:
    outputs = fit([0, 2] * 4)(torch.randn(5, 1, 2, 2, 2))
    assert torch.equal(outputs.softmax(1)[:, 1], torch.zeros(5))
    assert (outputs[:, 0] != outputs[:, 2]).all()


def test_a_single_labelled_case_gives_a_constant() -> None:
    assert fit([1])(torch.randn(2, 1, 2, 2, 2)).argmax(1).tolist() == [1, 1]
