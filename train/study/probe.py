"""Linear probes of a finished classification study: encoders before fine-tuning, and how far fine-tuning moved them.

::

    python -m train.study.probe train/studies/cpu_recipe/study.toml --data openkbp_organpatch3d=PATH

For every test run, the network is rebuilt as it was before the first step. Features are the spatial averages of the
encoder's last layer; batch norm statistics are measured on the training part, since untrained networks have none. A
ridge regression predicts the classes from them. It is fitted to the run's labelled cases (``frozen``) or to the whole
training part (``frozen_train``), and scored by its accuracy on the test cases. ``moved`` is the distance of the
encoder's weights before and after fine-tuning, divided by their norm before. ``features.json``, written beside the
study's results, has a row per run and the means over seeds.

The probe is not part of the study's protocol: nothing is chosen by it.
"""

from __future__ import annotations

from ..start import needs  # noqa: F401 - before all that may be missing

# isort: split
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import tyro
from sklearn.linear_model import RidgeCV
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import dali_cr

from ..data.split import load_split
from ..data.volumes import outside, pad_evenly, read_case
from ..finetune import first_cases, size_network
from ..networks.heads import shrunk
from ..networks.network import Network
from ..networks.weights import read_weights
from ..output.files import write_json
from ..run.folder import commit, versions
from ..start.command import read_arguments
from ..tasks.config import Classify
from ..tasks.targets import open_task
from ..tasks.task import Task, TaskInput, run_network
from ..tasks.transfer import check_fit, load_fit, read_init
from .__main__ import StudyConfig, open_queue, results_of
from .file import read_study
from .jobs import RunQueue
from .report import describe_machine
from .runs import StudyRun, testing, tuning
from .scores import choose_rates

_BATCH = 32
_PENALTIES = np.logspace(-6, 2, 17)
"""Ridge penalties to choose from, relative to the total variance of the features times their number."""
_GROUP = ("task", "init", "budget", "length", "lr")
_MEASURES = ("frozen", "frozen_train", "moved")


