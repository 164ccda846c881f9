"""What a study is to find out, as its file declares it: tasks, beginnings, budgets, seeds, and the protocol of all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Budget = int | Literal["all"]
Options = dict[str, Any]
"""Of a command: from a name, dashes or underscores, to its value as it stands in the file."""

METRICS = {"segment": "dice", "localize": "wall_mm", "classify": "correct"}
"""What runs of a task are compared by, where its entry names no metric."""


def lower_is_better(metric: str) -> bool:
    """Tell whether a metric is an error."""
    return metric.endswith("_mm") or metric == "missed"


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How the learning rate of each task and beginning is chosen, on val."""

    seed: int
    """Of the labelled cases, the new weights and the samples; not one of the test's."""
    budget: Budget
    steps: str
    """A key of the protocol's steps."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is the same for all tasks."""

    budgets: tuple[Budget, ...]
    """Counts of labelled cases."""
    seeds: tuple[int, ...]
    """Each draws the order of the labelled cases, the new weights and the samples."""
    pretrain_seeds: tuple[int, ...] = (0,)
    """The i-th of `seeds` begins from the weights of the i-th of these, in turn."""
    transfers: tuple[str, ...] = ("encoder",)
    """Of segmentation; other tasks take over the encoder."""
    steps: dict[str, int]
    """By name, the same for every budget and beginning."""
    rates: tuple[float, ...]
    """Learning rates to choose from. With a single one nothing is tuned."""
    tuning: Tuning
    resamples: int = 10_000
    """Of the bootstrap."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Images and their split. Paths are relative to a folder that the command line names."""

    images: tuple[str, ...] = (".",)
    scan: Options = field(default_factory=dict)
    """Of `dali_cr.scan`: pattern, layout, channels, include, exclude, fourth_axis."""
    subject: str | None = None
    """A regular expression that finds the subject in a case's name."""
    fractions: tuple[float, float, float] | None = None
    """Of a split drawn at random: pool, val, test."""
    split_seed: int = 0
    table: str | None = None
    """Or a CSV file whose first column names the case,"""
    column: str | None = None
    """whose column `column` names its part,"""
    parts: dict[str, list[str]] = field(default_factory=dict)
    """by these words for pool, val and test."""
    options: Options = field(default_factory=dict)
    """Of pre-training and of fine-tuning: what makes the network, how intensities are scaled."""
    pretrain: Options = field(default_factory=dict)
    """Of pre-training."""


@dataclass(frozen=True, kw_only=True)
class StudyTask:
    """What is learnt from labelled cases."""

    kind: Literal["segment", "localize", "classify"]
    data: str
    labels: str
    metric: str = ""
    """A column of scores.csv, correct or log_score; `METRICS` if not given."""
    options: Options = field(default_factory=dict)
    """Of fine-tuning."""
    budgets: tuple[Budget, ...] = ()
    """In place of the protocol's."""
    steps: dict[str, int] = field(default_factory=dict)
    """In place of the protocol's."""
    tuning_budget: Budget | None = None
    """In place of the protocol's."""


@dataclass(frozen=True, kw_only=True)
class Init:
    """A beginning: random weights, or those of a pre-training command."""

    pretrain: Options | None = None
    """Of pre-training, over those of the data; none for random weights."""
    finetune: Options = field(default_factory=dict)
    """Of fine-tuning, over those of the task."""
    options: Options = field(default_factory=dict)
    """Of both: another network, say."""
    against: str = "random"
    """The beginning that it is compared with."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """All of a file."""

    name: str
    digest: str
    """SHA-256 of the file."""
    protocol: Protocol
    finetune: Options
    """Of every fine-tuning run."""
    data: dict[str, Data]
    tasks: dict[str, StudyTask]
    inits: dict[str, Init]

    def budgets(self, task: str) -> tuple[Budget, ...]:
        """Return the counts of labelled cases of a task."""
        return self.tasks[task].budgets or self.protocol.budgets

    def steps(self, task: str) -> dict[str, int]:
        """Return the lengths of a task's runs, by name."""
        return self.tasks[task].steps or self.protocol.steps

    def metric(self, task: str) -> str:
        """Return what runs of a task are compared by."""
        return self.tasks[task].metric or METRICS[self.tasks[task].kind]
