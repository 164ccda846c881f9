"""Fine-tune a pre-trained network on labelled cases, or train from random weights for comparison.

::

    python -m train.finetune segment --data images/ --labels labels/ --split splits.json --init runs/a --out runs/seg
    python -m train.finetune classify --data images/ --labels table.csv --split splits.json --init random --out runs/cls
    python -m train.finetune localize --data images/ --labels boxes.csv --split splits.json --init random --out runs/loc

The network is trained on train, evaluated on val during training and at its end, and the last weights are scored once
on test. Weights
that were pre-trained on cases of val or test are rejected. The folder ``--out`` contains

==========================  =========================================================================================
``config.json``             settings, network, versions, commit and device
``index.json``              the images; ``splits.json`` has the split
``metrics.jsonl``           the curves; the same as TensorBoard events
``checkpoint.pt``           the state for ``--resume``
``model.safetensors``       the weights, with all that ``dali-cr predict`` needs
``scores.csv``              the scores of each case
``preview.png``             slices of the first scored cases, with their masks, boxes or classes, predicted and target
``report.json``             the report of a finished run, also the last line of the output
==========================  =========================================================================================

Masks are predicted in sliding windows of the training crop with an overlap of half, and scored by Dice (1 if both masks
are empty) and HD95 in mm (the image's diagonal if one is empty), as means over cases; ``present_but_not_predicted`` is
the number of labelled classes, summed over cases, of which no voxel was predicted. Boxes are scored in mm by the mean
error of their six faces and by that of their centroid, classes by precision, recall, F1 and AUROC.

A run may be killed at any moment and continued with ``--resume``; exit codes are those of pre-training.
"""

from __future__ import annotations

if __name__ == "__main__":
    from .start.interrupt import quit_on_interrupt

    quit_on_interrupt("finetune")

from .start import needs  # noqa: F401 - before all that may be missing

# isort: split

import hashlib
import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import nn
from tqdm import tqdm

import dali_cr
from dali_cr import rng
from dali_cr.index.report import describe_copies

from .data.batches import LabelledBatches
from .data.cases import find_index, open_index, refused_files
from .data.split.make import load_split, make_split
from .data.split.parts import PARTS, Split
from .data.subjects.lookalikes import find_lookalikes
from .data.subjects.rules import count_subjects
from .networks.network import Network
from .networks.resnet.pretrained import describe_source
from .networks.weights import export_weights, first_names
from .optim.average import Average, averaged
from .optim.freeze import FrozenEncoder
from .optim.optimizer import build_optimizer
from .output.figure import origin_of, write_png
from .output.files import write_json, write_table
from .run.checkpoint import resume, write_state
from .run.computation import Computation, choose_computation
from .run.device import choose_device, device_name
from .run.exits import Refused
from .run.folder.config_file import kind_of, last_step_learns, write_config
from .run.loop import open_loop
from .run.progress import Progress
from .run.record import Record
from .start.command import asked, end, own, program, start
from .start.resumed import find_out, find_resumed, parse, settings_of
from .start.trained import compare_channels, describe_data, read_trained
from .tasks.config.finetune import FinetuneConfig
from .tasks.config.segment import Segment
from .tasks.config.whole import Classify, Localize
from .tasks.sizing import size_network
from .tasks.supervised import Supervised
from .tasks.targets import cases_sharing_labels, open_task
from .tasks.task import Scores, Task, TaskInput, check_crop_holds
from .tasks.transfer import Fit, Init, check_fit, find_encoder, load_fit, read_init

TASKS: dict[str, type[FinetuneConfig]] = {kind.task: kind for kind in (Segment, Classify, Localize)}


