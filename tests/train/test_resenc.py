"""A residual encoder from pre-training to prediction: by restoration and by PCRLv2, without skips and with them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.helpers import finetuning
from tests.helpers.finetuning import run_pretraining, write_data
from train import finetune, predict, pretrain
from train.methods.pcrlv2.config import Pcrlv2Config
from train.networks.weights import read_weights
from train.run.progress import Progress


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def init(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("init") / "run"
    masked = {"pretext": "mae", "mask_block": (4,), "network": "resenc-s", "no_skips": True, "batch_size": 2}
    return run_pretraining(data, out, **masked)


def test_a_masked_autoencoder_without_skips_becomes_a_segmentation_with_skips(
    data: Path, init: Path, tmp_path: Path
) -> None:
    report = json.loads((init / "report.json").read_text())
    assert report["r2"] is not None
    before, about = read_weights(init / "model.safetensors")
    assert about["skips"] is False
    config = finetuning.segment(data, tmp_path / "run", network="resenc-s", init=str(init), steps=1)
    run = finetuning.prepared(config)
    assert run.fit is not None
    assert all(torch.equal(run.network.module.state_dict()[name], before[name]) for name in run.network.encoder)
    with pytest.raises(ValueError, match="transfer: expected encoder, got encoder.decoder: the decoder of .* no skips"):
        finetuning.prepared(replace(config, out=tmp_path / "other", transfer="encoder+decoder"))

    finetune.main(config)
    about = read_weights(tmp_path / "run" / "model.safetensors")[1]
    assert (about["skips"], about["architecture"]["class"].rpartition(".")[2]) == (True, "ResidualEncoderUNet")
    images = (data / "images",)
    predict.main(predict.PredictConfig(run=tmp_path / "run", data=images, out=tmp_path / "out", device="cpu"))
    assert len(list((tmp_path / "out").rglob("*.nii.gz"))) == len(list(images[0].iterdir()))


@pytest.mark.parametrize("task", ["classify", "localize"])
def test_its_encoder_goes_into_the_other_tasks(data: Path, init: Path, tmp_path: Path, task: str) -> None:
    run = finetuning.prepared(getattr(finetuning, task)(data, tmp_path / "run", network="resenc-s", init=str(init)))
    assert run.fit is not None
    assert set(run.fit.taken) == set(run.network.encoder)
    run.save(Progress(0))
    image = torch.randn(2, 1, *finetuning.WHOLE)
    again = predict.open_run(tmp_path / "run")[1]
    with torch.no_grad():
        assert torch.equal(again(image), run.module(image))


def test_pcrlv2_pre_trains_it_without_skips(data: Path, tmp_path: Path) -> None:
    config = Pcrlv2Config(
        data=(data / "images",),
        out=tmp_path / "run",
        network="resenc-s",
        filters=2,
        crop=(16, 16, 16),
        sizes=((16, 16, 16),),
        locals=2,
        local_crop=(16, 8, 8),
        local_sizes=((8, 8, 8),),
        patch=(2, 4),
        iterations=4,
        batch_size=2,
        steps=2,
        evaluate_samples=2,
        device="cpu",
        threads=1,
    )
    assert pretrain.main(config)["steps"] == 2
    about = read_weights(tmp_path / "run" / "model.safetensors")[1]
    assert (about["network"], about["skips"]) == ("resenc-s", False)
    with pytest.raises(ValueError, match="local_crop: expected more than 8 along some axis, got 8 8 8"):
        replace(config, local_crop=(8, 8, 8))
    with pytest.raises(ValueError, match="local_crop: expected multiples of 32, got 16 8 8"):
        replace(config, network="resenc-l", crop=(32, 32, 64))
