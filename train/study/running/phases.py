"""Phases of a study: pre-training, tuning and testing, one initialisation after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..runs import StudyRun, pretraining, testing
from ..scores import check_networks
from .jobs import RunQueue
from .rates import tune


@dataclass(frozen=True, kw_only=True)
class Done:
    """The finished runs of a study by phase, with the table of learning rates."""

    before: list[StudyRun]
    tuned: list[StudyRun]
    tested: list[StudyRun]
    rates: list[dict[str, Any]]


def do_runs(queue: RunQueue) -> Done:
    """Run everything that is not finished, one initialisation after another.

    Raises
    ------
    Failed
        If runs did not finish.
    TimeUp
        If the time limit left runs.
    ValueError
        If runs cannot be compared, or every learning rate diverged.
    """
    study = queue.study
    done = Done(before=[], tuned=[], tested=[], rates=[])
    for init in study.inits:
        done.before.extend(run for run in pretraining(study) if run.arm.init == init)
        queue.do_all(done.before)
        tuned, rates, table = tune(queue, init)
        done.tuned.extend(tuned)
        done.rates.extend(table)
        done.tested.extend(testing(study, rates))
        check_networks(queue, done.tuned)
        queue.do_all(done.tested)
    check_networks(queue, [*done.tuned, *done.tested])
    return done
