"""Declaration of a study: tasks, initialisations, label budgets, seeds, and the protocol that all runs share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ..methods.tiles.config import TILE_PRETEXTS

Budget = int | Literal["all"]
Options = dict[str, Any]
"""Options of a command by name (with dashes or underscores), with values as in the file."""

METRICS = {"segment": "dice", "localize": "face_mm", "classify": "correct"}
"""Default metric of each kind of task."""


def lower_is_better(metric: str) -> bool:
    """Return whether lower values of a metric are better."""
    return metric.endswith("_mm") or metric in ("present_but_not_predicted", "missed")


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Choice of the learning rate of each task and initialisation, on val."""

    seed: int
    """Seed of the labelled cases, the new weights and the samples; must not be one of the protocol's seeds."""
    budget: Budget
    steps: str
    """Key of `Protocol.steps`."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Settings that all tasks share."""

    budgets: tuple[Budget, ...]
    """Numbers of labelled cases."""
    seeds: tuple[int, ...]
    """Each seed draws the order of the labelled cases, the new weights and the samples."""
    pretrain_seeds: tuple[int, ...] = (0,)
    """Runs of the i-th of `seeds` are initialised from pre-training with the i-th of these, cyclically."""
    transfers: tuple[str, ...] = ("encoder",)
    """Weights that segmentation transfers; other tasks transfer the encoder, as do initialisations without a
    decoder."""
    steps: dict[str, int]
    """Numbers of steps by name, the same for every budget and initialisation."""
    rates: tuple[float, ...]
    """Learning rates to choose from. A single one is used without tuning."""
    tuning: Tuning
    extend: int = 0
    """If the best learning rate is the lowest or highest one, how many more to try beyond it, by the same factor."""
    curve: int = 1
    """Number of measurements on val of each fine-tuning run, at equal distances, the last one of the last weights. With
    1 there are none, and no learning curves."""
    compact: bool = False
    """Keep only the encoder of a finished pre-training run, as float16, so that a study can move between machines."""
    resamples: int = 10_000
    """Bootstrap resamples."""


@dataclass(frozen=True, kw_only=True)
class Primary:
    """The primary comparisons: one measure at one label budget, a single family of Holm's correction.

    All other comparisons of the study are secondary, and a second family.
    """

    measure: Literal["frozen", "finetuned"]
    """Accuracy of a linear probe of the frozen encoder (see `Probe`), or the metric after fine-tuning."""
    task: str
    budget: Budget
    pairs: tuple[tuple[str, str], ...]
    """Initialisations to compare: the first minus the second."""
    steps: str = ""
    """Key of the numbers of steps, for fine-tuning."""
    transfer: str = "encoder"
    """Weights that are transferred, for fine-tuning."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Linear probes of frozen encoders, for classification tasks with a single label."""

    budgets: tuple[int, ...]
    """Numbers of labelled cases of a draw, the same for each class as far as possible."""
    draws: int = 20
    """Draws of labelled cases, the same for every initialisation and pre-training seed."""
    seed: int = 0
    """Seed of the draws."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Images and their split. Paths are relative to the folder given on the command line."""

    images: tuple[str, ...] = (".",)
    scan: Options = field(default_factory=dict)
    """Arguments of `dali_cr.scan`: pattern, layout, channels, include, exclude, fourth_axis."""
    subject: str | None = None
    """Regular expression that finds the subject in a case's name."""
    fractions: tuple[float, float, float] | None = None
    """Fractions of a random split: train, val, test."""
    split_seed: int = 0
    table: str | None = None
    """CSV file with the split, in place of `fractions`; its first column names the case."""
    column: str | None = None
    """Column of `table` with the part of each case."""
    parts: dict[str, list[str]] = field(default_factory=dict)
    """Values of `column` for train (in earlier files: pool), val and test."""
    options: Options = field(default_factory=dict)
    """Options of pre-training and fine-tuning, such as the network's sizes and the intensity normalisation."""
    pretrain: Options = field(default_factory=dict)
    """Options of pre-training. Those that a pretext lacks, such as `patch` with the pretext position, are not given to
    it."""


@dataclass(frozen=True, kw_only=True)
class StudyTask:
    """A fine-tuning task."""

    kind: Literal["segment", "localize", "classify"]
    data: str
    labels: str
    metric: str = ""
    """A column of scores.csv, or correct or log_score; `METRICS` has the defaults."""
    options: Options = field(default_factory=dict)
    """Options of fine-tuning."""
    budgets: tuple[Budget, ...] = ()
    """In place of the protocol's."""
    steps: dict[str, int] = field(default_factory=dict)
    """In place of the protocol's."""
    tuning_budget: Budget | None = None
    """In place of the protocol's."""
    inits: tuple[str, ...] = ()
    """Initialisations to fine-tune; by default all."""


@dataclass(frozen=True, kw_only=True)
class Init:
    """An initialisation: random weights, or the weights of a pre-training command."""

    pretrain: Options | None = None
    """Options of pre-training, which override those of the data; absent for random weights."""
    finetune: Options = field(default_factory=dict)
    """Options of fine-tuning, which override those of the task."""
    options: Options = field(default_factory=dict)
    """Options of both, for example another network."""
    against: str = "random"
    """The initialisation to compare with."""

    @property
    def pretext(self) -> str:
        """Pretext of its pre-training; empty for PCRLv2 and for random weights."""
        options = self.options | (self.pretrain or {})
        plain = self.pretrain is not None and options.get("recipe", "restoration") == "restoration"
        return str(options.get("pretext", "swap")) if plain else ""

    @property
    def encoder_only(self) -> bool:
        """Whether its pre-training trains no decoder, so that only the encoder can be transferred."""
        return self.pretext in TILE_PRETEXTS


@dataclass(frozen=True, kw_only=True)
class Study:
    """The content of a study's file."""

    name: str
    digest: str
    """SHA-256 of the file's bytes."""
    protocol: Protocol
    finetune: Options
    """Options of every fine-tuning run."""
    data: dict[str, Data]
    tasks: dict[str, StudyTask]
    inits: dict[str, Init]
    primary: Primary | None = None
    probe: Probe | None = None

    def inits_of(self, task: str) -> dict[str, Init]:
        """Return the initialisations that a task is fine-tuned from."""
        chosen = self.tasks[task].inits
        return {name: init for name, init in self.inits.items() if not chosen or name in chosen}

    def budgets(self, task: str) -> tuple[Budget, ...]:
        """Return the label budgets of a task."""
        return self.tasks[task].budgets or self.protocol.budgets

    def steps(self, task: str) -> dict[str, int]:
        """Return the numbers of steps of a task's runs, by name."""
        return self.tasks[task].steps or self.protocol.steps

    def metric(self, task: str) -> str:
        """Return the metric of a task."""
        return self.tasks[task].metric or METRICS[self.tasks[task].kind]
