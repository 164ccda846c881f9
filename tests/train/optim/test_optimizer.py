"""Optimisers: weight decay, momentum, learning rate of the encoder, and loading from a checkpoint."""

import pytest
import torch
from torch import nn

from train.optim.optimizer import build_optimizer, load_optimizer, set_rate


@pytest.fixture
def module():
    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2, affine=True), nn.Conv3d(2, 1, 1))


def test_adamw_decays_no_norms_and_biases(module):
    decayed, plain = build_optimizer(module, "adamw", lr=0.1, weight_decay=0.01).param_groups
    assert [parameter.ndim for parameter in decayed["params"]] == [5, 5]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.01, 0)
    assert len(plain["params"]) == 4


def test_sgd_is_that_of_nnunet(module):
    (group,) = build_optimizer(module, "sgd", lr=0.01, weight_decay=3e-5).param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.99, True, 3e-5)
    assert len(group["params"]) == 6


def test_sgd_without_momentum_has_none_of_nesterovs(module):
    (group,) = build_optimizer(module, "sgd", lr=0.01, weight_decay=0.0, momentum=0.0).param_groups
    assert (group["momentum"], group["nesterov"]) == (0, False)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_encoder_has_a_rate_of_its_own(module, name):
    optimizer = build_optimizer(
        module, name, lr=0.1, weight_decay=0.0, encoder=module[0].parameters(), encoder_lr_scale=0.25
    )
    set_rate(optimizer, 0.2)
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert [rates[id(parameter)] for parameter in module.parameters()] == [0.05, 0.05, 0.2, 0.2, 0.2, 0.2]


def test_weight_decay_and_momentum_may_change_at_a_resume(module):
    before = build_optimizer(module, "sgd", lr=0.1, weight_decay=0.5, momentum=0.9)
    module(torch.ones(1, 1, 4, 4, 4)).sum().backward()
    before.step()
    state = before.state_dict()
    del state["param_groups"][0]["lr_scale"]  # as in checkpoints of version 0.1.0
    after = build_optimizer(module, "sgd", lr=0.1, weight_decay=0.25, momentum=0.5)
    load_optimizer(after, state)
    (group,) = after.param_groups
    assert (group["weight_decay"], group["momentum"], group["lr_scale"]) == (0.25, 0.5, 1)
    kept, own = (one.state[module[0].weight]["momentum_buffer"] for one in (before, after))
    assert torch.equal(kept, own)
