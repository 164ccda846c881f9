"""Segmentation losses against the formulas of PCRLv2's public code."""

import pytest
import torch

from tests.helpers.finetuning import segment
from train.tasks.loss import segmentation_loss
from train.tasks.segment import Segmentation
from train.tasks.task import TaskInput


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 4, 5, 6, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(logits.shape, generator=generator, dtype=torch.float64) < 0.3).double()


def test_dice_bce_is_the_sum_over_regions_of_the_public_code(batch):
    logits, target = batch
    expected = 0.0
    for region in range(2):
        predicted, true = logits[:, region].sigmoid().flatten(1), target[:, region].flatten(1)
        dice = (2 * (predicted * true).sum(1) + 1e-5) / (predicted.sum(1) + true.sum(1) + 1e-5)
        entropy = -(true * predicted.log() + (1 - true) * (1 - predicted).log()).mean()
        expected = expected + 1 - dice.mean() + 0.2 * entropy
    assert segmentation_loss("dice-bce", logits, target, regions=True).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("regions", [True, False])
def test_tversky_weights_false_negatives_more(batch, regions):
    logits, target = batch
    predicted = logits.sigmoid() if regions else logits.softmax(1)[:, 1:]
    true = target if regions else target[:, 1:]
    correct, excess, missed = (
        (p * t).flatten(2).sum(2) for p, t in ((predicted, true), (predicted, 1 - true), (1 - predicted, true))
    )
    expected = (1 - (correct + 1) / (correct + 0.3 * excess + 0.7 * missed + 1)).mean()
    assert segmentation_loss("tversky", logits, target, regions=regions).item() == pytest.approx(expected.item())


def test_tversky_of_an_absent_region_has_a_gradient():
    logits = torch.zeros(1, 1, 2, 2, 2, requires_grad=True)
    segmentation_loss("tversky", logits, torch.zeros(1, 1, 2, 2, 2), regions=True).backward()
    assert (logits.grad > 0).all()


def test_a_task_uses_its_loss():
    view, table = TaskInput(crop=(4, 4, 4), normalize=None), {"members": [[1, 2], [2]], "values": [1, 2]}
    labels = torch.arange(64).reshape(1, 4, 4, 4) % 3
    inputs = {"image": torch.randn(1, 2, 4, 4, 4), "labels": labels, "present": torch.ones(1, 2, dtype=torch.bool)}
    target = torch.stack([labels > 0, labels == 2], 1).float()
    for name in ("dice-ce", "dice-bce", "tversky"):
        task = Segmentation(["whole", "core"], view, regions=True, loss=name, **table)
        expected = segmentation_loss(name, inputs["image"], target, regions=True)
        assert torch.equal(task.loss(torch.nn.Identity(), inputs), expected)
    with pytest.raises(ValueError, match="--loss: expected dice-ce or tversky for exclusive classes, got dice-bce"):
        Segmentation(["a", "b"], view, loss="dice-bce", members=[[1], [2]], values=[1, 2])


def test_schedule_settings_that_have_no_effect_are_refused(tmp_path):
    for settings, says in (
        ({"schedule": "step"}, "--step-every: expected a number of steps with --schedule step, got none"),
        ({"step_every": 3}, "--step-every: expected no value with --schedule cosine, got 3; give --schedule step"),
        ({"schedule": "poly", "step_factor": 0.1}, "--step-factor: expected no value with --schedule poly"),
        ({"schedule": "step", "step_every": 0}, "--step-every: expected at least 1, got 0"),
        ({"schedule": "step", "step_every": 3, "step_factor": 1.5}, "--step-factor: expected a number between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=says):
            segment(tmp_path, tmp_path / "run", **settings)
    config = segment(tmp_path, tmp_path / "run", schedule="step", step_every=3)
    assert "step × 0.5 every 3" in config.describe_optimizer()
