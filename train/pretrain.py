"""Pre-train a network without labels on a folder of volumes.

::

    python -m train.pretrain --data scans/ --out runs/first
    python -m train.pretrain --data scans/ --out runs/first --resume
    python -m train.pretrain --data images/ --pattern "**/*.png" --dims 2 --crop 1 224 288 --out runs/us
    python -m train.pretrain --recipe pcrlv2 --data scans/ --spacing 1 1 1 --out runs/pcrlv2
    python -m train.pretrain --corpus corpus.toml --out runs/several
    python -m train.pretrain --preset mae-nnssl --data scans/ --spacing 1 1 1 --out runs/mae
    torchrun --nproc-per-node 4 -m train.pretrain --data scans/ --out runs/fourfold

By default the network learns to restore crops in which pairs of patches were swapped (Chen et al. 2019). Other pretexts
are `--pretext inpaint`, `autoencode` and `mae` (masked autoencoder). `--pretext position` (Doersch et al. 2015) and
`--pretext jigsaw` (Noroozi and Favaro 2016) train the encoder alone, as a classifier of tiles of the same crops.
`--recipe pcrlv2` trains PCRLv2 (Zhou et al. 2023), see `--recipe pcrlv2 --help`. A tenth of the subjects is held out
for evaluation by ``restoration_gain = 1 - MSE(restored, target) / MSE(input, target)``: 0 is the identity, 1 is
perfect; with tiles by accuracy and cross-entropy. The folder ``--out`` contains

==========================  =========================================================================================
``config.json``             settings, network, versions, commit and device
``index.json``              the index of the data
``metrics.jsonl``           the curves; the same as TensorBoard events
``checkpoint.pt``           the state for ``--resume``
``model.safetensors``       the weights
``encoder.safetensors``     the weights of the encoder, to transfer to another task
``preview.png``             held-out targets, inputs, restorations and errors; or targets and tiles
``report.json``             the report of a finished run, also the last line of the output
==========================  =========================================================================================

A run may be killed at any moment: the same command with ``--resume`` continues from the last checkpoint with the same
batches as an uninterrupted run. On Ctrl-C or SIGTERM the current step is finished and saved; a second signal ends the
process at once.

Messages are printed to stdout, with a JSON report as last line, and the progress bar to stderr. Exit codes: 0 if the
run is finished, 130 (Ctrl-C) or 143 (SIGTERM) if it was stopped and saved, 2 for invalid input, and 1 if it failed.
"""

from __future__ import annotations

if __name__ == "__main__":
    from .start.interrupt import quit_on_interrupt

    quit_on_interrupt("pretrain")

from .start import needs  # noqa: F401 - before all that may be missing

# isort: split

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from tqdm import tqdm

import dali_cr
from dali_cr.index.corpus.about import dataset_lines, describe_datasets
from dali_cr.index.report import describe_copies

from .data.cases import find_index, refused_files
from .data.split.make import load_split
from .data.split.parts import PARTS, Split, current_part
from .data.subjects.lookalikes import find_lookalikes
from .data.subjects.rules import count_subjects, listed_subject, subjects_of
from .methods.config import MethodName, PretrainConfig, RecipeName
from .methods.evaluation import SEED
from .methods.method import Measured, Method
from .methods.pcrlv2.config import Pcrlv2Config
from .methods.pcrlv2.method import Pcrlv2
from .methods.presets import PRESETS
from .methods.restoration import Restoration, RestorationConfig
from .methods.tiles.method import Tiles
from .networks.resnet.pretrained import describe_source, initialize_encoder
from .networks.weights import export_weights
from .optim.average import Average, averaged
from .optim.optimizer import build_optimizer
from .output.figure import origin_of
from .output.files import write_json
from .output.mosaic import join
from .run import ranks
from .run.checkpoint import resume, write_state
from .run.computation import Computation, choose_computation
from .run.device import choose_device, device_name
from .run.exits import Refused, Stopped
from .run.folder.config_file import kind_of, last_step_learns, write_config
from .run.loop import open_loop
from .run.progress import Progress
from .run.record import Record
from .start.command import asked, end, own, program, start
from .start.resumed import find_out, find_resumed, parse, settings_of

__all__ = ["Refused", "RestorationConfig", "PretrainRun", "Stopped", "command_line", "main", "prepare", "train"]

METHODS: dict[MethodName, Callable[[Any, int], Method]] = {
    "restoration": Restoration,
    "pcrlv2": Pcrlv2,
    "position": Tiles,
    "jigsaw": Tiles,
}
"""Methods by name, created as ``method(config, channels)``."""

