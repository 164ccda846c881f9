"""Test that a training step on a GPU does not wait for the device, in either memory format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tests.helpers.finetuning import classify, segment  # noqa: E402
from train import finetune, pretrain  # noqa: E402
from train.run.record import Losses  # noqa: E402
from train.run.step import take_step  # noqa: E402

pytestmark = pytest.mark.gpu

SWAP = "--patch 2 4 --iterations 4"
VIEWS = f"--recipe pcrlv2 --sizes 16 16 16 --local-crop 8 8 8 --local-sizes 8 8 8 --locals 2 --filters 2 {SWAP}"


def prepare_pretraining(data: Path, out: Path, words: str) -> Any:
    """Return a run of small crops on the GPU."""
    line = f"--data {data / 'images'} --out {out} --device cuda --crop 16 16 16 --batch-size 2 {words}"
    return pretrain.prepare(pretrain.read_settings(line.split()))


RUNS: dict[str, Any] = {
    "restoration": lambda data, out: prepare_pretraining(data, out, f"{SWAP} --filters 4"),
    "channels-last": lambda data, out: prepare_pretraining(data, out, f"{SWAP} --memory-format channels-last"),
    "position": lambda data, out: prepare_pretraining(data, out, "--pretext position --filters 4"),
    "jigsaw": lambda data, out: prepare_pretraining(data, out, "--pretext jigsaw --filters 4 --permutations 6"),
    "pcrlv2": lambda data, out: prepare_pretraining(data, out, VIEWS),
    "segment": lambda data, out: finetune.prepare(segment(data, out, device="cuda")),
    "careful": lambda data, out: finetune.prepare(
        segment(data, out, device="cuda", optimizer="sgd", ema=0.9, freeze_encoder=1, encoder_lr_scale=0.5)
    ),
    "classify": lambda data, out: finetune.prepare(classify(data, out, device="cuda")),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_step_does_not_wait_for_the_device(data: Path, tmp_path: Path, name: str) -> None:
    run, losses = RUNS[name](data, tmp_path / "run"), Losses()
    with run.loader:
        batches = run.stream()
        take_step(run, 1, batches)  # cuDNN chooses its kernels
        batch = next(batches)
        torch.cuda.set_sync_debug_mode("error")
        try:
            taken = take_step(run, 2, iter([batch]))
            losses.add(2, taken.samples, taken.losses)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(torch.tensor(list(losses.drain().values()))).all()
