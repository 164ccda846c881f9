"""The weights' files load into the networks of others, unchanged."""

import json

import pytest
import safetensors
import torch
from monai.networks.nets import DynUNet
from safetensors.torch import load_file

from tests.finetuning import prepared, run_pretraining, segment, write_data
from train import export, finetune, predict
from train.dynunet import halvings
from train.network import build_network
from train.plans import read_levels


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return run_pretraining(write_data(folder / "data"), folder / "run", crop=(16, 16, 32))


def monai_network(about):
    """The network as somebody would build it who has MONAI, the weights and what they say of themselves, and not us."""
    strides = halvings(tuple(about["crop"]))
    return DynUNet(
        spatial_dims=3,
        in_channels=about["channels"],
        out_channels=about["outputs"],
        kernel_size=[3] * (len(strides) + 1),
        strides=[1, *strides],
        upsample_kernel_size=strides,
        filters=[about["filters"] * 2**level for level in range(len(strides) + 1)],
    )


def test_into_monai_whole(run):
    with safetensors.safe_open(str(run / "model.safetensors"), framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    network = monai_network(about)
    weights = load_file(run / "model.safetensors")
    # MONAI's module tree names its tensors a second time under skip_layers; nothing else may be missing.
    answer = network.load_state_dict(weights, strict=False)
    assert answer.unexpected_keys == []
    assert all(name.startswith("skip_layers.") for name in answer.missing_keys)
    second = {name: tensor for name, tensor in network.state_dict().items() if name not in weights}
    assert {tensor.data_ptr() for tensor in second.values()} <= {network.state_dict()[n].data_ptr() for n in weights}
    network.load_state_dict({**weights, **second}, strict=True)
    kept = torch.load(run / "checkpoint.pt", weights_only=True)["network"]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())


def test_into_monai_encoder(run):
    with safetensors.safe_open(str(run / "encoder.safetensors"), framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    other = monai_network({**about, "outputs": 5})
    weights = load_file(run / "encoder.safetensors")
    assert other.load_state_dict(weights, strict=False).unexpected_keys == []
    state = other.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())
    assert {name.split(".")[0] for name in weights} == {"input_block", "downsamples", "bottleneck"}


def write_plans(path, **changes):
    """Write what nnU-Net's planner writes, as far as the network needs it."""
    sizes = {
        "n_stages": 4,
        "features_per_stage": [4, 8, 16, 16],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 4,
        "strides": [[1, 1, 1], [2, 2, 2], [1, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [2, 2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2, 2],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": sizes | changes,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    architecture["network_class_name"] = changes.pop("kind", architecture["network_class_name"])
    path.write_text(json.dumps({"configurations": {"3d_fullres": {"architecture": architecture}}}))
    return path


def test_into_nnunet(tmp_path):
    loading = pytest.importorskip("nnunetv2.run.load_pretrained_weights", reason="needs nnU-Net v2")
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    plans = write_plans(tmp_path / "plans.json")
    run = run_pretraining(write_data(tmp_path / "data"), tmp_path / "run", plans=plans, crop=(16, 24, 16), steps=2)
    assert export.command_line([str(run), "-o", str(tmp_path / "for_nnunet.pth")]) == 0
    known = json.loads(plans.read_text())["configurations"]["3d_fullres"]["architecture"]
    theirs = get_network_from_plans(
        known["network_class_name"], known["arch_kwargs"], known["_kw_requires_import"], 1, 1, deep_supervision=False
    )
    loading.load_pretrained_weights(theirs, tmp_path / "for_nnunet.pth")
    ours = build_network("dynunet", 1, (16, 24, 16), levels=read_levels(plans, "3d_fullres", (16, 24, 16))).module
    weights = load_file(run / "model.safetensors")
    ours.load_state_dict(weights, strict=False)
    # nnU-Net keeps its output layer; with ours in its place the two networks are one function.
    with torch.no_grad():
        theirs.decoder.seg_layers[-1].weight.copy_(weights["output_block.conv.conv.weight"])
        theirs.decoder.seg_layers[-1].bias.copy_(weights["output_block.conv.conv.bias"])
        image = torch.randn(2, 1, 16, 24, 16)
        torch.testing.assert_close(theirs.eval()(image), ours.eval()(image), rtol=1e-4, atol=1e-5)


def test_a_run_with_plans_is_fine_tuned_and_used(tmp_path):
    data = write_data(tmp_path / "data")
    plans = write_plans(tmp_path / "plans.json")
    init = run_pretraining(data, tmp_path / "init", plans=plans, crop=(16, 24, 16))
    config = segment(data, tmp_path / "run", init=str(init), transfer="encoder+decoder", crop=None, filters=None)
    finetune.main(config)
    module = predict.open_run(tmp_path / "run")[1]
    random = prepared(segment(data, tmp_path / "random", plans=plans, crop=(16, 24, 16), filters=None)).module
    assert [tensor.shape for tensor in random.parameters()] == [tensor.shape for tensor in module.parameters()]
    assert module.state_dict()["bottleneck.conv2.conv.weight"].shape == (16, 16, 3, 3, 3)
    assert sum(name.startswith("downsamples") for name in load_file(init / "encoder.safetensors")) == 12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "x.ResidualEncoderUNet"}, "wanted a PlainConvUNet"),
        ({"kernel_sizes": [[1, 3, 3], *[[3, 3, 3]] * 3]}, "wanted kernel_sizes"),
        ({"n_conv_per_stage": [2, 2, 2, 3]}, "wanted n_conv_per_stage"),
        ({"strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [3, 2, 2]]}, "crop: wanted a multiple of 12 along D"),
    ],
    ids=["kind", "kernels", "convolutions", "crop"],
)
def test_plans_of_another_network_are_refused(tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        read_levels(write_plans(tmp_path / "plans.json", **change), "3d_fullres", (16, 24, 16))
    with pytest.raises(ValueError, match="wanted one of the configurations 3d_fullres, got 2d"):
        read_levels(write_plans(tmp_path / "plans.json"), "2d", (16, 24, 16))
    (tmp_path / "plans.json").write_text("{}")
    with pytest.raises(ValueError, match="'configurations' is missing"):
        read_levels(tmp_path / "plans.json", "2d", (16, 24, 16))


def test_a_run_without_plans_is_not_for_nnunet(run, tmp_path, capsys):
    assert export.command_line([str(run), "-o", str(tmp_path / "x.pth")]) == 2
    assert "wanted one that was made with --plans" in capsys.readouterr().err
