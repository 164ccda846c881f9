"""Presets: documented default values, overridden by the command line."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dali_cr
from train import pretrain
from train.methods.pcrlv2.config import Pcrlv2Config
from train.methods.presets import PRESETS, describe
from train.report.invocation import command_of
from train.run.folder.config_file import plain

PUBLISHED = {
    "pretext": "mae",
    "mask_ratio": 0.75,
    "mask_block": (16,),
    "network": "resenc-l",
    "with_skips": None,
    "crop": (160, 160, 160),
    "batch_size": 8,
    "steps": 250_000,
    "optimizer": "sgd",
    "lr": 0.01,
    "schedule": "poly",
    "warmup": 0.0,
    "weight_decay": 3e-5,
    "clip": 12.0,
    "normalize": "zscore-image",
    "foreground": 0.0,
    "flips": ("D", "H", "W"),
    "rotate": 30.0,
    "scale": (0.7, 1.4),
    "augment_probability": 0.2,
}


def read(out: Path, *words: str) -> pretrain.RestorationConfig:
    config = pretrain.read_settings(["--data", "scans", "--out", str(out), "--preset", "mae-nnssl", *words])
    assert isinstance(config, pretrain.RestorationConfig)
    return config


def test_mae_nnssl_is_what_nnssl_does(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert {name: getattr(config, name) for name in PUBLISHED} == PUBLISHED
    assert config.optimizer_options == {
        "name": "sgd",
        "lr": 0.01,
        "weight_decay": 3e-5,
        "momentum": 0.99,
        "nesterov": True,
    }
    assert set(PRESETS["mae-nnssl"].settings) == set(PUBLISHED) - {"with_skips"}
    assert config.samples().mask_grid.masked == 750


def read_views(out: Path, *words: str) -> Pcrlv2Config:
    config = pretrain.read_settings(["--data", "scans", "--out", str(out), "--preset", "pcrlv2-2d", *words])
    assert isinstance(config, Pcrlv2Config)
    return config


def test_pcrlv2_2d_is_what_the_public_code_does(tmp_path: Path) -> None:
    config = read_views(tmp_path)
    recipe = config.samples()
    assert recipe == dali_cr.Views(
        shape=(1, 224, 224),
        area=(0.3, 1.0),
        local_shape=(1, 96, 96),
        local_area=(0.05, 0.3),
        locals=6,
        swap=dali_cr.Swap(0, (4, 4, 8)),
        flips=("W",),
        scale=0.0,
        degrees=10.0,
        blur=2.0,
        blur_probability=0.5,
        isotropic_blur=True,
        noise=0.0,
        gamma=0.0,
        brightness=0.4,
        contrast=0.4,
        cutout=(3, 32),
        normalize=("window", 0.0, 255.0),
        standardize=(0.449, 0.226),
        foreground=0.0,
    )
    assert (config.network, config.restoration_head, config.encoder_weights) == ("resnet18", "paper", "random")
    assert (config.batch_size, config.lr, config.epochs, config.epoch_samples) == (64, 1e-2, 240, 1)
    assert config.optimizer_options == {
        "name": "sgd", "lr": 1e-2, "weight_decay": 1e-4, "momentum": 0.9, "nesterov": False
    }  # fmt: skip
    changed = read_views(tmp_path, "--cutout", "2", "16", "--blur-std", "axis", "--recipe", "pcrlv2")
    assert (changed.samples().cutout, changed.samples().isotropic_blur) == ((2, 16), False)
    lines = list(describe("pcrlv2-2d", vars(changed)))
    assert lines[0].startswith("preset     pcrlv2-2d: train_2d.py and data.py of RL4M/PCRLv2")
    assert lines[1] == "changed    --blur-std axis --cutout 2 16"
    assert {line.split()[0] for line in lines[2:]} == {"differs"}
    words = shlex.split(command_of({"config": json.loads(json.dumps(plain(changed))), "network": {}}))
    assert plain(pretrain.read_settings(words[3:])) == plain(changed)


def test_an_option_comes_before_the_preset(tmp_path: Path) -> None:
    typed = [
        "--network",
        "resenc-s",
        "--crop",
        "32",
        "32",
        "32",
        "--mask-block",
        "4",
        "--foreground",
        "0.9",
        "--no-skips",
    ]
    config = read(tmp_path, *typed, "--optimizer", "adamw", "--lr", "1e-3", "--flips", "W")
    changed = {"network": "resenc-s", "crop": (32, 32, 32), "mask_block": (4,), "foreground": 0.9, "with_skips": False}
    changed |= {"optimizer": "adamw", "lr": 1e-3, "flips": ("W",)}
    assert {name: getattr(config, name) for name in PUBLISHED} == PUBLISHED | changed
    lines = list(describe("mae-nnssl", vars(config)))
    assert lines[0].startswith("preset     mae-nnssl: BaseMAETrainer_BS8 of MIC-DKFZ/nnssl")
    assert lines[1].startswith(
        "changed    --mask-block 4 --network resenc-s --crop 32 32 32 --optimizer adamw --lr 0.001 "
    )
    assert {line.split()[0] for line in lines[2:]} == {"differs"}


def test_the_command_of_a_run_with_a_preset_makes_the_same_settings(tmp_path: Path) -> None:
    config = read(tmp_path, "--foreground", "0.9", "--crop", "64", "64", "64", "--no-skips")
    words = shlex.split(command_of({"config": json.loads(json.dumps(plain(config))), "network": {}}))
    assert words[:3] == ["python", "-m", "train.pretrain"]
    assert plain(pretrain.read_settings(words[3:])) == plain(config)


def test_help_shows_a_preset_s_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        read(tmp_path, "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "(default: 160 160 160)" in said
    assert "--preset {None,mae-nnssl}" in said


def test_an_unknown_preset_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        pretrain.read_settings(["--data", "scans", "--out", str(tmp_path), "--preset", "mae"])
    assert "invalid choice: 'mae' (choose from" in capsys.readouterr().err
    with pytest.raises(ValueError, match="preset: expected --recipe restoration with mae-nnssl, got pcrlv2"):
        pretrain.read_settings(
            ["--data", "scans", "--out", str(tmp_path), "--preset", "mae-nnssl", "--recipe", "pcrlv2"]
        )
    with pytest.raises(ValueError, match="preset: expected --recipe pcrlv2 with pcrlv2-2d, got restoration"):
        read_views(tmp_path, "--recipe", "restoration")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"skips": True, "no_skips": True}, "expected one of --skips and --no-skips, got both"),
        ({"no_skips": True, "network": "dynunet"}, "expected one that can be built without skips, got dynunet"),
        ({"skips": True, "network": "sononet64"}, "expected one that can be built with skips, got sononet64"),
    ],
    ids=str,
)
def test_skips_that_a_network_has_not_are_refused(tmp_path: Path, change: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        replace(read(tmp_path), **change)
