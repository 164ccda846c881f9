"""Baselines of fine-tuning: a linear one, and one that ignores the image, with the same labelled cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import dali_cr

from ...finetune import first_cases
from ..declared import Budget
from ..running.jobs import RunQueue
from ..runs import StudyRun, probing, single_label_tasks
from .features import Encoders
from .frozen import COMPONENTS, LINEAR, MAJORITY, linear, most_frequent, reduced
from .masks import open_masks, score_masks

if TYPE_CHECKING:
    from ..effects import Group

VOXELWISE = "most frequent class of each voxel"
IGNORES_IMAGE = "ignores the image"
"""Name of the baseline that fine-tuning itself measures, such as the mean box of the labelled cases."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Scores of a baseline with the labelled cases of the runs of a task and budget."""

    task: str
    budget: Budget
    name: str
    by_seed: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(np.mean(self.by_seed))

    @property
    def std(self) -> float | None:
        """Standard deviation between seeds; None for a single one."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None


def finetuning_baselines(queue: RunQueue, groups: Sequence[Group]) -> list[Baseline]:
    """Return the baselines of all tasks and budgets.

    For classification with a single label and for the Dice of images on one grid: ridge regression on principal
    components, and the most frequent class, of a case or of each voxel. For other tasks: what the runs report about a
    baseline of the study's metric, if anything.
    """
    encoders, single, found = Encoders(queue), single_label_tasks(queue.study), []
    for task in queue.study.tasks:
        if task in single and queue.study.metric(task) == "correct":
            found += list(_classify(encoders, task, groups))
        elif queue.study.tasks[task].kind == "segment" and queue.study.metric(task) == "dice":
            found += list(_segment(queue, task, groups))
        else:
            found += list(_reported(queue, task, groups))
    return found


def _segment(queue: RunQueue, task: str, groups: Sequence[Group]) -> Iterator[Baseline]:
    study = queue.study
    first = next(name for name, init in study.inits_of(task).items() if init.pretrain is None)
    data = open_masks(queue, probing(study, task, first, study.protocol.seeds[0]), COMPONENTS)
    if data is None:
        return
    for budget in study.budgets(task):
        group = next(one for one in groups if (one.task, one.budget, one.arm.init) == (task, budget, first))
        scores = [score_masks(data, _places(run, data.train)) for run in group.runs]
        for name, own in zip((VOXELWISE, LINEAR), zip(*scores, strict=True), strict=True):
            yield Baseline(task=task, budget=budget, name=name, by_seed=own)


def _classify(encoders: Encoders, task: str, groups: Sequence[Group]) -> Iterator[Baseline]:
    study = encoders.queue.study
    first = next(name for name, init in study.inits_of(task).items() if init.pretrain is None)
    known, asked = encoders.voxels(probing(study, task, first, study.protocol.seeds[0]))
    components, train = reduced(known, asked), encoders.index(probing(study, task, first, study.protocol.seeds[0]))
    for budget in study.budgets(task):
        group = next(one for one in groups if (one.task, one.budget, one.arm.init) == (task, budget, first))
        drawn = [np.array(_places(run, train)) for run in group.runs]
        scores = [float(linear(*components, places).mean()) for places in drawn]
        yield Baseline(task=task, budget=budget, name=LINEAR, by_seed=tuple(scores))
        scores = [float(most_frequent(known, asked, places).mean()) for places in drawn]
        yield Baseline(task=task, budget=budget, name=MAJORITY, by_seed=tuple(scores))


def _places(run: StudyRun, train: dali_cr.Index) -> list[int]:
    """Return the places of the labelled cases of a run among those of train."""
    count = None if run.budget == "all" else run.budget
    names = {case.name for case in first_cases(train, count, run.options["order-seed"]).cases}
    return [place for place, case in enumerate(train.cases) if case.name in names]


def _reported(queue: RunQueue, task: str, groups: Sequence[Group]) -> Iterator[Baseline]:
    name = f"baseline_{queue.study.metric(task)}"
    for budget in queue.study.budgets(task):
        group = next(one for one in groups if (one.task, one.budget) == (task, budget))
        values = [report[name] for report in group.reports if report.get(name) is not None]
        if values:
            yield Baseline(task=task, budget=budget, name=IGNORES_IMAGE, by_seed=tuple(values))