@dataclass(frozen=True, kw_only=True)
class FinetuneRun:
    """A prepared run: everything that is determined before the first step."""

    config: FinetuneConfig
    device: torch.device
    computation: Computation
    index: dali_cr.Index
    split: Split
    supervised: Supervised
    training: dali_cr.Index
    task: Task
    network: Network
    fit: Fit | None
    init: Init | None
    other_channels: str
    """A warning if the channels of --init have other names; "" otherwise."""
    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    frozen: FrozenEncoder | None
    batches: LabelledBatches
    about: dict[str, Any]
    """Metadata of the weights' file."""
    last_step_learns: bool
    """Whether the learning rate of the last step is above 0."""
    state: dict[str, Any] | None
    """The checkpoint to continue from."""

    @property
    def loader(self) -> dali_cr.Loader:
        """The loader of the crops."""
        return self.batches.loader

    def stream(self) -> Iterator[dict[str, Any]]:
        """Return an endless iterator of batches."""
        return self.batches.stream()

    def losses(self, step: int, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the loss of a batch, on the device."""
        return {"loss": self.task.loss(self.module, batch)}

    def save(self, progress: Progress) -> None:
        """Write the current weights, with --ema their average, and the checkpoint."""
        out, split = self.config.out, self.about["split"]
        with averaged(self.average):
            tensors = self.module.state_dict()
            names = first_names(self.module) if self.task.whole else self.network.tensors
            export_weights(out / "model.safetensors", tensors, names, {**self.about, "step": progress.step})
        write_state(out, progress, self.module, self.optimizer, self.average, self.loader, split=split)

    def measure(self, record: Record, step: int) -> None:
        """Evaluate on the first cases of val; record and print the scores."""
        val = self.supervised.parts["val"]
        few = replace(val, cases=val.cases[: self.config.evaluate_cases])
        scores = self.score(few)
        summary = scores.summary
        record.write(step, **{f"val_{name}": value for name, value in summary.items() if " " not in name})
        if scores.pictures:
            record.show(step, self.task.name, scores.draw(origin_of(few.cases[0])))
        name, value = next(iter(summary.items()))
        found = "undefined" if value is None else f"{value:.3f}"
        tqdm.write(f"step {step:<6} {name} on {len(few)} cases of val {found}")

    def score(self, index: dali_cr.Index) -> Scores:
        """Score labelled cases."""
        with self.computation.eagerly(), averaged(self.average):
            return self.task.score(self.module, index)

    def report(self, progress: Progress, summary: Mapping[str, float | None] | None = None) -> dict[str, Any]:
        """Return the report of the run."""
        config = self.config
        return {
            "run": str(config.out),
            "task": self.task.name,
            "init": config.init,
            "transfer": config.transfer if self.fit else None,
            **({"encoder_weights": source} if (source := describe_source(self.network.about)) else {}),
            "cases": len(self.training),
            "steps": progress.step,
            "scored": {"part": config.score, "cases": len(self.supervised.parts[config.score])},
            **(summary or {}),
            **progress.report,
            "device": self.device.type,
        }


def first_cases(labelled: dali_cr.Index, count: int | None, seed: int) -> dali_cr.Index:
    """Return the first cases in a random order of the seed, so that a smaller number is a subset of a larger one.

    Raises
    ------
    ValueError
        If there are fewer cases.
    """
    if count is None:
        return labelled
    if count > len(labelled):
        raise ValueError(f"cases: expected at most the {len(labelled)} labelled cases of train, got {count}")
    words = rng.draw_words(seed, np.arange(len(labelled)), rng.Purpose.ORDER, 1)[:, 0]
    first = sorted(np.argsort(words, kind="stable")[:count].tolist())
    return replace(labelled, cases=tuple(labelled.cases[place] for place in first))


def prepare(config: FinetuneConfig, earlier: dict[str, Any] | None = None) -> FinetuneRun:
    """Read and check the data, build the run, and write config.json, index.json and splits.json.

    Parameters
    ----------
    config : FinetuneConfig
    earlier : dict, optional
        The config.json of the run to resume.
    """
    device = choose_device(config.device, config.deterministic)
    init = None if config.init == "random" else read_init(Path(config.init), config.prefix)
    if init:
        init.check_network(config.network, config.dims, config.plans)
    view = config.view(init)
    if not earlier and not config.labels.exists():  # before files are read
        what = "a CSV file" if isinstance(config, Classify) else "a folder of label volumes"
        raise ValueError(f"labels: expected {what}, {config.labels} does not exist")
    given = load_split(config.split) if config.split else None
    index = find_index(config, earlier, open_data=partial(open_index, split=given))
    split = _open_split(config, index, earlier)
    if init and init.cases:
        split.check_leak(init.cases, index, init.path)
    other_channels = compare_channels(index, read_trained(init.folder, init.about)) if init and init.folder else ""
    try:
        task, supervised = open_task(config, index, split, view)
    except ValueError as error:
        if earlier is None:
            raise
        raise ValueError(f"resume: the labels of the run in {config.out} are no longer valid: {error}") from error
    task.check_sides(config.flips)
    if task.whole:
        check_crop_holds(dali_cr.Index(index.root, tuple(case for _, case in supervised.cases)), view)
    training = first_cases(supervised.parts["train"], config.cases, config.order_seed)
    task.load_targets(training)
    torch.manual_seed(config.seed)
    view = task.view
    network = size_network(config, init, view, index.channels, task.outputs if not task.whole else 1, earlier)
    fit = check_fit(init, network, config.transfer) if init else None
    if fit:
        load_fit(network, fit.transferred)
    computation = choose_computation(device, config.compile, config.memory_format)
    module = computation.place(task.build(network), device, config.dims)
    computation.compile([module])
    encoder = find_encoder(network, module, config.encoder_setting) if config.encoder_setting else []
    with warnings.catch_warnings():
        if task.whole:  # the crop must contain the largest volume, so others are padded
            warnings.simplefilter("ignore", dali_cr.DataWarning)
        loader = _build_loader(config, view, task.centre_crops(training), device)
    about = {
        **network.about,
        "task": {"name": task.name, **task.about},
        "view": asdict(view),
        "init": config.init if init is None else init.origin(config.transfer),
        "split": {"hash": split.hash, "part": "train", "cases": len(training)},
        "data": describe_data(config, index).about,
    }
    classes = hashlib.sha256(json.dumps(task.about).encode()).hexdigest()
    prints = {"index": index.fingerprint, "labels": task.fingerprint, "split": split.hash, "classes": classes}
    if earlier:
        _refuse_other(config, earlier["fingerprints"], prints)
    state = resume(config, earlier, module, loader)
    write_config(
        config, device, earlier, {"computation": asdict(computation), "network": about, "fingerprints": prints}
    )
    index.save(config.out / "index.json")
    write_json(config.out / "splits.json", split.content())
    return FinetuneRun(
        config=config,
        device=device,
        computation=computation,
        index=index,
        split=split,
        supervised=supervised,
        training=training,
        task=task,
        network=network,
        fit=fit,
        init=init,
        other_channels=other_channels,
        module=module,
        optimizer=build_optimizer(
            module, **config.optimizer_options, encoder=encoder, encoder_lr_scale=config.encoder_lr_scale
        ),
        average=Average(module, config.ema) if config.ema else None,
        frozen=FrozenEncoder(network.features, config.freeze_encoder) if config.freeze_encoder else None,
        batches=LabelledBatches(loader, task.target),
        about=about,
        last_step_learns=last_step_learns(earlier),
        state=state,
    )


def _open_split(config: FinetuneConfig, index: dali_cr.Index, earlier: dict[str, Any] | None) -> Split:
    """Return the split: from ``--split``, from the run to resume, or a new random one."""
    kept = config.out / "splits.json"
    if config.split or (earlier and kept.exists()):
        return load_split(config.split or kept)
    names = [case.name for case in index.cases]
    together = [*index.copies, *cases_sharing_labels(config, index)]
    return make_split(names, config.fractions, config.order_seed, together=together)


def _build_loader(
    config: FinetuneConfig, view: TaskInput, training: dali_cr.Index, device: torch.device
) -> dali_cr.Loader:
    """Return the loader of crops."""
    return dali_cr.Loader(
        training,
        config.samples(view),
        batch_size=config.batch_size,
        device=device.type,
        seed=config.seed,
        threads=config.threads,
        on_error=config.on_error,
        cache=config.cache,
    )


def _refuse_other(config: FinetuneConfig, was: dict[str, Any], now: dict[str, Any]) -> None:
    differ = [name for name in now if was.get(name, now[name]) != now[name]]
    if differ:
        raise ValueError(
            f"resume: expected the data, labels and split of the run in {config.out}, got other "
            f"{' and '.join(differ)}; give another --out to start a new run"
        )


def introduce(run: FinetuneRun) -> Iterator[str]:
    """Yield lines about the data, the task and the network."""
    config, task, view = run.config, run.task, run.task.view
    sizes = ", ".join(f"{len(run.supervised.parts[part])} of {part}" for part in PARTS)
    subjects = count_subjects([case.name for case in run.index.cases], run.split.subject)
    yield f"data       {subjects} under {run.index.root}; with labels {sizes}"
    yield f"split      {_describe_split(run)}"
    if copies := describe_copies(run.index):
        yield f"copies     {copies}"
    yield from (f"warning    {warning}" for warning in _warnings(run))
    yield from refused_files(run.index)
    for line in run.supervised.unmatched[:20]:
        yield f"excluded   {line}"
    for note in run.supervised.notes:
        yield f"labels     {note}"
    yield f"task       {task.name}: {', '.join(task.classes)}"
    yield f"training   on {len(run.training)} cases, {config.steps} steps of {config.describe_step()} crops"
    yield f"optimizer  {config.describe_optimizer()}"
    size = f" of {' × '.join(f'{mm:g}' for mm in view.spacing)} mm" if view.spacing else ""
    yield f"crop       {' × '.join(map(str, view.crop))} voxels{size}, normalize {view.normalize}"
    if view.slices != "D":
        yield f"slices     across {view.slices}"
    if config.augments:
        yield f"augment    {', '.join(config.augments)}, each with probability {config.augment_probability:g}"
    yield f"device     {device_name(run.device)}, {run.computation}"
    trained = sum(parameter.numel() for parameter in run.module.parameters())
    yield f"network    {config.network}, {config.dims}-D, {trained:,} parameters"
    yield from run.fit.lines(run.init) if run.fit and run.init else ["init       random"]
    if source := describe_source(run.network.about):
        yield f"weights    of the encoder, before any training: {source}"
    yield f"run        {config.out}" + (f", from step {run.state['step']}" if run.state else "")


def _describe_split(run: FinetuneRun) -> str:
    """Return where the split is from."""
    config = run.config
    if config.split:
        return str(config.split)
    kept = config.out / "splits.json"
    if run.state:
        return f"{kept}, of the run"
    fractions = " ".join(f"{fraction:g}" for fraction in config.fractions)
    return f"random (--fractions {fractions}, --order-seed {config.order_seed}), saved as {kept}"


def _warnings(run: FinetuneRun) -> Iterator[str]:
    """Yield warnings about patients that may be in two parts, and about leaks of --init that cannot be checked."""
    parts = {case.name: part for part, case in run.supervised.cases}
    cases = (run.init.cases if run.init else None) or ()
    seen = {case.name: "--init" for case in cases}
    apart = {name: part for name, part in parts.items() if part != "train"}
    yield from filter(None, map(find_lookalikes, [parts, seen | apart] if seen else [parts]))
    if run.other_channels:
        yield run.other_channels
    if run.init and run.init.cases is None:
        yield f"{run.init.path} does not list its training images; overlap with val and test cannot be checked"
    if not all(volume.content_sha256 for case in cases for volume in case.volumes):
        yield (
            f"{run.config.init} was made by an earlier version, without hashes of image content: cases of val and test "
            "are found among its images by file and name, but not as copies in another format"
        )


def train(run: FinetuneRun) -> dict[str, Any]:
    """Train, score, and write the results.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    Stopped, FloatingPointError, dali_cr.VolumeError
        See `train.run.loop.Loop.take_steps`.
    """
    config = run.config
    with open_loop(run) as loop:
        loop.take_steps()
        if loop.record and config.steps > config.evaluation_interval and config.steps not in loop.record.measured:
            run.measure(loop.record, config.steps)  # the end of the learning curve
    scores = run.score(run.supervised.parts[config.score])
    write_table(config.out / "scores.csv", scores.rows, empty=["case"])
    print(f"scores     {config.out / 'scores.csv'}")
    if scores.pictures:
        write_png(scores.draw(origin_of(run.index.cases[0])), config.out / "preview.png")
        every = "" if scores.captions else "; dali-cr predict and dali-cr overlay draw every case"
        print(f"pictures   {config.out / 'preview.png'}{every}")
    if loop.record:
        print(f"logs       {loop.record.place}", flush=True)
    report = run.report(loop.progress, scores.summary)
    write_json(config.out / "report.json", report)
    return report


def main(config: FinetuneConfig) -> dict[str, Any]:
    """Prepare and train a run and return its report; for a finished run, only return the report.

    Raises
    ------
    Refused
        If it cannot be started with these settings.
    Stopped, FloatingPointError, dali_cr.VolumeError
        See `train`.
    """
    with own(config.out):
        run, report = start(config, config.task, lambda earlier: prepare(config, earlier))
        if report is not None:
            return report
        print("\n".join(introduce(run)), flush=True)
        return train(run)


def read_settings(arguments: Sequence[str]) -> FinetuneConfig:
    """Return the settings of a command line, with those of the run to resume as defaults.

    Raises
    ------
    ValueError
        If the run to resume has another task.
    """
    about, out = find_resumed(arguments), find_out(arguments)[0]
    prog = program("finetune")
    if about and out:
        was, typed = kind_of(about), arguments[0] if arguments[0] in TASKS else None
        if was not in TASKS or typed not in (None, was):
            raise Refused(f"resume: expected a {typed or 'fine-tuning'} run in {out}, a {was} run is there")
        kind = TASKS[was]
        return parse(kind, f"{prog} {was}", arguments[1:] if typed else arguments, settings_of(kind, about, out))
    config: FinetuneConfig = tyro.extras.subcommand_cli_from_dict(
        dict(TASKS), prog=prog, args=arguments, config=(tyro.conf.FlagCreatePairsOff,)
    )
    return config


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    return end("finetune", lambda: main(asked(lambda: read_settings(words))), find_out(words)[0])


if __name__ == "__main__":
    sys.exit(command_line())
