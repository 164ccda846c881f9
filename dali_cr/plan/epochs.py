"""`Epochs`: the position of a loader in its stream of sample numbers and in the current epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dali_cr.plan.stream import Stream


@dataclass
class Epochs:
    """A position in the stream that advances with every step.

    Without `passes`, an epoch is the smallest number of full steps with at least `length` sample numbers, and the next
    epoch continues where it ended. With `passes`, every epoch has the sample numbers from 0 to `passes * length` once,
    and its last step may be short.

    Attributes
    ----------
    length : int
        Number of samples of one pass over the data.
    batch_size : int
        Batch size of one rank.
    rank, world_size : int
    passes : int, optional
    next : int
        The next sample number that has not been delivered to any rank.
    first : int
        The first sample number of the current epoch.

    Raises
    ------
    ValueError
        If a number is invalid, or the samples cannot be shared evenly by the ranks.
    """

    length: int
    batch_size: int
    rank: int = 0
    world_size: int = 1
    passes: int | None = None
    next: int = 0
    first: int = 0

    def __post_init__(self) -> None:
        self.stream()  # checks batch size and rank
        self.batch_size, self.world_size = int(self.batch_size), int(self.world_size)
        if self.passes is not None and self.passes < 1:
            raise ValueError(f"epochs: expected at least 1, got {self.passes}")
        self._check_shares()
        self._unfinished = True

    @property
    def end(self) -> int | None:
        """One past the last sample number of the passes."""
        return None if self.passes is None else self.passes * self.length

    @property
    def steps(self) -> int:
        """Number of steps of a full epoch, the same on every rank."""
        return -(-(self.end or self.length) // self._step_size)

    @property
    def steps_left(self) -> int:
        """Number of steps until the current epoch ends."""
        return max(0, -(-(self.first + (self.end or self.length) - self.next) // self._step_size))

    def begin(self) -> None:
        """Start the next epoch and skip the rest of the current one, unless it was interrupted and must be finished."""
        if not (self._unfinished and self.steps_left):
            self.first = self.next = 0 if self.passes else self.next + self.steps_left * self._step_size
        self._unfinished = False

    def go_on(self) -> None:
        """Start the next epoch if the current one has ended."""
        if not self.steps_left:
            self.first = self.next
        self._unfinished = False

    def advance(self) -> None:
        """Advance by one step."""
        self.next = self.stream().after(1)

    def leave_unfinished(self) -> None:
        """Make the next `begin` continue the current epoch."""
        self._unfinished = True

    def move(self, to: int, first: int | None) -> None:
        """Move to the position of another loader, in an epoch that may be unfinished.

        Parameters
        ----------
        to : int
            The next sample number.
        first : int or None
            The first sample number of its epoch. If unknown, epochs are counted from sample number 0.

        Raises
        ------
        ValueError
            If the remaining samples cannot be shared evenly by the ranks.
        """
        before = self.next, self.first
        self.next = to if self.end is None else min(to, self.end)
        self.first = 0 if self.passes else to - to % (self.steps * self._step_size) if first is None else first
        try:
            self._check_shares()
        except ValueError:
            self.next, self.first = before
            raise
        self._unfinished = True

    def numbers(self) -> npt.NDArray[np.int64]:
        """Return the sample numbers of this rank's next batch."""
        return self.stream().numbers(0)

    def stream(self) -> Stream:
        """Return the stream from the current position."""
        return Stream(self.batch_size, self.next, self.end, self.rank, self.world_size)

    @property
    def _step_size(self) -> int:
        return self.batch_size * self.world_size

    def _check_shares(self) -> None:
        """Raise ValueError unless all ranks get the same number of samples of the passes."""
        if self.end is not None and (self.end - self.next) % self.world_size:
            raise ValueError(
                f"epochs: expected a number of samples that {self.world_size} ranks can share evenly, got "
                f"{self.end - self.next}; use a multiple as epochs, or evaluate with rank=0, world_size=1"
            )
