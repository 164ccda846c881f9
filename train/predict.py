"""Use a fine-tuned network: masks on the grid of each image, boxes as JSON, classes as CSV.

::

    python -m train.predict runs/seg --data new/ --out predictions/

Pattern, layout and channels of the files are those of the training, where no others are given; channels of other names
or in another order are refused. Masks are called after their case and have the shape, orientation and affine of its
first file; ``--probabilities`` writes those of every class too (the background and the classes; or the regions), along
the fourth axis of a file. ``boxes.json`` holds for each case and organ the half-open box in voxels along the file's own
axes and its centroid in mm (RAS+); ``classes.csv`` a row a case. ``predict.json`` keeps the settings, what the network
is, and which file is of which case. The last line of the output is one JSON object.
"""

from __future__ import annotations

if __name__ == "__main__":
    from .start.interrupt import quit_on_interrupt

    quit_on_interrupt("predict")

from .start import needs  # noqa: F401 - before all that may be missing

# isort: split

import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import tyro
from torch import nn
from tqdm import tqdm

import dali_cr

from .data.cases import open_index, refused_files
from .data.split import Part, load_split
from .networks.build import build_network
from .networks.network import Levels
from .networks.weights import first_names, read_weights
from .output.names import place_all
from .output.predictions import begin_predictions, check_folder, finish_predictions
from .run.config import DataSettings
from .run.device import choose_device, device_name
from .run.folder import commit, plain, versions
from .start.command import asked, end, own, read_arguments
from .start.trained import Trained, check_channels, fill_in, read_trained, tell_filled
from .tasks.classify import Classification
from .tasks.localize import Localization
from .tasks.segment import Segmentation
from .tasks.task import Task, TaskInput, refuse_larger

TASKS: dict[str, type[Task]] = {task.name: task for task in (Segmentation, Classification, Localization)}


@dataclass(frozen=True, kw_only=True)
class PredictConfig(DataSettings):
    """Predict with a fine-tuned network."""

    run: tyro.conf.Positional[Path]
    """The folder of a fine-tuning run."""
    out: Path
    """Folder for what is predicted: new or empty."""
    part: Part = "test"
    """The part of --split to take; all of the data without a split."""

    probabilities: bool = False
    """Write the probability of every class in every voxel as well, in the folder probabilities."""

    batch_size: int = 4
    """Windows at a time."""

    counts: ClassVar[tuple[str, ...]] = ("batch_size",)


def open_run(folder: Path, batch_size: int = 4) -> tuple[Task, nn.Module, dict[str, Any]]:
    """Return the task, the trained module and what its file says of it.

    Raises
    ------
    ValueError
        If the folder holds no fine-tuning run.
    """
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"run: expected the folder of a fine-tuning run, {path} is missing")
    tensors, about = read_weights(path)
    if "task" not in about:
        raise ValueError(f"run: expected a run of train.finetune, {folder} is one of pre-training")
    seen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in about["view"].items()}
    view = TaskInput(**{**seen, "batch_size": batch_size})
    kind = dict(about["task"])
    task = TASKS[kind.pop("name")](view=view, **kind)
    sizes = {name: about[name] for name in ("channels", "crop", "filters", "outputs")}
    dims, skips = about.get("dims", 3), about.get("skips")
    network = build_network(about["network"], **sizes, levels=Levels.of(about), dims=dims, skips=skips)
    module = task.build(network)
    answer = module.load_state_dict(tensors, strict=False)
    needed = first_names(module)
    missing = [name for name in answer.missing_keys if name in needed]
    if missing or answer.unexpected_keys:
        name = (missing + answer.unexpected_keys)[0]
        raise ValueError(f"run: expected the weights of its own network in {path}, {name} is missing or too many")
    return task, module, about


def main(config: PredictConfig) -> dict[str, Any]:
    """Predict every case and return the report.

    Raises
    ------
    Refused
        When it cannot be done as asked.
    dali_cr.VolumeError
        When a file broke since it was scanned; the masks before it are written.
    """
    with own(config.out):
        task, module, index, settings = asked(lambda: _prepare(config))
        with torch.no_grad():
            cases = task.predict(module, index, config.out, probabilities=config.probabilities)
            done = list(tqdm(cases, task.name, len(index), unit="case"))
        finish_predictions(config.out, settings)
    report = {"run": str(config.run), "task": task.name, "out": str(config.out)}
    return {**report, "cases": len(done), "device": settings["device"]["type"]}


def _prepare(config: PredictConfig) -> tuple[Task, nn.Module, dali_cr.Index, dict[str, Any]]:
    """Return the task, the module, the cases and the settings, written already; refuse what cannot be done.

    Raises
    ------
    ValueError, OSError, ImportError
    """
    check_folder(config.out)
    device = choose_device(config.device, deterministic=False)
    task, module, about = open_run(config.run, config.batch_size)
    trained = read_trained(config.run, about)
    filled = fill_in(config, trained)
    index = open_index(filled)
    if config.split:
        index = load_split(config.split).take(index, config.part)
    _check_data(index, task, about, trained)
    files = task.files(index, probabilities=config.probabilities)
    place_all([(f"{case} ({kind})", name) for kind in files for case, name in files[kind].items()], config.out)
    settings = {
        "config": plain(filled),
        "weights": hashlib.sha256((config.run / "model.safetensors").read_bytes()).hexdigest(),
        "network": about,
        "data": {"fingerprint": index.fingerprint, "channel_names": list(index.channel_names)},
        "outputs": files,
        "versions": versions(),
        "commit": commit(),
        "device": {"type": device.type, "name": device_name(device)},
    }
    begin_predictions(config.out, settings)
    lines = [f"data       {len(index)} cases under {index.root}", *tell_filled(config, filled), *refused_files(index)]
    print("\n".join(lines), flush=True)
    return task, module.to(device), index, settings


def _check_data(index: dali_cr.Index, task: Task, about: dict[str, Any], trained: Trained) -> None:
    """Refuse what the network cannot be shown."""
    if not index.cases:
        reasons = "".join(f"; {problem.path}: {problem.reason}" for problem in index.problems[:3])
        raise ValueError(f"data: expected at least one case, got none under {index.root}{reasons}")
    twice = [name for name, count in Counter(case.name for case in index.cases).items() if count > 1]
    if twice:
        raise ValueError(f"data: expected cases with names of their own, got two called {twice[0]}")
    check_channels(index, trained, about["channels"])
    if task.whole:
        refuse_larger(index, task.view)


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = read_arguments(PredictConfig, "predict", arguments)
    return end("predict", lambda: main(config))


if __name__ == "__main__":
    sys.exit(command_line())
