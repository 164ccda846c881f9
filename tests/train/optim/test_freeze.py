"""A frozen encoder does not change, including its norms, and is trained afterwards."""

import pytest
import torch
from torch import nn

from train.networks.build import build_network
from train.optim.freeze import FrozenEncoder
from train.optim.optimizer import build_optimizer
from train.tasks.transfer import find_encoder


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_nothing_of_it_changes_until_the_freeze_ends(name):
    module = nn.Sequential(nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2)), nn.Conv1d(2, 1, 1))
    encoder, head = module
    frozen = FrozenEncoder(encoder, steps=2)
    optimizer = build_optimizer(module, name, lr=0.1, weight_decay=0.1)
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    changed = {}
    for step in (1, 2, 3):
        module.train()  # as an evaluation leaves it
        frozen.prepare(step)
        optimizer.zero_grad()
        module(torch.randn(4, 1, 8)).square().mean().backward()
        optimizer.step()
        changed[step] = {key for key, tensor in module.state_dict().items() if not torch.equal(tensor, before[key])}
    own = {f"1.{key}" for key in head.state_dict()}
    assert changed[1] == changed[2] == own
    assert {"0.0.weight", "0.1.weight", "0.1.running_mean", "0.1.num_batches_tracked"} <= changed[3]


def test_a_run_that_is_resumed_after_the_freeze_trains_all():
    encoder = nn.Linear(1, 1)
    FrozenEncoder(encoder, steps=2).prepare(3)
    assert all(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("name", ["dynunet", "sononet64", "locnet", "nsunet", "nsunet-skips", "resenc-s", "resnet18"])
def test_the_encoder_of_every_network_is_found(name):
    network = build_network(name, channels=1, crop=(1, 32, 32), filters=2, dims=2)
    found = set(map(id, find_encoder(network, network.module, "--freeze-encoder")))
    names = {key for key, parameter in network.module.named_parameters() if id(parameter) in found}
    trained = dict(network.module.named_parameters(remove_duplicate=False))
    assert names == {key for key in network.encoder if key in trained}
    with pytest.raises(ValueError, match=f"--freeze-encoder: expected a network with a separate encoder, got {name}"):
        find_encoder(network, nn.Linear(1, 1), "--freeze-encoder")
