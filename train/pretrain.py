"""Pre-train a network by context restoration: from a folder of volumes to weights.

::

    python -m train.pretrain --data scans/ --out runs/first
    python -m train.pretrain --data scans/ --out runs/first --resume

Patches of a crop are swapped in pairs, and the network learns to undo it (Chen et al. 2019). A tenth of the cases is
held out; on them ``restoration_gain = 1 - MSE(restored, target) / MSE(disordered, target)`` is measured: 0 is doing
nothing, 1 is perfect. The folder given as ``--out`` gets

==========================  =========================================================================================
``config.json``             every setting, the versions, the commit and the device
``index.json``              what was found in the data
``metrics.jsonl``           the curves; the same as TensorBoard events
``checkpoint.pt``           all that ``--resume`` needs
``model.safetensors``       the weights
``encoder.safetensors``     of these, the ones to take over into a network for another task
``preview.png``             held-out targets, disordered, restored, and the error
``report.json``             the last line of the output, when the run is finished
==========================  =========================================================================================

A run may be killed at any moment: the same command with ``--resume`` goes on from the last checkpoint with the batches
that would have come next. Ctrl-C and SIGTERM finish the step, save and end; a second one does not wait.

Messages go to stdout and its last line is one JSON object; the progress bar goes to stderr. The exit code is 0 for
a finished run, 130 (Ctrl-C) or 143 (SIGTERM) for one that was saved before its end, 2 where the impossible was asked
for, and 1 for a run that failed.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
import tyro
from torch import nn
from tqdm import tqdm

import dali_cr
from dali_cr.scan import EVERY_VOLUME
from train.checkpoint import export_weights, load_checkpoint, save_checkpoint, write_json
from train.clock import Lap
from train.data import find_index, refused_files
from train.device import autocast, choose_device, device_name, random_state, set_random_state
from train.evaluation import SEED, Evaluation, evaluate
from train.folder import Refused, earlier_run, finished_report, list_changes, plain
from train.loop import Loop, Schedule
from train.network import Network, build_network, halvings
from train.optimizer import build_optimizer, learning_rate
from train.picture import draw_restored
from train.plans import read_levels
from train.provenance import commit, versions
from train.record import Record
from train.signals import Stopped
from train.splits import Part, load_split


@dataclass(frozen=True, kw_only=True)
class Config:
    """Pre-train a network by context restoration, on a folder of volumes. Triples are D H W, that is z y x."""

    data: tuple[Path, ...] = ()
    """Folders of volumes (NIfTI)."""
    out: Path
    """Folder of the run: new or empty, or with --resume the one to go on in."""
    resume: bool = False
    """Go on from the checkpoint in --out; where there is none yet, start."""
    any_version: bool = False
    """With --resume: go on although another version of this package made the run."""

    pattern: tuple[str, ...] = EVERY_VOLUME
    """Which files: globs, in which {case} and {channel} may stand for parts of the name."""
    channels: tuple[str, ...] = ()
    """Names that {channel} must take in every case, in this order; all that are found if none is given."""
    include: tuple[str, ...] = ()
    """Globs of files to take as well."""
    exclude: tuple[str, ...] = ()
    """Globs of files to leave out."""
    fourth_axis: Literal["channels", "cases"] = "channels"
    """What a fourth axis of a file is."""
    index: Path | None = None
    """An index saved by `python -m dali_cr scan --save`: the data are not scanned again."""
    split: Path | None = None
    """A file that says which subjects may be learnt from: see `python -m train.splits`."""
    part: Part = "pool"
    """The part of --split to take: weights that have seen val or test are refused by fine-tuning."""
    held_out: float = 0.1
    """Share of the cases to measure on and not to train on; at least one case."""

    crop: tuple[int, int, int] = (64, 64, 64)
    """Voxels of a crop."""
    iterations: int = 100
    """Swaps of two patches in a crop."""
    patch: tuple[int, ...] = (4, 16)
    """Edges of a patch in voxels: one number, lowest and highest, D H W, or lowest and highest of D, H and W."""
    flips: tuple[Literal["D", "H", "W"], ...] = ("W",)
    """Axes that may be flipped; give none where left and right differ."""
    normalize: Literal["zscore", "percentile", "none"] | tuple[Literal["window"], float, float] = "zscore"
    """How intensities are scaled; for CT for example: window -160 240."""
    foreground: float = 0.9
    """Probability that a crop is centred on foreground."""

    network: Literal["dynunet"] = "dynunet"
    """Which network."""
    filters: int = 16
    """Channels of its first level, doubled at every level up to 320."""
    plans: Path | None = None
    """An nnUNetPlans.json: the network gets its levels, and `python -m train.export` makes weights for nnU-Net."""
    configuration: str = "3d_fullres"
    """Which configuration of --plans."""

    batch_size: int = 8
    """Crops a step."""
    steps: int = 10_000
    """Steps to train."""
    lr: float = 1e-3
    """Highest learning rate: reached by a linear warm-up, left along a cosine."""
    warmup: float = 0.05
    """Share of the steps that warm up."""
    weight_decay: float = 1e-2
    """Of AdamW, on all but norms and biases."""
    clip: float = 1.0
    """Longest gradient."""
    seed: int = 0
    """Of the split, the weights and the samples."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto is a GPU if there is one."""
    threads: int | None = None
    """Threads that read and decode; one for each core if not given."""
    cache: tuple[str, ...] = ()
    """Where inflated volumes are kept, the fastest first: gpu:40GB host:16GB disk:PATH:500GB."""
    on_error: Literal["raise", "skip"] = "raise"
    """When a file cannot be read any more: stop, or put crops of other cases in its place and say so."""
    deterministic: bool = False
    """On a GPU, use only kernels that give the same bits each time; a CPU always does."""

    checkpoint_every: int = 500
    """Steps between checkpoints."""
    log_every: int = 10
    """Steps between lines in metrics.jsonl; the GPU is waited for only then."""
    evaluate_every: int | None = None
    """Steps between measurements on the held-out cases; a tenth of all, but at least 100, if not given."""
    evaluate_samples: int = 32
    """Held-out crops to measure on."""

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        if not self.data and self.index is None:
            raise ValueError("data: wanted a folder of volumes, or --index, got neither")
        if len(self.patch) not in (1, 2, 3, 6):
            raise ValueError(f"patch: wanted 1, 2, 3 or 6 numbers, got {len(self.patch)}")
        counts = ("batch_size", "steps", "filters", "threads", "checkpoint_every", "log_every", "evaluate_every")
        for name in (*counts, "evaluate_samples"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name}: wanted at least 1, got {count}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out: wanted a share between 0 and 1, got {self.held_out}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup: wanted a share from 0 to 1, got {self.warmup}")
        for name in ("lr", "clip"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name}: wanted a number above 0, got {getattr(self, name)}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay: wanted a number of at least 0, got {self.weight_decay}")
        # Made now to be checked now: scanning the data may take long.
        _ = self.recipe, self.plans or halvings(self.crop)

    @property
    def recipe(self) -> dali_cr.Restoration:
        """What a sample is made of."""
        numbers = self.patch
        patch: Any = numbers[0] if len(numbers) == 1 else numbers
        if len(numbers) == 6:
            patch = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        return dali_cr.Restoration(
            crop=self.crop,
            swap=dali_cr.Swap(iterations=self.iterations, patch=patch),
            flips=self.flips,
            normalize=None if self.normalize == "none" else self.normalize,
            foreground=self.foreground,
        )


