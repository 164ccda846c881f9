"""Effects in a study: paired differences between initialisations, over cases, seeds and pre-training runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np

from ..report.intervals import Interval, bootstrap_interval, holm, paired_difference
from .declared import Budget, Study, lower_is_better
from .probe.frozen import Frozen
from .running.jobs import RunQueue
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
    """The difference of an initialisation to another one; positive is better."""

    measure: Literal["frozen", "finetuned"]
    task: str
    init: str
    """Label of the initialisation, with the transferred weights."""
    against: str
    budget: Budget
    length: str
    """Key of the numbers of steps; empty for frozen encoders."""
    interval: Interval
    primary: bool
    p_holm: float
    """Holm-corrected over the primary, or over all secondary comparisons of the study."""

    @property
    def verdict(self) -> str:
        """The conclusion at a significance level of 0.05 over the family of the comparison."""
        if self.p_holm >= 0.05:
            return "none detected"
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


def compare(study: Study, groups: Sequence[Group], frozen: Sequence[Frozen] = ()) -> list[Effect]:
    """Return the primary effects, then all others, each family with p-values corrected for multiple comparisons."""
    found = [*_compare_finetuned(study, groups), *_compare_frozen(study, frozen)]
    corrected = []
    for primary in (True, False):
        family = [effect for effect in found if effect.primary == primary]
        raised = holm([effect.interval.p for effect in family])
        corrected += [replace(effect, p_holm=p) for effect, p in zip(family, raised, strict=True)]
    return corrected


def _compare_finetuned(study: Study, groups: Sequence[Group]) -> Iterator[Effect]:
    """Yield the effects of every pre-training, and the primary ones."""
    by_place = {(group.task, group.length, group.budget, group.arm): group for group in groups}
    for (task, length, budget, arm), group in by_place.items():
        init, primary = study.inits[arm.init], study.primary
        chosen = (primary.measure, primary.task, primary.steps, primary.budget) if primary else ()
        here = chosen == ("finetuned", task, length, budget) and primary and arm.transfer in (None, primary.transfer)
        pairs = [other for one, other in primary.pairs if one == arm.init] if here and primary else []
        usual = [init.against] if init.pretrain is not None else []
        for name in dict.fromkeys([*pairs, *usual]):
            transfer = arm.transfer or (primary.transfer if primary else None)
            against = Arm(name, None if study.inits[name].pretrain is None else transfer)
            other = by_place[task, length, budget, against]
            sign = -1 if lower_is_better(study.metric(task)) else 1
            differences = sign * paired_difference(group.scores, other.scores)
            trained = group if init.pretrain is not None else other
            clusters = [run.pretrain_seed for run in trained.runs]
            interval = bootstrap_interval(
                differences, clusters=clusters if len(set(clusters)) > 1 else None, resamples=study.protocol.resamples
            )
            about: dict[str, Any] = {"task": task, "length": length, "budget": budget, "primary": name in pairs}
            about |= {"init": arm.label, "against": against.label, "interval": interval, "p_holm": 1.0}
            yield Effect(measure="finetuned", **about)


def _compare_frozen(study: Study, frozen: Sequence[Frozen]) -> Iterator[Effect]:
    """Yield the effects of every pre-training on frozen features, and those of the primary pairs at every budget."""
    by_place = {(one.task, one.budget, one.init): one for one in frozen if one.pretrain_seeds}
    primary = study.primary if study.primary and study.primary.measure == "frozen" else None
    for (task, budget, name), one in by_place.items():
        pairs = [other for first, other in primary.pairs if first == name] if primary and primary.task == task else []
        usual = [study.inits[name].against] if study.inits[name].pretrain is not None else []
        for against in dict.fromkeys([*pairs, *usual]):
            differences = one.correct - by_place[task, budget, against].correct
            interval = bootstrap_interval(differences, resamples=study.protocol.resamples)
            first = primary is not None and against in pairs and budget == primary.budget
            about: dict[str, Any] = {"task": task, "length": "", "budget": budget, "primary": first}
            about |= {"init": name, "against": against, "interval": interval, "p_holm": 1.0}
            yield Effect(measure="frozen", **about)
