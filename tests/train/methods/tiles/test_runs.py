"""Runs of the pretexts on tiles: output, resume, transfer of the encoder, export and results."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import torch
from safetensors.torch import load_file

from dali_cr.tools.phantom_files import write_phantoms
from tests.helpers.runs import metrics, stop_at, timeless
from train import export, pretrain, result
from train.methods.restoration import RestorationConfig
from train.networks.build import build_network
from train.nnunet.architecture import express
from train.nnunet.card import write_card
from train.nnunet.citations import cite
from train.nnunet.run import Run
from train.pretrain import Refused
from train.tasks.transfer import check_fit, load_fit, read_init

pytestmark = pytest.mark.usefixtures("one_thread")

PRETEXTS: dict[str, dict[str, Any]] = {
    "position": {"crop": (16, 16, 16)},
    "jigsaw": {"crop": (1, 32, 32), "dims": 2, "slices": "D", "network": "nsunet", "permutations": 6},
}


@dataclass(frozen=True)
class Done:
    """An uninterrupted run, and one that was stopped and resumed."""

    config: RestorationConfig
    report: dict[str, Any]
    resumed: RestorationConfig


@pytest.fixture(scope="module", params=PRETEXTS)
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp(request.param)
    write_phantoms(folder / "data", count=4, shape=(20, 34, 33))
    settings: dict[str, Any] = {"filters": 2, "batch_size": 2, "steps": 4, "log_every": 1, "evaluate_every": 2}
    settings |= {"evaluate_samples": 3, "device": "cpu", "threads": 1, "data": (folder / "data" / "images",)}
    config = RestorationConfig(out=folder / "run", pretext=request.param, **settings, **PRETEXTS[request.param])
    report = pretrain.main(config)
    again = replace(config, out=folder / "again")
    with pytest.MonkeyPatch.context() as patched:
        stop_at(patched, 3)
        with pytest.raises(pretrain.Stopped):
            pretrain.main(again)
    pretrain.main(replace(again, resume=True))
    return Done(config, report, again)


def test_a_run_measures_and_reports(done: Done) -> None:
    out, classes = done.config.out, {"position": 26, "jigsaw": 6}[done.config.pretext]
    assert list(done.report)[:5] == ["run", "steps", "accuracy", "chance", "cross_entropy"]
    assert done.report["chance"] == 1 / classes
    assert done.report == json.loads((out / "report.json").read_text())
    assert [line["step"] for line in metrics(out) if "chance" in line] == [0, 2, 4]
    assert all(0 <= line["accuracy"] <= 1 for line in metrics(out))
    about = json.loads((out / "config.json").read_text())
    assert about["tiles"]["classes"] == classes
    assert about["decoder"] == "none: the encoder alone is trained"
    assert (about["network"]["trained"], about["network"]["pretext"]) == ("encoder", done.config.pretext)
    assert matplotlib.image.imread(out / "preview.png").ndim == 3


def test_a_resumed_run_has_the_same_bits(done: Done) -> None:
    assert timeless(done.resumed.out) == timeless(done.config.out)
    for name in ("model.safetensors", "encoder.safetensors"):
        assert (done.resumed.out / name).read_bytes() == (done.config.out / name).read_bytes()
    setting = {"position": "jitter", "jigsaw": "permutations"}[done.config.pretext]
    with pytest.raises(Refused, match=f"--{setting} was .*, got "):
        pretrain.main(replace(done.resumed, resume=True, **{setting: 0 if setting == "jitter" else 5}))  # type: ignore[arg-type]


def test_the_encoder_is_saved_and_transferred_without_a_decoder(done: Done) -> None:
    config, init = done.config, read_init(done.config.out)
    network = build_network(config.network, 1, config.crop, 2, outputs=3, dims=config.dims)
    assert set(init.tensors) == set(network.encoder) == set(load_file(config.out / "encoder.safetensors"))
    load_fit(network, check_fit(init, network, "encoder").transferred)
    state = network.module.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in init.tensors.items())
    for path in (config.out, config.out / "encoder.safetensors"):
        with pytest.raises(ValueError, match=f"transfer: .* --pretext {config.pretext} of .* trained no decoder"):
            check_fit(read_init(path), network, "encoder+decoder")


def test_export_to_nnunet_has_the_encoder_alone(done: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.read(done.config.out)
    assert run.method == done.config.pretext
    assert cite(run)[0]["name"] == {"position": "relative position", "jigsaw": "jigsaw"}[done.config.pretext]
    if done.config.dims == 3:
        architecture = express(run.about, run.tensors)
        assert architecture.weights
        assert all(name.startswith("encoder.stages.") for name in architecture.weights)
        assert not architecture.has_decoder
        assert "accuracy" in write_card(run, architecture, [], cite(run), None)
    assert export.command_line([str(done.config.out), "-o", str(tmp_path / "first.pth")]) == 2
    assert "run: expected a run " in capsys.readouterr().err


def test_results_are_kept_and_drawn(done: Done, tmp_path: Path) -> None:
    assert result.main(result.ResultConfig(run=done.config.out, out=tmp_path / "kept")) == 0
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert kept["report"]["accuracy"] == done.report["accuracy"]
    assert f"--pretext {done.config.pretext}" in kept["command"]
    assert matplotlib.image.imread(tmp_path / "kept.png").shape[:2] == (330, 880)