_FIXED = (
    "held_out",
    "crop",
    "iterations",
    "patch",
    "flips",
    "normalize",
    "foreground",
    "network",
    "filters",
    "plans",
    "configuration",
    "seed",
)
"""Settings that a resumed run must not change: it would be another one. The rest, the length say, it may."""


def describe(
    config: Config, device: torch.device, network: Network, index: dali_cr.Index, earlier: dict[str, Any] | None
) -> dict[str, Any]:
    """Return what config.json holds."""
    now = plain(config)
    return {
        "config": now,
        "changes": list_changes(earlier, now),
        "fingerprints": {"index": index.fingerprint, "recipe": config.recipe.fingerprint},
        "network": {**network.about, "parameters": network.parameters},
        "versions": versions(),
        "commit": commit(),
        "device": {"type": device.type, "name": device_name(device), "torch_threads": torch.get_num_threads()},
    }


@dataclass(frozen=True, kw_only=True)
class Run:
    """All that was found and chosen before the first step."""

    config: Config
    device: torch.device
    index: dali_cr.Index
    training: dali_cr.Index
    held_out: dali_cr.Index
    network: Network
    loader: dali_cr.Loader
    split: dict[str, Any]
    """What a checkpoint remembers of the split: its hash and the part, where there is one."""
    state: dict[str, Any] | None
    """The checkpoint to go on from."""


