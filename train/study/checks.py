"""Checks of a study's declaration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .declared import METRICS, Budget, Primary, Protocol, Study
from .runs import Arm, arms_of, single_label_tasks

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]*")
"""Valid names: they become parts of folder names, separated by dashes."""


def check_study(study: Study) -> None:
    """Check the declaration, without the data.

    Raises
    ------
    ValueError
        If it declares something that cannot be run or compared.
    """
    protocol = study.protocol
    for name in (*study.data, *study.tasks, *study.inits, *protocol.steps):
        if not _NAME.fullmatch(name):
            raise ValueError(f"study: expected names of letters, digits, dots and underscores, got {name!r}")
    _check_lists(protocol)
    if protocol.tuning.seed in protocol.seeds:
        raise ValueError(
            f"protocol.tuning: expected a seed that is not in protocol.seeds, got {protocol.tuning.seed}, which is"
        )
    if set(protocol.transfers) - {"encoder", "encoder+decoder"}:
        raise ValueError(f"protocol.transfers: expected encoder, encoder+decoder; got {', '.join(protocol.transfers)}")
    _check_tasks(study)
    _check_inits(study)
    _check_compact(study)
    _check_probe(study)
    _check_primary(study)


def _check_tasks(study: Study) -> None:
    protocol = study.protocol
    for name, data in study.data.items():
        parts = {"train" if name == "pool" else name for name in data.parts}
        whole = all((data.table, data.column, len(data.parts) == 3, parts == {"train", "val", "test"}))
        if (data.fractions is None) != whole:
            raise ValueError(
                f"data.{name}: expected fractions, or table, column and parts (train, val, test), not both"
            )
    for name, task in study.tasks.items():
        if task.kind not in METRICS:
            raise ValueError(f"tasks.{name}: expected kind to be one of {', '.join(METRICS)}; got {task.kind!r}")
        if task.data not in study.data:
            raise ValueError(f"tasks.{name}: expected data to be one of {', '.join(study.data)}; got {task.data!r}")
        if protocol.tuning.steps not in study.steps(name):
            raise ValueError(
                f"tasks.{name}: expected steps to have the entry {protocol.tuning.steps}, which tuning uses; got "
                f"{', '.join(study.steps(name))}"
            )
        _check_budgets(f"tasks.{name}.budgets", study.budgets(name))
        if strange := set(task.inits) - set(study.inits):
            raise ValueError(f"tasks.{name}.inits: expected some of {', '.join(study.inits)}; got {min(strange)}")


def _check_inits(study: Study) -> None:
    for name, init in study.inits.items():
        if init.pretrain is None:
            continue
        baseline = study.inits.get(init.against)
        if baseline is None or baseline.pretrain is not None:
            raise ValueError(f"inits.{name}: expected against to name random weights, got {init.against!r}")
        for task in study.tasks:
            if name not in study.inits_of(task):
                continue
            if init.against not in study.inits_of(task):
                raise ValueError(
                    f"tasks.{task}.inits: expected {init.against}, which {name} is compared with, among "
                    f"{', '.join(study.inits_of(task))}"
                )
            own, other = _spacing(study, task, name), _spacing(study, task, init.against)
            if own != other:
                raise ValueError(
                    f"inits.{name}: expected spacing {other} for {task}, as {init.against} has, got {own} from its "
                    "pre-training; set spacing in the options of the task"
                )


def _check_compact(study: Study) -> None:
    if not study.protocol.compact:
        return
    for task in study.tasks:
        decoders = [arm.init for arm in arms_of(study, task) if arm.transfer == "encoder+decoder"]
        if decoders:
            raise ValueError(
                f"protocol.compact: expected false, since {task} is fine-tuned from the decoder of {decoders[0]}, "
                "which is not kept"
            )


def _check_probe(study: Study) -> None:
    probe = study.probe
    if probe is None:
        return
    if not single_label_tasks(study):
        raise ValueError("probe: expected a classification task with a single label, the study has none")
    if probe.draws < 1:
        raise ValueError(f"probe.draws: expected at least 1, got {probe.draws}")
    _check_budgets("probe.budgets", probe.budgets)
    if not all(isinstance(budget, int) for budget in probe.budgets):
        raise ValueError('probe.budgets: expected counts of labelled cases, got "all", of which there is a single draw')


def _check_primary(study: Study) -> None:
    primary = study.primary
    if primary is None:
        return
    if primary.measure not in ("frozen", "finetuned"):
        raise ValueError(f"primary.measure: expected frozen or finetuned, got {primary.measure!r}")
    if primary.task not in study.tasks:
        raise ValueError(f"primary.task: expected one of {', '.join(study.tasks)}; got {primary.task!r}")
    frozen = primary.measure == "frozen"
    if frozen and study.probe is None:
        raise ValueError("primary.measure: expected finetuned in a study without [probe], got frozen")
    if frozen and primary.task not in (single := single_label_tasks(study)):
        raise ValueError(f"primary.task: expected one that is probed, of {', '.join(single)}; got {primary.task!r}")
    budgets = study.probe.budgets if frozen and study.probe else study.budgets(primary.task)
    if primary.budget not in budgets:
        raise ValueError(f"primary.budget: expected one of {', '.join(map(str, budgets))}; got {primary.budget!r}")
    if not frozen and primary.steps not in study.steps(primary.task):
        raise ValueError(
            f"primary.steps: expected one of {', '.join(study.steps(primary.task))}; got {primary.steps!r}"
        )
    known = study.inits if frozen else study.inits_of(primary.task)
    for pair in primary.pairs:
        if len(pair) != 2 or pair[0] == pair[1] or set(pair) - set(known):
            raise ValueError(f"primary.pairs: expected pairs of two of {', '.join(known)}; got {list(pair)}")
    if not primary.pairs:
        raise ValueError("primary.pairs: expected at least one pair of initialisations, got none")
    if not frozen:
        _check_transfer(study, primary)


def _check_transfer(study: Study, primary: Primary) -> None:
    """Check that the initialisations of the primary pairs are fine-tuned with the weights that it transfers."""
    arms = arms_of(study, primary.task)
    for name in dict.fromkeys(name for pair in primary.pairs for name in pair):
        own = [arm.transfer for arm in arms if arm.init == name]
        if Arm(name) not in arms and primary.transfer not in own:
            raise ValueError(
                f"primary.transfer: expected {' or '.join(map(str, own))}, as {primary.task} is fine-tuned from "
                f"{name}, got {primary.transfer!r}"
            )


def _spacing(study: Study, task: str, init: str) -> Any:
    """Return the spacing of fine-tuning: from the options, or else that of its pre-training."""
    entry, chosen = study.tasks[task], study.inits[init]
    data = study.data[entry.data]
    for options in (chosen.finetune, chosen.options, entry.options, data.options, study.finetune):
        if "spacing" in options:
            return options["spacing"]
    return (data.pretrain | chosen.pretrain).get("spacing", "own") if chosen.pretrain is not None else "own"


def _check_lists(protocol: Protocol) -> None:
    for name in ("seeds", "pretrain_seeds", "transfers", "steps", "rates"):
        values: Sequence[Any] = list(getattr(protocol, name))
        if not values or len(set(values)) < len(values):
            raise ValueError(f"protocol.{name}: expected one or more, each once, got {values}")
    if len({f"{rate:g}" for rate in protocol.rates}) < len(protocol.rates):
        raise ValueError(f"protocol.rates: expected rates that differ in six digits, got {list(protocol.rates)}")
    _check_budgets("protocol.budgets", protocol.budgets)
    _check_budgets("protocol.tuning.budget", (protocol.tuning.budget,))
    if min(protocol.steps.values()) < 1 or protocol.resamples < 100:
        raise ValueError("protocol: expected steps of at least 1 and at least 100 resamples")
    if protocol.extend < 0 or protocol.curve < 1:
        raise ValueError(
            f"protocol: expected extend of at least 0 and curve of at least 1, got {protocol.extend} and "
            f"{protocol.curve}"
        )
    if protocol.extend and len(protocol.rates) < 2:
        raise ValueError(f"protocol.extend: expected 0 with a single rate, got {protocol.extend}")


def _check_budgets(where: str, budgets: Sequence[Budget]) -> None:
    good = all(one == "all" or (isinstance(one, int) and one > 0) for one in budgets)
    if not budgets or not good or len(set(budgets)) < len(budgets):
        raise ValueError(f'{where}: expected counts of labelled cases, or "all", each once; got {list(budgets)}')
