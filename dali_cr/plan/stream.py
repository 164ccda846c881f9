"""`Stream`: the sample numbers of each batch, consecutive and sliced by rank, without gaps or repeats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Stream:
    """Sample numbers of one rank's batches.

    A step has `world_size * batch_size` consecutive numbers; rank r gets the r-th slice. With an end, the last step is
    short and shared evenly.

    Attributes
    ----------
    batch_size : int
        Batch size of one rank.
    start : int
        The first number of step 0.
    end : int or None
        One past the last number; None for an endless stream.
    rank, world_size : int

    Raises
    ------
    ValueError
        If a number is invalid.

    Examples
    --------
    >>> Stream(batch_size=2, rank=1, world_size=3).numbers(0)
    array([2, 3])
    >>> Stream(batch_size=2, rank=1, world_size=3, end=9).numbers(1)
    array([7])
    """

    batch_size: int
    start: int = 0
    end: int | None = None
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        for name in ("batch_size", "rank", "world_size"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
                raise ValueError(f"{name}: expected an integer, got {number!r}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {self.batch_size}")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank: expected 0 <= rank < world_size, got {self.rank} of {self.world_size}")

    @property
    def step_size(self) -> int:
        """Number of samples of a step over all ranks."""
        return self.batch_size * self.world_size

    def numbers(self, step: int) -> npt.NDArray[np.int64]:
        """Return the sample numbers of this rank's batch `step`; empty past the end."""
        first = self.start + step * self.step_size
        last = first + self.step_size
        if self.end is None or last <= self.end:
            first += self.rank * self.batch_size
            return np.arange(first, first + self.batch_size)
        left = max(self.end - first, 0)
        low, high = (left * r // self.world_size for r in (self.rank, self.rank + 1))
        return np.arange(first + low, first + high)

    def after(self, step: int) -> int:
        """Return the first sample number after `step` steps."""
        number = self.start + step * self.step_size
        return number if self.end is None else min(number, self.end)
