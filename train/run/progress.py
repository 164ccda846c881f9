"""Progress of a run (steps, time, cost), as stored in checkpoints and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .clock import Lap

_RENAMED = {"pairs": "samples"}
"""Names of fields in checkpoints of version 0.2.0 and earlier."""


@dataclass(frozen=True)
class Cost:
    """Cost of a run, summed over its processes."""

    samples: int = 0
    """Number of training samples."""
    device_seconds: float = 0.0
    """Device seconds, including evaluation and saving, up to the last checkpoint of each start."""


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    step: int = 0
    """Number of finished steps."""
    lap: Lap = Lap()
    """Time of the steps, without evaluation, saving and the first step of each start."""
    cost: Cost | None = Cost()
    """None for runs started by a version that did not record it."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Progress:
        """Return the progress stored in a checkpoint."""
        cost, total = state.get("cost"), {_RENAMED.get(name, name): value for name, value in state["total"].items()}
        return cls(state["step"], Lap(**total), Cost(**cost) if cost else None)

    @property
    def state(self) -> dict[str, Any]:
        """Entries for a checkpoint."""
        return {"step": self.step, "total": asdict(self.lap), "cost": asdict(self.cost) if self.cost else None}

    @property
    def report(self) -> dict[str, Any]:
        """Entries for a report; None for unknown values."""
        return {
            **self.lap.rates,
            "samples": self.cost.samples if self.cost else None,
            "device_hours": self.cost.device_seconds / 3600 if self.cost else None,
        }
