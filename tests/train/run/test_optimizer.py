"""The learning rate schedule, and the parameters with weight decay."""

import pytest
from torch import nn

from train.run.optimizer import build_optimizer, learning_rate


def test_rate_rises_in_a_line_and_falls_along_a_cosine():
    rates = [learning_rate(step, 100, 0.5, 0.1) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.05 * step for step in range(1, 11)])
    assert rates[:54][-1] > 0.25 > rates[55]
    assert 0 < rates[-1] < 1e-3 * rates[9]
    assert all(a > b for a, b in zip(rates[9:], rates[10:], strict=False))


def test_a_run_of_an_earlier_version_ends_at_a_rate_of_0():
    rates = [learning_rate(step, 100, 0.5, 0.1, to_zero=True) for step in range(1, 101)]
    assert rates[54] == pytest.approx(0.25)
    assert rates[-1] == 0


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 1.0), (2, 0.5), (7, 1.0)])
def test_short_runs_have_a_rate(steps, warmup):
    rates = [learning_rate(step, steps, 0.5, warmup) for step in range(1, steps + 1)]
    assert max(rates) == 0.5
    assert min(rates) > 0


def test_norms_and_biases_are_not_decayed():
    module = nn.Sequential(nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2, affine=True))
    decayed, plain = build_optimizer(module, lr=0.1, weight_decay=0.01).param_groups
    assert [parameter.ndim for parameter in decayed["params"]] == [5]
    assert decayed["weight_decay"] == 0.01
    assert len(plain["params"]) == 3
    assert plain["weight_decay"] == 0
