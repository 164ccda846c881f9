"""The runs that a study is made of, each with its command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from .declared import Budget, Options, Study

Phase = Literal["pretrain", "tune", "test"]

DATA = "{data}"
"""In an option of a study's file: the folder of the data."""


@dataclass(frozen=True, order=True)
class Arm:
    """A way to begin: weights, and how much of them is taken over."""

    init: str
    transfer: str | None = None
    """None for random weights."""

    @property
    def label(self) -> str:
        """What tables and plots call it."""
        return f"{self.init}, {self.transfer}" if self.transfer else self.init

    @property
    def folder(self) -> str:
        """Its part of a folder's name."""
        return f"{self.init}-{self.transfer}" if self.transfer else self.init


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """One run."""

    name: str
    """Its folder, in that of the study."""
    phase: Phase
    command: tuple[str, ...]
    """A command of `train`, and its subcommand."""
    data: str
    options: Options
    """Paths as in the study's file: `DATA` for the data's folder."""
    uses: str | None = None
    """The pre-training run whose weights it begins with."""
    task: str = ""
    arm: Arm = Arm("")
    budget: Budget = "all"
    length: str = ""
    seed: int = 0
    pretrain_seed: int | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What is written down of it: another of the same name is another study's."""
        # As releases before 0.2 wrote it: their studies go on.
        return {"command": [f"train.{self.command[0]}", *self.command[1:]], "options": self.options, "uses": self.uses}


def arms_of(study: Study, task: str) -> list[Arm]:
    """Return the ways to begin a task, in the order of the file."""
    transfers = study.protocol.transfers if study.tasks[task].kind == "segment" else ("encoder",)
    return [
        arm
        for name, init in study.inits.items()
        for arm in ([Arm(name)] if init.pretrain is None else [Arm(name, transfer) for transfer in transfers])
    ]


def pretraining(study: Study) -> list[StudyRun]:
    """Return the pre-training runs: one for each beginning, data and seed."""
    used = [name for name in study.data if any(task.data == name for task in study.tasks.values())]
    runs = []
    for data, (name, init), seed in product(used, study.inits.items(), study.protocol.pretrain_seeds):
        if init.pretrain is not None:
            own = study.data[data]
            options = merge(own.options, own.pretrain, init.options, init.pretrain, {"part": "pool", "seed": seed})
            runs.append(
                StudyRun(
                    name=_pretrained(data, name, seed),
                    phase="pretrain",
                    command=("pretrain",),
                    data=data,
                    options=options,
                    arm=Arm(name),
                    seed=seed,
                )
            )
    return runs


def tuning(study: Study) -> list[StudyRun]:
    """Return the runs by which learning rates are chosen; none where there is no choice."""
    protocol = study.protocol
    if len(protocol.rates) == 1:
        return []
    runs = []
    for task, entry in study.tasks.items():
        budget = entry.tuning_budget or protocol.tuning.budget
        for arm, rate in product(arms_of(study, task), protocol.rates):
            name = f"tune/{task}/{arm.folder}-{rate:g}"
            fixed = {"task": task, "arm": arm, "budget": budget, "length": protocol.tuning.steps}
            fixed |= {"seed": protocol.tuning.seed, "pretrain_seed": protocol.pretrain_seeds[0]}
            runs.append(_finetuning(study, name, "tune", rate, **fixed))
    return runs


def testing(study: Study, rates: Mapping[tuple[str, Arm], float]) -> list[StudyRun]:
    """Return the runs that are tested, each with the learning rate of its task and beginning."""
    runs = []
    for task in study.tasks:
        for arm, length, budget in product(arms_of(study, task), study.steps(task), study.budgets(task)):
            for place, seed in enumerate(study.protocol.seeds):
                turn = study.protocol.pretrain_seeds[place % len(study.protocol.pretrain_seeds)]
                name = f"test/{task}/{arm.folder}-{length}-{budget}-s{seed}"
                fixed = {"task": task, "arm": arm, "budget": budget, "length": length, "seed": seed}
                runs.append(_finetuning(study, name, "test", rates[task, arm], **fixed, pretrain_seed=turn))
    return runs


def _pretrained(data: str, init: str, seed: int) -> str:
    return f"pretrain/{data}/{init}-p{seed}"


def _finetuning(study: Study, name: str, phase: Phase, rate: float, **what: Any) -> StudyRun:
    """Return a fine-tuning run; `what` are fields of `StudyRun`."""
    task, arm = study.tasks[what["task"]], what["arm"]
    init = study.inits[arm.init]
    if init.pretrain is None:
        what["pretrain_seed"] = None
    steps = study.steps(what["task"])[what["length"]]
    fixed: Options = {"labels": f"{DATA}/{task.labels}", "steps": steps, "lr": rate, "seed": what["seed"]}
    fixed |= {"order-seed": what["seed"], "score": "val" if phase == "tune" else "test"}
    # Looking at val on the way costs time and decides nothing: the last weights are scored.
    fixed["evaluate-every"] = steps
    if what["budget"] != "all":
        fixed["cases"] = what["budget"]
    if arm.transfer:
        fixed["transfer"] = arm.transfer
    uses = _pretrained(task.data, arm.init, what["pretrain_seed"]) if arm.transfer else None
    options = merge(study.finetune, study.data[task.data].options, task.options, init.options, init.finetune, fixed)
    return StudyRun(
        name=name,
        phase=phase,
        command=("finetune", task.kind),
        data=task.data,
        options=options,
        uses=uses,
        **what,
    )


def merge(*tables: Options) -> Options:
    """Return the options of all tables, the later over the earlier, names with dashes."""
    return {name.replace("_", "-"): value for table in tables for name, value in table.items()}


def arguments(options: Options, data: Path) -> Iterator[str]:
    """Yield options as a command line has them."""
    for name, value in options.items():
        if value is False:
            continue
        yield f"--{name}"
        if value is not True:
            values = value if isinstance(value, list | tuple) else [value]
            yield from (str(one).replace(DATA, str(data)) for one in values)
