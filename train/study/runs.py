"""The runs of a study, each with the options of its command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from ..methods.tiles.config import lacks
from .declared import Budget, Options, Study

Phase = Literal["pretrain", "tune", "test"]

DATA = "{data}"
"""Placeholder for the data's folder in options of a study's file."""


@dataclass(frozen=True, order=True)
class Arm:
    """An initialisation of fine-tuning: the weights, and the part of the network that is transferred."""

    init: str
    transfer: str | None = None
    """None for random weights."""

    @property
    def label(self) -> str:
        """Its name in tables and plots."""
        return f"{self.init}, {self.transfer}" if self.transfer else self.init

    @property
    def folder(self) -> str:
        """Its part of a folder's name."""
        return f"{self.init}-{self.transfer}" if self.transfer else self.init


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """One run."""

    name: str
    """Its folder, relative to that of the study."""
    phase: Phase
    command: tuple[str, ...]
    """A command of `train` and its subcommand."""
    data: str
    options: Options
    """Options with paths as in the study's file: `DATA` stands for the data's folder."""
    uses: str | None = None
    """The pre-training run that it is initialised from."""
    task: str = ""
    arm: Arm = Arm("")
    budget: Budget = "all"
    length: str = ""
    seed: int = 0
    pretrain_seed: int | None = None

    @property
    def record(self) -> dict[str, Any]:
        """Its stored form, by which a run of the same name but other options is recognised."""
        # In the format of releases before 0.2, so that their studies can be continued.
        return {"command": [f"train.{self.command[0]}", *self.command[1:]], "options": self.options, "uses": self.uses}


def arms_of(study: Study, task: str) -> list[Arm]:
    """Return the initialisations of a task, in the order of the file."""
    arms = []
    for name, init in study.inits_of(task).items():
        both = study.tasks[task].kind == "segment" and not init.encoder_only
        transfers = study.protocol.transfers if both else ("encoder",)
        arms += [Arm(name)] if init.pretrain is None else [Arm(name, transfer) for transfer in transfers]
    return arms


def pretraining(study: Study) -> list[StudyRun]:
    """Return the pre-training runs, one for each initialisation, data set and seed."""
    used = [name for name in study.data if any(task.data == name for task in study.tasks.values())]
    runs = []
    for data, (name, init), seed in product(used, study.inits.items(), study.protocol.pretrain_seeds):
        if init.pretrain is not None:
            own = study.data[data]
            # "pool" is an earlier name of train; stored notes of runs in progress have it.
            given = {key: value for key, value in own.pretrain.items() if not lacks(init.pretext, _plain(key))}
            options = merge(own.options, given, init.options, init.pretrain, {"part": "pool", "seed": seed})
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


Rates = Mapping[tuple[str, Arm], Sequence[float]]
"""Learning rates by task and initialisation."""


def tuning(study: Study, more: Rates | None = None) -> list[StudyRun]:
    """Return the tuning runs, by which learning rates are chosen; none if there is a single rate.

    Parameters
    ----------
    study : Study
    more : mapping, optional
        Learning rates to try besides those of the protocol.
    """
    protocol = study.protocol
    if len(protocol.rates) == 1:
        return []
    runs = []
    for task, entry in study.tasks.items():
        budget = entry.tuning_budget or protocol.tuning.budget
        for arm in arms_of(study, task):
            for rate in [*protocol.rates, *(more or {}).get((task, arm), ())]:
                name = f"tune/{task}/{arm.folder}-{rate:g}"
                fixed = {"task": task, "arm": arm, "budget": budget, "length": protocol.tuning.steps}
                fixed |= {"seed": protocol.tuning.seed, "pretrain_seed": protocol.pretrain_seeds[0]}
                runs.append(_finetuning(study, name, "tune", rate, **fixed))
    return runs


def testing(study: Study, rates: Mapping[tuple[str, Arm], float]) -> list[StudyRun]:
    """Return the test runs of the tasks and initialisations that have a learning rate."""
    runs = []
    for task in study.tasks:
        arms = [arm for arm in arms_of(study, task) if (task, arm) in rates]
        for arm, length, budget in product(arms, study.steps(task), study.budgets(task)):
            for place, seed in enumerate(study.protocol.seeds):
                turn = study.protocol.pretrain_seeds[place % len(study.protocol.pretrain_seeds)]
                name = f"test/{task}/{arm.folder}-{length}-{budget}-s{seed}"
                fixed = {"task": task, "arm": arm, "budget": budget, "length": length, "seed": seed}
                runs.append(_finetuning(study, name, "test", rates[task, arm], **fixed, pretrain_seed=turn))
    return runs


def probing(study: Study, task: str, init: str, seed: int) -> StudyRun:
    """Return the run whose initial weights a probe of an initialisation and pre-training seed measures.

    It is not part of the study. Its own seed is the pre-training seed, which draws the weights without pre-training.
    """
    arm = Arm(init) if study.inits[init].pretrain is None else Arm(init, "encoder")
    fixed = {"task": task, "arm": arm, "budget": "all", "length": next(iter(study.steps(task)))}
    rate = study.protocol.rates[0]
    return _finetuning(
        study, f"probe/{task}/{arm.folder}-p{seed}", "test", rate, seed=seed, pretrain_seed=seed, **fixed
    )


def single_label_tasks(study: Study) -> list[str]:
    """Return the classification tasks with a single label, which probes measure."""
    return [
        name
        for name, task in study.tasks.items()
        if task.kind == "classify"
        and not any(probing(study, name, init, 0).options.get("multilabel") for init in study.inits)
    ]


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
    # Measurements on val serve the learning curves alone: the last weights are scored.
    fixed["evaluate-every"] = -(-steps // study.protocol.curve)
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


def _plain(name: str) -> str:
    return name.replace("-", "_")


def merge(*tables: Options) -> Options:
    """Merge option tables, later ones override earlier ones; names get dashes."""
    return {name.replace("_", "-"): value for table in tables for name, value in table.items()}


def arguments(options: Options, data: Path) -> Iterator[str]:
    """Yield the words of a command line for options."""
    for name, value in options.items():
        if value is False:
            continue
        yield f"--{name}"
        if value is not True:
            values = value if isinstance(value, list | tuple) else [value]
            yield from (str(one).replace(DATA, str(data)) for one in values)