def prepare(config: Config, earlier: dict[str, Any] | None = None) -> Run:
    """Look at the data, build everything, and refuse what cannot work; then write what is known of the run.

    Parameters
    ----------
    config : Config
    earlier : dict, optional
        The config.json of the run to go on with.
    """
    device = choose_device(config.device, config.deterministic)
    split = load_split(config.split) if config.split else None
    index = find_index(config, earlier, split, config.part)
    if len(index) < 2:
        refused = "".join(f"; refused {problem.path}: {problem.reason}" for problem in index.problems[:3])
        raise ValueError(f"data: wanted at least two cases, one of them to hold out, got {len(index)}{refused}")
    training, held_out = index.split((1 - config.held_out, config.held_out), config.seed)
    torch.manual_seed(config.seed)
    levels = read_levels(config.plans, config.configuration, config.crop) if config.plans else None
    network = build_network(config.network, index.channels, config.crop, config.filters, levels=levels)
    network.module.to(device)
    loader = build_loader(training, config, device, config.seed)
    path = config.out / "checkpoint.pt"
    state = load_checkpoint(path) if earlier and path.exists() else None
    if state:
        network.module.load_state_dict(state["network"])
        loader.load_state_dict(state["loader"])
    config.out.mkdir(parents=True, exist_ok=True)
    write_json(config.out / "config.json", describe(config, device, network, index, earlier))
    index.save(config.out / "index.json")
    return Run(
        config=config,
        device=device,
        index=index,
        training=training,
        held_out=held_out,
        network=network,
        loader=loader,
        split={"split": {"hash": split.hash, "part": config.part}} if split else {},
        state=state,
    )


def build_loader(index: dali_cr.Index, config: Config, device: torch.device, seed: int) -> dali_cr.Loader:
    """Return the stream of pairs from an index."""
    return dali_cr.Loader(
        index,
        config.recipe,
        batch_size=config.batch_size,
        device=device.type,
        seed=seed,
        threads=config.threads,
        on_error=config.on_error,
        cache=config.cache,
    )


def introduce(run: Run) -> Iterator[str]:
    """Say what was found and chosen."""
    config, index, network = run.config, run.index, run.network
    yield f"data       {len(index)} cases under {index.root}, {len(run.held_out)} of them held out"
    yield f"channels   {index.channels}" + "".join(f" {name}" for name in index.channel_names)
    yield from refused_files(index)
    if run.split:
        yield f"split      {config.part} of {config.split}"
    yield f"device     {device_name(run.device)}"
    encoder = sum(network.module.state_dict()[name].numel() for name in network.encoder)
    yield f"network    {config.network}, {network.parameters:,} parameters, {encoder:,} of them the encoder"
    yield f"crop       {' × '.join(map(str, config.crop))} voxels, normalize {config.normalize}"
    yield f"swaps      {config.iterations} a crop, edges of {' '.join(map(str, config.patch))} voxels"
    epochs = config.steps * config.batch_size / len(run.training)
    yield f"training   {config.steps} steps of {config.batch_size} pairs: each case {epochs:.1f} times"
    yield f"run        {config.out}" + (f", from step {run.state['step']}" if run.state else "")


def save(run: Run, step: int, optimizer: torch.optim.Optimizer, total: Lap) -> None:
    """Write the weights as they are now, and the checkpoint."""
    out, network = run.config.out, run.network
    tensors = network.module.state_dict()
    about = {**network.about, "recipe": asdict(run.config.recipe), "step": step, **run.split}
    export_weights(out / "model.safetensors", tensors, network.tensors, about)
    export_weights(out / "encoder.safetensors", tensors, network.encoder, about)
    state = {
        "step": step,
        "network": tensors,
        "optimizer": optimizer.state_dict(),
        "loader": run.loader.state_dict(),
        "random": random_state(run.device),
        "total": asdict(total),
        **run.split,
    }
    save_checkpoint(out / "checkpoint.pt", state)


def restore(run: Run, optimizer: torch.optim.Optimizer) -> tuple[int, Lap]:
    """Take up the checkpoint, if there is one; return the steps done and the time they took."""
    if run.state is None:
        return 0, Lap()
    optimizer.load_state_dict(run.state["optimizer"])
    set_random_state(run.state["random"], run.device)
    return run.state["step"], Lap(**run.state["total"])


