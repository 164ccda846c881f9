"""The U-Net without skip connections: published sizes, partial decoding, and transfer to the U-Net with them."""

import pytest
import torch

from train.networks.build import build_network
from train.networks.nsunet import LEVELS, NsEncoder, NsUNet


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def convolution(inputs, outputs, voxels=27):
    return inputs * outputs * voxels + outputs


def block(inputs, middle, outputs):
    """Parameters of two convolutions with biases, each followed by batch norm."""
    return convolution(inputs, middle) + 2 * middle + convolution(middle, outputs) + 2 * outputs


def test_the_sizes_are_those_of_the_public_code():
    unet = NsUNet(1, 1)
    encoder = block(1, 32, 64) + block(64, 64, 128) + block(128, 128, 256) + block(256, 256, 512)
    decoder = sum(convolution(w, w, 8) + block(w, w // 2, w // 2) for w in (512, 256, 128))
    assert (count(unet.down), count(unet.up), count(unet.output)) == (encoder, decoder, 64 + 1)
    assert (encoder, decoder) == (7_027_776, 9_723_392)


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize(("crop", "channels", "outputs"), [((16, 16, 16), 1, 1), ((8, 16, 24), 3, 2)])
def test_output_has_the_shape_of_the_input(crop, channels, outputs, skips):
    with torch.no_grad():
        answer = NsUNet(channels, outputs, filters=2, skips=skips)(torch.randn(2, channels, *crop))
    assert answer.shape == (2, outputs, *crop)


def test_the_pyramid_doubles_its_edges_and_halves_its_channels():
    pyramid = NsUNet(1, 1, filters=4).pyramid(torch.randn(1, 1, 16, 16, 32))
    assert [tuple(level.shape[1:]) for level in pyramid] == [(16, 4, 4, 8), (8, 8, 8, 16), (4, 16, 16, 32)]


@pytest.mark.parametrize("levels", range(1, LEVELS + 1))
def test_levels_that_are_not_asked_for_are_not_computed(levels):
    unet, calls = NsUNet(1, 1, filters=2), []
    for number, level in enumerate(unet.up):
        level.register_forward_hook(lambda *_, number=number: calls.append(number))
    unet.output.register_forward_hook(lambda *_: calls.append("output"))
    image = torch.randn(2, 1, 16, 16, 16)
    some = unet.eval().pyramid(image, levels)
    assert calls == list(range(levels))
    for level, same in zip(some, unet.pyramid(image), strict=False):
        assert torch.equal(level, same)


@pytest.mark.parametrize("skips", [False, True])
def test_features_are_the_unets_own_and_reach_nothing_past_the_bottleneck(skips):
    unet = NsUNet(1, 1, filters=2, skips=skips)
    encoder = NsEncoder(unet)
    features = encoder(torch.randn(2, 1, 16, 16, 16))
    assert features.shape == (2, 16, 2, 2, 2)
    (features * torch.randn_like(features)).sum().backward()
    reached = {name for name, parameter in unet.named_parameters() if parameter.grad is not None}
    assert reached == dict(encoder.named_parameters()).keys()
    assert {name: tensor.data_ptr() for name, tensor in encoder.state_dict().items()}.items() <= {
        name: tensor.data_ptr() for name, tensor in unet.state_dict().items()
    }.items()


def test_without_skips_nothing_passes_the_bottleneck_and_with_them_something_does():
    """Without skip connections, the output depends on the bottleneck only; with them, also on finer levels."""
    for skips in (False, True):
        torch.manual_seed(0)
        unet = NsUNet(1, 1, filters=2, skips=skips).eval()
        unet.down[-1].register_forward_hook(lambda *_: torch.ones(1, 16, 2, 2, 2))
        answers = [unet(torch.randn(1, 1, 16, 16, 16)) for _ in range(2)]
        assert torch.equal(*answers) is not skips


@pytest.mark.parametrize("skips", [False, True])
def test_a_unet_with_skips_has_the_encoder_of_one_without(skips):
    plain, other = NsUNet(2, 1, filters=4), NsUNet(2, 3, filters=4, skips=skips)
    encoder = NsEncoder(plain).state_dict()
    answer = other.load_state_dict(encoder, strict=False)
    assert not answer.unexpected_keys
    assert {name.split(".")[0] for name in answer.missing_keys} == {"up", "output"}
    image = torch.randn(1, 2, 16, 16, 16)
    assert torch.equal(NsEncoder(plain.eval())(image), NsEncoder(other.eval())(image))


@pytest.mark.parametrize("name", ["nsunet", "nsunet-skips"])
def test_as_a_network_its_tensors_are_all_and_each_once(name):
    network = build_network(name, 2, (16, 24, 16), filters=4, outputs=3)
    state = network.module.state_dict()
    assert set(network.tensors) == set(state)
    assert set(network.encoder) == network.features.state_dict().keys()
    assert set(network.head) == {tensor for tensor in state if state[tensor].shape[:1] == (3,)}
    assert (network.width, network.strides, network.outputs) == (32, (8, 8, 8), 3)
    features = network.features(torch.randn(2, 2, 16, 24, 16))
    assert features.shape == (2, 32, 2, 3, 2)


@pytest.mark.parametrize("name", ["nsunet", "nsunet-skips"])
def test_in_2d_it_is_the_same_without_an_axis(name):
    flat = build_network(name, 2, (1, 24, 16), filters=4, outputs=3, dims=2)
    thick = build_network(name, 2, (16, 24, 16), filters=4, outputs=3)
    assert (flat.dims, flat.strides, flat.width) == (2, (1, 8, 8), 32)
    assert (flat.tensors, flat.encoder, flat.head) == (thick.tensors, thick.encoder, thick.head)
    shapes = {key: tuple(tensor.shape) for key, tensor in flat.module.state_dict().items()}
    others = {key: tuple(tensor.shape) for key, tensor in thick.module.state_dict().items()}
    assert shapes == {key: shape[:-1] if len(shape) == 5 else shape for key, shape in others.items()}
    image = torch.randn(2, 2, 24, 16)
    assert flat.module(image).shape == (2, 3, 24, 16)
    assert flat.features(image).shape == (2, 32, 3, 2)
    assert [level.shape[1:] for level in flat.module.pyramid(image)] == [(16, 6, 4), (8, 12, 8), (4, 24, 16)]


def test_64_filters_are_the_default():
    assert build_network("nsunet", 1, (16, 16, 16)).parameters == 7_027_776 + 9_723_392 + 65


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"crop": (16, 20, 16)}, "multiples of 8 for nsunet, got 20 along H; use 16 or 24"),
        ({"crop": (1, 16, 12), "dims": 2}, "multiples of 8 for nsunet, got 12 along W; use 8 or 16"),
        ({"crop": (16, 16, 16), "filters": 3}, "filters: expected an even number for nsunet, got 3"),
    ],
    ids=str,
)
def test_refuses_what_it_cannot_be_built_for(settings, says):
    with pytest.raises(ValueError, match=says):
        build_network("nsunet", 1, **settings)
