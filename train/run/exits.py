"""Early ends of a run: rejected settings, or a signal, after which the current step is finished and saved."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Refused(ValueError):
    """Raised when a command cannot be started with the given settings or data."""


class Stop:
    """Context that records SIGINT (Ctrl-C) and SIGTERM (from a scheduler) instead of ending the process.

    A second signal has its default effect and ends the process at once.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        """Number of the received signal, None if there was none."""
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        """Install the handlers; in the main thread only, as Python requires."""
        self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous handlers."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self.__exit__()


class Stopped(Exception):
    """Raised after a signal, when the run was saved."""

    def __init__(self, number: int, report: dict[str, Any]) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after step {report['steps']}; saved")
        self.exit_code = 128 + number
        """Exit code as for a process killed by the signal: 130 for SIGINT, 143 for SIGTERM."""
        self.report = report
        """The report of the run, without metrics."""