class Pooled(nn.Module):
    """An encoder with global average pooling."""

    def __init__(self, network: Network, view: TaskInput) -> None:
        super().__init__()
        self.features, self.view = network.features, view

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the pooled features (B, C) of images."""
        features: torch.Tensor = self.features(shrunk(image, self.view.shrink))
        return features.flatten(2).mean(2)

    @torch.no_grad()
    def features_of(self, batches: Sequence[torch.Tensor]) -> npt.NDArray[np.float64]:
        """Return the pooled features (N, C) of all batches."""
        self.eval()
        return torch.cat([run_network(self, batch, self.view.dims) for batch in batches]).double().numpy()

    @torch.no_grad()
    def measure_norms(self, batches: Sequence[torch.Tensor]) -> None:
        """Set the running statistics of batch norms to those of these images."""
        for norm in (part for part in self.modules() if isinstance(part, _BatchNorm)):
            norm.reset_running_stats()
            norm.momentum = None
        self.train()
        for batch in batches:
            run_network(self, batch, self.view.dims)


def read_batches(index: dali_cr.Index, view: TaskInput) -> list[torch.Tensor]:
    """Return whole volumes in batches (B, C, D, H, W), preprocessed as for scoring in fine-tuning."""
    volumes = []
    for case in index.cases:
        volume = read_case(index.root, case, view.normalize, view.spacing)
        volumes.append(torch.from_numpy(pad_evenly(volume, view.crop, outside(case, view.normalize))[0]))
    return [torch.stack(volumes[start : start + _BATCH]) for start in range(0, len(volumes), _BATCH)]


def fit_ridge(features: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]) -> RidgeCV:
    """Return the ridge regression of (N, K) targets on (N, C) features, its penalty chosen by leave-one-out validation.

    Examples
    --------
    >>> features = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> ridge = fit_ridge(features, np.hstack([1 + 2 * features, -features]))
    >>> ridge.coef_.round(3).tolist(), ridge.intercept_.round(3).tolist()
    ([[2.0], [-1.0]], [1.0, 0.0])
    """
    scatter = float(np.square(features - features.mean(0)).sum())
    return RidgeCV(alphas=_PENALTIES * (scatter or 1.0)).fit(features, targets)


def _one_hot(task: Task, index: dali_cr.Index) -> npt.NDArray[np.float64]:
    """Return the classes of the cases, one-hot (N, K)."""
    task.load_targets(index)
    return np.stack(task.targets).astype(np.float64)


class Probe:
    """Probes runs; images are read once for all runs with the same input settings."""

    def __init__(self, queue: RunQueue) -> None:
        self.queue = queue
        self._read: dict[tuple[str, TaskInput], tuple[list[torch.Tensor], list[torch.Tensor]]] = {}

    def measure(self, run: StudyRun) -> dict[str, Any]:
        """Return the row of features.json for a run."""
        out = self.queue.out(run)
        config = tyro.cli(Classify, args=self.queue.options(run), config=(tyro.conf.FlagCreatePairsOff,))
        init = read_init(Path(config.init)) if run.uses else None
        view, index = config.view(init), dali_cr.Index.load(out / "index.json")
        task, supervised = open_task(config, index, load_split(out / "splits.json"), view)
        train, test = supervised.parts["train"], supervised.parts["test"]
        # As in `train.finetune.prepare`: the same seed gives the same weights.
        torch.manual_seed(config.seed)
        network = size_network(config, init, view, index.channels, 1)
        if init:
            load_fit(network, check_fit(init, network, config.transfer).transferred)
        weights = [name for name, value in network.features.named_parameters() if value.ndim > 1]
        before = {name: network.features.get_parameter(name).detach().clone() for name in weights}
        if (run.data, view) not in self._read:
            self._read[run.data, view] = read_batches(train, view), read_batches(test, view)
        train_batches, test_batches = self._read[run.data, view]
        module = Pooled(network, view)
        module.measure_norms(train_batches)
        known, wanted, targets = (
            module.features_of(train_batches),
            module.features_of(test_batches),
            _one_hot(task, test),
        )
        labelled = first_cases(train, config.cases, config.order_seed)
        places = [place for place, case in enumerate(train.cases) if case in labelled.cases]
        of_train = _one_hot(task, train)

        def accuracy(chosen: Any) -> float:
            predicted = fit_ridge(known[chosen], of_train[chosen]).predict(wanted)
            return float((predicted.argmax(1) == targets.argmax(1)).mean())

        about = {"task": run.task, "init": run.arm.init, "pretrain_seed": run.pretrain_seed, "seed": run.seed}
        about |= {"budget": run.budget, "length": run.length, "lr": run.options["lr"]}
        return {
            **about,
            "frozen": accuracy(places),
            "frozen_train": accuracy(slice(None)),
            "moved": _distance(before, read_weights(out / "model.safetensors")[0]),
        }


def _distance(before: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor]) -> float:
    """Return the norm of the change of the weights, divided by their norm before."""
    squares = [((tensors[f"features.{name}"] - old).square().sum(), old.square().sum()) for name, old in before.items()]
    return math.sqrt(float(sum(gone for gone, _ in squares)) / float(sum(own for _, own in squares)))


def probe_runs(queue: RunQueue) -> Iterator[dict[str, Any]]:
    """Yield a row for each test run of the study's single-label classification tasks."""
    study = queue.study
    rates, _ = choose_rates(queue, tuning(study))
    probe = Probe(queue)
    for run in testing(study, rates):
        if study.tasks[run.task].kind == "classify" and "multilabel" not in run.options:
            if queue.report(run) is None:
                raise ValueError(f"probe: expected a finished study, {run.name} is not finished; run the study first")
            yield probe.measure(run)


def average(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means over runs that differ only in their seed."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in _GROUP), []).append(row)
    return [
        {
            **dict(zip(_GROUP, group, strict=True)),
            **{name: float(np.mean([r[name] for r in own])) for name in _MEASURES},
        }
        for group, own in groups.items()
    ]


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = read_arguments(StudyConfig, "study.probe", arguments)
    try:
        study = read_study(config.file)
        rows = list(probe_runs(open_queue(config, study)))
        out = results_of(config) / "features.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        about = {"study": study.name, "file_sha256": study.digest, "machine": describe_machine()}
        write_json(out, {**about, "versions": versions(), "commit": commit(), "means": average(rows), "runs": rows})
    except (ValueError, OSError) as error:
        print(f"study_probe: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"results": str(out), "runs": len(rows)}))
    return 0


if __name__ == "__main__":
    sys.exit(command_line())
