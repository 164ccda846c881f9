"""ResNet-18 U-Net: published sizes, levels, skips, and the initial weights of its encoder."""

import hashlib

import pytest
import torch
from torch import nn

from train.networks.build import build_network, sizes_of
from train.networks.heads import build_classifier
from train.networks.resnet import pretrained
from train.networks.resnet.pretrained import describe_source, initialize_encoder

CROP = (1, 32, 64)


def small(name="resnet18", channels=1, outputs=1, filters=4):
    return build_network(name, channels, CROP, filters, outputs, dims=2)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_sizes_are_those_of_the_public_code():
    network = build_network("resnet18", 3, CROP, dims=2)
    unet = network.module
    # torchvision's resnet18 has 11,689,512 parameters, 513,000 of them in its linear layer.
    assert (count(network.features), count(unet.decoder)) == (11_689_512 - 513_000, 2_358_976)
    assert unet.level_widths == (256, 128, 64, 32, 16)
    assert unet.output.weight.shape == (3, 16, 3, 3)
    classifier = build_classifier(network, 14, (1, 1, 1))
    assert count(classifier) == count(network.features) + 512 * 14 + 14
    features = network.features(torch.zeros(2, 3, 64, 96))
    assert features.shape == (2, 512, 2, 3)
    logits = classifier.eval()(torch.ones(2, 3, 32, 64))
    pooled = network.features.eval()(torch.ones(2, 3, 32, 64)).mean((2, 3))
    assert torch.allclose(logits, classifier.head.linear(pooled))


def test_names_of_the_encoder_are_torchvisions():
    network = small()
    names = {name.removeprefix("encoder.") for name in network.encoder}
    assert len(names) == 120
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert {"conv1.weight", *(f"bn1.{one}" for one in norm)} < names
    assert {f"layer2.0.downsample.1.{one}" for one in norm} < names
    assert not {name for name in names if name.startswith("layer1.0.downsample")}


@pytest.mark.parametrize("name", ["resnet18", "resnet18-skips"])
def test_the_network_keeps_its_promises(name):
    network = small(name, channels=2, outputs=3)
    image = torch.randn(2, 2, *CROP[1:])
    assert network.module(image).shape == (2, 3, *CROP[1:])
    assert (network.outputs, network.dims, network.width, network.strides) == (3, 2, 32, (1, 32, 32))
    state = network.module.state_dict()
    assert set(network.tensors) == set(state)
    assert set(network.features.state_dict()) == set(network.encoder)
    assert {state[one].shape[0] for one in network.head} == {3}
    features = network.features(image)
    (features * torch.randn_like(features)).sum().backward()
    reached = {one for one, parameter in network.module.named_parameters() if parameter.grad is not None}
    assert reached == dict(network.features.named_parameters()).keys()
    known = network.about
    again = sizes_of(
        known["network"], 2, CROP, known["filters"], known["outputs"], dims=known["dims"], skips=known.get("skips")
    )
    assert again.about == {key: value for key, value in known.items() if key != "architecture"}


def test_the_encoder_can_be_built_by_monai_alone():
    from monai.networks.nets.resnet import ResNet

    network = small(channels=2)
    resnet = ResNet(n_input_channels=2, **network.about["architecture"]["arguments"])
    state = {name.removeprefix("encoder."): tensor for name, tensor in network.features.state_dict().items()}
    resnet.load_state_dict(state)
    image = torch.randn(2, 2, 32, 64)
    assert torch.allclose(resnet.eval()(image), network.features.eval()(image).mean((2, 3)), atol=1e-6)


def test_each_level_doubles_its_edges_and_later_levels_are_not_computed():
    unet = small().module.eval()
    image = torch.randn(2, 1, 32, 64)
    pyramid = unet.pyramid(image)
    assert [tuple(level.shape[1:]) for level in pyramid] == [
        (16, 2, 4),
        (8, 4, 8),
        (4, 8, 16),
        (2, 16, 32),
        (1, 32, 64),
    ]
    calls = []
    for number, part in enumerate(unet.parts[1:]):
        part.register_forward_hook(lambda *_, number=number: calls.append(number))
    assert all(map(torch.equal, unet.pyramid(image, 2), pyramid))
    assert calls == [0, 1]


def test_only_with_skips_something_passes_the_coarsest_features():
    for name, skips in (("resnet18", False), ("resnet18-skips", True)):
        unet = small(name).module.eval()
        unet.encoder.register_forward_hook(lambda _, __, passed: [*passed[:-1], torch.ones(1, 32, 1, 2)])
        answers = [unet(torch.randn(1, 1, 32, 64)) for _ in range(2)]
        assert torch.equal(*answers) is not skips


