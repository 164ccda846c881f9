"""`Progress`: groups of samples that threads take, and wait for their end."""

from __future__ import annotations

import threading
import time


class Progress:
    """Progress of groups of samples that several threads process.

    Parameters
    ----------
    groups : list of list of int
        Groups of samples of one case, whose files are read once.
    """

    def __init__(self, groups: list[list[int]]) -> None:
        self.groups = groups
        self.errors: dict[int, BaseException] = {}
        self._taken, self._ended = 0, set[int]()
        self._changed = threading.Condition()

    def take(self) -> int | None:
        """Return the next group, or None if there is none."""
        with self._changed:
            if self._taken == len(self.groups):
                return None
            self._taken += 1
            return self._taken - 1

    def end(self, group: int, error: BaseException | None = None) -> None:
        """Mark a group as done or failed."""
        with self._changed:
            self._ended.add(group)
            if error is not None:
                self.errors[group] = error
            self._changed.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait until all groups have ended; return False if none ends for `timeout` seconds."""
        with self._changed:
            while len(self._ended) < len(self.groups):
                before, until = len(self._ended), time.monotonic() + timeout
                while len(self._ended) == before:
                    self._changed.wait(max(0.0, until - time.monotonic()))
                    if len(self._ended) == before and time.monotonic() >= until:
                        return False
        return True

    def hanging(self) -> int:
        """Return the first sample of the first group that has not ended."""
        with self._changed:
            return next(group[0] for i, group in enumerate(self.groups) if i not in self._ended)
