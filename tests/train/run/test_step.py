"""A step over several batches equals a step over one large batch."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import dali_cr
from train.optim.average import Average
from train.optim.optimizer import build_optimizer
from train.run.computation import ON_CPU
from train.run.step import take_step


class Run:
    """A linear model and its mean squared error."""

    device, computation, frozen, state, last_step_learns = torch.device("cpu"), ON_CPU, None, None, True

    def __init__(self, accumulate: int, clip: float) -> None:
        self.config: Any = SimpleNamespace(
            steps=2, lr=0.1, warmup=0.0, schedule_options={"schedule": "poly"}, clip=clip, accumulate=accumulate
        )
        self.module = nn.Linear(3, 1)
        with torch.no_grad():
            self.module.weight.fill_(0.5)
            self.module.bias.fill_(0.0)
        self.optimizer = build_optimizer(self.module, "sgd", lr=0.1, weight_decay=0.0, momentum=0.9)
        self.average = Average(self.module, 0.5)

    def losses(self, step: int, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        loss = (self.module(batch["x"]) - batch["y"]).square().mean()
        return {"loss": loss, "half": loss / 2}


@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_accumulated_batches_are_one_large_batch(clip: float) -> None:
    x, y, numbers = torch.randn(16, 3), torch.randn(16, 1), torch.arange(16)
    whole, parts = Run(1, clip), Run(4, clip)
    for run, size in ((whole, 8), (parts, 2)):
        batches = iter(
            [
                {"x": a, "y": b, "sample": n}
                for a, b, n in zip(x.split(size), y.split(size), numbers.split(size), strict=True)
            ]
        )
        run.taken = [take_step(run, step, batches) for step in (1, 2)]  # type: ignore[attr-defined]
        assert next(batches, None) is None
    for one, other in zip(whole.taken, parts.taken, strict=True):  # type: ignore[attr-defined]
        assert torch.equal(one.samples, other.samples)
        assert one.losses.keys() == other.losses.keys()
        for name in one.losses:
            torch.testing.assert_close(one.losses[name], other.losses[name])
    for one, other in zip(whole.module.parameters(), parts.module.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    for one, other in zip(whole.average.state_dict().values(), parts.average.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_step_that_breaks_off_leaves_running_statistics_as_they_were() -> None:
    run: Any = Run(3, 0.0)
    run.module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    before = {name: tensor.clone() for name, tensor in run.module.state_dict().items()}

    def batches() -> Iterator[dict[str, Any]]:
        for number in range(2):
            yield {"x": torch.randn(4, 3), "y": torch.randn(4, 1), "sample": torch.tensor([number])}
        raise dali_cr.VolumeError("b.nii", "gone")

    with pytest.raises(dali_cr.VolumeError, match="gone"):
        take_step(run, 1, batches())
    for name, tensor in run.module.state_dict().items():
        assert torch.equal(tensor, before[name]), name
