"""Networks: sizes from the crop, and the list of the encoder's tensors."""

import pytest
import torch

from train.networks.build import build_network
from train.networks.dynunet import halvings
from train.networks.heads import build_classifier
from train.networks.pooling import largest_of_blocks


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


PLANES = ("dynunet", "sononet64", "locnet")


@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("crop", [(1, 32, 64), (32, 64, 32)], ids=str)
def test_every_network_keeps_its_promises_in_2d_and_3d(name, crop):
    dims = 2 if crop[0] == 1 else 3
    edges = crop[3 - dims :]
    network = build_network(name, 2, crop, filters=2, outputs=3, dims=dims)
    image = torch.randn(2, 2, *edges)
    assert network.module(image).shape == (2, 3, *edges)
    assert (network.outputs, network.dims, network.levels) == (3, dims, None)

    features = network.features(image)
    cells = [edge // stride for edge, stride in zip(crop, network.strides, strict=True)][3 - dims :]
    assert features.shape == (2, network.width, *cells)

    state = network.module.state_dict()
    assert set(network.encoder) < set(network.tensors) <= set(state)
    assert set(network.features.state_dict()) == set(network.encoder)
    assert {state[tensor].data_ptr() for tensor in network.tensors} == {one.data_ptr() for one in state.values()}
    assert set(network.head) < set(network.tensors) - set(network.encoder)
    assert {state[tensor].shape[0] for tensor in network.head} == {3}

    # The encoder is exactly what its features depend on.
    (features * torch.randn_like(features)).square().sum().backward()
    reached = {tensor for tensor, parameter in network.module.named_parameters() if parameter.grad is not None}
    assert {tensor for tensor in network.encoder if "running" not in tensor and "num_batches" not in tensor} == reached

    known = network.about
    again = build_network(
        known["network"],
        known["channels"],
        tuple(known["crop"]),
        known["filters"],
        known["outputs"],
        dims=known["dims"],
    )
    assert {n: t.shape for n, t in again.module.state_dict().items()} == {n: t.shape for n, t in state.items()}


def sononet_parameters(dims, widths, channels=1, classes=14):
    """SonoNet's parameters: kernels of 3 along each axis, no biases, two parameters per channel for batch norm."""
    count = 0
    for width in widths:
        count += channels * width * 3**dims + 2 * width
        channels = width
    half = channels // 2
    return count, channels * half + 2 * half + half * classes + 2 * classes


def test_sononet_64_has_the_published_layers():
    widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    network = build_network("sononet64", 1, (1, 224, 288), dims=2)
    analysis, head = sononet_parameters(2, widths)
    assert (analysis, head) == (14_717_760, 135_196)
    assert sum(parameter.numel() for parameter in network.features.parameters()) == analysis
    classifier = build_classifier(network, 14, (1, 1, 1))
    assert sum(parameter.numel() for parameter in classifier.parameters()) == analysis + head
    convolutions = [one for one in network.features.modules() if isinstance(one, torch.nn.Conv2d)]
    assert [one.out_channels for one in convolutions] == widths
    assert {(one.kernel_size, one.padding, one.bias) for one in convolutions} == {((3, 3), (1, 1), None)}
    norms = [one for one in classifier.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    assert len(norms) == len(widths) + 2
    assert {one.eps for one in norms} == {1e-4}
    with torch.no_grad():
        assert network.features(torch.zeros(1, 1, 224, 288)).shape == (1, 512, 14, 18)


def test_sononets_head_averages_the_classes_of_every_place():
    network = build_network("sononet64", 1, (1, 32, 48), filters=4, dims=2)
    classifier = build_classifier(network, 3, (1, 1, 1)).eval()
    image = torch.randn(2, 1, 32, 48)
    with torch.no_grad():
        features = network.features(image)
        adapt, classify = classifier.head.adapt, classifier.head.classify
        mixed = torch.relu(adapt.norm(torch.einsum("bchw,kc->bkhw", features, adapt.conv.weight[:, :, 0, 0])))
        logits = classify.norm(torch.einsum("bchw,kc->bkhw", mixed, classify.conv.weight[:, :, 0, 0])).mean((2, 3))
        torch.testing.assert_close(classifier(image), logits)


def test_sononet_in_3d_is_wider_by_its_third_axis_only():
    widths = [2, 2, 4, 4, 8, 8, 8, 16, 16, 16, 16, 16, 16]
    network = build_network("sononet64", 1, (32, 32, 32), filters=2)
    assert sum(p.numel() for p in network.features.parameters()) == sononet_parameters(3, widths)[0]


def test_locnet_has_one_more_stack():
    network = build_network("locnet", 1, (1, 64, 96), dims=2)
    sononet = sononet_parameters(2, [64, 64, 128, 128, 256, 256, 256, *[512] * 6])[0]
    assert sum(p.numel() for p in network.features.parameters()) == sononet + 3 * (512 * 512 * 9 + 2 * 512)
    assert (network.strides, network.width) == ((1, 32, 32), 512)
    with pytest.raises(ValueError, match="expected multiples of 32 for locnet, got 48 along W; use 32 or 64"):
        build_network("locnet", 1, (1, 64, 48), dims=2)


def test_blocks_reduced_are_max_pooling_gradient_and_all():
    features = torch.randn(2, 3, 4, 6, 8, dtype=torch.float64)
    weights, gradients = torch.randn(2, 3, 2, 3, 4, dtype=torch.float64), []
    for pool in (largest_of_blocks, lambda one: torch.nn.functional.max_pool3d(one, 2)):
        leaf = features.clone().requires_grad_()
        pooled = pool(leaf)
        (pooled * weights).sum().backward()
        gradients.append((pooled, leaf.grad))
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert torch.equal(gradients[0][1], gradients[1][1])


def test_a_network_of_images_wants_flat_crops():
    with pytest.raises(ValueError, match="2 with a crop of one voxel along D; got 2"):
        build_network("dynunet", 1, (16, 16, 16), dims=2)


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
    with pytest.raises(ValueError, match="50 along H, which stops at 25; use 48 or 56"):
        build_network("dynunet", 1, (32, 50, 32))


def test_refuses_a_crop_without_levels():
    with pytest.raises(ValueError, match="halved twice .* got 8 8 8"):
        build_network("dynunet", 1, (8, 8, 8))


def test_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="one of dynunet, .* got 'unet'"):
        build_network("unet", 1, (16, 16, 16))
