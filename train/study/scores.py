"""What the runs of a study reached: scores by case, and the learning rates that were chosen by them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from .declared import lower_is_better
from .jobs import RunQueue
from .runs import Arm, StudyRun, arms_of

_LEAST = 1e-6
"""A probability below it counts as it: the logarithm of 0 would outweigh all other cases (project choice)."""

_NAMES = ("case", "class", "said")


def case_scores(path: Path, metric: str) -> dict[str, float]:
    """Return the score of each case in a run's scores.csv; the mean of its classes, where it has several rows.

    Parameters
    ----------
    path : Path
    metric : str
        A column of numbers; for classes "correct" (1 or 0) or "log_score" (logarithm of the probability of what is
        true, of all classes together where a case may be of several).

    Raises
    ------
    ValueError
        If the file does not tell it.
    """
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"scores: expected scored cases, {path} has none")
    known = [name for name in rows[0] if name not in _NAMES and not name.startswith("p ")]
    known += ["correct", "log_score"] if "said" in rows[0] else []
    if metric not in known:
        raise ValueError(f"metric: expected one of {', '.join(known)} for {path}, got {metric}")
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["case"], []).append(_score(row, metric))
    return {case: float(np.mean(of_case)) for case, of_case in values.items()}


def _score(row: Mapping[str, str], metric: str) -> float:
    if metric == "correct":
        return float(row["class"] == row["said"])
    if metric != "log_score":
        return float(row[metric])
    true = set(row["class"].split("|"))
    shares = {name[2:]: float(text) for name, text in row.items() if name.startswith("p ")}
    if len(true) == 1 and abs(sum(shares.values()) - 1) < 1e-3:
        return math.log(max(_LEAST, shares[min(true)]))
    return sum(math.log(max(_LEAST, share if name in true else 1 - share)) for name, share in shares.items())


def choose_rates(
    queue: RunQueue, runs: Sequence[StudyRun]
) -> tuple[dict[tuple[str, Arm], float], list[dict[str, Any]]]:
    """Return the learning rate of each task and beginning that does best on val, and what each of them reached.

    Raises
    ------
    ValueError
        If none reached anything.
    """
    study = queue.study
    arms = [(task, arm) for task in study.tasks for arm in arms_of(study, task)]
    if not runs:
        return dict.fromkeys(arms, study.protocol.rates[0]), []
    chosen, told = {}, []
    for task, arm in arms:
        metric, reached = study.metric(task), {}
        for run in runs:
            if (run.task, run.arm) == (task, arm):
                rate, finished = run.options["lr"], queue.report(run) is not None
                scores = case_scores(queue.out(run) / "scores.csv", metric) if finished else {}
                reached[rate] = float(np.mean(list(scores.values()))) if finished else None
        sign = -1 if lower_is_better(metric) else 1
        # Of equal ones the lowest.
        ranked = [(sign * value, -rate) for rate, value in reached.items() if value is not None]
        if not ranked:
            raise ValueError(f"rates: expected one with which {task} from {arm.label} does not diverge, got none")
        chosen[task, arm] = -max(ranked)[1]
        told.append({"task": task, "arm": arm.label, "chosen": chosen[task, arm], "metric": metric})
        told[-1]["val"] = {f"{rate:g}": value for rate, value in reached.items()}
    return chosen, told


def refuse_other_networks(queue: RunQueue, runs: Sequence[StudyRun]) -> None:
    """Refuse to compare runs whose networks, or their views of a case, are not the same.

    Raises
    ------
    ValueError
        Naming what differs.
    """
    seen: dict[tuple[str, str], tuple[StudyRun, dict[str, Any]]] = {}
    for run in runs:
        if queue.report(run) is None:
            continue
        init, found = queue.study.inits[run.arm.init], _describe_network(queue.out(run))
        baseline = run.arm.init if init.pretrain is None else init.against
        first, other = seen.setdefault((run.task, baseline), (run, found))
        if differ := [name for name in found.keys() | other.keys() if found.get(name) != other.get(name)]:
            name = min(differ)
            raise ValueError(
                f"study: expected one network for all that is compared, {name} is {other.get(name)} in {first.name} "
                f"and {found.get(name)} in {run.name}. Options of the data or the task make them alike: crop, "
                "topology, filters, normalize, spacing"
            )


def _describe_network(folder: Path) -> dict[str, Any]:
    """Return how a network looks at a case, and the shapes of its tensors: settings may differ and make the same."""
    view: dict[str, Any] = json.loads((folder / "config.json").read_text())["network"]["view"]
    with safetensors.safe_open(str(folder / "model.safetensors"), framework="np") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - it is no mapping
    return view | shapes
