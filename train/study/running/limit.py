"""Time limit of a study: which runs are started before it, and which are left for the next call."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


@dataclass
class TimeLimit:
    """Time limit of one call, which is one slice of a study.

    Parameters
    ----------
    deadline : float
        Time of `time.monotonic` at which runs in progress are stopped.
    """

    deadline: float = math.inf
    _first: float | None = None
    """When the first run could start."""

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() > self.deadline

    def admits(self, seconds: float) -> bool:
        """Return whether to start a run that is expected to take a number of seconds.

        A run that would not finish in time is left for the next call, where it has more time. One that is longer than
        a whole call is started nevertheless: it is stopped at the deadline, and continued from its checkpoint.

        Examples
        --------
        >>> limit = TimeLimit(time.monotonic() + 60)
        >>> limit.admits(50), limit.admits(3600)
        (True, True)
        """
        now = time.monotonic()
        if self._first is None:
            self._first = now
        left, whole = self.deadline - now, self.deadline - self._first
        return left > 0 and (seconds <= left or seconds > whole)
