"""How far a run has come, and what that took: what its checkpoint keeps of it, and its report says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .clock import Lap


@dataclass(frozen=True)
class Cost:
    """What a run took, all its processes together."""

    samples: int = 0
    """Samples that it was trained on."""
    device_seconds: float = 0.0
    """Seconds of its devices, with measuring and saving; without what a process did after its last checkpoint."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    step: int = 0
    """Steps that were taken."""
    lap: Lap = Lap()
    """The time that they took, without measuring and saving and the first step of each process."""
    cost: Cost | None = Cost()
    """None for a run that a version began which did not count."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Progress:
        """Return what a checkpoint says."""
        cost = state.get("cost")
        return cls(state["step"], Lap(**state["total"]), Cost(**cost) if cost else None)

    @property
    def state(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        return {"step": self.step, "total": asdict(self.lap), "cost": asdict(self.cost) if self.cost else None}

    @property
    def report(self) -> dict[str, Any]:
        """As a report says it; None where a number is not known."""
        return {
            **self.lap.rates,
            "samples": self.cost.samples if self.cost else None,
            "device_hours": self.cost.device_seconds / 3600 if self.cost else None,
        }
