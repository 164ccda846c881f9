"""Score a trivial and a linear baseline on the data of a finished fine-tuning run.

::

    python -m train.baseline runs/classes --out baseline.json

Both baselines get the training cases, labels, crop, spacing and normalisation of the run, and are scored on the same
cases in the same way. The trivial one ignores the image: it predicts the most frequent class, or the mean box. The
linear one is a logistic regression of the classes, or a ridge regression of the box faces, on principal components of
the images, which are averaged over blocks of voxels first. Its penalty is chosen by cross-validation over the subjects
of the training cases; validation and test cases are not used for it. The main score of the run (``--metric`` of
``finetune classify``) is printed for both and for the run itself; the file has all scores.

Not for segmentation: a linear model of the whole image has no output for each voxel.
"""

from __future__ import annotations

if __name__ == "__main__":
    from .start.interrupt import quit_on_interrupt

    quit_on_interrupt("baseline")

from .start import needs  # noqa: F401 - before all that may be missing

# isort: split

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import dali_cr
from dali_cr.system.interrupt import Outputs
from dali_cr.system.owner import own_file

from .data.split.make import load_split
from .finetune import TASKS, first_cases
from .linear.model import LinearModel, WholeTask, choose_block, constant_outputs, fit_linear, read_images
from .linear.regression import FOLDS
from .output.files import write_json
from .report.invocation import public_path
from .report.summary import summarise
from .run.device import device_name
from .run.folder.config_file import kind_of
from .run.folder.versions import commit, versions
from .start.command import asked, end, read_arguments
from .start.resumed import settings_of
from .tasks.classify import Classification
from .tasks.config.finetune import FinetuneConfig
from .tasks.localize import Localization
from .tasks.supervised import Supervised
from .tasks.targets import open_task
from .tasks.task import TaskInput


@dataclass(frozen=True, kw_only=True)
class BaselineConfig:
    """Score a trivial and a linear baseline on the data of a finished fine-tuning run."""

    run: tyro.conf.Positional[Path]
    """Data: folder of a run of finetune classify or localize."""
    out: Path
    """Output: JSON file."""
    components: int = 64
    """Model: number of principal components."""
    voxels: int = 4096
    """Model: images are averaged over the smallest blocks that leave at most this many voxels of each channel."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("components", "voxels"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: expected 1 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class Labelled:
    """Task, cases and settings of a fine-tuning run."""

    task: WholeTask
    supervised: Supervised
    training: dali_cr.Index
    subjects: list[str]
    """The subject of each training case."""
    config: FinetuneConfig
    about: dict[str, Any]
    """The run's config.json."""


def read_labelled(folder: Path) -> Labelled:
    """Return the task, cases and settings of a fine-tuning run.

    Raises
    ------
    ValueError
        If the folder holds no run of classify or localize, or its data or labels have changed.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"run: expected the folder of a fine-tuning run, {path} is missing")
    about = json.loads(path.read_text(encoding="utf-8"))
    kind = kind_of(about)
    if kind not in ("classify", "localize"):
        raise ValueError(f"run: expected a run of finetune classify or localize, {folder} is one of {kind}")
    config = settings_of(TASKS[kind], about, folder)
    view = TaskInput(**{name: _tuples(value) for name, value in about["network"]["view"].items()})
    index, split = dali_cr.Index.load(folder / "index.json"), load_split(folder / "splits.json")
    task, supervised = open_task(config, index, split, view)
    assert isinstance(task, Classification | Localization)
    training = first_cases(supervised.parts["train"], config.cases, config.order_seed)
    task.load_targets(training)
    if task.fingerprint != about["fingerprints"]["labels"]:
        raise ValueError(f"run: expected the labels that {folder} was trained on, {config.labels} has changed since")
    return Labelled(task, supervised, training, [split.subject_of(case.name) for case in training.cases], config, about)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def score_baselines(labelled: Labelled, components: int, voxels: int) -> dict[str, Any]:
    """Return the scores of both baselines, with what was chosen for the linear one."""
    task, view = labelled.task, labelled.task.view
    block = choose_block(view.crop[3 - view.dims :], voxels)
    images, targets = read_images(labelled.training, view, block), task.whole_targets(labelled.training)
    fitted = fit_linear(task, images, targets, labelled.subjects, block, components)
    constant = constant_outputs(task, targets)
    trivial = LinearModel(block, 0 * fitted.model.weight.double().numpy(), constant)
    return {
        "trivial": _score(labelled, trivial),
        "linear": {
            **_score(labelled, fitted.model),
            "block": list(block),
            "components": fitted.components,
            "penalties": fitted.penalties,
        },
    }


def _score(labelled: Labelled, model: LinearModel) -> dict[str, Any]:
    """Return the scores of a model on the part that the run was scored on."""
    task = labelled.task
    with torch.no_grad():
        scores = task.score(model, labelled.supervised.parts[labelled.config.score])
    summary = {name: value for name, value in scores.summary.items() if not name.startswith("baseline_")}
    rows: Sequence[Any] = scores.rows
    return {"report": summary, **summarise(task.name, rows, task.classes)}


def main(config: BaselineConfig) -> dict[str, Any]:
    """Score the baselines, write the file and return the report.

    Raises
    ------
    ValueError, OSError
    """
    with own_file(config.out):
        labelled = read_labelled(config.run)
        found = score_baselines(labelled, config.components, config.voxels)
        part = labelled.config.score
        content = {
            "task": labelled.task.name,
            "data": [public_path(str(path)) for path in labelled.config.data],
            "settings": {"components": config.components, "voxels": config.voxels, "folds": FOLDS},
            "view": asdict(labelled.task.view),
            "split": labelled.about["network"]["split"],
            "scored": {"part": part, "cases": len(labelled.supervised.parts[part])},
            "versions": versions(),
            "commit": commit(),
            "device": {"type": "cpu", "name": device_name(torch.device("cpu"))},
        }
        write_json(config.out, {**content, **found})
    main_score = next(iter(found["linear"]["report"]))
    return {
        "out": str(config.out),
        "score": main_score,
        **{name: found[name]["report"][main_score] for name in ("trivial", "linear")},
        "run": _own_score(config.run, main_score),
    }


def _own_score(folder: Path, name: str) -> float | None:
    """Return a score of the run itself; None if the run is not finished."""
    path = folder / "report.json"
    score: float | None = json.loads(path.read_text()).get(name) if path.is_file() else None
    return score


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    outputs = Outputs()

    def work() -> dict[str, Any]:
        config: BaselineConfig = read_arguments(BaselineConfig, "baseline", arguments)
        outputs.add(config.out)
        return main(config)

    return end("baseline", lambda: asked(work), kept=outputs)


if __name__ == "__main__":
    sys.exit(command_line())