SETTINGS: dict[RecipeName, type[PretrainConfig]] = {"restoration": RestorationConfig, "pcrlv2": Pcrlv2Config}
"""Classes of settings by recipe."""


@dataclass(frozen=True, kw_only=True)
class PretrainRun:
    """A prepared run: everything that is determined before the first step."""

    config: PretrainConfig
    device: torch.device
    computation: Computation
    index: dali_cr.Index
    training: dali_cr.Index
    held_out: dali_cr.Index
    method: Method
    optimizer: torch.optim.Optimizer
    average: Average | None
    loader: dali_cr.Loader
    parts: Split | None
    """The split that the cases are from, if any."""
    split: dict[str, Any]
    """Entry of the checkpoint about the split: its hash and part; empty without a split."""
    last_step_learns: bool
    """Whether the learning rate of the last step is above 0."""
    state: dict[str, Any] | None
    """The checkpoint to continue from."""
    frozen: None = None
    """No encoder is frozen in pre-training."""

    @property
    def module(self) -> torch.nn.Module:
        """What is trained."""
        return self.method.module

    def stream(self) -> Iterator[dict[str, Any]]:
        """Return an endless iterator of batches."""
        return self.loader.stream()

    def losses(self, step: int, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the loss of a batch and its terms, on the device."""
        return self.method.losses(batch, step)

    def save(self, progress: Progress) -> None:
        """Write the current weights, with --ema their average, and the checkpoint."""
        out, network = self.config.out, self.method.network
        about = {**network.about, "recipe": asdict(self.method.recipe), "step": progress.step, **self.split}
        about["index"] = self.index.fingerprint
        datasets = {"datasets": found} if (found := describe_datasets(self.index)) else {}
        about |= datasets
        with averaged(self.average):
            tensors = network.module.state_dict()
            export_weights(out / "model.safetensors", tensors, network.tensors, about)
            export_weights(out / "encoder.safetensors", tensors, network.encoder, about)
        write_state(
            out, progress, self.method.module, self.optimizer, self.average, self.loader, **self.split, **datasets
        )

    def measure(self, record: Record, step: int) -> Measured:
        """Evaluate on the same held-out samples every time; record and print the metrics."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dali_cr.DataWarning)  # already issued for the training cases
            loader = build_loader(self.held_out, self.config, self.method, self.device, SEED, alone=True)
        with loader, self.computation.eagerly(), averaged(self.average):
            measured = self.method.measure(loader)
        record.write(step, **measured.numbers)
        record.show(step, measured.shown, join(measured.columns, origin_of(self.index.cases[0])))
        tqdm.write(f"step {step:<6} {measured.text}")
        return measured

    def report(self, progress: Progress, numbers: Mapping[str, float | None] | None = None) -> dict[str, Any]:
        """Return the report of the run; metrics are None if they are not given."""
        return {
            "run": str(self.config.out),
            "steps": progress.step,
            **({"encoder_weights": source} if (source := describe_source(self.method.network.about)) else {}),
            **{name: (numbers or {}).get(name) for name in self.method.reported},
            **progress.report,
            "device": self.device.type,
        }


def prepare(config: PretrainConfig, earlier: dict[str, Any] | None = None) -> PretrainRun:
    """Read and check the data and build the run; the first process writes config.json and index.json.

    Parameters
    ----------
    config : PretrainConfig
    earlier : dict, optional
        The config.json of the run to resume.
    """
    device = ranks.own_device(choose_device(config.device, config.deterministic))
    split = load_split(config.split) if config.split else None
    corpus = config.datasets
    if corpus and earlier:
        corpus.refuse_other(earlier.get("corpus", {}))
    open_data = (lambda _, known: corpus.open(known)) if corpus else None
    index = find_index(config, earlier, split, current_part(config.part), open_data)
    if len(index) < 2:
        refused = "".join(f"; rejected {problem.path}: {problem.reason}" for problem in index.problems[:3])
        raise ValueError(f"data: expected at least two cases, one of which is held out, got {len(index)}{refused}")
    training, held_out = _hold_out(config, index, split, earlier)
    _refuse_untrained(config, training)
    config = config.with_steps(len(training))
    torch.manual_seed(config.seed)
    method = METHODS[config.method](config, index.channels)
    known = earlier["network"] if earlier else None
    method.network = initialize_encoder(method.network, config.encoder_weights, known)
    computation = choose_computation(device, config.compile, config.memory_format)
    computation.place(method.module, device, config.dims)
    computation.compile(method.compiled())
    loader = build_loader(training, config, method, device, config.seed)
    state = resume(config, earlier, method.module, loader)
    found = {
        "fingerprints": {"index": index.fingerprint, "recipe": method.recipe.fingerprint},
        "computation": asdict(computation),
        "network": {**method.network.about, "parameters": method.network.parameters},
        **method.about,
        **({"held_out_by": "subject"} if _by_subject(earlier) else {}),
        **({"corpus": corpus.content} if corpus else {}),
    }
    if ranks.is_first():
        write_config(config, device, earlier, found)
        index.save(config.out / "index.json")
    return PretrainRun(
        config=config,
        device=device,
        computation=computation,
        index=index,
        training=training,
        held_out=held_out,
        method=method,
        optimizer=build_optimizer(method.module, **config.optimizer_options),
        average=Average(method.module, config.ema) if config.ema else None,
        loader=loader,
        parts=split,
        split={"split": {"hash": split.hash, "part": config.part}} if split else {},
        last_step_learns=last_step_learns(earlier),
        state=state,
    )


def _by_subject(earlier: dict[str, Any] | None) -> bool:
    """Whether whole subjects are held out; earlier versions held out cases."""
    return earlier is None or earlier.get("held_out_by") == "subject"


def _hold_out(
    config: PretrainConfig, index: dali_cr.Index, split: Split | None, earlier: dict[str, Any] | None
) -> tuple[dali_cr.Index, ...]:
    """Split the cases into training and held-out cases, by subject of each data set."""
    rule = split.subject if split else _listed_subject(index)
    names = ([case.name for case in index.cases if case.dataset == name] for name in index.datasets or ("",))
    subjects = [group for some in names for group in subjects_of(some, rule).values()]
    together = subjects if _by_subject(earlier) and len(subjects) > 1 else ()
    return index.split((1 - config.held_out, config.held_out), config.seed, together)


def _listed_subject(index: dali_cr.Index) -> str | None:
    """Return the regular expression for subjects that a list of images names."""
    return listed_subject(index.layout, [case.name for case in index.cases])


def _refuse_untrained(config: PretrainConfig, training: dali_cr.Index) -> None:
    """Raise ValueError if all cases of a data set are held out."""
    weights = config.datasets.weights if config.datasets else None
    there = {case.dataset for case in training.cases}
    for name, weight in (weights or {}).items():
        if weight and name not in there:
            raise ValueError(f"--held-out: expected at least one training case of {name}, got none; lower it")


def build_loader(
    index: dali_cr.Index,
    config: PretrainConfig,
    method: Method,
    device: torch.device,
    seed: int,
    *,
    alone: bool = False,
) -> dali_cr.Loader:
    """Return the loader for this process's samples, or with `alone` for all samples, without weights."""
    return dali_cr.Loader(
        index,
        method.held_out_recipe if alone else method.recipe,
        batch_size=ranks.share(config.batch_size),
        device=str(device),
        seed=seed,
        rank=0 if alone else None,
        world_size=1 if alone else None,
        threads=config.threads,
        on_error=config.on_error,
        cache=config.cache,
        dims=config.dims,
        weights=config.datasets.weights if config.datasets and not alone else None,
    )


def introduce(run: PretrainRun) -> Iterator[str]:
    """Yield lines about the data, the network and the training."""
    config, index, network = run.config, run.index, run.method.network
    names = [case.name for case in index.cases]
    subjects = count_subjects(names, run.parts.subject if run.parts else _listed_subject(index))
    yield f"data       {subjects} under {index.root}, {len(run.held_out)} of them held out for evaluation"
    corpus = config.datasets
    described = corpus.describe(index, run.method.recipe) if corpus else dataset_lines(index)
    yield from (f"data set   {line}" for line in described)
    if copies := describe_copies(index):
        yield f"copies     {copies}"
    yield f"channels   {index.channels}" + "".join(f" {name}" for name in index.channel_names)
    yield from refused_files(index)
    if run.parts:
        yield f"split      {config.part} of {config.split}"
    else:
        how = f"dali-cr splits --corpus {config.corpus}" if corpus else "dali-cr splits"
        yield f"split      none, so there are no test cases; make a split with {how} and give it as --split"
    yield from (f"warning    {warning}" for warning in _warnings(run))
    yield f"device     {device_name(run.device)}, {run.computation}"
    trained = dict(network.module.named_parameters())
    encoder = sum(trained[name].numel() for name in network.encoder if name in trained)
    yield f"network    {network.about['network']}, {network.parameters:,} parameters, {encoder:,} of them the encoder"
    if source := describe_source(network.about):
        yield f"weights    of the encoder: {source}"
    yield from run.method.introduce()
    epochs = config.steps * config.step_samples / len(run.training)
    average = " on average" * bool(corpus and corpus.weights)
    yield f"training   {config.steps} steps of {config.describe_step()} samples: each case {epochs:.1f} times{average}"
    yield f"optimizer  {config.describe_optimizer()}"
    yield f"run        {config.out}" + (f", from step {run.state['step']}" if run.state else "")


def _warnings(run: PretrainRun) -> Iterator[str]:
    """Yield warnings about patients that may be in two parts."""
    by_part = [("training", run.training), ("held out", run.held_out)]
    parts = [{case.name: part for part, index in by_part for case in index.cases}]
    if run.parts:
        parts.insert(0, {subject: part for part in PARTS for subject in getattr(run.parts, part)})
    yield from filter(None, map(find_lookalikes, parts))


def train(run: PretrainRun) -> dict[str, Any]:
    """Train, evaluate, and write the results; of several processes only the first evaluates and writes.

    Returns
    -------
    dict
        The report: run, steps, metrics of the method, samples_per_s, data_wait_share, samples, device_hours, device.

    Raises
    ------
    Stopped
        After SIGINT or SIGTERM, when the run is saved.
    FloatingPointError
        If the loss is not finite; the last checkpoint is kept.
    dali_cr.VolumeError
        If a file cannot be read; the steps before it are saved.
    """
    config = run.config
    with open_loop(run) as loop:
        if loop.record and run.state is None:
            run.measure(loop.record, step=0)
        loop.take_steps()
        if not loop.record:
            return run.report(loop.progress)
        result = run.measure(loop.record, config.steps)
    result.draw(config.out / "preview.png", origin_of(run.index.cases[0]))
    print(f"pictures   {config.out / 'preview.png'}")
    print(f"logs       {loop.record.place}", flush=True)
    report = run.report(loop.progress, result.numbers)
    write_json(config.out / "report.json", report)
    return report


def begin(config: PretrainConfig, *, started: bool = False) -> tuple[Any, dict[str, Any] | None]:
    """Prepare a run, or return the report of a finished one; see `train.start.command.start`."""
    config = replace(config, resume=config.resume or started)
    return start(config, "pretrain", lambda earlier: prepare(config, earlier), started=started)


def main(config: PretrainConfig) -> dict[str, Any]:
    """Prepare and train a run and return its report; for a finished run, only return the report.

    Raises
    ------
    Refused
        If it cannot be started with these settings.
    Stopped, FloatingPointError, dali_cr.VolumeError
        See `train`.
    """
    with ExitStack() as held:

        def take_turn(other: bool) -> tuple[Any, dict[str, Any] | None]:
            if not other:
                held.enter_context(own(config.out))
            return begin(config, started=other)

        run, report = ranks.first_then_others(take_turn)
        if report is not None:
            return report
        ranks.check_same("cases and step", [run.index.fingerprint, run.state["step"] if run.state else 0])
        ranks.copy_first(run.method.module)
        print("\n".join(introduce(run)), flush=True)
        return train(run)


def read_settings(arguments: Sequence[str]) -> PretrainConfig:
    """Return the settings of a command line, with those of the run to resume as defaults.

    Raises
    ------
    ValueError
        If the run to resume is not a pre-training run, or the preset is one of another recipe.
    """
    words = argparse.ArgumentParser(program("pretrain"), add_help=False, allow_abbrev=False)
    words.add_argument("--recipe", choices=SETTINGS)
    words.add_argument("--preset", choices=PRESETS)
    typed, others = words.parse_known_args(arguments)
    given = PRESETS[typed.preset].recipe if typed.preset else "restoration"
    recipe: RecipeName = typed.recipe or given
    about, out = find_resumed(arguments), find_out(arguments)[0]
    known = None
    if about and out:
        if kind_of(about) != "pretrain":
            raise ValueError(f"resume: expected a pretrain run in {out}, a {kind_of(about)} run is there")
        was: RecipeName = about["config"]["recipe"]
        if typed.recipe not in (None, was):
            raise ValueError(f"resume: expected the settings of the run in {out}: --recipe was {was}, got {recipe}")
        recipe, known = was, settings_of(SETTINGS[was], about, out)
    if typed.preset and recipe != given:
        raise ValueError(f"preset: expected --recipe {given} with {typed.preset}, got {recipe}")
    prog = program("pretrain") + (f" --recipe {recipe}" if recipe != "restoration" else "")
    others += ["--preset", typed.preset] if typed.preset else []
    preset = PRESETS[typed.preset].settings if typed.preset and not known else None
    config = parse(SETTINGS[recipe], prog, others, known, preset)
    return config.follow(known) if known else config


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    with ranks.joined():
        return end("pretrain", lambda: main(asked(lambda: read_settings(words))), find_out(words)[0], several=True)


if __name__ == "__main__":
    sys.exit(command_line())
