"""Exported weights load into MONAI's and nnU-Net's networks and give the same outputs."""

import json

import numpy as np
import pytest
import safetensors
import torch
from monai.networks.nets import DynUNet
from safetensors.torch import load_file

from tests.helpers.finetuning import prepared, run_pretraining, segment
from tests.helpers.volumes import write_nifti
from train import export, finetune, predict
from train.networks.build import build_network
from train.networks.dynunet import halvings
from train.networks.network import Levels
from train.networks.plans import read_levels


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return run_pretraining(data, tmp_path_factory.mktemp("run") / "run", crop=(16, 16, 32))


def monai_network(about):
    """Build the network with MONAI alone, from the weights and their metadata."""
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
    """Write plans like those of nnU-Net's planner, with the entries that the network needs."""
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


THIN, THICK = ((1.0, 1.0, 1.0), (20, 24, 22)), ((5.0, 1.0, 1.0), (8, 40, 36))
"""Spacing and shape (D, H, W) of data whose 3-D kernels are equal at all levels, and of data whose kernels differ."""


def plan_by_nnunet(folder, monkeypatch, spacing, shape, residual=False):
    """Run nnU-Net's own planner for such data and return the plans' file."""
    for part in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{part}", str(folder / part))
    rooms = "nnunetv2.experiment_planning.experiment_planners"
    planning = pytest.importorskip(f"{rooms}.default_experiment_planner", reason="needs nnU-Net v2")
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import residual_encoder_unet_planners as others

    raw, preprocessed = folder / "raw" / "Dataset001_X", folder / "preprocessed" / "Dataset001_X"
    monkeypatch.setattr(planning, "nnUNet_raw", str(folder / "raw"))
    monkeypatch.setattr(planning, "nnUNet_preprocessed", str(folder / "preprocessed"))
    monkeypatch.setattr(planning, "maybe_convert_to_dataset_name", lambda name: "Dataset001_X")
    for part in ("imagesTr", "labelsTr"):
        write_nifti(raw / part / ("a_0000.nii.gz" if part == "imagesTr" else "a.nii.gz"), np.zeros(shape[::-1]))
    preprocessed.mkdir(parents=True)
    dataset = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "x": 1}, "numTraining": 1}
    (raw / "dataset.json").write_text(json.dumps(dataset | {"file_ending": ".nii.gz"}))
    numbers = dict.fromkeys(("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0)
    seen = {"spacings": [spacing], "shapes_after_crop": [shape], "median_relative_size_after_cropping": 1.0}
    seen["foreground_intensity_properties_per_channel"] = {"0": numbers}
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(seen))
    planner = (others.ResEncUNetPlanner if residual else planning.ExperimentPlanner)(1)
    planner.plan_experiment()
    return preprocessed / f"{planner.plans_identifier}.json"


@pytest.mark.parametrize(
    ("planned_for", "configuration", "crop"),
    [(THIN, "3d_fullres", (16, 24, 16)), (THICK, "3d_fullres", (8, 32, 16)), (THICK, "2d", (1, 32, 16))],
    ids=["thin", "thick", "2d"],
)
def test_into_nnunet(data, tmp_path, monkeypatch, planned_for, configuration, crop):
    loading = pytest.importorskip("nnunetv2.run.load_pretrained_weights", reason="needs nnU-Net v2")
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = plan_by_nnunet(tmp_path / "nnunet", monkeypatch, *planned_for)
    dims = 2 if configuration == "2d" else 3
    settings = {"plans": plans, "configuration": configuration, "crop": crop, "dims": dims, "patch": (1, 4)}
    settings |= {"slices": "D", "foreground": 0.0} if dims == 2 else {}
    run = run_pretraining(data, tmp_path / "run", **settings, steps=2)
    assert export.command_line([str(run), "-o", str(tmp_path / "for_nnunet.pth")]) == 0

    # As nnU-Net's trainer builds its network, and takes over what -pretrained_weights names.
    known = PlansManager(str(plans)).get_configuration(configuration)
    kernels = {tuple(kernel) for kernel in known.network_arch_init_kwargs["kernel_sizes"]}
    assert len(kernels) == (2 if (planned_for, configuration) == (THICK, "3d_fullres") else 1)
    theirs = get_network_from_plans(
        known.network_arch_class_name,
        known.network_arch_init_kwargs,
        known.network_arch_init_kwargs_req_import,
        1,
        1,
        deep_supervision=True,
    )
    own_output = theirs.decoder.seg_layers[-1].weight.clone()
    loading.load_pretrained_weights(theirs, tmp_path / "for_nnunet.pth")
    assert torch.equal(theirs.decoder.seg_layers[-1].weight, own_output)

    levels = read_levels(plans, configuration, crop, dims)
    ours = build_network("dynunet", 1, crop, levels=levels, dims=dims).module
    weights = load_file(run / "model.safetensors")
    assert ours.load_state_dict(weights, strict=False).unexpected_keys == []
    # nnU-Net keeps its output layer; with ours in its place the two networks are one function.
    theirs.decoder.deep_supervision = False
    with torch.no_grad():
        theirs.decoder.seg_layers[-1].weight.copy_(weights["output_block.conv.conv.weight"])
        theirs.decoder.seg_layers[-1].bias.copy_(weights["output_block.conv.conv.bias"])
        image = torch.randn(2, 1, *crop[3 - dims :])
        torch.testing.assert_close(theirs.eval()(image), ours.eval()(image), rtol=1e-4, atol=1e-5)


def test_residual_networks_of_nnunet_are_refused(tmp_path, monkeypatch):
    plans = plan_by_nnunet(tmp_path, monkeypatch, *THIN, residual=True)
    with pytest.raises(ValueError, match=r"expected a PlainConvUNet.* got ResidualEncoderUNet"):
        read_levels(plans, "3d_fullres", (16, 24, 16))


def test_a_run_with_plans_is_fine_tuned_and_used(data, tmp_path):
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
        ({"kind": "x.ResidualEncoderUNet"}, "expected a PlainConvUNet"),
        (
            {"kernel_sizes": [[5, 3, 3], *[[3, 3, 3]] * 3]},
            "expected kernel_sizes of 3 numbers in {1, 3} for each stage",
        ),
        ({"n_conv_per_stage": [2, 2, 2, 3]}, "expected n_conv_per_stage"),
        ({"strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [3, 2, 2]]}, "expected strides of 3 numbers in {1, 2}"),
        ({"strides": [[1, 1, 1], [2, 2, 2], [2, 4, 2], [2, 2, 2]]}, "expected strides"),
        ({"strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]}, "crop: expected a multiple of 8 along W"),
        ({"nonlin": "torch.nn.ReLU"}, "expected nonlin torch.nn.LeakyReLU, got torch.nn.ReLU"),
    ],
    ids=["kind", "kernels", "convolutions", "stride of 3", "stride of 4", "crop", "activation"],
)
def test_plans_of_another_network_are_refused(tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        read_levels(write_plans(tmp_path / "plans.json", **change), "3d_fullres", (16, 24, 20))


@pytest.mark.parametrize(
    ("change", "configuration", "says"),
    [
        ({}, "2d", "expected one of the configurations 3d_fullres, .*, got 2d"),
        ({}, "3d_cascade_fullres", "3d_cascade_fullres is part of a cascade"),
        ({}, "old", "expected an architecture for old, as in plans of nnU-Net 2.4"),
        ({}, "ring", "expected one of the configurations .* got ring"),
        ({"transpose_forward": [1, 0, 2]}, "3d_fullres", r"expected transpose_forward \[0, 1, 2\], got \[1, 0, 2\]"),
        ({"configurations": []}, "3d_fullres", "expected one of the configurations"),
        ({"configurations": {"x": 1}}, "x", "plans: .*plans.json: "),
    ],
    ids=["none", "cascade", "old", "ring", "axes", "empty", "number"],
)
def test_plans_that_say_no_network_are_refused(tmp_path, change, configuration, says):
    path = write_plans(tmp_path / "plans.json")
    plans = json.loads(path.read_text())
    plans["configurations"] |= {
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        "old": {"UNet_class_name": "PlainConvUNet"},
        "ring": {"inherits_from": "ring"},
    }
    path.write_text(json.dumps(plans | change))
    with pytest.raises(ValueError, match=says):
        read_levels(path, configuration, (16, 24, 16))
    path.write_text("{}")
    with pytest.raises(ValueError, match="'configurations' is missing"):
        read_levels(path, configuration, (16, 24, 16))


def test_a_configuration_that_inherits_has_the_network_of_its_parent(tmp_path):
    path = write_plans(tmp_path / "plans.json", kernel_sizes=[[1, 3, 3], *[[3, 3, 3]] * 3])
    plans = json.loads(path.read_text())
    plans["configurations"] |= {"mine": {"inherits_from": "3d_fullres", "batch_size": 9}}
    path.write_text(json.dumps(plans))
    levels = read_levels(path, "mine", (16, 24, 16))
    assert levels == read_levels(path, "3d_fullres", (16, 24, 16))
    assert levels.kernels == ((1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    # What a weights' file says of a network is enough to build it again.
    about = build_network("dynunet", 1, (16, 24, 16), levels=levels).about
    assert Levels.of(json.loads(json.dumps(about))) == levels


def test_a_run_without_plans_is_not_for_nnunet(run, tmp_path, capsys):
    assert export.command_line([str(run), "-o", str(tmp_path / "x.pth")]) == 2
    assert "expected a run with --plans" in capsys.readouterr().err