def take_step(run: Run, optimizer: torch.optim.Optimizer, step: int, batch: dict[str, Any]) -> list[torch.Tensor]:
    """Take one step; return its loss, and the loss of returning the input, both still on the device."""
    module, target, disordered = run.network.module, batch["target"], batch["disordered"]
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, run.config.steps, run.config.lr, run.config.warmup)
    with autocast(run.device):
        restored = module(disordered)
    loss = F.mse_loss(restored.float(), target)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), run.config.clip)
    optimizer.step()
    return [loss.detach(), F.mse_loss(disordered, target)]


def measure(run: Run, record: Record, step: int) -> Evaluation:
    """Measure on the held-out cases, on the same samples every time; record it and say it."""
    with build_loader(run.held_out, run.config, run.device, SEED) as loader:
        result = evaluate(run.network.module, loader, run.config.evaluate_samples, run.device)
    record.write(step, restoration_gain=result.restoration_gain, changed_share=result.changed_share)
    gain = "undefined" if result.restoration_gain is None else f"{result.restoration_gain:.3f}"
    tqdm.write(f"step {step:<6} restoration gain {gain}; the swaps changed {result.changed_share:.1%} of the voxels")
    return result


def report_of(run: Run, step: int, total: Lap, gain: float | None) -> dict[str, Any]:
    """Return the object that ends the output."""
    return {
        "run": str(run.config.out),
        "steps": step,
        "restoration_gain": gain,
        **total.rates,
        "device": run.device.type,
    }


def train(run: Run) -> dict[str, Any]:
    """Train, measure, and write all that a run leaves.

    Returns
    -------
    dict
        The report: run, steps, restoration_gain, pairs_per_s, data_wait_share, device.

    Raises
    ------
    Stopped
        After SIGINT or SIGTERM, when the run is saved.
    FloatingPointError
        When the loss is not finite; the last checkpoint is left as it was.
    dali_cr.VolumeError
        When a file broke since it was scanned; the steps before it are saved.
    """
    config = run.config
    optimizer = build_optimizer(run.network.module, config.lr, config.weight_decay)
    done, total = restore(run, optimizer)
    loop = Loop(
        schedule=Schedule(
            steps=config.steps,
            checkpoint_every=config.checkpoint_every,
            log_every=config.log_every,
            evaluate_every=config.evaluate_every or max(100, config.steps // 10),
        ),
        device=run.device,
        take_step=lambda step, batch: take_step(run, optimizer, step, batch),
        measure=lambda record, step: measure(run, record, step),
        save=lambda step, total: save(run, step, optimizer, total),
        report=lambda step, total: report_of(run, step, total, gain=None),
        rate=lambda: optimizer.param_groups[0]["lr"],
        numbers=("loss", "loss_of_idling"),
        skipped=lambda: len(run.loader.skipped),
    )
    with run.loader, Record(config.out, done if run.state else None) as record:
        if run.state is None:
            measure(run, record, step=0)
        total = loop.run(iter(run.loader), record, done, total)
        result = measure(run, record, config.steps)
    for name, reason in run.loader.skipped.items():
        print(f"skipped    {name}: {reason}")
    draw_restored(result.slices, config.out / "preview.png")
    report = report_of(run, config.steps, total, result.restoration_gain)
    write_json(config.out / "report.json", report)
    return report


def main(config: Config) -> dict[str, Any]:
    """Run the whole of it and return the report; of a finished run, only report.

    Raises
    ------
    Refused
        When it cannot be started as asked.
    Stopped, FloatingPointError, dali_cr.VolumeError
        See `train`.
    """
    try:
        earlier = earlier_run(config.out, config.resume, plain(config), _FIXED)
        report = finished_report(config.out, config.steps) if earlier else None
        if report is not None:
            print(f"run        {config.out} is finished: nothing to do. More --steps would go on")
            return report
        run = prepare(config, earlier)
    except (ValueError, OSError, ImportError) as error:
        raise Refused(str(error)) from error
    print("\n".join(introduce(run)), flush=True)
    return train(run)


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = tyro.cli(Config, prog="python -m train.pretrain", args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        report, code = main(config), 0
    except Refused as error:
        print(f"pretrain: {error}", file=sys.stderr)
        return 2
    except (FloatingPointError, dali_cr.VolumeError) as error:
        print(f"pretrain: {error}", file=sys.stderr)
        return 1
    except Stopped as stop:
        print(f"pretrain: {stop}; --resume goes on", file=sys.stderr)
        report, code = stop.report, stop.exit_code
    print(json.dumps(report))
    return code


if __name__ == "__main__":
    sys.exit(command_line())
