"""All results of a finished study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..declared import Budget, Study
from ..effects import Effect, Group
from ..probe.baselines import Baseline
from ..probe.frozen import Frozen
from .curves import Curve


@dataclass(frozen=True, kw_only=True)
class Results:
    """Scores, effects and descriptions of all runs of a study."""

    study: Study
    groups: Sequence[Group]
    """Scores after fine-tuning."""
    frozen: Sequence[Frozen]
    """Scores of linear probes, with their baselines."""
    baselines: Sequence[Baseline]
    """Scores of baselines with the labelled cases of the fine-tuning runs."""
    effects: Sequence[Effect]
    curves: Sequence[Curve]
    ran: dict[str, Any]
    """Times, devices, versions and commits."""
    files: Sequence[str]
    """Digests of all versions of the study's file that were run."""
    pretraining: Sequence[dict[str, Any]]
    rates: Sequence[dict[str, Any]]

    def baselines_of(self, task: str, budget: Budget) -> list[Baseline]:
        """Return the baselines of a task with a label budget."""
        return [one for one in self.baselines if (one.task, one.budget) == (task, budget)]
