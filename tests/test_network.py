"""Networks: sized by the crop, and honest about which tensors are the encoder."""

import pytest
import torch

from train.network import build_network, halvings


@pytest.mark.parametrize(
    ("crop", "channels"),
    [((32, 48, 32), 1), ((16, 16, 16), 2), ((8, 24, 40), 4), ((1, 64, 48), 3), ((14, 20, 28), 1)],
    ids=str,
)
def test_output_has_the_shape_of_the_input(crop, channels):
    network = build_network("dynunet", channels, crop, filters=2)
    with torch.no_grad():
        assert network.module(torch.randn(1, channels, *crop)).shape == (1, channels, *crop)


def test_default_size():
    assert build_network("dynunet", 1, (32, 48, 32)).parameters == 1_401_153


def test_levels_stop_widening():
    network = build_network("dynunet", 1, (64, 64, 64), filters=160)
    assert network.module.state_dict()["bottleneck.conv1.conv.weight"].shape[:2] == (320, 320)


def test_tensors_are_all_and_each_once():
    network = build_network("dynunet", 1, (16, 16, 16), filters=2)
    state = network.module.state_dict()
    assert set(network.encoder) < set(network.tensors) < set(state)
    assert {state[name].data_ptr() for name in network.tensors} == {tensor.data_ptr() for tensor in state.values()}
    assert sum(state[name].numel() for name in network.tensors) == network.parameters


@pytest.mark.parametrize("crop", [(16, 16, 16), (32, 48, 64), (1, 32, 32)], ids=str)
def test_encoder_is_exactly_what_the_bottleneck_depends_on(crop):
    network = build_network("dynunet", 2, crop, filters=2)
    seen = []
    network.module.bottleneck.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network.module(torch.randn(1, 2, *crop))
    # Squared against noise: the plain sum of a normalised tensor has no gradient.
    (seen[0] * torch.randn_like(seen[0])).square().sum().backward()
    reached = {name for name, parameter in network.module.named_parameters() if parameter.grad is not None}
    assert set(network.encoder) == reached


def test_weights_follow_the_seed():
    networks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        networks.append(build_network("dynunet", 1, (16, 16, 16), filters=2).module.state_dict())
    first, again, other = (state["bottleneck.conv1.conv.weight"] for state in networks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("crop", "strides"),
    [
        ((16, 16, 16), [(2, 2, 2)] * 2),
        ((32, 48, 32), [(2, 2, 2)] * 3),
        ((1, 32, 16), [(1, 2, 2), (1, 2, 2), (1, 2, 1)]),
        ((14, 16, 16), [(2, 2, 2), (1, 2, 2)]),
    ],
    ids=str,
)
def test_every_axis_is_halved_as_far_as_it_goes(crop, strides):
    assert halvings(crop) == strides


def test_refuses_an_edge_that_cannot_be_halved():
    with pytest.raises(ValueError, match=r"50 along H stops at 25\. 48 or 56 would do"):
        build_network("dynunet", 1, (32, 50, 32))


def test_refuses_a_crop_without_levels():
    with pytest.raises(ValueError, match=r"halved twice .* \(8, 8, 8\) came"):
        build_network("dynunet", 1, (8, 8, 8))


def test_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="dynunet; 'unet' came"):
        build_network("unet", 1, (16, 16, 16))
