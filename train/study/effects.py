"""Effects in a study: paired differences of each initialisation to random weights, over cases and seeds."""

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
    """The runs of one task, initialisation, length and budget, one per seed, in the order of the seeds."""

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
        """The mean score over all runs."""
        return float(np.mean(self.means))

    @property
    def std(self) -> float | None:
        """Standard deviation between runs; None for a single run."""
        return float(np.std(self.means, ddof=1)) if len(self.means) > 1 else None

    @property
    def cases(self) -> int:
        """Number of labelled cases of each run."""
        return int(self.reports[0]["cases"])


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The difference of an initialisation to the one that it is compared with; positive is better."""

    group: Group
    against: Arm
    interval: Interval
    p_tasks: float
    """Holm-corrected over the tasks, for the same initialisation, length and rank of the budget."""
    p_all: float
    """Holm-corrected over all comparisons of the study."""

    @property
    def verdict(self) -> str:
        """The conclusion at a significance level of 0.05 over all comparisons of the study."""
        if self.p_all >= 0.05:
            return "no difference"
        return "better" if self.interval.mean > 0 else "worse"


def gather(queue: RunQueue, runs: Sequence[StudyRun]) -> list[Group]:
    """Return the test runs with their scores, grouped, in the order of the study's file."""
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
    """Return the effect of every pre-training, with p-values corrected for multiple comparisons."""
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
    """Return the rank of a group's budget among those of its task, since tasks may have different budgets."""
    return study.budgets(group.task).index(group.budget)
