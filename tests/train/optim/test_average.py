"""Moving average of the weights: values, use in evaluation, and loading."""

import pytest
import torch
from torch import nn

from train.optim.average import Average, averaged


def test_the_average_is_that_of_a_hand_computation():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 1.0)
    average, by_hand = Average(module, 0.3), 1.0
    for step, weight in enumerate((2.0, -1.0, 4.0), start=1):
        nn.init.constant_(module.weight, weight)
        average.update(step)
        decay = min(0.3, (1 + step) / (10 + step))
        by_hand = decay * by_hand + (1 - decay) * weight
    assert average.state_dict()["weight"].item() == pytest.approx(by_hand, rel=1e-6)


def test_statistics_of_norms_are_averaged_and_counts_are_copied():
    norm = nn.BatchNorm1d(1)
    average = Average(norm, 0.0)
    norm(torch.tensor([[1.0], [3.0]]))
    average.update(1)
    kept = average.state_dict()
    assert (kept["running_mean"].item(), kept["num_batches_tracked"].item()) == (pytest.approx(0.2), 1)


def test_in_use_it_stands_in_for_the_weights_and_gives_them_back():
    module = nn.Linear(3, 2)
    average, before = Average(module, 0.9), [parameter.clone() for parameter in module.parameters()]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 1
    after = [parameter.clone() for parameter in module.parameters()]
    with pytest.raises(KeyboardInterrupt), averaged(average):
        assert all(map(torch.equal, module.parameters(), before))
        raise KeyboardInterrupt
    assert all(map(torch.equal, module.parameters(), after))
    assert all(map(torch.equal, average.state_dict().values(), before))
    with averaged(None):
        assert all(map(torch.equal, module.parameters(), after))


def test_an_average_of_another_network_is_refused():
    state = Average(nn.Linear(1, 1), 0.5).state_dict()
    with pytest.raises(ValueError, match="ema: expected the tensors of this network in the checkpoint, bias differs"):
        Average(nn.Linear(1, 1, bias=False), 0.5).load_state_dict(state)
