"""Use a fine-tuned network: masks on the grid of each image, boxes as JSON, classes as CSV.

::

    python -m train.predict runs/seg --data new/ --out predictions/

Masks get the place of their image under ``--out`` and its shape, orientation and affine. ``boxes.json`` holds for each
case and organ the half-open box in voxels along the file's own axes and its centroid in mm (RAS+); ``classes.csv`` a
row a case. The last line of the output is one JSON object.
"""

from __future__ import annotations

from .start import needs  # noqa: F401 - before all that may be missing

# isort: split
import sys
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
from .networks.weights import read_weights
from .run.config import DataSettings
from .run.device import choose_device
from .run.exits import Refused
from .start.command import end, read_arguments
from .tasks.classify import Classification
from .tasks.localize import Localization
from .tasks.segment import Segmentation
from .tasks.task import Task, View, refuse_larger

TASKS: dict[str, type[Task]] = {task.name: task for task in (Segmentation, Classification, Localization)}


@dataclass(frozen=True, kw_only=True)
class Config(DataSettings):
    """Predict with a fine-tuned network."""

    run: tyro.conf.Positional[Path]
    """The folder of a fine-tuning run."""
    out: Path
    """Folder for what is predicted: new or empty."""
    part: Part = "test"
    """The part of --split to take; all of the data without a split."""

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
        raise ValueError(f"run: wanted the folder of a fine-tuning run, {path} is missing")
    tensors, about = read_weights(path)
    if "task" not in about:
        raise ValueError(f"run: wanted a run of train.finetune, {folder} is one of pre-training")
    seen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in about["view"].items()}
    view = View(**{**seen, "batch_size": batch_size})
    kind = dict(about["task"])
    task = TASKS[kind.pop("name")](view=view, **kind)
    sizes = {name: about[name] for name in ("channels", "crop", "filters", "outputs")}
    network = build_network(about["network"], **sizes, levels=Levels.of(about), dims=about.get("dims", 3))
    module = task.build(network)
    answer = module.load_state_dict(tensors, strict=False)
    # DynUNet's tree gives second names to its tensors, which the file leaves out.
    missing = [name for name in answer.missing_keys if not name.startswith("skip_layers.")]
    if missing or answer.unexpected_keys:
        name = (missing + answer.unexpected_keys)[0]
        raise ValueError(f"run: wanted the weights of its own network in {path}, {name} is missing or too many")
    return task, module, about


def main(config: Config) -> dict[str, Any]:
    """Predict every case and return the report.

    Raises
    ------
    Refused
        When it cannot be done as asked.
    dali_cr.VolumeError
        When a file broke since it was scanned; the masks before it are written.
    """
    try:
        if config.out.exists() and any(config.out.iterdir()):
            raise ValueError(f"out: wanted a new or empty folder, {config.out} holds {next(config.out.iterdir()).name}")
        device = choose_device(config.device, deterministic=False)
        task, module, about = open_run(config.run, config.batch_size)
        index = open_index(config)
        if config.split:
            index = load_split(config.split).take(index, config.part)
        _check_data(index, task, about)
    except (ValueError, OSError, ImportError) as error:
        raise Refused(str(error)) from error
    print("\n".join([f"data       {len(index)} cases under {index.root}", *refused_files(index)]), flush=True)
    config.out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        done = list(tqdm(task.predict(module.to(device), index, config.out), task.name, len(index), unit="case"))
    report = {"run": str(config.run), "task": task.name, "out": str(config.out)}
    return {**report, "cases": len(done), "device": device.type}


def _check_data(index: dali_cr.Index, task: Task, about: dict[str, Any]) -> None:
    """Refuse what the network cannot be shown."""
    if not index.cases:
        reasons = "".join(f"; {problem.path}: {problem.reason}" for problem in index.problems[:3])
        raise ValueError(f"data: wanted at least one case, got none under {index.root}{reasons}")
    if index.channels != about["channels"]:
        raise ValueError(f"data: wanted {about['channels']} channels, as in training, got {index.channels}")
    if task.whole:
        refuse_larger(index, task.view)


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = read_arguments(Config, "predict", arguments)
    return end("predict", lambda: main(config))


if __name__ == "__main__":
    sys.exit(command_line())
