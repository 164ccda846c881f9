"""Settings of networks from nnU-Net plans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .training import RunSettings


@dataclass(frozen=True, kw_only=True)
class PlanSettings(RunSettings):
    """Settings of training with a network from nnU-Net plans."""

    plans: Path | None = None
    """Network: nnUNetPlans.json that defines the levels of a dynunet, so that `dali-cr export` can export to
    nnU-Net."""
    configuration: str = "3d_fullres"
    """Network: configuration of --plans."""

    def __post_init__(self) -> None:
        """Check the settings that do not need the data."""
        super().__post_init__()
        if self.plans and self.network != "dynunet":
            raise ValueError(f"plans: expected --network dynunet with --plans, got {self.network}")
