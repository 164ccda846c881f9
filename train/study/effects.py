"""What differs from what in a study: runs of every seed together, and each beginning against random weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..report.intervals import Interval, bootstrap_interval, holm, paired_difference
from .declared import Budget, Study, lower_is_better
from .jobs import RunQueue
from .runs import Arm, StudyRun, arms_of
from .scores import case_scores


@dataclass(frozen=True, kw_only=True)
class Group:
    """The runs of one task, beginning, length and budget: one a seed, in the order of the seeds."""

    task: str
    arm: Arm
    length: str
    budget: Budget
    runs: tuple[StudyRun, ...]
    scores: tuple[dict[str, float], ...]
    reports: tuple[dict[str, Any], ...]

    @property
    def means(self) -> list[float]:
        """The mean score of each run."""
        return [float(np.mean(list(one.values()))) for one in self.scores]

    @property
    def mean(self) -> float:
        """Of all runs."""
        return float(np.mean(self.means))

    @property
    def spread(self) -> float | None:
        """Standard deviation between runs, None of a single one."""
        return float(np.std(self.means, ddof=1)) if len(self.means) > 1 else None

    @property
    def cases(self) -> int:
        """Labelled cases that each learnt from."""
        return int(self.reports[0]["cases"])


@dataclass(frozen=True, kw_only=True)
class Effect:
    """By how much a beginning is better than the one it is compared with; positive is better."""

    group: Group
    against: Arm
    interval: Interval
    p_tasks: float
    """Raised after Holm over the tasks, of the same beginning, length and budget."""
    p_all: float
    """Raised after Holm over everything that the study compares."""

    @property
    def verdict(self) -> str:
        """What can be said at a level of 0.05 over everything that the study compares."""
        if self.p_all >= 0.05:
            return "no difference"
        return "better" if self.interval.mean > 0 else "worse"


def gather(queue: RunQueue, runs: Sequence[StudyRun]) -> list[Group]:
    """Return what the test runs reached, in the order of the study's file."""
    study, groups = queue.study, []
    for task in study.tasks:
        for length, budget, arm in product(study.steps(task), study.budgets(task), arms_of(study, task)):
            own = [r for r in runs if (r.task, r.length, r.budget, r.arm) == (task, length, budget, arm)]
            scores = [case_scores(queue.out(run) / "scores.csv", study.metric(task)) for run in own]
            reports = [json.loads((queue.out(run) / "report.json").read_text()) for run in own]
            group = Group(
                task=task,
                arm=arm,
                length=length,
                budget=budget,
                runs=tuple(own),
                scores=tuple(scores),
                reports=tuple(reports),
            )
            groups.append(group)
    return groups


def compare(study: Study, groups: Sequence[Group]) -> list[Effect]:
    """Return the effect of every pre-training, with p raised for how many were looked at."""
    by_place = {(group.task, group.length, group.budget, group.arm): group for group in groups}
    pairs = []
    for group in groups:
        init = study.inits[group.arm.init]
        if init.pretrain is not None:
            against = Arm(init.against)
            baseline = by_place[group.task, group.length, group.budget, against]
            sign = -1 if lower_is_better(study.metric(group.task)) else 1
            differences = sign * paired_difference(group.scores, baseline.scores)
            pairs.append((group, against, bootstrap_interval(differences, resamples=study.protocol.resamples)))
    families: dict[tuple[str, Any, Arm], list[int]] = {}
    for place, (group, _, _) in enumerate(pairs):
        families.setdefault((group.length, _rank(study, group), group.arm), []).append(place)
    over_all = holm([interval.p for _, _, interval in pairs])
    over_tasks = [0.0] * len(pairs)
    for places in families.values():
        raised = holm([pairs[place][2].p for place in places])
        for place, value in zip(places, raised, strict=True):
            over_tasks[place] = value
    return [
        Effect(group=group, against=against, interval=interval, p_tasks=over_tasks[place], p_all=over_all[place])
        for place, (group, against, interval) in enumerate(pairs)
    ]


def _rank(study: Study, group: Group) -> int:
    """Return which of its task's budgets a group has: tasks may have other counts, from the smallest to all."""
    return study.budgets(group.task).index(group.budget)
