"""Learning curves of fine-tuning: scores on val over the steps of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..declared import Budget
from ..effects import Group
from ..running.jobs import RunQueue

_LOGGED = {"correct": "accuracy"}
"""Metrics of single cases by the name of their mean in metrics.jsonl, where it differs."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Mean scores on val over the runs of a task, initialisation, length and budget."""

    task: str
    init: str
    length: str
    budget: Budget
    steps: tuple[int, ...]
    means: tuple[float, ...]


def learning_curves(queue: RunQueue, groups: Sequence[Group]) -> list[Curve]:
    """Return the learning curve of each group of runs; none if the study has no measurements.

    Runs of earlier versions have no value at their last step, and none of the log score.
    """
    return [_curve(queue, group) for group in groups] if queue.study.protocol.curve > 1 else []


def _curve(queue: RunQueue, group: Group) -> Curve:
    metric = queue.study.metric(group.task)
    name = f"val_{_LOGGED.get(metric, metric)}"
    by_step: dict[int, list[float]] = {}
    for run in group.runs:
        for line in (queue.out(run) / "metrics.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if entry.get(name) is not None:
                by_step.setdefault(entry["step"], []).append(entry[name])
    steps = tuple(step for step, values in sorted(by_step.items()) if len(values) == len(group.runs))
    means = tuple(float(np.mean(by_step[step])) for step in steps)
    return Curve(
        task=group.task, init=group.arm.label, length=group.length, budget=group.budget, steps=steps, means=means
    )