def test_volumes_and_other_crops_are_refused():
    with pytest.raises(ValueError, match="dims: expected 2 for resnet18, got 3; use nsunet"):
        sizes_of("resnet18", 1, (32, 32, 32))
    with pytest.raises(ValueError, match="multiples of 32 for resnet18, got 48 along W; use 32 or 64"):
        sizes_of("resnet18", 1, (1, 32, 48), dims=2)


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """An encoder of colour images, and its file with the names of torchvision."""
    network = small(channels=3).features.eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    names = {name.removeprefix("encoder."): tensor for name, tensor in network.state_dict().items()}
    torch.save({**names, "fc.weight": torch.zeros(1000, 32), "fc.bias": torch.zeros(1000)}, path)
    return network, path


def test_a_grey_image_gives_the_features_of_the_image_in_three_channels(colour):
    theirs, path = colour
    network = initialize_encoder(small(), str(path))
    image = torch.randn(2, 1, 32, 64)
    assert torch.allclose(network.features.eval()(image), theirs(image.expand(-1, 3, -1, -1)), atol=1e-5)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    kept = {"source": "file", "file": "resnet18.pth", "sha256": digest, "channels": 3}
    assert network.about["encoder_weights"] == kept
    assert describe_source(network.about) == "file resnet18.pth"


def test_colour_images_and_nested_names_keep_the_weights(colour, tmp_path):
    theirs, path = colour
    nested = {
        f"module.encoder.{name}": tensor for name, tensor in torch.load(path).items() if "num_batches" not in name
    }
    torch.save({"state_dict": nested}, tmp_path / "nested.pt")
    network = initialize_encoder(small(channels=3), str(tmp_path / "nested.pt"))
    image = torch.randn(2, 3, 32, 64)
    assert torch.equal(network.features.eval()(image), theirs(image))


def test_random_and_later_weights_are_recorded_without_reading(colour):
    assert initialize_encoder(small(), "random").about["encoder_weights"] == {"source": "random"}
    known = {"encoder_weights": {"source": "imagenet"}}
    assert describe_source(initialize_encoder(small(), "missing.pth", known).about) == "imagenet"
    assert "encoder_weights" not in initialize_encoder(small(), "random", {}).about
    other = build_network("sononet64", 1, CROP, 2, dims=2)
    assert initialize_encoder(other, "random") is other


def test_files_that_do_not_fit_are_refused(colour, tmp_path):
    tensors = torch.load(colour[1])
    cases = [
        (small(filters=2), tensors, r"conv1.weight of shape \(2, 1, 7, 7\), got \(4, 3, 7, 7\) in .*give --filters 4"),
        (small(channels=2), tensors, r"got \(4, 3, 7, 7\) in .*; images must have one channel or 3"),
        (small(), {"conv1.weight": tensors["conv1.weight"]}, "expected the state dict of one ResNet-18 in .*; got 0"),
        (
            small(),
            {n: t for n, t in tensors.items() if n != "bn1.bias"},
            r"expected bn1.bias of shape .* it is missing",
        ),
        (small(), tensors | {"bn1.bias": torch.full((4,), torch.nan)}, "bn1.bias .* with finite values, got NaN"),
        (
            small(),
            tensors | {"bn1.bias": torch.full((4,), 1e300, dtype=torch.float64)},
            "bn1.bias .* finite values, got NaN or inf",
        ),
        (small(), tensors | {"bn1.bias": torch.ones(4, dtype=torch.int8)}, "bn1.bias .* torch.float32, got torch.int8"),
        (
            small(),
            tensors | {"conv1.weight": torch.ones(4, 4, 7, 7)},
            r"got \(4, 4, 7, 7\) in .*; images must have 4 channels",
        ),
    ]
    for network, content, says in cases:
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(ValueError, match=f"--encoder-weights: {says}" if says.startswith("exp") else says):
            initialize_encoder(network, str(tmp_path / "x.pth"))
    with pytest.raises(ValueError, match="expected random, imagenet or a file of weights, .*none.pth does not exist"):
        initialize_encoder(small(), str(tmp_path / "none.pth"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of PyTorch."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_imagenet_is_downloaded_once(colour, hub, tmp_path, monkeypatch):
    theirs, path = colour
    name = f"resnet18-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    (tmp_path / name).write_bytes(path.read_bytes())
    monkeypatch.setattr(pretrained, "URL", (tmp_path / name).as_uri())
    for _ in range(2):
        network = initialize_encoder(small(channels=3), "imagenet")
        assert torch.equal(network.features.encoder.conv1.weight, theirs.encoder.conv1.weight)
        assert network.about["encoder_weights"]["source"] == describe_source(network.about) == "imagenet"
        assert network.about["encoder_weights"]["file"] == name
        (tmp_path / name).unlink(missing_ok=True)
    (hub / name).write_bytes(b"other")
    with pytest.raises(ValueError, match=f"{name}, its SHA-256 differs; remove the file"):
        initialize_encoder(small(channels=3), "imagenet")


def test_without_a_network_the_error_names_the_file(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "URL", (tmp_path / "resnet18-f37072fd.pth").as_uri())
    says = "expected a download of file.*, got URLError: .*; download the file elsewhere and give --encoder-weights res"
    with pytest.raises(ValueError, match=says):
        initialize_encoder(small(), "imagenet")
