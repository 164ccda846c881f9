"""Features of frozen encoders: spatial averages of the encoder's last layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import dali_cr

from ...data.cases import open_index
from ...data.split.make import load_split
from ...data.volumes import outside, pad_evenly, read_case
from ...networks.heads import shrunk
from ...networks.network import Network
from ...tasks.config.whole import Classify
from ...tasks.sizing import size_network
from ...tasks.targets import open_task
from ...tasks.task import Task, TaskInput, run_network
from ...tasks.transfer import Init, check_fit, load_fit, read_init
from ..running.jobs import RunQueue
from ..runs import StudyRun

Matrix = npt.NDArray[np.float64]

_BATCH = 32

_Key = tuple[str, TaskInput, tuple[str, ...]]
"""Data set, input settings and labelled cases."""


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
    """Return whole volumes in batches (B, C, D, H, W), preprocessed as for scoring in fine-tuning.

    There is no batch of one case beside others, of which batch norms cannot measure features of one voxel.
    """
    volumes = []
    for case in index.cases:
        volume = read_case(index.root, case, view.normalize, view.spacing)
        volumes.append(torch.from_numpy(pad_evenly(volume, view.crop, outside(case, view.normalize))[0]))
    starts = [start for start in range(0, len(volumes), _BATCH) if start == 0 or len(volumes) - start > 1]
    return [torch.stack(volumes[start:end]) for start, end in pairwise([*starts, len(volumes)])]


@dataclass(frozen=True, kw_only=True)
class Probed:
    """A part of the labelled cases with the features of an encoder."""

    cases: tuple[str, ...]
    features: Matrix
    """(N, C)."""
    targets: Matrix
    """One-hot classes (N, K)."""


def one_hot(task: Task, index: dali_cr.Index) -> Matrix:
    """Return the classes of the cases, one-hot (N, K)."""
    task.load_targets(index)
    return np.stack(task.targets).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """Settings, initialisation, input, task and labelled cases of a run."""

    config: Classify
    init: Init | None
    view: TaskInput
    task: Task
    train: dali_cr.Index
    test: dali_cr.Index

    def probed(self, train: Matrix, test: Matrix) -> tuple[Probed, Probed]:
        """Return the cases of both parts with these features."""
        known, asked = (
            Probed(cases=tuple(case.name for case in index.cases), features=features, targets=one_hot(self.task, index))
            for index, features in ((self.train, train), (self.test, test))
        )
        return known, asked


class Encoders:
    """Computes the features of a study's encoders; images are read once for all with the same input settings."""

    def __init__(self, queue: RunQueue) -> None:
        self.queue = queue
        self._read: dict[_Key, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}

    def features(self, run: StudyRun) -> tuple[Probed, Probed]:
        """Return the features of the train and test cases, from the weights that a run would start with.

        Batch norm statistics are measured on the training part, since untrained networks have none.
        """
        opened = self._open(run)
        # As in `train.finetune.prepare`: the same seed gives the same weights.
        torch.manual_seed(opened.config.seed)
        network = size_network(opened.config, opened.init, opened.view, opened.train.channels, 1)
        if opened.init:
            load_fit(network, check_fit(opened.init, network, opened.config.transfer).transferred)
        module, (train, test) = Pooled(network, opened.view), self._images(run, opened)
        module.measure_norms(train)
        return opened.probed(module.features_of(train), module.features_of(test))

    def voxels(self, run: StudyRun) -> tuple[Probed, Probed]:
        """Return the voxels of the preprocessed train and test cases as features."""
        opened = self._open(run)
        train, test = (torch.cat(batches).flatten(1).double().numpy() for batches in self._images(run, opened))
        return opened.probed(train, test)

    def index(self, run: StudyRun) -> dali_cr.Index:
        """Return the index of the training cases of a run, in the order of fine-tuning."""
        return self._open(run).train

    def _open(self, run: StudyRun) -> _Opened:
        config = tyro.cli(Classify, args=self.queue.options(run), config=(tyro.conf.FlagCreatePairsOff,))
        init = read_init(Path(config.init)) if run.uses else None
        view = config.view(init)
        kept = init.recipe.get("normalize", view.normalize) if init else view.normalize
        if not isinstance(kept, dict):
            # An encoder sees images as in its pre-training. Several data sets may have several normalisations.
            view = replace(view, normalize=tuple(kept) if isinstance(kept, list) else kept)
        # From the folders given now: the stored index may be of another machine.
        task, labelled = open_task(config, open_index(config), load_split(self.queue.split(run.data)), view)
        train, test = labelled.parts["train"], labelled.parts["test"]
        return _Opened(config=config, init=init, view=view, task=task, train=train, test=test)

    def _images(self, run: StudyRun, opened: _Opened) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the preprocessed images of train and test in batches."""
        # Tasks of the same data may have labels of different cases.
        key = run.data, opened.view, tuple(case.name for index in (opened.train, opened.test) for case in index.cases)
        if key not in self._read:
            self._read[key] = read_batches(opened.train, opened.view), read_batches(opened.test, opened.view)
        return self._read[key]
