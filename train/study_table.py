"""What a study is to find out, as its file declares it: tasks, beginnings, budgets, seeds, and the protocol of all."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Budget = int | Literal["all"]
Options = dict[str, Any]
"""Of a command: from a name, dashes or underscores, to its value as it stands in the file."""

METRICS = {"segment": "dice", "localize": "wall_mm", "classify": "correct"}
"""What runs of a task are compared by, where its entry names no metric."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]*")
"""Of what becomes part of a folder's name, between dashes."""


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
    """Of `dali_cr.scan`: pattern, channels, include, exclude, fourth_axis."""
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
class Task:
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
    tasks: dict[str, Task]
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


def _make(kind: type, where: str, content: Any) -> Any:
    """Make a dataclass of a table of the file; lists become tuples."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{where}: wanted a table, got {content!r}")
    known = {one.name: one for one in fields(kind)}
    if strange := set(content) - set(known):
        raise ValueError(f"{where}: wanted some of {', '.join(known)}; got {min(strange)}")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    try:
        return kind(**plain)
    except TypeError as error:
        raise ValueError(f"{where}: {str(error).split('() ')[-1]}") from error


def read_study(path: Path) -> Study:
    """Read a study's file.

    Raises
    ------
    ValueError
        If it declares what cannot be run.
    """
    try:
        text = path.read_bytes()
        content = tomllib.loads(text.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"study: wanted a TOML file, {path} cannot be read: {error}") from error
    if strange := set(content) - {"protocol", "finetune", "data", "tasks", "inits"}:
        raise ValueError(f"study: wanted protocol, finetune, data, tasks and inits in {path}, got {min(strange)}")
    for table in ("protocol", "data", "tasks", "inits"):
        if not content.get(table):
            raise ValueError(f"study: wanted [{table}] in {path}, it is missing")
    protocol = dict(content["protocol"])
    protocol["tuning"] = _make(Tuning, "protocol.tuning", protocol.get("tuning", {}))
    study = Study(
        name=path.stem,
        digest=hashlib.sha256(text).hexdigest(),
        protocol=_make(Protocol, "protocol", protocol),
        finetune=content.get("finetune", {}),
        data={name: _make(Data, f"data.{name}", one) for name, one in content["data"].items()},
        tasks={name: _make(Task, f"tasks.{name}", one) for name, one in content["tasks"].items()},
        inits={name: _make(Init, f"inits.{name}", one) for name, one in content["inits"].items()},
    )
    _check(study)
    return study


def _check(study: Study) -> None:
    """Refuse what can be seen to be wrong without any data."""
    protocol = study.protocol
    for name in (*study.data, *study.tasks, *study.inits, *protocol.steps):
        if not _NAME.fullmatch(name):
            raise ValueError(f"study: wanted names of letters, digits, dots and underscores, got {name!r}")
    _check_lists(protocol)
    if protocol.tuning.seed in protocol.seeds:
        raise ValueError(f"protocol.tuning: wanted a seed that tests nothing, {protocol.tuning.seed} is in seeds")
    if set(protocol.transfers) - {"encoder", "encoder+decoder"}:
        raise ValueError(f"protocol.transfers: wanted encoder, encoder+decoder; got {', '.join(protocol.transfers)}")
    for name, data in study.data.items():
        whole = all((data.table, data.column, set(data.parts) == {"pool", "val", "test"}))
        if (data.fractions is None) != whole:
            raise ValueError(f"data.{name}: wanted fractions, or table, column and parts (pool, val, test), not both")
    for name, task in study.tasks.items():
        if task.kind not in METRICS:
            raise ValueError(f"tasks.{name}: wanted the kind {', '.join(METRICS)}; got {task.kind!r}")
        if task.data not in study.data:
            raise ValueError(f"tasks.{name}: wanted data of {', '.join(study.data)}; got {task.data!r}")
        if protocol.tuning.steps not in study.steps(name):
            raise ValueError(f"tasks.{name}: wanted the steps of tuning, {protocol.tuning.steps}, among its own")
        _check_budgets(f"tasks.{name}.budgets", study.budgets(name))
    for name, init in study.inits.items():
        baseline = study.inits.get(init.against)
        if init.pretrain is not None and (baseline is None or baseline.pretrain is not None):
            raise ValueError(f"inits.{name}: wanted random weights to compare with, {init.against!r} are none")


def _check_lists(protocol: Protocol) -> None:
    for name in ("seeds", "pretrain_seeds", "transfers", "steps", "rates"):
        values: Sequence[Any] = list(getattr(protocol, name))
        if not values or len(set(values)) < len(values):
            raise ValueError(f"protocol.{name}: wanted one or more, each once, got {values}")
    _check_budgets("protocol.budgets", protocol.budgets)
    _check_budgets("protocol.tuning.budget", (protocol.tuning.budget,))
    if min(protocol.steps.values()) < 1 or protocol.resamples < 100:
        raise ValueError("protocol: wanted steps of at least 1 and at least 100 resamples")


def _check_budgets(where: str, budgets: Sequence[Budget]) -> None:
    good = all(one == "all" or (isinstance(one, int) and one > 0) for one in budgets)
    if not budgets or not good or len(set(budgets)) < len(budgets):
        raise ValueError(f'{where}: wanted counts of labelled cases, or "all", each once; got {list(budgets)}')
