import pytest
import torch
from torch import nn

from train.networks.build import build_network
from train.networks.pooling import HalvingMean, mean_of_blocks
from train.tasks.transfer import Init, check_fit, load_fit

SMALL = {"filters": 2, "outputs": 3}


def unique(names):
    return {name for name in names if ".all_modules." not in name and not name.startswith("decoder.encoder.")}


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize(
    ("name", "crop"), [("resenc-s", (8, 16, 24)), ("resenc-s", (1, 16, 24)), ("resenc-l", (1, 32, 64))], ids=str
)
def test_a_resenc_keeps_the_promises_of_a_network(name, crop, skips):
    dims = 2 if crop[0] == 1 else 3
    edges = crop[3 - dims :]
    network = build_network(name, 2, crop, dims=dims, skips=skips, **SMALL)
    image = torch.randn(1, 2, *edges)
    assert network.module(image).shape == (1, 3, *edges)
    assert (network.outputs, network.dims, network.about["skips"]) == (3, dims, skips)

    features = network.features(image)
    cells = [edge // stride for edge, stride in zip(crop, network.strides, strict=True)][3 - dims :]
    assert features.shape == (1, network.width, *cells)

    state = network.module.state_dict()
    assert set(network.tensors) == unique(state)
    assert set(network.encoder) == unique(network.features.state_dict())
    assert {state[tensor].data_ptr() for tensor in network.tensors} == {one.data_ptr() for one in state.values()}
    assert set(network.head) < set(network.tensors) - set(network.encoder)
    assert {state[tensor].shape[0] for tensor in network.head} == {3}

    features.square().sum().backward()
    reached = {tensor for tensor, parameter in network.module.named_parameters() if parameter.grad is not None}
    assert set(network.encoder) == reached


@pytest.mark.parametrize(("skips", "parameters"), [(True, 102_348_965), (False, 97_233_313)])
def test_resenc_l_has_the_size_of_nnssl_s(skips, parameters):
    with torch.device("meta"):
        network = build_network("resenc-l", 1, (160, 160, 160), skips=skips)
    assert network.parameters == parameters
    assert sum(tensor.numel() for tensor in network.features.parameters()) == 90_296_576
    assert (network.width, network.strides) == (320, (32, 32, 32))


def test_tensors_and_architecture_are_those_of_the_package():
    from pydoc import locate

    network = build_network("resenc-s", 1, (16, 16, 16))
    architecture = network.about["architecture"]
    arguments = architecture["arguments"]
    arguments = {**arguments, **{name: locate(arguments[name]) for name in architecture["imported"]}}
    theirs = locate(architecture["class"])(input_channels=1, num_classes=1, **arguments)
    state = network.module.state_dict()
    assert list(theirs.state_dict()) == list(state)
    theirs.load_state_dict(state)
    image = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(theirs(image), network.module(image))
    norms = [part for part in network.module.modules() if isinstance(part, nn.InstanceNorm3d)]
    assert {(norm.eps, norm.affine) for norm in norms} == {(1e-5, True)}
    assert {part.negative_slope for part in network.module.modules() if isinstance(part, nn.LeakyReLU)} == {0.01}


@pytest.mark.parametrize("skips", [True, False])
def test_without_skips_no_path_leads_past_the_coarsest_features(skips):
    module = build_network("resenc-s", 1, (16, 16, 16), skips=skips, **SMALL).module.eval()
    image = torch.randn(1, 1, 16, 16, 16)
    kept = []

    def hide(stage, seen, features):
        kept.append(features)
        return torch.zeros_like(features)

    def give_back(stage, seen):
        return (kept[-1],)

    with torch.no_grad():
        wanted = module(image)
        *finer, coarsest = module.encoder.stages
        for stage, following in zip(finer, [*finer[1:], coarsest], strict=True):
            stage.register_forward_hook(hide)
            following.register_forward_pre_hook(give_back)
        answer = module(image)
    assert len(kept) == len(finer)
    assert torch.equal(answer, wanted) == (not skips)


@pytest.mark.parametrize("skips", [True, False])
def test_every_tensor_of_the_encoder_goes_over_into_a_segmentation(tmp_path, skips):
    torch.manual_seed(0)
    before = build_network("resenc-s", 1, (16, 16, 16), filters=2, skips=skips)
    state = before.module.state_dict()
    init = Init(tmp_path, {name: state[name] for name in before.tensors}, before.about, ())
    torch.manual_seed(1)
    after = build_network("resenc-s", 1, (16, 16, 16), **SMALL)
    fit = check_fit(init, after, "encoder")
    module = load_fit(after, fit.transferred)
    assert set(fit.transferred) == set(before.encoder)
    module.encoder.load_state_dict(before.module.encoder.state_dict())  # strict: nothing is missing
    image = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(after.features(image), before.features(image))


def test_transferred_weights_are_those_of_the_encoder(tmp_path):
    before = build_network("resenc-s", 1, (16, 16, 16), filters=2)
    state = before.module.state_dict()
    init = Init(tmp_path, {name: state[name] for name in before.tensors}, before.about, ())
    after = build_network("resenc-s", 1, (16, 16, 16), **SMALL)
    taken = check_fit(init, after, "encoder+decoder").transferred
    assert set(taken) == set(before.tensors) - set(before.head)
    left = load_fit(after, taken).state_dict()
    assert all(torch.equal(left[name], state[name]) for name in taken)


def test_the_mean_of_blocks_is_average_pooling():
    features = torch.randn(2, 3, 4, 6, 8)
    torch.testing.assert_close(mean_of_blocks(features), HalvingMean()(features))
    assert HalvingMean()(features[:, :, 0]).shape == (2, 3, 3, 4)


@pytest.mark.parametrize(
    ("name", "crop", "changes", "error"),
    [
        ("resenc-l", (32, 48, 32), {}, "multiples of 32 for resenc-l, got 48 along H; use 32 or 64"),
        ("resenc-l", (32, 32, 32), {}, "more than one voxel at the coarsest stage of resenc-l.*use edges of 64"),
        ("resenc-s", (1, 8, 8), {"dims": 2}, "more than one voxel at the coarsest stage"),
        (
            "dynunet",
            (16, 16, 16),
            {"skips": False},
            "expected one that can be built without skips, got dynunet; use .*nsunet",
        ),
        (
            "sononet64",
            (16, 16, 16),
            {"skips": True},
            "expected one that can be built with skips, got sononet64; use dynunet, nsunet-skips",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_can(name, crop, changes, error):
    with pytest.raises(ValueError, match=error):
        build_network(name, 1, crop, **changes)
