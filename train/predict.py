"""Use a fine-tuned network: masks on the grid of each image, boxes as JSON, classes as CSV.

::

    python -m train.predict runs/seg --data new/ --out predictions/

Masks get the place of their image under ``--out`` and its shape, orientation and affine. ``boxes.json`` holds for each
case and organ the half-open box in voxels along the file's own axes and its centroid in mm (RAS+); ``classes.csv`` a
row a case. The last line of the output is one JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import nn
from tqdm import tqdm

import dali_cr
from dali_cr.scan import EVERY_VOLUME
from train.classify import Classification
from train.data import open_index, refused_files
from train.device import choose_device
from train.folder import Refused
from train.localize import Localization
from train.network import Levels, build_network
from train.segment import Segmentation
from train.splits import Part, load_split
from train.task import Task, View, refuse_larger
from train.transfer import read_weights

TASKS: dict[str, type[Task]] = {task.name: task for task in (Segmentation, Classification, Localization)}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Predict with a fine-tuned network."""

    run: tyro.conf.Positional[Path]
    """The folder of a fine-tuning run."""
    data: tuple[Path, ...] = ()
    """Folders of volumes (NIfTI)."""
    out: Path
    """Folder for what is predicted: new or empty."""

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
    """A file that says who is in pool, val and test, such as the run's own splits.json."""
    part: Part = "test"
    """The part of --split to take; all of the data without a split."""

    batch_size: int = 4
    """Windows at a time."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto is a GPU if there is one."""

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        if not self.data and self.index is None:
            raise ValueError("data: wanted a folder of volumes, or --index, got neither")
        if self.batch_size < 1:
            raise ValueError(f"batch_size: wanted at least 1, got {self.batch_size}")


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
    network = build_network(about["network"], **sizes, levels=Levels.of(about))
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
        refuse_larger(index, task.view.crop)


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = tyro.cli(Config, prog="python -m train.predict", args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        report = main(config)
    except Refused as error:
        print(f"predict: {error}", file=sys.stderr)
        return 2
    except dali_cr.VolumeError as error:
        print(f"predict: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(command_line())
