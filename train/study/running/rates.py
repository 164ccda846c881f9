"""Choice of the learning rate of each task and initialisation, by scores on val."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..declared import lower_is_better
from ..runs import Arm, StudyRun, arms_of, tuning
from ..scores import case_scores
from .jobs import RunQueue

Reached = Mapping[float, float | None]
"""Mean score on val by learning rate; None for one that diverged."""


def tune(queue: RunQueue, init: str) -> tuple[list[StudyRun], dict[tuple[str, Arm], float], list[dict[str, Any]]]:
    """Choose the learning rates of an initialisation.

    Where the best is the lowest or highest, more are tried beyond it; where all diverge, lower ones.

    Returns
    -------
    runs : list of StudyRun
    rates : dict
        Chosen learning rate of each task and initialisation.
    table : list of dict
        Scores on val of all learning rates.

    Raises
    ------
    ValueError
        If every learning rate of a task and initialisation diverged.
    """
    study, more = queue.study, dict[tuple[str, Arm], list[float]]()
    while True:
        tuned = [run for run in tuning(study, more) if run.arm.init == init]
        if not tuned:
            arms = [(task, arm) for task in study.tasks for arm in arms_of(study, task) if arm.init == init]
            return [], dict.fromkeys(arms, study.protocol.rates[0]), []
        queue.do_all(tuned)
        found = list(_score(queue, tuned))
        added = False
        for task, arm, reached in found:
            own = more.get((task, arm), [])
            beyond = next_rate(list(reached), _best(reached, study.metric(task)))
            if len(own) < study.protocol.extend and beyond is not None:
                more[task, arm], added = [*own, beyond], True
        if not added:
            return tuned, *_choose(queue, found)


def _score(queue: RunQueue, runs: Sequence[StudyRun]) -> Iterator[tuple[str, Arm, Reached]]:
    """Yield the scores on val of each task and initialisation."""
    for task, arm in dict.fromkeys((run.task, run.arm) for run in runs):
        reached: dict[float, float | None] = {}
        for run in runs:
            if (run.task, run.arm) == (task, arm):
                finished = queue.report(run) is not None
                scores = case_scores(queue.out(run) / "scores.csv", queue.study.metric(task)) if finished else {}
                reached[run.options["lr"]] = float(np.mean(list(scores.values()))) if finished else None
        yield task, arm, reached


def _best(reached: Reached, metric: str) -> float | None:
    """Return the rate with the best score, among equal ones the lowest; None if all diverged."""
    sign = -1 if lower_is_better(metric) else 1
    ranked = [(sign * value, -rate) for rate, value in reached.items() if value is not None]
    return -max(ranked)[1] if ranked else None


def _choose(
    queue: RunQueue, found: Sequence[tuple[str, Arm, Reached]]
) -> tuple[dict[tuple[str, Arm], float], list[dict[str, Any]]]:
    """Return the chosen learning rates and the table of scores."""
    chosen, table = {}, []
    for task, arm, reached in found:
        metric = queue.study.metric(task)
        best = _best(reached, metric)
        if best is None:
            raise ValueError(
                f"protocol.rates: expected a learning rate with which {task} from {arm.label} does not diverge, "
                f"{', '.join(f'{rate:g}' for rate in sorted(reached))} do; add lower ones, or raise protocol.extend"
            )
        chosen[task, arm] = best
        table.append({"task": task, "arm": arm.label, "chosen": best, "metric": metric})
        table[-1]["val"] = {f"{rate:g}": value for rate, value in reached.items()}
    return chosen, table


def next_rate(tried: Sequence[float], chosen: float | None) -> float | None:
    """Return the next learning rate beyond the chosen one if that is the lowest or highest tried; else None.

    The factor is that between the chosen one and its neighbour. Without a chosen one, since all diverged, it is the
    next lower rate.

    Examples
    --------
    >>> next_rate([3e-4, 1e-3, 3e-3], 3e-3), next_rate([3e-4, 1e-3, 3e-3], 1e-3), next_rate([1e-3, 2e-3], None)
    (0.009, None, 0.0005)
    """
    ordered = sorted(tried)
    chosen = ordered[0] if chosen is None else chosen
    if len(ordered) < 2 or chosen not in (ordered[0], ordered[-1]):
        return None
    neighbour = ordered[1] if chosen == ordered[0] else ordered[-2]
    beyond = float(f"{chosen * chosen / neighbour:.3g}")
    # Rates that differ by less than the rounding have none beyond them.
    return None if ordered[0] <= beyond <= ordered[-1] else beyond
