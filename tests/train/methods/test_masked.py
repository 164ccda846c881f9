"""Masked autoencoder: loss, foreground, metrics, and a run that is stopped and resumed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dali_cr
from dali_cr.tools.phantom_files import write_phantoms
from tests.helpers.recipes import INDEXES, MASKED, loader
from tests.helpers.runs import metrics, stop_at, timeless
from train import pretrain
from train.methods.evaluation import evaluate
from train.methods.foreground import find_foreground
from train.methods.restoration import RestorationConfig, mean_square
from train.pretrain import Refused

pytestmark = pytest.mark.usefixtures("one_thread")


class Off(torch.nn.Module):
    """Outputs half of its input plus a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.by = torch.nn.Parameter(torch.tensor(0.3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image / 2 + self.by


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder, count=4, shape=(20, 24, 22))
    return folder / "images"


@pytest.fixture
def config(phantoms: Path, tmp_path: Path) -> RestorationConfig:
    return RestorationConfig(
        data=(phantoms,),
        out=tmp_path / "run",
        pretext="mae",
        mask_block=(2, 2, 3),
        crop=(16, 16, 16),
        normalize="zscore-image",
        batch_size=2,
        steps=4,
        filters=2,
        log_every=1,
        evaluate_every=2,
        evaluate_samples=3,
        device="cpu",
        threads=1,
    )


def test_the_loss_is_of_masked_voxels_alone() -> None:
    """The loss is the mean over samples of their errors, so it does not depend on the number of processes."""
    torch.manual_seed(0)
    answer, target = torch.randn(4, 2, 3, 4, 5, requires_grad=True), torch.randn(4, 2, 3, 4, 5)
    mask = torch.rand(4, 1, 3, 4, 5) < torch.tensor([0.2, 0.4, 0.6, 0.8]).view(4, 1, 1, 1, 1)
    loss = mean_square(answer, target, mask)
    each = [(a - t)[m.expand(2, 3, 4, 5)].square().mean() for a, t, m in zip(answer, target, mask, strict=True)]
    torch.testing.assert_close(loss, torch.stack(each).mean())
    halves = torch.stack([mean_square(answer[i : i + 2], target[i : i + 2], mask[i : i + 2]) for i in (0, 2)])
    torch.testing.assert_close(loss, halves.mean())
    loss.backward()
    assert answer.grad is not None
    assert ((answer.grad != 0) == mask).all()
    torch.testing.assert_close(mean_square(answer, target, None), (answer - target).square().mean())


CHANGES: dict[str, dict[str, Any]] = {
    "zscore": {},
    "sticks out": {"crop": (40, 8, 41), "foreground": 0.0},
    "window": {"normalize": ("window", -200.0, 400.0)},
    "plain": {"normalize": None},
}


@pytest.mark.filterwarnings("ignore::dali_cr.DataWarning")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", INDEXES)
def test_foreground_is_what_the_files_say(name: str, change: dict[str, Any], request: pytest.FixtureRequest) -> None:
    """Foreground: voxels inside the volume without the background's value, cropped and flipped like the target."""
    index, recipe = request.getfixturevalue(name), replace(MASKED, **change)
    some = False
    with loader(index, recipe) as stream:
        for _, batch in zip(range(4), stream.stream(), strict=False):
            found = find_foreground(stream, batch).numpy()
            for i, number in enumerate(batch["sample"].tolist()):
                plan = stream.plan(number)
                for channel, volume in enumerate(index.cases[plan.case].volumes):
                    values = dali_cr.read_volume(index.root / volume.path)[volume.frame]
                    inside = np.pad(values != volume.statistics.background, 48)
                    window = tuple(slice(o + 48, o + 48 + c) for o, c in zip(plan.origin, recipe.crop, strict=True))
                    wanted = inside[window][tuple(slice(None, None, -1 if flip else 1) for flip in plan.flips)]
                    known = wanted & np.isfinite(batch["target"][i, channel].numpy())
                    if volume.statistics.nonfinite == 0:
                        np.testing.assert_array_equal(found[i, channel], known)
                        some = some or 0 < known.mean() < 1
    assert some


def test_foreground_of_resampled_crops_and_of_slices(mixed_index: dali_cr.Index) -> None:
    """The foreground has the target's shape and covers a part of it."""
    sliced = dali_cr.Restoration((1, 14, 16), pretext="mae", mask_block=2, slices=dali_cr.Slices("W"))
    for recipe, dims in ((replace(MASKED, spacing=(1.3, 0.8, 0.6)), 3), (sliced, 2)):
        with loader(mixed_index, recipe, dims=dims) as stream:
            batch = next(stream.stream())
            found = find_foreground(stream, batch)
            assert found.shape == batch["target"].shape
            assert 0.1 < found.float().mean() < 0.95


def test_gain_and_r2_are_measured_by_hand(mixed_index: dali_cr.Index) -> None:
    """Metrics are those of masked foreground voxels, relative to the input and to the target's mean there."""
    with loader(mixed_index, MASKED) as stream:
        batch = next(stream.stream())
        where = (batch["mask"] & find_foreground(stream, batch))[:3].numpy()
    target, input = (batch[name][:3].double().numpy() for name in ("target", "input"))
    with loader(mixed_index, MASKED) as stream:
        measured = evaluate(Off(), stream, 3, "mae")
    left = (input / 2 + np.float32(0.3) - target)[where]
    means = [np.full(own.sum(), values[own].mean()) for own, values in zip(where, target, strict=True)]
    constant = np.concatenate(means) - target[where]
    numbers = measured.numbers
    assert numbers["r2"] == pytest.approx(1 - (left**2).sum() / (constant**2).sum(), rel=1e-5)
    assert numbers["restoration_gain"] == pytest.approx(1 - (left**2).sum() / (target[where] ** 2).sum(), rel=1e-5)
    assert numbers["mse"] == pytest.approx((left**2).mean(), rel=1e-5)
    assert numbers["changed_share"] == pytest.approx((input != target).mean(), rel=1e-6)
    assert list(measured.slices) == ["target", "masked", "restored"]
    assert measured.text.startswith(f"R² {numbers['r2']:.3f} on masked foreground")


def test_a_run_measures_reports_and_goes_on_where_it_was_stopped(
    config: RestorationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = pretrain.main(config)
    assert list(report)[:5] == ["run", "steps", "r2", "restoration_gain", "mse"]
    json.dumps(report, allow_nan=False)
    printed = capsys.readouterr().out
    assert "masked     288 of 384 blocks of 2 × 2 × 3 voxels a crop" in printed
    assert re.search(r"R² -?\d+\.\d+ on masked foreground; \d+\.\d% of the voxels changed", printed)
    assert [line["step"] for line in metrics(config.out) if "r2" in line] == [0, 2, 4]
    again = replace(config, out=tmp_path / "again")
    stop_at(monkeypatch, 3)
    with pytest.raises(pretrain.Stopped):
        pretrain.main(again)
    monkeypatch.undo()
    pretrain.main(replace(again, resume=True))
    assert timeless(again.out) == timeless(config.out)
    weights = [(run.out / "model.safetensors").read_bytes() for run in (config, again)]
    assert weights[0] == weights[1]
    with pytest.raises(Refused, match=r"--mask-ratio was 0\.75, got 0\.5"):
        pretrain.main(replace(again, resume=True, mask_ratio=0.5))


def test_settings_of_the_mask(config: RestorationConfig) -> None:
    line = "--data a --out r --pretext mae --mask-ratio 0.6 --mask-block 8 8 4 --crop 96 96 96 --normalize zscore-image"
    recipe = pretrain.read_settings(line.split()).samples()
    wanted = dali_cr.Restoration((96, 96, 96), normalize="zscore-image", pretext="mae", mask_ratio=0.6)
    assert recipe == replace(wanted, mask_block=(8, 8, 4))
    assert replace(config, mask_block=(8,)).samples().mask_block == 8
    with pytest.raises(ValueError, match="--mask-block: expected 1 or 3 numbers, got 2"):
        replace(config, mask_block=(4, 4))
    with pytest.raises(ValueError, match="mask_ratio: expected a number between 0 and 1"):
        replace(config, mask_ratio=1.5)
