"""Residual encoders from pre-training by restoration and PCRLv2 to prediction, with and without skips."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.helpers import finetuning
from tests.helpers.finetuning import run_pretraining, write_data
from train import predict
from train.methods.pcrlv2.config import Pcrlv2Config
from train.methods.pcrlv2.method import Pcrlv2
from train.networks.weights import read_weights
from train.optim.optimizer import build_optimizer
from train.run.progress import Progress


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def init(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("init") / "run"
    masked = {"pretext": "mae", "mask_block": (4,), "network": "resenc-s", "no_skips": True, "batch_size": 2}
    return run_pretraining(data, out, **masked)


@pytest.mark.parametrize("task", ["segment", "classify", "localize"])
def test_what_was_learnt_without_skips_goes_into_every_task_and_comes_back_for_prediction(
    data: Path, init: Path, tmp_path: Path, task: str
) -> None:
    before, about = read_weights(init / "model.safetensors")
    assert about["skips"] is False
    config = getattr(finetuning, task)(data, tmp_path / "run", network="resenc-s", init=str(init))
    run = finetuning.prepared(config)
    assert run.fit is not None
    assert set(run.fit.transferred) == set(run.network.encoder)
    assert all(torch.equal(run.network.module.state_dict()[name], before[name]) for name in run.network.encoder)
    run.save(Progress(0))
    _, again, about = predict.open_run(tmp_path / "run")
    assert (about["skips"], about["architecture"]["class"].rpartition(".")[2]) == (True, "ResidualEncoderUNet")
    image = torch.randn(2, 1, *finetuning.WHOLE)
    with torch.no_grad():
        assert torch.equal(again(image), run.module(image))


def test_a_decoder_without_skips_is_not_transferred(data: Path, init: Path, tmp_path: Path) -> None:
    assert json.loads((init / "report.json").read_text())["r2"] is not None
    config = finetuning.segment(data, tmp_path / "run", network="resenc-s", init=str(init), transfer="encoder+decoder")
    with pytest.raises(ValueError, match="transfer: expected encoder, since the decoder of .* no skips"):
        finetuning.prepared(config)


def test_a_crop_of_one_voxel_at_the_coarsest_level_is_refused(data: Path, init: Path, tmp_path: Path) -> None:
    config = finetuning.segment(data, tmp_path / "run", network="resenc-s", init=str(init), crop=(8, 8, 8))
    with pytest.raises(
        ValueError, match="crop: expected 2 voxels or more at the coarsest level, .* got 8 8 8; use 8 8 16"
    ):
        finetuning.prepared(config)


def test_pcrlv2_pre_trains_it_without_skips(tmp_path: Path) -> None:
    sizes = {"crop": (16, 16, 16), "sizes": ((16, 16, 16),), "local_crop": (16, 8, 8), "local_sizes": ((8, 8, 8),)}
    swaps = {"patch": (2, 4), "iterations": 4, "locals": 2, "batch_size": 2, "steps": 3}
    config = Pcrlv2Config(data=(tmp_path,), out=tmp_path / "run", network="resenc-s", filters=2, **sizes, **swaps)
    method = Pcrlv2(config, 1)
    assert method.network.about["skips"] is False
    optimizer = build_optimizer(method.module, **config.optimizer_options)
    batch = {"view": torch.randn(2, 2, 1, 16, 16, 16), "target": torch.rand(2, 2, 1, 16, 16, 16)}
    batch["local"] = torch.randn(2, 2, 1, 16, 8, 8)
    losses = []
    for _ in range(3):
        loss = method.losses(batch, 1)["loss"]  # the same levels
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    with pytest.raises(ValueError, match="--local-crop: expected more than 8 along some axis, got 8 8 8"):
        replace(config, local_crop=(8, 8, 8))
    with pytest.raises(ValueError, match="--local-crop: expected multiples of 32, got 16 8 8"):
        replace(config, network="resenc-l", crop=(32, 32, 64))
