"""ResNet-18 in 2-D: from its initial weights over PCRLv2 to fine-tuning, and other pretexts."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.finetuning import prepared
from tests.helpers.images import IMAGES, classify, pretraining, segment, write_images
from tests.helpers.runs import metrics
from train import finetune, pretrain, result
from train.methods.pcrlv2.config import Pcrlv2Config
from train.methods.restoration import Restoration
from train.networks.build import build_network
from train.report.invocation import command_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights under the names of torchvision, for 3 channels."""
    network = build_network("resnet18", 3, (1, 32, 32), 2, dims=2)
    path = tmp_path_factory.mktemp("weights") / "theirs.pth"
    torch.save({name.removeprefix("encoder."): t + 1 for name, t in network.features.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def config(data, weights, tmp_path_factory):
    return Pcrlv2Config(
        data=(data / "images",),
        pattern=IMAGES,
        split=data / "splits.json",
        out=tmp_path_factory.mktemp("runs") / "pcrlv2",
        network="resnet18",
        encoder_weights=str(weights),
        restoration_head="paper",
        dims=2,
        crop=(1, 32, 32),
        sizes=((1, 24, 24), (1, 20, 20)),
        locals=2,
        local_crop=(1, 32, 32),
        local_sizes=((1, 12, 12),),
        patch=(1, 2, 2),
        iterations=2,
        filters=2,
        batch_size=2,
        steps=2,
        lr=1e-3,
        log_every=1,
        evaluate_samples=2,
        threads=1,
        device="cpu",
    )


@pytest.fixture(scope="module")
def run(config):
    report = pretrain.main(config)
    return config.out, report


def test_the_weights_of_the_encoder_are_named_everywhere(run, weights, tmp_path, capsys):
    out, report = run
    assert report["encoder_weights"] == "file theirs.pth"
    about = json.loads((out / "config.json").read_text())
    assert about["config"]["encoder_weights"] == str(weights)
    assert about["network"]["encoder_weights"]["source"] == "file"
    assert f"--encoder-weights {weights}" in command_of(about)
    assert result.main(result.ResultConfig(run=out, out=tmp_path / "x")) == 0
    kept = json.loads((tmp_path / "x.json").read_text())
    assert (kept["settings"]["encoder_weights"], kept["report"]["encoder_weights"]) == ("theirs.pth", "file theirs.pth")
    assert kept["network"]["encoder_weights"] == about["network"]["encoder_weights"]
    assert all(f"collapse_metric_level_{level}" in metrics(out)[-1] for level in range(5))


def test_training_starts_from_these_weights(config, weights, tmp_path, monkeypatch, capsys):
    prepared_run = pretrain.prepare(replace(config, out=tmp_path / "run"))
    prepared_run.loader.close()
    state = prepared_run.method.network.module.state_dict()
    theirs = torch.load(weights)
    assert torch.equal(state["encoder.layer4.1.bn2.bias"], theirs["layer4.1.bn2.bias"])
    assert torch.equal(state["encoder.conv1.weight"], theirs["conv1.weight"].sum(1, keepdim=True))
    assert "weights    of the encoder: file theirs.pth" in list(pretrain.introduce(prepared_run))


def test_a_resumed_run_keeps_its_weights_and_their_name(run, config, weights):
    moved = weights.rename(weights.with_name("moved.pth"))
    try:
        report = pretrain.main(replace(config, resume=True, steps=3))
    finally:
        moved.rename(weights)
    assert (report["steps"], report["encoder_weights"]) == (3, "file theirs.pth")


@pytest.mark.parametrize("network", ["resnet18", "resnet18-skips"])
def test_fine_tuning_takes_the_encoder_and_names_its_weights(run, data, tmp_path, network):
    out, _ = run
    encoder = load_file(out / "encoder.safetensors")
    make = classify if network == "resnet18" else segment
    settings = make(data, tmp_path / "run", network=network, init=str(out), crop=(1, 32, 64), normalize="zscore")
    if network == "resnet18":
        settings = replace(settings, schedule="step", step_every=1, warmup=0.0, log_every=1)
    fine = prepared(settings)
    assert set(fine.fit.transferred) == set(encoder)
    state = fine.network.module.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in encoder.items())
    assert fine.about["encoder_weights"]["file"] == "theirs.pth"
    if network == "resnet18":
        report = finetune.main(replace(settings, resume=True))
        assert report["encoder_weights"] == "file theirs.pth"
        assert [line["lr"] for line in metrics(settings.out) if "lr" in line] == [1e-3, 5e-4]
        assert result.main(result.ResultConfig(run=settings.out, out=tmp_path / "x")) == 0
        assert json.loads((tmp_path / "x.json").read_text())["pretraining"]["encoder_weights"] == "file theirs.pth"


def test_fine_tuning_starts_from_a_file_or_from_random_weights(data, weights, tmp_path):
    settings = classify(data, tmp_path / "a", network="resnet18", crop=(1, 32, 64), encoder_weights=str(weights))
    run = prepared(settings)
    assert torch.equal(run.network.module.encoder.layer4[1].bn2.bias, torch.load(weights)["layer4.1.bn2.bias"])
    assert "weights    of the encoder, before any training: file theirs.pth" in list(finetune.introduce(run))
    run = prepared(classify(data, tmp_path / "b", network="resnet18", crop=(1, 32, 64)))
    assert run.about["encoder_weights"] == {"source": "random"}
    with pytest.raises(ValueError, match="--encoder-weights: expected random with --init, .* got imagenet"):
        replace(settings, init="runs/a", encoder_weights="imagenet")
    with pytest.raises(
        ValueError, match="--encoder-weights: expected random for --network dynunet, got imagenet; give"
    ):
        classify(data, tmp_path / "c", encoder_weights="imagenet")


@pytest.mark.parametrize("pretext", ["swap", "mae"])
def test_other_pretexts_train_it_too(data, tmp_path, pretext):
    own = {"pretext": pretext, "mask_block": (1, 8, 8), "network": "resnet18", "crop": (1, 32, 64)}
    method = Restoration(pretraining(data, tmp_path / "run", **own), channels=1)
    batch = {"target": torch.randn(2, 1, 32, 64), "input": torch.randn(2, 1, 32, 64)}
    batch |= {"mask": torch.rand(2, 1, 32, 64) < 0.5} if pretext == "mae" else {}
    method.losses(batch, 1)["loss"].backward()
    assert all(parameter.grad is not None for parameter in method.module.parameters())
