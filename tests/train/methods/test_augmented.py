"""Augmentation in pre-training: settings, and held-out samples without augmentation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import dali_cr
from train.methods.restoration import Restoration, RestorationConfig
from train.run.folder.config_file import plain
from train.start.resumed import settings_of

CONFIG = RestorationConfig(
    data=(Path("/data"),), out=Path("/run"), pretext="mae", mask_block=(4,), crop=(16, 16, 16), filters=2
)


def test_settings_make_the_recipe() -> None:
    assert CONFIG.samples() == dali_cr.Restoration((16, 16, 16), pretext="mae", mask_block=4)
    chosen = replace(CONFIG, rotate=30.0, scale=(0.7, 1.4))
    recipe = chosen.samples()
    assert (recipe.degrees, recipe.scale, recipe.affine_probability) == (30.0, (0.7, 1.4), 0.2)
    method = Restoration(chosen, 1)
    assert (method.recipe, method.held_out_recipe) == (recipe, CONFIG.samples())
    assert "augment    rotated by up to 30°, scaled by 0.7 to 1.4, each with probability 0.2" in method.introduce()
    assert not any(line.startswith("augment") for line in Restoration(CONFIG, 1).introduce())


def test_patches_that_do_not_fit_name_the_options() -> None:
    with pytest.raises(ValueError, match=r"^--patch: .*--patch is 4 16 by default: .*such as --patch 4 15, or give a"):
        replace(CONFIG, pretext="swap", network="resenc-s", crop=(30, 30, 30))


def test_runs_of_before_are_read_without_augmentation() -> None:
    kept = json.loads(json.dumps(plain(CONFIG)))
    for name in ("rotate", "scale", "augment_probability"):
        del kept[name]
    assert settings_of(RestorationConfig, {"config": kept}, Path("/run")) == CONFIG


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rotate": -1.0}, r"--rotate: expected a number from 0 to 180, got -1.0"),
        ({"scale": (1.4, 0.7)}, r"--scale: expected \(low, high\) with 0.1 <= low <= high <= 10, got \(1.4, 0.7\)"),
        ({"augment_probability": 1.5}, r"--augment-probability: expected a number from 0 to 1, got 1.5"),
    ],
)
def test_refuses_by_the_settings_name(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        replace(CONFIG, **wrong)  # type: ignore[arg-type]
