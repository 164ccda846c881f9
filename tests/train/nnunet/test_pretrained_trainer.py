"""nnU-Net's trainer for pre-trained weights loads an exported file, if its master branch is installed."""

import json

import pytest
import torch

from tests.helpers.finetuning import run_pretraining
from train import export

PLACE = "nnunetv2.training.nnUNetTrainer.pretraining"


@pytest.mark.parametrize(("network", "channels"), [("resenc-s", 1), ("resenc-s", 3), ("dynunet", 1)])
def test_the_pretrained_trainer_takes_encoder_and_stem(data, tmp_path, network, channels, one_thread):
    module = f"{PLACE}.pretrainedTrainer"
    trainer = pytest.importorskip(module, reason=f"{PLACE} is on nnU-Net's master branch alone").PretrainedTrainer
    run = run_pretraining(data, tmp_path / "run", network=network, spacing=(1, 1, 1), normalize="zscore-image")
    assert export.command_line(["nnssl", str(run), str(tmp_path / "out")]) == 0

    plan = json.loads((tmp_path / "out" / "adaptation_plan.json").read_text())
    built = plan["architecture_plans"]
    patch = plan["recommended_downstream_patchsize"]
    theirs = trainer.build_network_architecture(
        built["arch_class_name"], built["arch_kwargs"], built["arch_kwargs_requiring_import"], patch, channels, 2, False
    )
    head = {name: tensor.clone() for name, tensor in theirs.decoder.state_dict().items() if "encoder" not in name}
    theirs, _ = trainer.load_pretrained_weights(
        theirs,
        pretrained_weights_path=str(tmp_path / "out" / "checkpoint_final.pth"),
        pt_input_channels=plan["pretrain_num_input_channels"],
        downstream_input_channels=channels,
        pt_input_patchsize=next(iter(plan["pretrain_plan"]["configurations"].values()))["patch_size"],
        downstream_input_patchsize=patch,
        pt_key_to_encoder=plan["key_to_encoder"],
        pt_key_to_stem=plan["key_to_stem"],
        pt_keys_to_in_proj=tuple(plan["keys_to_in_proj"]),
        pt_key_to_lpe=plan["key_to_lpe"],
    )
    weights = torch.load(tmp_path / "out" / "checkpoint_final.pth", weights_only=True)["network_weights"]
    for name, tensor in theirs.encoder.state_dict().items():
        wanted = weights[f"encoder.{name}"]
        if wanted.shape != tensor.shape:
            assert f"encoder.{name.rpartition('.')[0]}" in plan["keys_to_in_proj"]
            wanted = wanted.repeat(1, channels, 1, 1, 1) / channels
        assert torch.equal(tensor, wanted), name
    assert all(torch.equal(tensor, theirs.decoder.state_dict()[name]) for name, tensor in head.items())

    optimizer = torch.optim.SGD(theirs.parameters(), 1e-3)
    loss = torch.nn.functional.cross_entropy(theirs(torch.randn(2, channels, *patch)), torch.ones(2, *patch).long())
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter).all() for parameter in theirs.parameters())
