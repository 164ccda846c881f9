"""Scores by case of a study's runs, and the check that their networks can be compared."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..report.keys import current_name, current_names
from ..tasks.classify import LEAST_PROBABILITY
from .compact import describe_network
from .running.jobs import RunQueue
from .runs import StudyRun

_NAMES = ("case", "class", "predicted")


def case_scores(path: Path, metric: str) -> dict[str, float]:
    """Return the score of each case in a run's scores.csv, the mean over its rows (one per class).

    Parameters
    ----------
    path : Path
    metric : str
        A column of numbers; for classification also "correct" (1 or 0) or "log_score" (logarithm of the probability of
        the true class; for multi-label cases the sum over classes).

    Raises
    ------
    ValueError
        If the file has no scores, or not this metric.
    """
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows, metric = [current_names(row) for row in csv.DictReader(file)], current_name(metric)
    if not rows:
        raise ValueError(f"scores: expected scored cases, {path} has none")
    known = [name for name in rows[0] if name not in _NAMES and not name.startswith("p ")]
    known += ["correct", "log_score"] if "predicted" in rows[0] else []
    if metric not in known:
        raise ValueError(f"metric: expected one of {', '.join(known)} for {path}, got {metric}")
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["case"], []).append(_score(row, metric))
    return {case: float(np.mean(of_case)) for case, of_case in values.items()}


def _score(row: Mapping[str, str], metric: str) -> float:
    if metric == "correct":
        return float(row["class"] == row["predicted"])
    if metric != "log_score":
        return float(row[metric])
    true = set(row["class"].split("|"))
    shares = {name[2:]: float(text) for name, text in row.items() if name.startswith("p ")}
    if len(true) == 1 and abs(sum(shares.values()) - 1) < 1e-3:
        return math.log(max(LEAST_PROBABILITY, shares[min(true)]))
    return sum(math.log(max(LEAST_PROBABILITY, share if name in true else 1 - share)) for name, share in shares.items())


def check_networks(queue: RunQueue, runs: Sequence[StudyRun]) -> None:
    """Check that the runs to compare have the same network and the same input.

    Raises
    ------
    ValueError
        Naming the first difference.
    """
    seen: dict[tuple[str, str], tuple[StudyRun, dict[str, Any]]] = {}
    for run in runs:
        if queue.report(run) is None:
            continue
        init, found = queue.study.inits[run.arm.init], _network_of(queue, run)
        baseline = run.arm.init if init.pretrain is None else init.against
        first, other = seen.setdefault((run.task, baseline), (run, found))
        if differ := [name for name in found.keys() | other.keys() if found.get(name) != other.get(name)]:
            name = min(differ)
            raise ValueError(
                f"study: expected one network for all runs to compare, {name} is {other.get(name)} in {first.name} "
                f"and {found.get(name)} in {run.name}; set crop, topology, filters, normalize or spacing in the "
                "options of the data or the task"
            )


def _network_of(queue: RunQueue, run: StudyRun) -> dict[str, Any]:
    """Return the description of a run's network from its note; from its weights for runs of earlier versions."""
    noted = queue.read_note(run).get("network")
    return noted if noted else describe_network(queue.out(run))
