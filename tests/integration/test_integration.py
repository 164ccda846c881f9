"""The loops that the README prints, run as they are with the real libraries, and looked at from outside.

Each runs in a process of its own, in a folder with `data/`. What is checked goes on after the script, with its names.
"""

import sys
from pathlib import Path

import pytest

from dali_cr.tools.phantom_files import write_phantoms
from tests.helpers.prefork import start_parent
from tests.helpers.runs import run_ranks

HERE = Path(__file__).resolve().parent
SCRIPTS = sorted(path.name for path in HERE.glob("*.py") if not path.name.startswith("test_"))
CASES, BATCH = 5, 2
STEPS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("integration")
    write_phantoms(folder, count=CASES, shape=(20, 22, 24))
    (folder / "images").rename(folder / "data")
    return folder


def run(folder: Path, *arguments: str) -> str:
    done = start_parent().run([sys.executable, *arguments], cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_loop_fits_in_20_lines(script: str) -> None:
    assert len([line for line in (HERE / script).read_text().splitlines() if line.strip()]) <= 20


LIGHTNING = """
import functools, glob, runpy, sys
import torch
try:
    import torchvision  # torchmetrics imports it where it is installed
except RuntimeError:  # built for another torch, it has no operators, and misses two when it is imported
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import lightning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

class Seen(Callback):
    def __init__(self):
        self.numbers = []

    def on_train_batch_start(self, trainer, module, batch, place):
        self.numbers += batch["sample"].tolist()

Trainer = lightning.Trainer
quiet = {"enable_progress_bar": False, "logger": False, "accelerator": "cpu", "enable_model_summary": False}
seen = Seen()
keep = ModelCheckpoint("checkpoints", "{step}", every_n_train_steps=1, save_top_k=-1)
lightning.Trainer = functools.partial(Trainer, callbacks=[seen, keep], **quiet)
torch.manual_seed(0)
fits = []
fit = Trainer.fit
Trainer.fit = lambda self, module, *rest, **options: (fits.append((self, module)), fit(self, module, *rest, **options))
names = runpy.run_path(sys.argv[1])
steps, batch = int(sys.argv[2]), int(sys.argv[3])
(trainer, module), = fits
assert (trainer.global_step, trainer.current_epoch, len(names["loader"])) == (3 * steps, 3, steps)
assert seen.numbers == list(range(3 * steps * batch)), seen.numbers
for step in range(1, 3 * steps):
    (kept,) = glob.glob(f"checkpoints/step={step}.ckpt")
    again, other = Seen(), names["Restorer"]()
    loader = names["dali_cr"].Loader(names["loader"].index, names["recipe"], batch_size=batch, device="cpu")
    resumed = Trainer(max_epochs=3, callbacks=[again], enable_checkpointing=False, **quiet)
    fit(resumed, other, loader, ckpt_path=kept)
    assert again.numbers == list(range(step * batch, 3 * steps * batch)), (step, again.numbers)
    assert (resumed.global_step, resumed.current_epoch) == (3 * steps, 3), (step, resumed.global_step)
    for one, same in zip(module.parameters(), other.parameters()):
        assert torch.equal(one, same), step
    loader.close()
"""


def test_lightning(folder: Path) -> None:
    """Three epochs; from the checkpoint of every step, the same samples and the same weights."""
    run(folder, "-c", LIGHTNING, str(HERE / "lightning_loop.py"), str(STEPS), str(BATCH))


MONAI = """
import runpy, sys
names = runpy.run_path(sys.argv[1])
steps, batch = int(sys.argv[2]), int(sys.argv[3])
state = names["trainer"].state
assert (state.epoch, state.iteration, state.epoch_length) == (3, 3 * steps, steps), state
assert names["loader"].next_sample == 3 * steps * batch
assert state.output[0]["image"].shape[-1] == 16
"""


def test_monai(folder: Path) -> None:
    """Its trainer takes the length of an epoch from the loader, and ends."""
    run(folder, "-c", MONAI, str(HERE / "monai_loop.py"), str(STEPS), str(BATCH))


DDP = """
import runpy, sys, torch
averages = []
wrap = torch.distributed.destroy_process_group
torch.distributed.destroy_process_group = lambda: None
names = runpy.run_path(sys.argv[1])
steps, batch = int(sys.argv[2]), int(sys.argv[3])
loader, rank = names["loader"], torch.distributed.get_rank()
assert (len(loader), loader.next_sample) == (steps, 3 * steps * batch * 2)
first = 3 * steps * batch * 2 - (2 - rank) * batch
assert names["batch"]["sample"].tolist() == list(range(first, first + batch)), names["batch"]["sample"]
flat = torch.cat([parameter.detach().flatten() for parameter in names["network"].parameters()])
both = [torch.empty_like(flat) for _ in range(2)]
torch.distributed.all_gather(both, flat)
assert torch.equal(*both)
wrap()
print("rank", rank)
"""


def test_ddp(folder: Path) -> None:
    """Two ranks take as many steps each, on samples of their own, and have the same weights."""
    numbers = [str(-(-CASES // (2 * BATCH))), str(BATCH)]
    ranks = run_ranks([sys.executable, "-c", DDP, HERE / "ddp_loop.py", *numbers], cwd=folder)
    assert [done.stdout.split() for done in ranks] == [["rank", "0"], ["rank", "1"]], [done.stderr for done in ranks]


BESIDE = """
import runpy, sys
names = runpy.run_path(sys.argv[1])
loader, errors = names["loader"], names["errors"]
assert loader.next_sample == 3 * len(loader) * 2
assert len(errors) == len(names["held_out"]) == 1
"""


def test_a_dataloader_with_workers_beside_it(folder: Path) -> None:
    run(folder, "-c", BESIDE, str(HERE / "dataloader_loop.py"))


FN = """
import runpy, sys
import numpy as np
import dali_cr
names = runpy.run_path(sys.argv[1])
outputs = [np.asarray(getattr(one, "as_cpu", lambda one=one: one)().as_tensor()) for one in names["pipe"].run()]
given, target, sample = outputs
assert sample.ravel().tolist() == [2, 3]
for one, clean, number in zip(given, target, sample.ravel()):
    swaps = dali_cr.draw_swaps(0, int(number), clean.shape[1:], names["recipe"].swap)
    undone = dali_cr.unswap_patches(one, swaps)
    there = clean != 0
    ratio = undone[there] / clean[there]
    assert 0.9 < ratio.min() and ratio.max() < 1.1 and np.ptp(ratio) < 1e-4, ratio
"""


def test_operators_in_a_pipeline_on_a_cpu(folder: Path) -> None:
    run(folder, "-c", FN, str(HERE / "fn_cpu.py"))


@pytest.mark.gpu
def test_operators_in_a_pipeline_on_a_gpu(folder: Path) -> None:
    run(folder, "-c", FN, str(HERE / "fn_gpu.py"))


def test_both_pipelines_differ_only_in_where_they_run() -> None:
    on_gpu = (HERE / "fn_cpu.py").read_text().replace("device_id=None", "device_id=0").replace("(raw,", "(raw.gpu(),")
    assert (HERE / "fn_gpu.py").read_text() == on_gpu
