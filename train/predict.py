"""Predict with a fine-tuned network: masks on the grid of each image, boxes as JSON, classes as CSV.

::

    python -m train.predict runs/seg --data new/ --out predictions/

Pattern, layout and channels of the files are by default those of the training; channels with other names or in another
order are rejected. Masks are named after their case and have the shape, orientation and affine of its first file.
``--probabilities`` also writes the probabilities of the background and the classes, or of the regions, along the fourth
axis of a file. ``boxes.json`` has the half-open box in voxels along the file's axes and its centroid in mm (RAS+) for
each case and organ; ``classes.csv`` has a row per case. ``predict.json`` has the settings, the network and the files of
each case. The last line of the output is a JSON report.
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
from .data.split.make import load_split
from .data.split.parts import PartOption, current_part
from .networks.build import build_network
from .networks.network import Levels
from .networks.weights import first_names, read_weights
from .output.names import place_all
from .output.predictions import begin_predictions, check_folder, finish_predictions
from .run.config.data import DataSettings
from .run.device import choose_device, device_name
from .run.folder.config_file import plain
from .run.folder.versions import commit, versions
from .start.command import asked, end, own, read_arguments
from .start.trained import Trained, check_channels, fill_in, read_trained, tell_filled
from .tasks.classify import Classification
from .tasks.localize import Localization
from .tasks.segment import Segmentation
from .tasks.task import Task, TaskInput, check_crop_holds

TASKS: dict[str, type[Task]] = {task.name: task for task in (Segmentation, Classification, Localization)}


@dataclass(frozen=True, kw_only=True)
class PredictConfig(DataSettings):
    """Predict with a fine-tuned network."""

    run: tyro.conf.Positional[Path]
    """Data: folder of a fine-tuning run."""
    out: Path
    """Output: folder for the predictions, new or empty."""
    part: PartOption = "test"
    """Data: part of --split to predict; without a split, all data."""

    probabilities: bool = False
    """Output: also write the probability of every class in every voxel, in the folder probabilities."""

    batch_size: int = 4
    """Hardware: sliding windows per batch."""

    counts: ClassVar[tuple[str, ...]] = ("batch_size",)


def open_run(folder: Path, batch_size: int = 4) -> tuple[Task, nn.Module, dict[str, Any]]:
    """Return the task, the trained module and the metadata of its weights.

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
    needed = first_names(module)  # the file does not contain second names of the same tensors
    missing = [name for name in answer.missing_keys if name in needed]
    if missing or answer.unexpected_keys:
        name = (missing + answer.unexpected_keys)[0]
        raise ValueError(f"run: expected the tensors of its network in {path}, {name} is missing or unexpected")
    return task, module, about


def main(config: PredictConfig) -> dict[str, Any]:
    """Predict all cases and return the report.

    Raises
    ------
    Refused
        If it cannot be done with these settings.
    dali_cr.VolumeError
        If a file cannot be read; the masks before it are written.
    """
    with own(config.out):
        task, module, index, settings = asked(lambda: _prepare(config))
        with torch.no_grad():
            cases = task.predict(module, index, config.out, probabilities=config.probabilities)
            done = list(tqdm(cases, task.name, len(index), unit="case"))
        finish_predictions(config.out, settings)
    report = {"run": str(config.run), "task": task.name, "out": str(config.out)}
    refused = {"refused": len(index.problems)} if index.problems else {}
    return {**report, "cases": len(done), **refused, "device": settings["device"]["type"]}


def _prepare(config: PredictConfig) -> tuple[Task, nn.Module, dali_cr.Index, dict[str, Any]]:
    """Check everything, write the settings, and return the task, the module, the cases and the settings.

    Raises
    ------
    ValueError, OSError, ImportError
    """
    check_folder(config.out)
    device = choose_device(config.device, deterministic=False)
    task, module, about = open_run(config.run, config.batch_size)
    trained = read_trained(config.run, about)
    filled = fill_in(config, trained)
    split, part = load_split(config.split) if config.split else None, current_part(config.part)
    index = open_index(filled, split=split, parts=(part,))
    if split:
        index = split.take(index, part)
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
    lines = [
        f"data       {len(index)} cases under {index.root}",
        *_warn_trained(config, index),
        *tell_filled(config, filled),
        *refused_files(index),
    ]
    print("\n".join(lines), flush=True)
    return task, module.to(device), index, settings


def _warn_trained(config: PredictConfig, index: dali_cr.Index) -> list[str]:
    """Return a warning if cases are of the training part of the run, and no split was given."""
    kept, split = config.run / "index.json", config.run / "splits.json"
    if config.split or not (kept.is_file() and split.is_file()):
        return []
    parts = load_split(split)
    train = (case for case in dali_cr.Index.load(kept).cases if parts.part_of(case.name) == "train")
    keys = {key for case in train for volume in case.volumes for key in volume.identities}
    count = sum(any(key in keys for volume in case.volumes for key in volume.identities) for case in index.cases)
    if not count:
        return []
    return [
        f"warning    {count} of these {len(index)} cases are in the training part of the run; for the test cases alone "
        f"give --split {split}"
    ]


def _check_data(index: dali_cr.Index, task: Task, about: dict[str, Any], trained: Trained) -> None:
    """Check that the data suit the network."""
    if not index.cases:
        reasons = "".join(f"; {problem.path}: {problem.reason}" for problem in index.problems[:3])
        raise ValueError(f"data: expected at least one case, got none under {index.root}{reasons}")
    twice = [name for name, count in Counter(case.name for case in index.cases).items() if count > 1]
    if twice:
        raise ValueError(f"data: expected cases with different names, got two named {twice[0]}")
    check_channels(index, trained, about["channels"])
    if task.whole:
        check_crop_holds(index, task.view)


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = read_arguments(PredictConfig, "predict", arguments)
    return end("predict", lambda: main(config))


if __name__ == "__main__":
    sys.exit(command_line())
