"""`Epochs`: the place of a loader in its stream of sample numbers, and in the present epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dali_cr.plan.stream import Stream


@dataclass
class Epochs:
    """A place in the stream that moves with every step.

    Without `passes`, an epoch is the least number of full steps that have at least `length` sample numbers, and the
    next one goes on where it ended. With it, every epoch has the sample numbers from 0 to `passes * length`, each once,
    and its last step is short.

    Attributes
    ----------
    length : int
        Samples of one pass over the data.
    batch_size : int
        Of one rank.
    rank, world_size : int
    passes : int, optional
    next : int
        The first sample number that no rank has been given.
    first : int
        The first sample number of the present epoch.

    Raises
    ------
    ValueError
        If the numbers make no stream, or the ranks cannot share the passes evenly.
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
        if self.passes is not None and self.passes < 1:
            raise ValueError(f"epochs: expected None or a number of at least 1, got {self.passes}")
        self._check_shares()
        self._unfinished = True

    @property
    def end(self) -> int | None:
        """One past the last sample number of the passes."""
        return None if self.passes is None else self.passes * self.length

    @property
    def steps(self) -> int:
        """Steps of a whole epoch, the same on every rank."""
        return -(-(self.end or self.length) // self._step_size)

    @property
    def steps_left(self) -> int:
        """Steps until the present epoch ends."""
        return max(0, -(-(self.first + (self.end or self.length) - self.next) // self._step_size))

    def begin(self) -> None:
        """Begin the next epoch and skip what the present one has left, unless that one is to be finished first."""
        if not (self._unfinished and self.steps_left):
            self.first = self.next = 0 if self.passes else self.next + self.steps_left * self._step_size
        self._unfinished = False

    def go_on(self) -> None:
        """Begin the next epoch only if the present one has ended."""
        if not self.steps_left:
            self.first = self.next
        self._unfinished = False

    def advance(self) -> None:
        """Take a step."""
        self.next = self.stream().after(1)

    def leave_unfinished(self) -> None:
        """Have the next `begin` finish the present epoch."""
        self._unfinished = True

    def move(self, to: int, first: int | None) -> None:
        """Move to a place where another loader was, in an epoch that it may have interrupted.

        Parameters
        ----------
        to : int
            The next sample number.
        first : int or None
            The first of its epoch; if that is not known, epochs are counted from sample number 0.

        Raises
        ------
        ValueError
            If the ranks cannot share evenly what is left of the passes.
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
        """Return the stream from here on."""
        return Stream(self.batch_size, self.next, self.end, self.rank, self.world_size)

    @property
    def _step_size(self) -> int:
        return self.batch_size * self.world_size

    def _check_shares(self) -> None:
        """Raise ValueError unless all ranks get the same number of samples of the passes."""
        if self.end is not None and (self.end - self.next) % self.world_size:
            raise ValueError(
                f"epochs: expected a number of samples that {self.world_size} ranks can share evenly, got "
                f"{self.end - self.next}; take a multiple as epochs, or evaluate with rank=0, world_size=1"
            )
